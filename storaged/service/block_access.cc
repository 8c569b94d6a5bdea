#include "storaged/service/block_access.h"

#include "common/checksum.h"
#include "common/limits.h"

namespace dfs {
namespace {

using ReadContext =
    capnp::CallContext<schema::StorageDaemon::ReadParams, schema::StorageDaemon::ReadResults>;
using WriteContext =
    capnp::CallContext<schema::StorageDaemon::WriteParams, schema::StorageDaemon::WriteResults>;
using SyncContext =
    capnp::CallContext<schema::StorageDaemon::SyncParams, schema::StorageDaemon::SyncResults>;

Errno checkRead(schema::StorageDaemon::ReadParams::Reader p) {
  if (p.getBytes() == 0 || p.getBytes() > kReadBytesMax) return Errno::INVAL;
  if (p.getOffset() > kBlockBytes - p.getBytes()) return Errno::INVAL;
  return BlockId(p.getBlock()).chain() ? Errno::OK : Errno::INVAL;
}

Errno checkWrite(const At& at, Payload& p) {
  // The cheap refusals, in one place.
  if (!at.session) return Errno::NOT_LIVE;
  if (p.request.client != at.session.value || p.request.sequence == 0) return Errno::INVAL;
  if (!p.block.chain() || p.windowFrom > p.request.sequence) return Errno::INVAL;
  if (p.data.size() == 0 || p.data.size() > kWriteBytesMax) return Errno::INVAL;
  if (p.offset > kBlockBytes - p.data.size() || p.clearFrom > kBlockBytes) return Errno::TOO_LARGE;
  return sumsMatch(p.offset, p.data, p.sums.asPtr()) ? Errno::OK : Errno::CORRUPT;
}

kj::Exception noLongerEntitled() {
  return KJ_EXCEPTION(DISCONNECTED, "this daemon may have been replaced meanwhile: ask again");
}

void fillStamps(AccessParts& parts, const ChainInfo& chain,
                schema::StorageDaemon::WriteResults::Builder results) {
  // A serving member has every committed byte, whatever way it came to it; its `since` is what it
  // registered with. If it has restarted meanwhile, its answer to a sync shows another one (Y3).
  auto stamps = results.initStamps(static_cast<uint32_t>(chain.servingCount()));
  uint32_t i = 0;
  for (auto& m : chain.members) {
    if (m.state != MemberState::SERVING) continue;
    auto stamp = stamps[i++];
    stamp.setNode(static_cast<uint32_t>(m.node.value));
    stamp.setServedFrom(m.servedFrom);
    auto node = parts.keeper.view().node(m.node);
    uint64_t since = node == nullptr ? 0 : node->since;
    stamp.setSince(m.node == parts.keeper.self() ? parts.store.since() : since);
  }
}

Task<void> writeOne(AccessParts* parts, WriteContext context) {
  // By value: `context` keeps the params, and so the bytes, alive across every wait.
  auto params = context.getParams();
  auto results = context.getResults(capnp::MessageSize{64, 0});
  auto at = fromWire(params.getAt());
  auto payload = payloadOf(params.getUpdate(), keep(context));
  auto block = payload->block;
  auto refusal = checkWrite(at, *payload);
  if (refusal != Errno::OK) {
    ++parts->counts.refused;
    results.setErr(refusal);
    co_return;
  }
  auto bytes = payload->data.size();
  auto room = co_await parts->admission.reserve(bytes);
  refusal = co_await parts->keeper.caughtUp(at);
  if (refusal == Errno::OK) refusal = parts->keeper.admitsHead(at, block.chain());
  if (refusal != Errno::OK) {
    ++parts->counts.refused;
    results.setErr(refusal);
    co_return;
  }
  auto answer = co_await parts->updates.write(at, kj::mv(payload));
  results.setErr(answer.err);
  if (answer.err != Errno::OK) {
    ++parts->counts.refused;
    co_return;
  }
  // It is done here. Whether that still means anything is asked now (C4); if not, the client asks
  // the chain as it is now, and is recognised there.
  bool entitled = parts->keeper.mayServe() && parts->keeper.serves(block.chain());
  if (!entitled) {
    ++parts->counts.outcomesUnknown;
    kj::throwFatalException(noLongerEntitled());
  }
  ++parts->counts.writes;
  parts->counts.writeBytes += bytes;
  results.setVersion(answer.version);
  results.setRoomy(parts->updates.roomyFrom(block.chain(), at.epoch));
  fillStamps(*parts, *parts->keeper.view().chain(block.chain()), results);
}

Task<void> readOne(AccessParts* parts, ReadContext context) {
  auto params = context.getParams();
  auto at = fromWire(params.getAt());
  BlockId block(params.getBlock());
  auto refusal = checkRead(params);
  if (refusal == Errno::OK) {
    auto caught = co_await parts->keeper.caughtUp(at);
    refusal = caught;
  }
  if (refusal == Errno::OK) refusal = parts->keeper.admits(at, block.chain());
  if (refusal != Errno::OK) {
    ++parts->counts.refused;
    context.getResults(capnp::MessageSize{16, 0}).setErr(refusal);
    co_return;
  }
  // Behind an update of this block, if there is one, until it is committed (C9).
  auto turn = co_await parts->turns.shared(block);
  BlockVersion found;
  bool foreign = false;
  KJ_IF_MAYBE(stored, parts->store.find(block)) {
    found = stored->at;
    foreign = stored->request.client != at.session.value && parts->store.unsynced(block);
  }
  if (foreign) {
    // What one session has seen of another's work is on disk.
    auto err = co_await parts->store.sync();
    if (err != Errno::OK) refusal = err;
  }
  kj::Maybe<BlockPiece> piece;
  if (refusal == Errno::OK) {
    auto read = co_await parts->store.read(block, params.getOffset(), params.getBytes());
    if (read.ok()) {
      piece = kj::mv(*read);
    } else {
      refusal = read.err();
    }
  }
  if (refusal == Errno::CORRUPT) {
    ++parts->counts.corrupt;
    KJ_LOG(ERROR, "a block does not match its sums", block);
    parts->resync.repairSoon(block, found);
  }
  // Asked at the reply: this member may have been replaced meanwhile.
  auto now = parts->keeper.admits(at, block.chain());
  if (now != Errno::OK) refusal = now;
  if (refusal != Errno::OK) {
    ++parts->counts.refused;
    context.getResults(capnp::MessageSize{16, 0}).setErr(refusal);
    co_return;
  }
  auto& bytes = KJ_ASSERT_NONNULL(piece);
  auto results =
      context.getResults(capnp::MessageSize{bytes.data.size() / 8 + bytes.sums.size() + 32, 0});
  results.setData(bytes.data);
  auto sums = results.initSums(static_cast<uint32_t>(bytes.sums.size()));
  for (uint32_t i = 0; i < bytes.sums.size(); ++i) sums.set(i, bytes.sums[i]);
  ++parts->counts.reads;
  parts->counts.readBytes += bytes.data.size();
}

Errno checkChains(AccessParts& parts, At at,
                  capnp::List<schema::StorageDaemon::ChainAt>::Reader chains) {
  for (auto c : chains) {
    at.epoch = c.getEpoch();
    auto refusal = parts.keeper.admits(at, ChainId(c.getChain()));
    if (refusal != Errno::OK) return refusal;
  }
  return Errno::OK;
}

Task<void> syncOne(AccessParts* parts, SyncContext context) {
  auto params = context.getParams();
  auto results = context.getResults();
  auto at = fromWire(params.getAt());
  auto chains = params.getChains();
  auto err = co_await parts->keeper.caughtUp(at);
  if (err == Errno::OK) err = checkChains(*parts, at, chains);
  if (err == Errno::OK) {
    auto synced = co_await parts->store.sync();
    err = synced;
  }
  if (err == Errno::OK) err = checkChains(*parts, at, chains);
  results.setErr(err);
  if (err != Errno::OK) {
    ++parts->counts.refused;
    co_return;
  }
  ++parts->counts.syncs;
  results.setSince(parts->store.since());
  auto served = results.initServedFrom(chains.size());
  for (uint32_t i = 0; i < chains.size(); ++i) {
    for (auto& m : parts->keeper.view().chain(ChainId(chains[i].getChain()))->members) {
      if (m.node == parts->keeper.self()) served.set(i, m.servedFrom);
    }
  }
}

}  // namespace

kj::Promise<void> BlockAccess::write(WriteContext context) {
  return calls_->run([this, context]() -> kj::Promise<void> { return writeOne(&parts_, context); });
}

kj::Promise<void> BlockAccess::read(ReadContext context) {
  return calls_->run([this, context]() -> kj::Promise<void> { return readOne(&parts_, context); });
}

kj::Promise<void> BlockAccess::sync(SyncContext context) {
  return calls_->run([this, context]() -> kj::Promise<void> { return syncOne(&parts_, context); });
}

}  // namespace dfs
