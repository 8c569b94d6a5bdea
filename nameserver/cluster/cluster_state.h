#pragma once
// What this module asks of the replicated state, and no more, so that a test can stand in for it.
//
// Thread: the loop's. Owner: the cluster. Answers are copies, as in Queries.

#include "nameserver/meta/queries.h"

namespace dfs {

class ClusterState {
 public:
  virtual ~ClusterState() noexcept(false) {}
  virtual kj::Maybe<ClusterInfo> cluster() = 0;
  virtual uint64_t viewVersion() = 0;
  virtual View view() = 0;
  virtual std::vector<SessionId> endedSessions() = 0;
  virtual std::vector<InodeId> trims(InodeId above, uint32_t inosMax) = 0;
  virtual std::vector<Queries::ReclaimBlock> reclaims(BlockId above, uint32_t blocksMax) = 0;
  virtual bool mayBeOrphan(BlockId block) = 0;
  // Handed out once by this cluster, named by nobody, not being reclaimed and in no session's range.
};

class QueriesState final : public ClusterState {
 public:
  explicit QueriesState(Queries& queries) : queries_(queries) {}

  kj::Maybe<ClusterInfo> cluster() override { return queries_.cluster(); }
  uint64_t viewVersion() override { return queries_.viewVersion(); }
  View view() override { return queries_.view(); }
  std::vector<SessionId> endedSessions() override { return queries_.endedSessions(); }
  std::vector<InodeId> trims(InodeId above, uint32_t inosMax) override {
    return queries_.trims(above, inosMax);
  }
  std::vector<Queries::ReclaimBlock> reclaims(BlockId above, uint32_t blocksMax) override {
    return queries_.reclaims(above, blocksMax);
  }
  bool mayBeOrphan(BlockId block) override {
    if (!queries_.everAllotted(block) || queries_.isNamed(block)) return false;
    if (queries_.handedOutTo(block) != nullptr) return false;
    auto freed = queries_.reclaims(BlockId(block.value - 1), 1);
    return freed.empty() || freed[0].block != block;
  }

 private:
  Queries& queries_;
};

}  // namespace dfs
