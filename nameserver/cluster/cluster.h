#pragma once
// The leader's picture of the storage daemons: who is registered and beats, the view and its
// changes, fences, where new blocks go, and the deletion of freed blocks.
//
// Thread: the loop's. Owner: Server. Lives as long as this server leads; a new one is made at each
// start of a term. Invariants:
//   1. The view only changes by commands (putNode, putChains, sessions), so it is what
//   Queries::view() says; chain
//      transitions are computed by chain_rules alone.
//   2. Nothing is decided from silence before the name server has itself been running and leading
//   for
//      kNodesSettleMs (C5), unless all daemons of the view have registered earlier.

#include "common/env.h"
#include "common/view.h"
#include "nameserver/meta/queries.h"
#include "nameserver/raft/replicator.h"

#include <rpc-schema/cluster.capnp.h>

namespace dfs {

struct ClusterOptions {
  uint32_t nodesExpected = 1;
  // The first chains are made when so many daemons are in: then all of them get their share (N5).
};

struct HealthSentence {
  // What `dfs status` prints of one trouble.
  bool critical;       // data or service unavailable, not only less redundant
  std::string code;    // stable: "STORE_DOWN"
  std::string what;    // "store2 is silent"
  std::string effect;  // "73 of 150 chains have one copy; all data available"
  std::string doing;   // what happens next by itself
  std::string advice;  // what a person can do
  uint64_t sinceMs;    // bootMs
};

struct Space {
  uint64_t bytes;  // of user data: capacity over copies
  uint64_t bytesFree;
  bool
      settled;  // false for kSpaceSettleMs after a start, until all daemons of the view have registered
};

struct NodeStatus {
  NodeId id;
  bool beating;
  uint64_t silentMs;
  uint64_t totalBytes, freeBytes;
  uint64_t viewInstalled, viewSettled;
  std::string broken;
};

class Cluster {
 public:
  virtual ~Cluster() noexcept(false) {}

  virtual schema::Registry::Client registry() = 0;
  virtual const View& view() = 0;
  virtual kj::Promise<void> viewAfter(uint64_t version) = 0;  // resolves when the view is newer
  virtual void viewMayHaveChanged() = 0;
  // After a command that others proposed and that changes the view (sessions).

  virtual kj::Promise<void> settled(uint64_t viewVersion) = 0;
  // C3: every daemon has acknowledged that version (viewSettled), or counts as acknowledged. What
  // ended by then is fenced.
  virtual std::string unsettledBecause(
      uint64_t viewVersion) = 0;  // names the daemons and chains that lack; for status

  virtual bool
  ready() = 0;  // the expected daemons are in, and there are chains: blocks can be handed out
  virtual kj::Promise<void> whenReady() = 0;
  virtual Outcome<std::vector<std::pair<ChainId, uint32_t>>> place(uint32_t blocks) = 0;
  // Chains for new blocks and how many on each: only chains that serve, with room on every serving
  // member; many chains rather than many blocks on one; at most kRowsPerAnswerMax. NO_SPACE: those
  // that serve are full. AGAIN: none serves at the moment; wait and ask again.
  virtual Space space() = 0;
  virtual std::vector<HealthSentence> health() = 0;
  virtual std::vector<NodeStatus> nodes() = 0;
  virtual void pauseReclaim(
      bool pause) = 0;  // S5: while the first phase lasts nothing is reclaimed or collected
};

kj::Own<Cluster> newCluster(Env& env, Queries& queries, Replicator& replicator,
                            ClusterOptions options);

}  // namespace dfs
