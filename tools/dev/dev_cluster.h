#pragma once
// A cluster of real processes on this machine, for trying DFS, developing and testing it.
//
// DIR/cluster.json says what there is (rewritten atomically after each change):
//   {"schema":1, "replicas":R,
//    "nameservers":[{"id":"name1","pid":..,"born":..,"address":"127.0.0.1:PORT","http":"127.0.0.1:PORT","data":DIR}],
//    "stores":[{...}], "mounts":[{"id":"mount1","pid":..,"born":..,"path":DIR}]}
// A pid of 0: it does not run. Addresses stay over restarts, unless something else has taken the port.
//
// Thread: main's, blocking. One command at a time for one DIR: a lock on DIR/lock.

#include "common/launch.h"

#include <kj/io.h>
#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <vector>

namespace dfs {

struct DevShape {
  uint32_t nameservers = 1;
  uint32_t stores = 3;
  uint32_t mounts = 1;
  uint32_t replicas = 2;
};

class DevCluster {
 public:
  explicit DevCluster(const std::string& root);
  // Takes the lock, reads cluster.json if it is there.

  bool exists() const { return exists_; }
  void up(const DevShape& shape, bool shapeGiven);
  // Makes it, or starts again what does not run. Returns when every daemon is in and every mount answers.
  void down();
  void kill(const std::string& id);    // SIGKILL
  void stop(const std::string& id);    // SIGSTOP
  void resume(const std::string& id);  // SIGCONT
  void start(const std::string& id);   // again, if it does not run
  std::string table();                 // for a person

 private:
  using Json = nlohmann::json;

  void make(const DevShape& shape);
  void save();
  Json& member(const std::string& id);
  bool runs(const Json& member) const;
  void launchNameServer(Json& member);
  void launchStore(Json& member);
  void launchMount(Json& member);
  std::string freeAddress();
  void launchAny(Json& member);
  void awaitServing();
  void awaitMount(const Json& member);
  void signal(const std::string& id, int number, const char* what);
  std::string log(const std::string& id) const { return root_ + "/log/" + id + ".log"; }
  std::string unixAddress(const std::string& id) const {
    return "unix:" + run_ + "/" + id + ".sock";
  }

  std::string root_;
  std::string run_;
  kj::AutoCloseFd lock_;
  bool exists_ = false;
  bool creating_ = false;     // the cluster has not served yet
  bool interrupted_ = false;  // an earlier command was making it
  Json cluster_;
  std::set<std::string> given_;  // addresses, by this command
};

bool mountAnswers(const std::string& path, uint32_t timeoutMs);
// Asked by a child process, so that a mount that hangs does not hang the caller.
bool isMountPoint(const std::string& path);

}  // namespace dfs
