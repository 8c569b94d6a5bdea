#pragma once
// What is left behind: rows of removed inodes, freed blocks, ranges of sessions that ended long ago,
// and blocks that a daemon has and nobody names (R3, R4).
//
// Thread: the loop's. Owner: the cluster. Invariants:
//   1. A freed block is deleted on the daemons kReclaimGraceMs after this server first saw it freed,
//      by its own clock; at once while a daemon of its chain has less than twice its reserve.
//   2. It leaves `reclaim` when every member of its chain has deleted it. One with a member that is
//      away stays there until that is back.
//   3. An orphan is deleted by a command that decides for itself; here candidates are collected,
//      and only those that a daemon had in two rounds in a row.
//   4. Paused (S5): nothing is proposed and nothing deleted.

#include "nameserver/cluster/cluster_state.h"
#include "nameserver/cluster/membership.h"

namespace dfs {

class Reclaim final : private kj::TaskSet::ErrorHandler {
 public:
  Reclaim(Env& env, ClusterState& state, Proposer& proposer, NodeBook& book, Membership& members);
  KJ_DISALLOW_COPY(Reclaim);

  void pause(bool pause) { paused_ = pause; }

 private:
  using Blocks = std::vector<BlockId>;

  Task<void> runFreed();
  Task<void> runOrphans();
  kj::Promise<void> guarded(kj::Promise<void> work, kj::StringPtr what);

  Task<void> freedRound();
  Task<void> trimRound();
  Task<void> forgetRound();
  Task<void> deleteFreed();
  bool due(BlockId block);
  bool allHere(const ChainInfo& chain);
  Task<void> removeEverywhere(Blocks blocks);
  Task<void> removeAt(NodeId node, Blocks blocks, std::map<BlockId, uint32_t>* missing);

  Task<void> orphanRound();
  Task<void> orphansOf(NodeId node);
  Task<void> proposeOrphans(Blocks blocks);
  void taskFailed(kj::Exception&& exception) override;

  Env& env_;
  ClusterState& state_;
  Proposer& proposer_;
  NodeBook& book_;
  Membership& members_;
  bool paused_ = false;
  BlockId above_;                                 // where the walk over freed blocks stands
  std::map<BlockId, uint64_t> seenFreedMs_;       // bounded; bootMs
  std::map<SessionId, uint64_t> seenEndedMs_;     // bounded; bootMs
  std::map<NodeId, std::set<BlockId>> suspects_;  // of the last round; bounded
  kj::TaskSet tasks_;
};

}  // namespace dfs
