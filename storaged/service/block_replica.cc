#include "storaged/service/block_replica.h"

#include "common/checksum.h"
#include "common/limits.h"

namespace dfs {
namespace {

using S = schema::BlockReplica;
using ApplyContext = capnp::CallContext<S::ApplyParams, S::ApplyResults>;
using InstallContext = capnp::CallContext<S::InstallParams, S::InstallResults>;
using InventoryContext = capnp::CallContext<S::InventoryParams, S::InventoryResults>;
using RemoveContext = capnp::CallContext<S::RemoveParams, S::RemoveResults>;
using FetchContext = capnp::CallContext<S::FetchParams, S::FetchResults>;
using SyncedContext = capnp::CallContext<S::SyncedParams, S::SyncedResults>;
using ReserveContext = capnp::CallContext<S::ReserveParams, S::ReserveResults>;

template <typename Results> void stampSelf(AccessParts& parts, ChainId chain, Results results) {
  auto stamp = results.initStamps(1)[0];
  stamp.setNode(static_cast<uint32_t>(parts.keeper.self().value));
  stamp.setSince(parts.store.since());
  if (auto c = parts.keeper.view().chain(chain)) {
    for (auto& m : c->members) {
      if (m.node == parts.keeper.self()) stamp.setServedFrom(m.servedFrom);
    }
  }
}

Task<void> applyOne(AccessParts* parts, ApplyContext context) {
  auto params = context.getParams();
  auto results = context.getResults();
  auto at = fromWire(params.getAt());
  auto payload = payloadOf(params.getUpdate(), keep(context));
  bool bad = payload->data.size() == 0 || payload->data.size() > kWriteBytesMax ||
             payload->offset > kBlockBytes - payload->data.size() ||
             payload->clearFrom > kBlockBytes || params.getVersion() == 0 ||
             !payload->block.chain();
  if (bad) {
    results.setErr(Errno::INVAL);
    co_return;
  }
  if (!sumsMatch(payload->offset, payload->data, payload->sums.asPtr())) {
    results.setErr(Errno::CORRUPT);
    co_return;
  }
  auto chain = payload->block.chain();
  BlockVersion version{params.getEpoch(), params.getVersion()};
  auto answer = co_await parts->updates.apply(at, kj::mv(payload), version, params.getBaseEpoch());
  results.setErr(answer.err);
  results.setRoomy(answer.roomy);
  if (answer.err == Errno::OK) stampSelf(*parts, chain, results);
}

Task<void> installOne(AccessParts* parts, InstallContext context) {
  auto params = context.getParams();
  auto results = context.getResults();
  auto at = fromWire(params.getAt());
  auto state = params.getState();
  auto piece = kj::heap<InstallPiece>();
  piece->block = BlockId(state.getBlock());
  piece->state.at = BlockVersion{state.getEpoch(), state.getVersion()};
  piece->state.length = state.getLength();
  piece->state.request = fromWire(params.getRequest());
  piece->offset = params.getOffset();
  piece->data = params.getData();
  auto sums = params.getSums();
  piece->sums = kj::heapArray<uint64_t>(sums.size());
  for (uint32_t i = 0; i < sums.size(); ++i) piece->sums[i] = sums[i];
  piece->last = params.getLast();
  piece->kept = keep(context);
  auto block = piece->block;
  bool bad = !block.chain() || state.getVersion() == 0 || state.getLength() > kBlockBytes ||
             piece->data.size() > kWriteBytesMax || piece->offset > state.getLength() ||
             piece->data.size() > state.getLength() - piece->offset ||
             (piece->data.size() == 0 && !piece->last);
  if (bad) {
    results.setErr(Errno::INVAL);
    co_return;
  }
  bool whole =
      piece->data.size() == 0 || sumsMatch(piece->offset, piece->data, piece->sums.asPtr());
  if (!whole) {
    results.setErr(Errno::CORRUPT);
    co_return;
  }
  auto err = co_await parts->updates.install(at, kj::mv(piece));
  results.setErr(err);
  if (err == Errno::OK) stampSelf(*parts, block.chain(), results);
}

Task<void> inventoryOne(AccessParts* parts, InventoryContext context) {
  auto params = context.getParams();
  auto at = fromWire(params.getAt());
  ChainId chain(params.getChain());
  auto err = co_await parts->keeper.caughtUp(at);
  if (err == Errno::OK) err = parts->keeper.admitsReplica(at, chain);
  auto max = params.getBlocksMax();
  if (max == 0 || max > kInventoryBlocksMax) err = Errno::INVAL;
  if (err != Errno::OK) {
    context.getResults().setErr(err);
    co_return;
  }
  BlockId above = kj::max(BlockId(params.getAbove()), BlockId(chain, 0));
  auto all = parts->store.list(above, max);
  bool atEnd = all.size() < max;
  while (!all.empty() && all.back().chain() != chain) {
    all.pop_back();
    atEnd = true;
  }
  auto results = context.getResults();
  results.setAtEnd(atEnd);
  auto blocks = results.initBlocks(static_cast<uint32_t>(all.size()));
  for (uint32_t i = 0; i < all.size(); ++i) {
    KJ_IF_MAYBE(stored, parts->store.find(all[i])) {
      describe(parts->store, all[i], *stored, blocks[i]);
    }
  }
}

Task<void> removeMany(AccessParts* parts, RemoveContext context) {
  auto params = context.getParams();
  auto list = params.getBlocks();
  if (list.size() > kInventoryBlocksMax) {
    context.getResults().setErr(Errno::INVAL);
    co_return;
  }
  auto blocks = kj::heapArray<BlockId>(list.size());
  for (uint32_t i = 0; i < list.size(); ++i) blocks[i] = BlockId(list[i]);
  auto at = fromWire(params.getAt());
  auto err = co_await parts->updates.remove(at, kj::mv(blocks));
  context.getResults().setErr(err);
}

Task<void> fetchOne(AccessParts* parts, FetchContext context) {
  // For repair and recovery. Any copy is shown as it is: the asker judges by its state. So neither
  // epoch nor right is asked for, only the cluster.
  auto params = context.getParams();
  auto at = fromWire(params.getAt());
  BlockId block(params.getBlock());
  Errno err = Errno::OK;
  auto cluster = parts->keeper.view().cluster;
  if (at.cluster != cluster.low) err = cluster ? Errno::WRONG_CLUSTER : Errno::AGAIN;
  if (params.getBytes() == 0 || params.getBytes() > kReadBytesMax) err = Errno::INVAL;
  if (params.getOffset() > kBlockBytes) err = Errno::INVAL;
  if (err != Errno::OK) {
    context.getResults().setErr(err);
    co_return;
  }
  auto turn = co_await parts->turns.shared(block);
  StoredBlock stored;
  KJ_IF_MAYBE(s, parts->store.find(block)) {
    stored = *s;
    if (s->doubtful) err = Errno::CORRUPT;
  } else {
    err = Errno::NO_BLOCK;
  }
  kj::Maybe<BlockPiece> piece;
  if (err == Errno::OK) {
    auto read = co_await parts->store.read(block, params.getOffset(), params.getBytes());
    if (read.ok()) {
      piece = kj::mv(*read);
    } else {
      err = read.err();
    }
  }
  auto results = context.getResults();
  results.setErr(err);
  KJ_IF_MAYBE(p, piece) {
    describe(parts->store, block, stored, results.initState());
    results.setData(p->data);
    auto sums = results.initSums(static_cast<uint32_t>(p->sums.size()));
    for (uint32_t i = 0; i < p->sums.size(); ++i) sums.set(i, p->sums[i]);
  }
}

Task<void> syncedOne(AccessParts* parts, SyncedContext context) {
  auto params = context.getParams();
  auto at = fromWire(params.getAt());
  auto err = co_await parts->resync.syncedHere(at, ChainId(params.getChain()));
  context.getResults().setErr(err);
}

Task<void> reserveOne(AccessParts* parts, ReserveContext context) {
  auto params = context.getParams();
  auto at = fromWire(params.getAt());
  BlockId block(params.getBlock());
  bool bad = !block.chain() || params.getBytes() == 0 || params.getBytes() > kWriteBytesMax ||
             params.getOffset() > kBlockBytes - params.getBytes() ||
             params.getClearFrom() > kBlockBytes;
  if (bad) {
    context.getResults().setErr(Errno::INVAL);
    co_return;
  }
  auto answer = co_await parts->updates.reserve(at, block, params.getOffset(), params.getBytes(),
                                                params.getClearFrom());
  context.getResults().setErr(answer.err);
  context.getResults().setRoomy(answer.roomy);
}

}  // namespace

void describe(BlockStore& store, BlockId block, const StoredBlock& stored,
              schema::BlockState::Builder into) {
  into.setBlock(block.value);
  into.setEpoch(stored.at.epoch);
  into.setVersion(stored.at.version);
  into.setCommitted(stored.committed && !stored.doubtful);
  into.setLength(stored.length);
  into.setDigest(store.digest(block));
}

kj::Promise<void> BlockReplica::apply(ApplyContext context) {
  return calls_->run([this, context]() -> kj::Promise<void> { return applyOne(&parts_, context); });
}
kj::Promise<void> BlockReplica::install(InstallContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return installOne(&parts_, context); });
}
kj::Promise<void> BlockReplica::inventory(InventoryContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return inventoryOne(&parts_, context); });
}
kj::Promise<void> BlockReplica::remove(RemoveContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return removeMany(&parts_, context); });
}
kj::Promise<void> BlockReplica::fetch(FetchContext context) {
  return calls_->run([this, context]() -> kj::Promise<void> { return fetchOne(&parts_, context); });
}
kj::Promise<void> BlockReplica::synced(SyncedContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return syncedOne(&parts_, context); });
}
kj::Promise<void> BlockReplica::reserve(ReserveContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return reserveOne(&parts_, context); });
}

}  // namespace dfs
