#include "storaged/chain/update.h"

#include "common/limits.h"

namespace dfs {
namespace {

const kj::byte kNoBytes[kWriteBytesMax] = {};
// Stands for bytes of a known size where space is reserved before they come.

BlockWrite writeOf(Payload& p, BlockVersion at) {
  BlockWrite w;
  w.block = p.block;
  w.at = at;
  w.offset = p.offset;
  w.data = p.data;
  w.sums = p.sums;
  w.request = p.request;
  w.clearFrom = p.clearFrom;
  return w;
}

kj::Exception outcomeUnknown(BlockId block) {
  return KJ_EXCEPTION(DISCONNECTED, "the chain has moved on without this member", block);
}

}  // namespace

Updates::Updates(Env& env, ViewKeeper& keeper, BlockStore& store, Forward& forward,
                 BlockTurns& turns)
    : env_(env), keeper_(keeper), store_(store), forward_(forward), turns_(turns), tasks_(*this) {
  keeper_.onInstall([this]() { viewChanged(); });
}

Updates::~Updates() noexcept(false) {}

void Updates::taskFailed(kj::Exception&& e) {
  // Each update reports to who asked for it; what ends here is a defect.
  KJ_LOG(ERROR, "work on updates ended", e);
}

bool Updates::roomy() const {
  auto space = store_.space();
  return space.freeBytes >= store_.reserveBytes() + kRoomyBytes;
}

// --- the head ---

kj::Promise<WriteAnswer> Updates::write(At at, kj::Own<Payload> payload) {
  auto request = payload->request;
  switch (windows_.place(request, payload->windowFrom)) {
    case RequestWindows::Place::BELOW:
      return WriteAnswer{Errno::STALE, 0};
    case RequestWindows::Place::ABOVE:
      return WriteAnswer{Errno::INVAL, 0};
    case RequestWindows::Place::WITHIN:
      break;
  }
  if (auto entry = windows_.find(request)) {
    if (entry->block != payload->block) return WriteAnswer{Errno::INVAL, 0};
    KJ_IF_MAYBE(running, entry->running) {
      return running->addBranch();
    }
    return repeated(at, request, payload->block);
  }
  windows_.add(request, payload->block);
  kj::Promise<WriteAnswer> once = writeOnce(at, kj::mv(payload));
  auto fork = once.fork();
  auto branch = fork.addBranch();
  tasks_.add(ended(request, fork.addBranch()));
  if (auto entry = windows_.find(request)) entry->running = kj::mv(fork);
  return branch;
}

Task<void> Updates::ended(RequestId request, kj::Promise<WriteAnswer> answer) {
  auto safe = answer.then([](WriteAnswer a) { return a; },
                          [](kj::Exception&&) {
                            // Told to whoever asked; a repeat starts anew.
                            return WriteAnswer{Errno::IO, 0};
                          });
  auto a = co_await kj::mv(safe);
  if (a.err != Errno::OK) {
    windows_.drop(request);
  } else if (auto entry = windows_.find(request)) {
    entry->version = a.version;
    entry->running = nullptr;
  }
}

Task<WriteAnswer> Updates::repeated(At at, RequestId request, BlockId block) {
  // Applied here before. Behind the block's turn it is committed, or this chain was lost to us and
  // the entry with it.
  auto turn = co_await turns_.shared(block);
  auto refusal = keeper_.admitsHead(at, block.chain());
  if (refusal != Errno::OK) co_return WriteAnswer{refusal, 0};
  auto entry = windows_.find(request);
  if (entry == nullptr) kj::throwFatalException(outcomeUnknown(block));
  co_return WriteAnswer{Errno::OK, entry->version};
}

Task<WriteAnswer> Updates::writeOnce(At at, kj::Own<Payload> payload) {
  auto block = payload->block;
  auto request = payload->request;
  auto turn = co_await turns_.exclusive(block);
  auto refusal = keeper_.admitsHead(at, block.chain());
  if (refusal != Errno::OK) co_return WriteAnswer{refusal, 0};

  BlockVersion base;
  KJ_IF_MAYBE(stored, store_.find(block)) {
    base = stored->at;
    if (stored->request == request) {
      // Done before the chain moved, or before this process started.
      if (!stored->committed) {
        Pending pending(*this, block, request);
        co_await finish(block, nullptr, base, 0, request, nullptr);
      }
      co_return WriteAnswer{Errno::OK, base.version};
    }
    if (!stored->committed)
      co_return WriteAnswer{Errno::WRONG_EPOCH, 0};  // recovery did not settle it
    if (store_.unsynced(block) && stored->request.client != request.client) {
      auto err = co_await store_.sync();
      if (err != Errno::OK) co_return WriteAnswer{err, 0};
    }
  }
  refusal = co_await makeRoom(at, kj::addRef(*payload));
  if (refusal != Errno::OK) co_return WriteAnswer{refusal, 0};
  // Asked after the waits: session and epoch may have ended meanwhile.
  refusal = keeper_.admitsHead(at, block.chain());
  if (refusal != Errno::OK) co_return WriteAnswer{refusal, 0};

  BlockVersion next{at.epoch, base.version + 1};
  Pending pending(*this, block, request);
  auto early = sendEarly(*payload, next, base.epoch);
  auto err = co_await applyHere(kj::addRef(*payload), next);
  if (err != Errno::OK) co_return WriteAnswer{err, 0};
  co_await finish(block, kj::mv(payload), next, base.epoch, request, kj::mv(early));
  co_return WriteAnswer{Errno::OK, next.version};
}

Task<Errno> Updates::makeRoom(At at, kj::Own<Payload> payload) {
  auto chain = payload->block.chain();
  if (roomyIn_[chain] == at.epoch && roomy()) co_return Errno::OK;
  auto here = writeOf(*payload, BlockVersion{});
  auto err = co_await store_.reserve(here);
  if (err != Errno::OK) co_return err;
  auto block = payload->block;
  if (keeper_.epochOf(chain) != at.epoch) {
    store_.unreserve(block);
    co_return Errno::WRONG_EPOCH;
  }
  reserved_[chain].insert(block);
  auto next = keeper_.view().chain(chain)->successorOf(keeper_.self());
  KJ_IF_MAYBE(successor, next) {
    kj::Promise<RoomAnswer> asked =
        forward_.reserve(*successor, at.epoch, block, payload->offset,
                         static_cast<uint32_t>(payload->data.size()), payload->clearFrom);
    auto moved = keeper_.moved(chain, at.epoch).then([]() {
      return RoomAnswer{Errno::WRONG_EPOCH, false};
    });
    auto answer = co_await asked.exclusiveJoin(kj::mv(moved));
    if (answer.err == Errno::OK) {
      roomyIn_[chain] = answer.roomy ? at.epoch : 0;
    } else {
      if (reserved_[chain].erase(block) != 0) store_.unreserve(block);
      // Nothing is done: the client comes again with the same or a newer view.
      if (answer.err != Errno::NO_SPACE) co_return Errno::WRONG_EPOCH;
    }
    co_return answer.err;
  }
  roomyIn_[chain] = at.epoch;
  co_return Errno::OK;
}

Task<Errno> Updates::applyHere(kj::Own<Payload> payload, BlockVersion version) {
  auto write = writeOf(*payload, version);
  auto err = co_await store_.apply(kj::mv(write));
  reserved_[payload->block.chain()].erase(payload->block);
  if (err != Errno::CORRUPT) co_return err;
  // It touches a part of a unit whose old bytes are bad: another member's copy, then once more.
  BlockVersion base;
  KJ_IF_MAYBE(stored, store_.find(payload->block)) base = stored->at;
  auto others = kj::heap<std::vector<NodeId>>();
  if (auto chain = keeper_.view().chain(payload->block.chain())) {
    for (auto& m : chain->members) {
      bool has = m.state == MemberState::SERVING && m.node != keeper_.self();
      if (has) others->push_back(m.node);
    }
  }
  auto mended = co_await forward_.repair(payload->block, kj::mv(others), base, true);
  if (mended != Errno::OK) co_return Errno::CORRUPT;
  auto again = writeOf(*payload, version);
  auto second = co_await store_.apply(kj::mv(again));
  co_return second;
}

// --- all members ---

kj::Maybe<Updates::EarlySend> Updates::sendEarly(Payload& payload, BlockVersion version,
                                                 uint64_t baseEpoch) {
  // Room has been made along the chain, and whole units cannot meet bad old bytes, so applying it here fails only with the disk:
  // then this member leaves the chain, and those behind it are right to have it.
  bool whole = payload.offset % kUnitBytes == 0 && payload.data.size() % kUnitBytes == 0;
  if (payload.data.size() < kForwardEarlyBytes || !whole || payload.clearFrom < payload.offset)
    return nullptr;
  auto id = payload.block.chain();
  auto next = keeper_.view().chain(id)->successorOf(keeper_.self());
  if (next == nullptr) return nullptr;
  auto epoch = keeper_.epochOf(id);
  kj::Promise<Errno> sent = sendOn(KJ_ASSERT_NONNULL(next), epoch, kj::addRef(payload),
                                   payload.block, version, baseEpoch);
  return EarlySend{epoch, sent.eagerlyEvaluate(nullptr)};
}

Task<void> Updates::finish(BlockId block, kj::Maybe<kj::Own<Payload>> payload, BlockVersion version,
                           uint64_t baseEpoch, RequestId request, kj::Maybe<EarlySend> early) {
  auto id = block.chain();
  bool served = keeper_.stateIn(id) == MemberState::SERVING;
  for (uint32_t tries = 0;; ++tries) {
    auto state = keeper_.stateIn(id);
    bool lost = state != MemberState::SERVING && state != MemberState::SYNCING;
    if (served && state == MemberState::SYNCING) lost = true;  // was out in between
    if (lost) {
      windows_.drop(request);
      kj::throwFatalException(outcomeUnknown(block));
    }
    auto epoch = keeper_.epochOf(id);
    auto next = keeper_.view().chain(id)->successorOf(keeper_.self());
    if (next == nullptr) break;
    kj::Maybe<kj::Own<Payload>> bytes;
    KJ_IF_MAYBE(p, payload) bytes = kj::addRef(**p);
    kj::Promise<Errno> sent = nullptr;
    bool begun = false;
    KJ_IF_MAYBE(e, early) {
      begun = e->epoch == epoch;
      if (begun) sent = kj::mv(e->sent);
    }
    early = nullptr;
    if (!begun)
      sent = sendOn(KJ_ASSERT_NONNULL(next), epoch, kj::mv(bytes), block, version, baseEpoch);
    auto moved = keeper_.moved(id, epoch).then([]() { return Errno::WRONG_EPOCH; });
    auto err = co_await sent.exclusiveJoin(kj::mv(moved));
    if (err == Errno::OK) break;
    if (keeper_.epochOf(id) != epoch) continue;
    if (err != Errno::AGAIN && err != Errno::WRONG_EPOCH) {
      KJ_LOG(WARNING, "an update cannot be forwarded and is tried again", block,
             KJ_ASSERT_NONNULL(next), err);
    }
    auto pause = env_.clock.timer().afterDelay(kj::min(tries + 1, 25u) * 20 * kj::MILLISECONDS);
    auto either = pause.exclusiveJoin(keeper_.moved(id, epoch));
    co_await kj::mv(either);
  }
  store_.commit(block, version);
  ++committed_;
}

Task<Errno> Updates::sendOn(NodeId next, uint64_t epoch, kj::Maybe<kj::Own<Payload>> payload,
                            BlockId block, BlockVersion version, uint64_t baseEpoch) {
  bool syncing =
      keeper_.view().chain(block.chain())->stateOf(next).orDefault(MemberState::OFFLINE) ==
      MemberState::SYNCING;
  KJ_IF_MAYBE(p, payload) {
    auto answer = co_await forward_.update(next, epoch, kj::mv(*p), version, baseEpoch);
    bool whole = answer.err == Errno::NO_BLOCK || answer.err == Errno::STALE;
    if (answer.err == Errno::OK && !answer.roomy) roomyIn_[block.chain()] = 0;
    if (!whole) co_return answer.err;
    if (!syncing) {
      KJ_LOG(ERROR, "a serving member lacks a block's last state and gets it whole", block, next);
    }
  }
  ++wholeBlocks_;
  auto err = co_await forward_.whole(next, epoch, block);
  co_return err;
}

kj::Promise<RoomAnswer> Updates::apply(At at, kj::Own<Payload> payload, BlockVersion version,
                                       uint64_t baseEpoch) {
  kj::Promise<RoomAnswer> work = applyOne(at, kj::mv(payload), version, baseEpoch);
  return work;
}

Task<RoomAnswer> Updates::applyOne(At at, kj::Own<Payload> payload, BlockVersion version,
                                   uint64_t baseEpoch) {
  auto block = payload->block;
  auto request = payload->request;
  auto windowFrom = payload->windowFrom;
  auto refusal = co_await keeper_.caughtUp(at);
  if (refusal != Errno::OK) co_return RoomAnswer{refusal, false};
  auto turn = co_await turns_.exclusive(block);
  refusal = keeper_.admitsReplica(at, block.chain());
  if (refusal != Errno::OK) co_return RoomAnswer{refusal, false};

  bool there = false;
  KJ_IF_MAYBE(stored, store_.find(block)) {
    there = true;
    bool repeat = stored->at == version && stored->request == request && !stored->doubtful;
    if (repeat) {
      if (!stored->committed) {
        Pending pending(*this, block, request);
        co_await finish(block, kj::mv(payload), version, baseEpoch, request, nullptr);
      }
      noteFresh(block, version);
      co_return RoomAnswer{Errno::OK, roomyFrom(block.chain(), at.epoch)};
    }
    BlockVersion base{baseEpoch, version.version - 1};
    bool same = stored->at == base && stored->committed && !stored->doubtful;
    if (!same) co_return RoomAnswer{Errno::STALE, false};
    if (store_.unsynced(block) && stored->request.client != request.client) {
      auto err = co_await store_.sync();
      if (err != Errno::OK) co_return RoomAnswer{err, false};
      refusal = keeper_.admitsReplica(at, block.chain());
      if (refusal != Errno::OK) co_return RoomAnswer{refusal, false};
    }
  }
  if (!there && version.version != 1) co_return RoomAnswer{Errno::NO_BLOCK, false};

  Pending pending(*this, block, request);
  auto early = sendEarly(*payload, version, baseEpoch);
  auto write = writeOf(*payload, version);
  auto err = co_await store_.apply(kj::mv(write));
  reserved_[block.chain()].erase(block);
  if (err == Errno::CORRUPT) err = Errno::STALE;  // the whole block mends it
  if (err != Errno::OK) co_return RoomAnswer{err, false};
  windows_.applied(request, block, version.version, windowFrom);
  noteFresh(block, version);
  co_await finish(block, kj::mv(payload), version, baseEpoch, request, kj::mv(early));
  co_return RoomAnswer{Errno::OK, roomyFrom(block.chain(), at.epoch)};
}

bool Updates::roomyFrom(ChainId chain, uint64_t epoch) {
  auto c = keeper_.view().chain(chain);
  bool last = c == nullptr || c->successorOf(keeper_.self()) == nullptr;
  return roomy() && (last || roomyIn_[chain] == epoch);
}

kj::Promise<RoomAnswer> Updates::reserve(At at, BlockId block, uint32_t offset, uint32_t bytes,
                                         uint32_t clearFrom) {
  kj::Promise<RoomAnswer> work = reserveOne(at, block, offset, bytes, clearFrom);
  return work;
}

Task<RoomAnswer> Updates::reserveOne(At at, BlockId block, uint32_t offset, uint32_t bytes,
                                     uint32_t clearFrom) {
  auto id = block.chain();
  auto refusal = co_await keeper_.caughtUp(at);
  if (refusal == Errno::OK) refusal = keeper_.admitsReplica(at, id);
  if (refusal != Errno::OK) co_return RoomAnswer{refusal, false};
  BlockWrite w;
  w.block = block;
  w.offset = offset;
  w.data = kj::arrayPtr(kNoBytes, bytes);
  w.clearFrom = clearFrom;
  auto err = co_await store_.reserve(w);
  if (err != Errno::OK) co_return RoomAnswer{err, false};
  if (keeper_.epochOf(id) != at.epoch) {
    store_.unreserve(block);
    co_return RoomAnswer{Errno::WRONG_EPOCH, false};
  }
  reserved_[id].insert(block);
  auto next = keeper_.view().chain(id)->successorOf(keeper_.self());
  KJ_IF_MAYBE(successor, next) {
    auto answer = co_await forward_.reserve(*successor, at.epoch, block, offset, bytes, clearFrom);
    if (answer.err == Errno::OK) {
      roomyIn_[id] = answer.roomy ? at.epoch : 0;
    } else if (reserved_[id].erase(block) != 0) {
      store_.unreserve(block);
    }
    co_return RoomAnswer{answer.err, answer.roomy && roomy()};
  }
  co_return RoomAnswer{Errno::OK, roomy()};
}

// --- the view ---

void Updates::viewChanged() {
  windows_.keepLive(keeper_.view());
  for (auto& entry : keeper_.view().chains) {
    auto id = entry.first;
    auto epoch = entry.second.epoch;
    if (epochs_[id] == epoch) continue;
    epochs_[id] = epoch;
    roomyIn_.erase(id);
    fresh_.erase(id);
    auto reserved = reserved_.find(id);
    if (reserved != reserved_.end()) {
      for (auto block : reserved->second) store_.unreserve(block);
      reserved_.erase(reserved);
    }
    for (auto it = incoming_.begin(); it != incoming_.end();) {
      it = it->first.chain() == id ? incoming_.erase(it) : std::next(it);
    }
    if (keeper_.stateIn(id) != MemberState::SERVING) windows_.dropChain(id);
  }
  pendingLess_.wake();
}

static Task<void> waitForTheLiving(const std::map<BlockId, RequestId>* pending, ViewKeeper* keeper,
                                   Signal* less) {
  for (;;) {
    bool dead = false;
    for (auto& p : *pending) dead = dead || !keeper->view().live(SessionId(p.second.client));
    if (!dead) co_return;
    co_await less->next();
  }
}

kj::Promise<void> Updates::noneOfTheDead() {
  return waitForTheLiving(&pending_, &keeper_, &pendingLess_);
}

void Updates::noteFresh(BlockId block, BlockVersion at) {
  if (keeper_.stateIn(block.chain()) != MemberState::SYNCING) return;
  fresh_[block.chain()][block] = at;
}

bool Updates::overtaken(BlockId block, BlockVersion at) {
  // A piece that was long on its way, behind something newer of this epoch.
  auto chain = fresh_.find(block.chain());
  if (chain == fresh_.end()) return false;
  auto it = chain->second.find(block);
  return it != chain->second.end() && older(at, it->second);
}

}  // namespace dfs
