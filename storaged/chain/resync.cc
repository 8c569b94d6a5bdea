#include "storaged/chain/resync.h"

#include "common/limits.h"
#include "common/retry.h"

namespace dfs {

Resync::Resync(Env& env, ViewKeeper& keeper, BlockStore& store, Forward& forward, Peers& peers,
               BlockTurns& turns)
    : env_(env),
      keeper_(keeper),
      store_(store),
      forward_(forward),
      peers_(peers),
      turns_(turns),
      tasks_(*this) {
  keeper_.onInstall([this]() { viewChanged(); });
}

void Resync::taskFailed(kj::Exception&& e) {
  KJ_LOG(ERROR, "work on copies ended", e);
}

kj::Maybe<Resync::Goal> Resync::goalOf(ChainId chain) {
  auto c = keeper_.view().chain(chain);
  if (c == nullptr || keeper_.stateIn(chain) != MemberState::SERVING) return nullptr;
  auto next = c->successorOf(keeper_.self());
  KJ_IF_MAYBE(successor, next) {
    if (c->stateOf(*successor).orDefault(MemberState::OFFLINE) == MemberState::SYNCING) {
      return Goal{c->epoch, *successor};
    }
  }
  return nullptr;
}

void Resync::viewChanged() {
  for (auto chain : keeper_.recovering()) {
    if (recovering_.insert(chain).second) tasks_.add(recover(chain));
  }
  for (auto it = synced_.begin(); it != synced_.end();) {
    bool over = keeper_.epochOf(it->first) != it->second ||
                keeper_.stateIn(it->first) != MemberState::SYNCING;
    it = over ? synced_.erase(it) : std::next(it);
  }
  for (auto& entry : keeper_.view().chains) {
    if (running_.size() >= kResyncChainsAtOnce) break;  // the next one starts when one ends
    auto id = entry.first;
    KJ_IF_MAYBE(goal, goalOf(id)) {
      if (running_.count(id) != 0) continue;  // looks at the epoch itself
      running_[id] = *goal;
      tasks_.add(run(id, *goal));
    }
  }
}

Task<void> Resync::run(ChainId chain, Goal goal) {
  for (uint32_t tries = 0;; ++tries) {
    Goal now;
    KJ_IF_MAYBE(g, goalOf(chain)) {
      now = *g;
    } else {
      break;
    }
    if (!(now == goal)) tries = 0;
    goal = now;
    running_[chain] = goal;
    if (keeper_.serves(chain)) {
      KJ_LOG(INFO, "bringing up a member of a chain", chain, goal.successor, goal.epoch);
      kj::Promise<Errno> raw = walk(chain, goal);
      auto walked = raw.then([](Errno e) { return e; },
                             [this, goal](kj::Exception&& e) {
                               if (!mayRetry(e)) KJ_LOG(WARNING, "a resync broke off", e);
                               peers_.silent(goal.successor);
                               return Errno::AGAIN;
                             });
      auto moved = keeper_.moved(chain, goal.epoch).then([]() { return Errno::WRONG_EPOCH; });
      auto err = co_await walked.exclusiveJoin(kj::mv(moved));
      if (err == Errno::OK) {
        KJ_LOG(INFO, "a member of a chain has everything", chain, goal.successor);
        co_await keeper_.moved(chain, goal.epoch);
        continue;
      }
      if (err != Errno::WRONG_EPOCH && err != Errno::AGAIN) {
        KJ_LOG(WARNING, "a member cannot be brought up, trying again", chain, goal.successor, err);
      }
    }
    auto pause = env_.clock.timer().afterDelay(kj::min(tries + 1, 20u) * 50 * kj::MILLISECONDS);
    auto either = pause.exclusiveJoin(keeper_.changed());
    co_await kj::mv(either);
  }
  running_.erase(chain);
  viewChanged();  // others may wait for this place
}

Task<Errno> Resync::walk(ChainId chain, Goal goal) {
  BlockId above(chain, 0);
  bool bad = false;
  for (;;) {
    auto theirs = co_await inventory(chain, goal, above);
    if (theirs.err != Errno::OK) co_return theirs.err;
    // Their page ends somewhere; ours may end earlier. Both are compared up to the nearer end.
    BlockId end(~uint64_t(0));
    if (!theirs.atEnd) {
      if (theirs.blocks.empty()) co_return Errno::IO;
      end = theirs.blocks.rbegin()->first;
    }
    auto ours = store_.list(above, kInventoryBlocksMax);
    if (ours.size() == kInventoryBlocksMax && ours.back() < end) end = ours.back();
    std::vector<BlockId> extras;
    std::set<BlockId> have;
    std::vector<BlockId> differ;
    for (auto b : ours) {
      if (b.chain() != chain || b > end) break;
      have.insert(b);
      if (same(b, theirs)) {
        ++skipped_;
      } else {
        differ.push_back(b);
      }
    }
    for (auto& t : theirs.blocks) {
      if (t.first <= end && have.count(t.first) == 0) extras.push_back(t.first);
    }
    if (!extras.empty()) {
      auto list = kj::heapArray<BlockId>(extras.data(), extras.size());
      auto err = co_await removeThere(chain, goal, kj::mv(list));
      if (err != Errno::OK) co_return err;
    }
    for (size_t i = 0; i < differ.size(); i += kResyncBlocksAtOnce) {
      auto sends = kj::heapArrayBuilder<kj::Promise<Errno>>(
          kj::min(size_t(kResyncBlocksAtOnce), differ.size() - i));
      for (size_t j = i; j < differ.size() && j < i + kResyncBlocksAtOnce; ++j) {
        sends.add(sendBlock(differ[j], goal));
      }
      auto all = kj::joinPromises(sends.finish());
      auto results = co_await kj::mv(all);
      for (auto err : results) {
        // One that is bad here does not keep all others from having two copies.
        bad = bad || err == Errno::CORRUPT;
        if (err != Errno::OK && err != Errno::CORRUPT) co_return err;
      }
    }
    if (end.chain() != chain) break;  // nothing of either side lies further up
    above = end;
  }
  if (bad) co_return Errno::CORRUPT;
  auto err = co_await sayDone(chain, goal);
  co_return err;
}

bool Resync::same(BlockId block, const Page& theirs) {
  auto it = theirs.blocks.find(block);
  if (it == theirs.blocks.end()) return false;
  auto& t = it->second.first;
  KJ_IF_MAYBE(s, store_.find(block)) {
    return s->committed && t.committed && !s->doubtful && s->at == t.at && s->length == t.length &&
           store_.digest(block) == it->second.second;
  }
  return false;
}

Task<Resync::Page> Resync::inventory(ChainId chain, Goal goal, BlockId above) {
  Page page;
  auto replica = co_await peers_.replica(goal.successor);
  auto req = replica.inventoryRequest();
  forward_.fillAt(req.initAt(), goal.epoch);
  req.setChain(static_cast<uint32_t>(chain.value));
  req.setAbove(above.value);
  req.setBlocksMax(kInventoryBlocksMax);
  auto answer = co_await req.send();
  page.err = answer.getErr();
  page.atEnd = answer.getAtEnd();
  for (auto b : answer.getBlocks()) {
    StoredBlock s;
    s.at = BlockVersion{b.getEpoch(), b.getVersion()};
    s.committed = b.getCommitted();
    s.length = b.getLength();
    page.blocks[BlockId(b.getBlock())] = {s, b.getDigest()};
  }
  co_return kj::mv(page);
}

Task<Errno> Resync::sendBlock(BlockId block, Goal goal) {
  auto turn = co_await turns_.exclusive(block);
  if (keeper_.epochOf(block.chain()) != goal.epoch) co_return Errno::WRONG_EPOCH;
  KJ_IF_MAYBE(stored, store_.find(block)) {
    KJ_ASSERT(stored->committed, "a serving member's block is uncommitted and nobody's", block);
  } else {
    co_return Errno::OK;  // removed meanwhile
  }
  auto err = co_await forward_.whole(goal.successor, goal.epoch, block);
  if (err == Errno::CORRUPT) {
    KJ_LOG(ERROR, "a block that a new member needs is bad here", block);
  }
  ++installed_;
  co_return err;
}

Task<Errno> Resync::removeThere(ChainId chain, Goal goal, kj::Array<BlockId> extras) {
  std::vector<BlockId> still;
  for (auto b : extras) {
    if (store_.find(b) == nullptr) still.push_back(b);
  }
  auto replica = co_await peers_.replica(goal.successor);
  auto req = replica.removeRequest();
  forward_.fillAt(req.initAt(), goal.epoch);
  auto list = req.initBlocks(static_cast<uint32_t>(still.size()));
  for (uint32_t i = 0; i < still.size(); ++i) list.set(i, still[i].value);
  auto answer = co_await req.send();
  co_return answer.getErr();
}

Task<Errno> Resync::sayDone(ChainId chain, Goal goal) {
  auto replica = co_await peers_.replica(goal.successor);
  auto req = replica.syncedRequest();
  forward_.fillAt(req.initAt(), goal.epoch);
  req.setChain(static_cast<uint32_t>(chain.value));
  auto answer = co_await req.send();
  co_return answer.getErr();
}

Task<Errno> Resync::syncedHere(At at, ChainId chain) {
  auto refusal = co_await keeper_.caughtUp(at);
  if (refusal == Errno::OK) refusal = keeper_.admitsReplica(at, chain);
  if (refusal != Errno::OK) co_return refusal;
  auto err = co_await store_.sync();
  if (err != Errno::OK) co_return err;
  refusal = keeper_.admitsReplica(at, chain);
  if (refusal != Errno::OK) co_return refusal;
  if (keeper_.stateIn(chain) == MemberState::SYNCING) synced_[chain] = at.epoch;
  co_return Errno::OK;
}

std::vector<std::pair<ChainId, uint64_t>> Resync::asksToServe() {
  return {synced_.begin(), synced_.end()};
}

// --- what an outage left ---

Task<void> Resync::recover(ChainId chain) {
  // Removed from recovering_ at the end, also when the chain was lost meanwhile.
  bool again = true;
  while (again) {
    again = false;
    auto uncertain = store_.uncertain();
    for (auto block : uncertain) {
      if (block.chain() != chain) continue;
      if (keeper_.stateIn(chain) != MemberState::SERVING) break;
      auto err = co_await recoverBlock(block);
      if (err == Errno::OK) continue;
      KJ_LOG(WARNING, "what an outage left of a block cannot be settled yet", block, err);
      again = true;
    }
    if (keeper_.stateIn(chain) != MemberState::SERVING) break;
    if (!again) {
      keeper_.recovered(chain);
      break;
    }
    co_await env_.clock.timer().afterDelay(kj::SECONDS);
  }
  recovering_.erase(chain);
  viewChanged();  // the chain may have come back while this one ended
}

Task<Errno> Resync::recoverBlock(BlockId block) {
  auto turn = co_await turns_.exclusive(block);
  StoredBlock stored;
  KJ_IF_MAYBE(s, store_.find(block)) {
    stored = *s;
  } else {
    co_return Errno::OK;
  }
  if (stored.doubtful) {
    auto others = kj::heap<std::vector<NodeId>>();
    if (auto chain = keeper_.view().chain(block.chain())) {
      for (auto& m : chain->members) {
        auto node = keeper_.view().node(m.node);
        bool there = node != nullptr && node->online && m.node != keeper_.self();
        if (there) others->push_back(m.node);
      }
    }
    auto mended = co_await forward_.repair(block, kj::mv(others), stored.at, true);
    // As long as the name server has it online, a member that does not answer may have it whole.
    if (mended == Errno::AGAIN) co_return mended;
    if (mended != Errno::OK) {
      KJ_LOG(WARNING, "a torn block is accepted as it lies: no other member has it whole", block);
      co_await store_.accept(block);
    }
  }
  KJ_IF_MAYBE(s, store_.find(block)) store_.commit(block, s->at);
  co_return Errno::OK;
}

void Resync::repairSoon(BlockId block, BlockVersion found) {
  if (!repairing_.insert(block).second) return;
  tasks_.add(repairOne(block, found));
}

Task<void> Resync::repairOne(BlockId block, BlockVersion found) {
  auto turn = co_await turns_.exclusive(block);
  bool still = false;
  KJ_IF_MAYBE(s, store_.find(block)) still = s->at == found;
  if (still && keeper_.serves(block.chain())) {
    auto others = kj::heap<std::vector<NodeId>>();
    for (auto& m : keeper_.view().chain(block.chain())->members) {
      bool has = m.state == MemberState::SERVING && m.node != keeper_.self();
      if (has) others->push_back(m.node);
    }
    auto err = co_await forward_.repair(block, kj::mv(others), found, true);
    if (err == Errno::OK) {
      ++repaired_;
    } else {
      KJ_LOG(ERROR, "a bad copy of a block cannot be replaced: no other member has one", block);
    }
  }
  repairing_.erase(block);
}

}  // namespace dfs
