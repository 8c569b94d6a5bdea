#include "storaged/chain/forward.h"

#include "common/checksum.h"
#include "common/retry.h"

namespace dfs {
namespace {

RoomAnswer silentAnswer() {
  return {Errno::AGAIN, false};
}

}  // namespace

template <typename T>
kj::Promise<T> Forward::bounded(NodeId peer, uint64_t ms, kj::Promise<T> promise, T silent) {
  auto failed = [this, peer, silent = kj::mv(silent)](kj::Exception&& e) mutable -> T {
    if (!mayRetry(e)) KJ_LOG(WARNING, "a storage daemon failed to answer", peer, e);
    peers_.silent(peer);
    return kj::mv(silent);
  };
  return withTimeout(env_, ms, kj::mv(promise))
      .then([](T&& t) { return kj::mv(t); }, kj::mv(failed));
}

void Forward::fillAt(schema::At::Builder b, uint64_t epoch) const {
  b.setView(keeper_.view().version);
  b.setSession(0);
  b.setEpoch(epoch);
  b.setCluster(keeper_.view().cluster.low);
}

Task<RoomAnswer> Forward::update(NodeId to, uint64_t epoch, kj::Own<Payload> payload,
                                 BlockVersion at, uint64_t baseEpoch) {
  kj::Promise<RoomAnswer> sent = sendUpdate(to, epoch, kj::mv(payload), at, baseEpoch);
  auto answer = co_await bounded(to, kForwardTryMs, kj::mv(sent), silentAnswer());
  co_return answer;
}

Task<RoomAnswer> Forward::sendUpdate(NodeId to, uint64_t epoch, kj::Own<Payload> payload,
                                     BlockVersion at, uint64_t baseEpoch) {
  auto replica = co_await peers_.replica(to);
  auto req = replica.applyRequest(capnp::MessageSize{payload->data.size() / 8 + 600, 0});
  fillAt(req.initAt(), epoch);
  toWire(*payload, req.initUpdate());
  req.setVersion(at.version);
  req.setEpoch(at.epoch);
  req.setBaseEpoch(baseEpoch);
  auto answer = co_await req.send();
  co_return RoomAnswer{answer.getErr(), answer.getRoomy()};
}

Task<Errno> Forward::whole(NodeId to, uint64_t epoch, BlockId block) {
  kj::Promise<Errno> sent = sendWhole(to, epoch, block);
  auto answer = co_await bounded(to, 3 * kForwardTryMs, kj::mv(sent), Errno::AGAIN);
  co_return answer;
}

Task<Errno> Forward::sendWhole(NodeId to, uint64_t epoch, BlockId block) {
  auto replica = co_await peers_.replica(to);
  StoredBlock stored;
  KJ_IF_MAYBE(s, store_.find(block)) {
    stored = *s;
  } else {
    co_return Errno::NO_BLOCK;
  }
  for (uint32_t offset = 0;;) {
    uint32_t bytes = kj::min(kReadBytesMax, stored.length - offset);
    auto piece = co_await store_.read(block, offset, bytes);
    if (!piece.ok()) co_return piece.err();
    if (piece->data.size() != bytes) co_return Errno::IO;
    auto req = replica.installRequest(capnp::MessageSize{bytes / 8 + 600, 0});
    fillAt(req.initAt(), epoch);
    auto state = req.initState();
    state.setBlock(block.value);
    state.setEpoch(stored.at.epoch);
    state.setVersion(stored.at.version);
    state.setCommitted(stored.committed);
    state.setLength(stored.length);
    req.setOffset(offset);
    req.setData(piece->data);
    auto sums = req.initSums(piece->sums.size());
    for (uint32_t i = 0; i < piece->sums.size(); ++i) sums.set(i, piece->sums[i]);
    offset += bytes;
    bool last = offset >= stored.length;
    req.setLast(last);
    toWire(stored.request, req.initRequest());
    req.setRequestVersion(stored.at.version);
    auto answer = co_await req.send();
    if (answer.getErr() != Errno::OK || last) co_return answer.getErr();
  }
}

Task<RoomAnswer> Forward::reserve(NodeId to, uint64_t epoch, BlockId block, uint32_t offset,
                                  uint32_t bytes, uint32_t clearFrom) {
  kj::Promise<RoomAnswer> sent = sendReserve(to, epoch, block, offset, bytes, clearFrom);
  auto answer = co_await bounded(to, kForwardTryMs, kj::mv(sent), silentAnswer());
  co_return answer;
}

Task<RoomAnswer> Forward::sendReserve(NodeId to, uint64_t epoch, BlockId block, uint32_t offset,
                                      uint32_t bytes, uint32_t clearFrom) {
  auto replica = co_await peers_.replica(to);
  auto req = replica.reserveRequest();
  fillAt(req.initAt(), epoch);
  req.setBlock(block.value);
  req.setOffset(offset);
  req.setBytes(bytes);
  req.setClearFrom(clearFrom);
  auto answer = co_await req.send();
  co_return RoomAnswer{answer.getErr(), answer.getRoomy()};
}

Task<FetchedPiece> Forward::fetch(NodeId from, BlockId block, uint32_t offset, uint32_t bytes) {
  FetchedPiece silent;
  silent.err = Errno::AGAIN;
  kj::Promise<FetchedPiece> sent = sendFetch(from, block, offset, bytes);
  auto bound = bounded(from, kFetchTryMs, kj::mv(sent), kj::mv(silent));
  auto answer = co_await kj::mv(bound);
  co_return kj::mv(answer);
}

Task<FetchedPiece> Forward::sendFetch(NodeId from, BlockId block, uint32_t offset, uint32_t bytes) {
  auto replica = co_await peers_.replica(from);
  auto req = replica.fetchRequest();
  fillAt(req.initAt(), keeper_.epochOf(block.chain()));
  req.setBlock(block.value);
  req.setOffset(offset);
  req.setBytes(bytes);
  auto answer = co_await req.send();
  FetchedPiece piece;
  piece.err = answer.getErr();
  if (piece.err != Errno::OK) co_return kj::mv(piece);
  auto state = answer.getState();
  piece.state.at = BlockVersion{state.getEpoch(), state.getVersion()};
  piece.state.committed = state.getCommitted();
  piece.state.length = state.getLength();
  auto data = answer.getData();
  auto sums = answer.getSums();
  if (data.size() > bytes || state.getLength() > kBlockBytes ||
      (data.size() > 0 && !sumsMatch(offset, data, sums))) {
    piece.err = Errno::CORRUPT;
    co_return kj::mv(piece);
  }
  piece.data = kj::heapArray<kj::byte>(data);
  piece.sums = kj::heapArray<uint64_t>(sums.size());
  for (uint32_t i = 0; i < sums.size(); ++i) piece.sums[i] = sums[i];
  co_return kj::mv(piece);
}

Task<Errno> Forward::repair(BlockId block, kj::Own<std::vector<NodeId>> from, BlockVersion atLeast,
                            bool committed) {
  Errno none = Errno::NO_BLOCK;
  for (auto node : *from) {
    auto err = co_await installFrom(node, block, atLeast, committed);
    if (err == Errno::AGAIN) none = err;
    if (err == Errno::OK) {
      KJ_LOG(INFO, "replaced a bad copy of a block by another member's", block, node);
      co_return Errno::OK;
    }
  }
  co_return none;
}

Task<Errno> Forward::installFrom(NodeId from, BlockId block, BlockVersion atLeast, bool committed) {
  kj::Maybe<kj::Own<BlockInstall>> install;
  StoredBlock first;
  for (uint32_t offset = 0;;) {
    auto piece = co_await fetch(from, block, offset, kReadBytesMax);
    if (piece.err != Errno::OK) co_return piece.err;
    if (install == nullptr) {
      first = piece.state;
      bool older = first.at.epoch != atLeast.epoch ? first.at.epoch < atLeast.epoch
                                                   : first.at.version < atLeast.version;
      if (older) co_return Errno::STALE;
      auto opened = co_await store_.install(block, first.length);
      if (!opened.ok()) co_return opened.err();
      install = kj::mv(*opened);
    }
    bool changed = !(piece.state.at == first.at) || piece.state.length != first.length;
    if (changed) co_return Errno::STALE;
    uint32_t want = kj::min(kReadBytesMax, first.length - offset);
    if (piece.data.size() != want) co_return Errno::CORRUPT;
    if (want > 0) {
      auto err = co_await KJ_ASSERT_NONNULL(install)->write(offset, piece.data, piece.sums);
      if (err != Errno::OK) co_return err;
    }
    offset += want;
    if (offset < first.length) continue;
    RequestId request;
    KJ_IF_MAYBE(s, store_.find(block)) {
      if (s->at == first.at) request = s->request;
    }
    bool whole = committed || first.committed;
    auto done = co_await KJ_ASSERT_NONNULL(install)->finish(first.at, whole, first.length, request);
    co_return done;
  }
}

}  // namespace dfs
