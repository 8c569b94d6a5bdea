#pragma once
// What a live mount leaves behind for the tools: which cluster it belongs to. One small file for each, named by the device number
// that stat() shows, in /run/dfs/mounts (or, without root, in a directory of the user's own below /tmp).
//
// Thread: any; blocking, small.

#include <kj/common.h>

#include <cstdint>
#include <string>
#include <vector>

namespace dfs {

struct MountNote {
  uint64_t device = 0;
  std::string path;
  std::vector<std::string> nameservers;
  int32_t pid = 0;
  std::string subdir;              // where it begins in the cluster; empty: at its root
  std::vector<std::string> words;  // of -o, that cannot be changed while it is mounted
};

void writeMountNote(
    const MountNote&
        note);  // best effort: a mount without one works, only the tools need --nameserver
void removeMountNote(uint64_t device, int32_t pid);
// Only that process's own: the number of a mount that has gone may be another's already.
kj::Maybe<MountNote> mountNoteOf(const std::string& path);
// Of the mount in which `path` lies. Asks the kernel only, never the mount: its servers may be away.
kj::Maybe<MountNote> mountNoteAt(uint64_t device);

}  // namespace dfs
