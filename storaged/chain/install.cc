// Whole blocks that arrive from the predecessor, and those that it says are not of the chain.

#include "storaged/chain/update.h"

namespace dfs {

kj::Promise<Errno> Updates::install(At at, kj::Own<InstallPiece> piece) {
  kj::Promise<Errno> work = installPiece(at, kj::mv(piece));
  return work;
}

Task<Errno> Updates::installPiece(At at, kj::Own<InstallPiece> piece) {
  auto block = piece->block;
  auto refusal = co_await keeper_.caughtUp(at);
  if (refusal == Errno::OK) refusal = keeper_.admitsReplica(at, block.chain());
  if (refusal != Errno::OK) co_return refusal;
  if (overtaken(block, piece->state.at)) co_return Errno::STALE;
  if (piece->offset == 0) {
    auto fresh = kj::refcounted<Incoming>();
    fresh->epoch = at.epoch;
    fresh->at = piece->state.at;
    auto opened = co_await store_.install(block, piece->state.length);
    if (!opened.ok()) co_return opened.err();
    if (keeper_.epochOf(block.chain()) != at.epoch) co_return Errno::WRONG_EPOCH;
    fresh->install = kj::mv(*opened);
    incoming_[block] = kj::mv(fresh);
  }
  auto it = incoming_.find(block);
  if (it == incoming_.end()) co_return Errno::STALE;
  auto incoming = kj::addRef(*it->second);
  bool fits = incoming->epoch == at.epoch && incoming->at == piece->state.at &&
              incoming->next == piece->offset;
  if (!fits) co_return Errno::STALE;
  incoming->next += static_cast<uint32_t>(piece->data.size());
  if (piece->data.size() > 0) {
    auto err = co_await KJ_ASSERT_NONNULL(incoming->install)
                   ->write(piece->offset, piece->data, piece->sums);
    if (err != Errno::OK) co_return err;
  }
  if (!piece->last) co_return Errno::OK;
  if (incoming->next != piece->state.length) co_return Errno::INVAL;
  auto err = co_await finishInstall(at, kj::mv(piece), kj::addRef(*incoming));
  auto mine = incoming_.find(block);
  if (mine != incoming_.end() && mine->second.get() == incoming.get()) incoming_.erase(mine);
  co_return err;
}

Task<Errno> Updates::finishInstall(At at, kj::Own<InstallPiece> piece, kj::Own<Incoming> incoming) {
  auto block = piece->block;
  auto& state = piece->state;
  auto turn = co_await turns_.exclusive(block);
  auto refusal = keeper_.admitsReplica(at, block.chain());
  if (refusal != Errno::OK) co_return refusal;
  if (overtaken(block, state.at)) co_return Errno::STALE;
  KJ_IF_MAYBE(stored, store_.find(block)) {
    bool serving = keeper_.stateIn(block.chain()) == MemberState::SERVING;
    bool back = serving && stored->committed && older(state.at, stored->at);
    if (back) co_return Errno::STALE;
  }
  Pending pending(*this, block, state.request);
  auto err = co_await KJ_ASSERT_NONNULL(incoming->install)
                 ->finish(state.at, false, state.length, state.request);
  if (err != Errno::OK) co_return err;
  noteFresh(block, state.at);
  co_await finish(block, nullptr, state.at, 0, state.request, nullptr);
  co_return Errno::OK;
}

kj::Promise<Errno> Updates::remove(At at, kj::Array<BlockId> blocks) {
  kj::Promise<Errno> work = removeAll(at, kj::mv(blocks));
  return work;
}

Task<Errno> Updates::removeAll(At at, kj::Array<BlockId> blocks) {
  auto refusal = co_await keeper_.caughtUp(at);
  if (refusal != Errno::OK) co_return refusal;
  for (auto block : blocks) {
    auto turn = co_await turns_.exclusive(block);
    refusal = keeper_.admitsReplica(at, block.chain());
    if (refusal != Errno::OK) co_return refusal;
    if (keeper_.stateIn(block.chain()) != MemberState::SYNCING) co_return Errno::REFUSED;
    auto& fresh = fresh_[block.chain()];
    if (fresh.count(block) != 0) continue;  // made since by a live write
    auto err = co_await store_.erase(block);
    if (err != Errno::OK) co_return err;
  }
  co_return Errno::OK;
}

}  // namespace dfs
