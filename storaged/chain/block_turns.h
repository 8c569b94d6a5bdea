#pragma once
// Who may touch a block: one update alone, or any number of reads, in order of arrival.
//
// An update keeps its turn until it is committed. So a read never meets an uncommitted or half
// written unit (C9), and the updates of one block reach the successor one after the other.
//
// Thread: the loop's. Owner: Server; outlives every Turn. Invariants:
//   1. An exclusive turn of a block is the only one of it.
//   2. Nobody overtakes: a stream of reads does not starve an update.

#include "common/ids.h"

#include <kj/async.h>

#include <deque>
#include <map>

namespace dfs {

class BlockTurns {
 public:
  class Turn {
   public:
    Turn(BlockTurns& turns, BlockId block, bool exclusive)
        : turns_(turns), block_(block), exclusive_(exclusive) {}
    ~Turn() noexcept(false) { turns_.end(block_, exclusive_); }
    KJ_DISALLOW_COPY(Turn);

   private:
    BlockTurns& turns_;
    const BlockId block_;
    const bool exclusive_;
  };

  BlockTurns() = default;
  KJ_DISALLOW_COPY(BlockTurns);

  kj::Promise<kj::Own<Turn>> exclusive(BlockId block) { return enter(block, true); }
  kj::Promise<kj::Own<Turn>> shared(BlockId block) { return enter(block, false); }
  kj::Maybe<kj::Own<Turn>> tryExclusive(BlockId block);
  // Null if anybody has it or waits for it.
  size_t busyCount() const { return queues_.size(); }

 private:
  struct Waiter {
    bool exclusive;
    kj::Own<kj::PromiseFulfiller<kj::Own<Turn>>> fulfiller;
  };
  struct Queue {
    uint32_t readers = 0;
    bool writer = false;
    std::deque<Waiter> waiters;
  };

  kj::Promise<kj::Own<Turn>> enter(BlockId block, bool exclusive);
  void end(BlockId block, bool exclusive);

  std::map<BlockId, Queue> queues_;  // only blocks that somebody touches
};

}  // namespace dfs
