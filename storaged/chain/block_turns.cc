#include "storaged/chain/block_turns.h"

#include <kj/debug.h>

namespace dfs {

kj::Promise<kj::Own<BlockTurns::Turn>> BlockTurns::enter(BlockId block, bool exclusive) {
  auto& q = queues_[block];
  bool free = q.waiters.empty() && !q.writer && (!exclusive || q.readers == 0);
  if (free) {
    if (exclusive) {
      q.writer = true;
    } else {
      ++q.readers;
    }
    return kj::heap<Turn>(*this, block, exclusive);
  }
  auto paf = kj::newPromiseAndFulfiller<kj::Own<Turn>>();
  q.waiters.push_back({exclusive, kj::mv(paf.fulfiller)});
  return kj::mv(paf.promise);
}

kj::Maybe<kj::Own<BlockTurns::Turn>> BlockTurns::tryExclusive(BlockId block) {
  if (queues_.count(block) != 0) return nullptr;
  queues_[block].writer = true;
  return kj::heap<Turn>(*this, block, true);
}

void BlockTurns::end(BlockId block, bool exclusive) {
  auto it = queues_.find(block);
  KJ_ASSERT(it != queues_.end());
  auto& q = it->second;
  if (exclusive) {
    q.writer = false;
  } else {
    --q.readers;
  }
  while (!q.waiters.empty()) {
    auto& first = q.waiters.front();
    if (!first.fulfiller->isWaiting()) {  // gave up
      q.waiters.pop_front();
      continue;
    }
    if (q.writer || (first.exclusive && q.readers > 0)) return;
    if (first.exclusive) {
      q.writer = true;
    } else {
      ++q.readers;
    }
    auto next = kj::mv(first);
    q.waiters.pop_front();
    // If the waiter is gone by the time this reaches it, the Turn goes with the promise and ends.
    next.fulfiller->fulfill(kj::heap<Turn>(*this, block, next.exclusive));
  }
  if (!q.writer && q.readers == 0) queues_.erase(it);
}

}  // namespace dfs
