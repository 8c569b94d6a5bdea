#pragma once
// Bringing copies in line: the syncing successor of a chain by its predecessor, this member's own
// uncertain blocks when it has to serve without having been brought up, and bad copies.
//
// Resync (C1, C7): page by page in order of id, the successor's inventory beside our own list. A
// block is skipped only if both sides are committed and epoch, version, length and digest are equal.
// Each other one is sent whole under its exclusive turn, so that it is in order with live writes;
// what we do not have is removed there. Then `synced`: the successor syncs its disk and asks to
// serve (Y6). A new epoch starts it over, which is cheap: what is equal is skipped.
//
// Recovery: a chain's only serving member after an outage commits what it has; a doubtful block is
// taken from another registered member that has a whole copy not older, or accepted as it lies (B4).
//
// Thread: the loop's. Owner: Server. Invariants:
//   1. One resync per chain, for its present epoch and successor.
//   2. At most kResyncChainsAtOnce * kResyncBlocksAtOnce pieces are in flight.

#include "storaged/chain/update.h"

namespace dfs {

class Resync final : private kj::TaskSet::ErrorHandler {
 public:
  Resync(Env& env, ViewKeeper& keeper, BlockStore& store, Forward& forward, Peers& peers,
         BlockTurns& turns);
  KJ_DISALLOW_COPY(Resync);

  void repairSoon(BlockId block, BlockVersion found);
  // A read found it bad. It is replaced by another serving member's copy if it is still at `found`
  // then (C7). Once per block at a time.

  Task<Errno> syncedHere(At at, ChainId chain);
  // From the predecessor: everything was sent. Durable before OK (Y6).
  std::vector<std::pair<ChainId, uint64_t>> asksToServe();
  // (chain, epoch) for the next beat.

  size_t running() const { return running_.size(); }
  uint64_t installedBlocks() const { return installed_; }
  uint64_t skippedBlocks() const { return skipped_; }
  uint64_t repairedBlocks() const { return repaired_; }

 private:
  struct Goal {
    uint64_t epoch = 0;
    NodeId successor;
    bool operator==(const Goal&) const = default;
  };
  struct Page {
    Errno err = Errno::OK;
    std::map<BlockId, std::pair<StoredBlock, uint64_t>> blocks;  // with digests
    bool atEnd = false;
  };

  void viewChanged();
  kj::Maybe<Goal> goalOf(ChainId chain);
  Task<void> run(ChainId chain, Goal goal);
  Task<Errno> walk(ChainId chain, Goal goal);
  Task<Page> inventory(ChainId chain, Goal goal, BlockId above);
  Task<Errno> sendBlock(BlockId block, Goal goal);
  Task<Errno> removeThere(ChainId chain, Goal goal, kj::Array<BlockId> extras);
  Task<Errno> sayDone(ChainId chain, Goal goal);
  bool same(BlockId block, const Page& theirs);
  Task<void> recover(ChainId chain);
  Task<Errno> recoverBlock(BlockId block);
  Task<void> repairOne(BlockId block, BlockVersion found);
  void taskFailed(kj::Exception&& e) override;

  Env& env_;
  ViewKeeper& keeper_;
  BlockStore& store_;
  Forward& forward_;
  Peers& peers_;
  BlockTurns& turns_;

  std::map<ChainId, Goal> running_;
  std::set<ChainId> recovering_;
  std::set<BlockId> repairing_;
  std::map<ChainId, uint64_t> synced_;  // epoch in which the chain is complete and durable here
  uint64_t installed_ = 0, skipped_ = 0, repaired_ = 0;
  kj::TaskSet tasks_;
};

}  // namespace dfs
