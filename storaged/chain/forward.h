#pragma once
// What a member sends to its successor: updates, whole blocks, reservations; and the pieces of
// others' copies that it asks for.
//
// Thread: the loop's. Owner: Server.
// A lost connection or a silent peer is AGAIN here, so that callers decide in one place; every other
// result is the peer's own.

#include "storaged/block/block_store.h"
#include "storaged/chain/payload.h"
#include "storaged/chain/peers.h"

namespace dfs {

struct RoomAnswer {
  Errno err = Errno::OK;
  bool roomy = false;
};

struct FetchedPiece {
  Errno err = Errno::OK;
  StoredBlock state;
  kj::Array<kj::byte> data;
  kj::Array<uint64_t> sums;
};

class Forward {
 public:
  Forward(Env& env, ViewKeeper& keeper, Peers& peers, BlockStore& store)
      : env_(env), keeper_(keeper), peers_(peers), store_(store) {}
  KJ_DISALLOW_COPY(Forward);

  Task<RoomAnswer> update(NodeId to, uint64_t epoch, kj::Own<Payload> payload, BlockVersion at,
                          uint64_t baseEpoch);
  // NO_BLOCK, STALE: the successor needs the whole block. Sends it again after kForwardTryMs.
  Task<Errno> whole(NodeId to, uint64_t epoch, BlockId block);
  // The block as it lies here. REQUIRES: the caller has the block's exclusive turn.
  Task<RoomAnswer> reserve(NodeId to, uint64_t epoch, BlockId block, uint32_t offset,
                           uint32_t bytes, uint32_t clearFrom);
  Task<FetchedPiece> fetch(NodeId from, BlockId block, uint32_t offset, uint32_t bytes);
  // Its sums have been compared. AGAIN after kFetchTryMs.
  Task<Errno> repair(BlockId block, kj::Own<std::vector<NodeId>> from, BlockVersion atLeast,
                     bool committed);
  // Replaces the copy here by the first whole one of these nodes' that is not older. NO_BLOCK: none
  // has one; AGAIN: one that may have it did not answer. REQUIRES: the exclusive turn.

  void fillAt(schema::At::Builder b, uint64_t epoch) const;

 private:
  Task<RoomAnswer> sendUpdate(NodeId to, uint64_t epoch, kj::Own<Payload> payload, BlockVersion at,
                              uint64_t baseEpoch);
  Task<Errno> sendWhole(NodeId to, uint64_t epoch, BlockId block);
  Task<RoomAnswer> sendReserve(NodeId to, uint64_t epoch, BlockId block, uint32_t offset,
                               uint32_t bytes, uint32_t clearFrom);
  Task<FetchedPiece> sendFetch(NodeId from, BlockId block, uint32_t offset, uint32_t bytes);
  Task<Errno> installFrom(NodeId from, BlockId block, BlockVersion atLeast, bool committed);
  template <typename T>
  kj::Promise<T> bounded(NodeId peer, uint64_t ms, kj::Promise<T> promise, T silent);

  Env& env_;
  ViewKeeper& keeper_;
  Peers& peers_;
  BlockStore& store_;
};

}  // namespace dfs
