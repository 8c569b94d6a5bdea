#pragma once
// The name server, put together: store, state machine, log, cluster, sessions, admin, and the doors
// through which others come in.
//
// Thread: the loop's. Owner: main(), or a simulated world. Dropping it is a kill.
// Invariants:
//   1. A cluster comes into being only with options.create, in a directory that has none (N1).
//   2. What depends on leading (Leader) is made anew for each term, and its connections end with it.
//   3. No step of the start depends on the number of inodes.

#include "common/env.h"
#include "common/task.h"
#include "common/wire.h"
#include "nameserver/admin/admin.h"
#include "nameserver/raft/raft_replicator.h"

#include <string>
#include <vector>

namespace dfs {

struct NameServerOptions {
  std::string id = "name1";
  std::vector<std::string> listen = {"127.0.0.1:7400"};
  std::string http;  // where its status pages are; for the status object only
  uint32_t nodesExpected = 1;
  bool create = false;
  // Of the cluster that `create` makes:
  uint8_t replicas = 0;  // 0: auto
  uint32_t rootUid = 0;
  uint32_t rootGid = 0;
  uint32_t rootMode = 0755;
  uint32_t blockBytes = kBlockBytes;
  ReplicatorOptions log = {};
};

class NameServer {
 public:
  NameServer(Env& env, NameServerOptions options);
  ~NameServer() noexcept(false);
  KJ_DISALLOW_COPY(NameServer);

  kj::Promise<void> start();
  // Resolves when it listens. Throws with a sentence if it cannot start.
  kj::Promise<void> failed();
  // Throws, or resolves, when the process must end. REQUIRES: start() has resolved.
  kj::Promise<void> stop();
  // A clean end.

  bool ready();
  // Sessions are served and blocks can be handed out.
  std::string statusJson();
  std::string metrics();
  std::vector<std::string> addresses();
  // On which it listens, with the ports that were chosen.

 private:
  class Door;
  struct Leader;

  Task<void> open();
  Task<void> makeCluster();
  Task<void> run();
  Task<void> serve();
  capnp::Capability::Client newDoor();

  Env& env_;
  const NameServerOptions options_;
  uint64_t connections_ = 0;
  kj::Own<Kv> kv_;
  kj::Own<StateMachine> machine_;
  kj::Own<StateMachineApplier> applier_;
  kj::Own<Queries> queries_;
  kj::Own<RaftReplicator> replicator_;
  kj::Own<Leader> leader_;  // null while it does not lead
  kj::Vector<kj::Own<RpcServer>> doors_;
  kj::Own<kj::PromiseFulfiller<void>> failFulfiller_;
  kj::ForkedPromise<void> failed_;
  kj::Promise<void> run_ = kj::READY_NOW;
};

}  // namespace dfs
