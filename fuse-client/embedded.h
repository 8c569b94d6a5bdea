#pragma once
// The embedded cluster of a mount that names no name server: a name server and some storage daemons on this machine, reached by
// Unix sockets only, with a keeper process that starts them, starts them again if they die, and stops them when no mount uses
// them any more.
//
// DATA/
//   embedded.json   how many stores and copies; written once
//   creating        is there while the cluster is being made: then everything is made anew (nobody has seen it)
//   keeper.lock     held by the keeper for its life (flock)
//   start.lock      held by a mount while it looks for a keeper and starts one
//   users.lock      held shared by each mount; the keeper takes it exclusively when it stops, so a mount that comes meanwhile waits
//   name1/ store1/ ...   the daemons' data     log/   their logs     run/   sockets, mode 0700
//
// Thread: none yet: everything here blocks, before the loop starts. Locks go with their process, however it ends.

#include <kj/io.h>

#include <string>

namespace dfs {

struct EmbeddedOptions {
  std::string data = "/var/lib/dfs";
  uint32_t stores = 3;
  uint32_t replicas = 2;
  bool storesGiven = false;
  bool replicasGiven = false;
  uint32_t rootUid = 0;  // who owns the root of a new cluster
  uint32_t rootGid = 0;
};

struct EmbeddedCluster {
  kj::AutoCloseFd user;    // keep it open as long as the cluster is used
  std::string nameserver;  // "unix:..."
  std::string sentence;    // for the person who mounts
};

EmbeddedCluster joinEmbedded(const EmbeddedOptions& options);
// Joins the running cluster of that data directory, or starts it, or makes it where the directory does not exist. Returns when it
// serves. Throws with a sentence that says why not and what to do; then nothing that it started is left.

int keepEmbedded(const std::string& data, int lockFd);
// The keeper's main(), in a process of its own that has inherited the lock.

}  // namespace dfs
