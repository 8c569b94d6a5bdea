#pragma once
// Updates of blocks: at the head, at the other members, and as whole blocks.
//
// The way of an update at every member: the block's exclusive turn; the refusals; space; apply;
// forward to the successor and wait; commit; answer. It is answered when every member after this one
// has it, and one update of a block is under way at a time.
//
// Space (C8). The head reserves along the chain (BlockReplica.reserve goes down the chain, and back)
// before it applies, so NO_SPACE is said before any member has applied anything. The step is left
// out while every member has said in this epoch that it has kRoomyBytes free, which is more than all
// heads can have in flight here. Should a member be full in spite of that, the update is not given
// up: it is tried again until there is room there or the chain has moved on.
//
// Epoch changes (C2). What is applied and not committed keeps its turn, is sent to the new successor
// under the new epoch with the epoch of its own, or committed if there is none. So it goes before
// any new update of its block. If this member is out of the chain the update is abandoned: it stays
// uncommitted in the store, its client gets DISCONNECTED (outcome unknown) and repeats it.
//
// Thread: the loop's. Owner: Server. Invariants:
//   1. A block is uncommitted in the store of a serving member only while somebody has its turn.
//   2. `pending_` names exactly the updates that are applied here and not committed, and whose chain
//      this member has not lost.
//   3. An update is applied at a member only on the same base as at its predecessor.

#include "storaged/block/block_store.h"
#include "storaged/chain/block_turns.h"
#include "storaged/chain/forward.h"
#include "storaged/chain/request_windows.h"
#include "storaged/chain/view_keeper.h"

namespace dfs {

struct InstallPiece {
  BlockId block;
  StoredBlock state;  // committed, doubtful: unused
  uint32_t offset = 0;
  Bytes data;
  kj::Array<uint64_t> sums;
  bool last = false;
  kj::Own<Kept> kept;  // the bytes
};

inline bool older(BlockVersion a, BlockVersion b) {
  return a.epoch != b.epoch ? a.epoch < b.epoch : a.version < b.version;
}

class Updates final : private kj::TaskSet::ErrorHandler {
 public:
  Updates(Env& env, ViewKeeper& keeper, BlockStore& store, Forward& forward, BlockTurns& turns);
  ~Updates() noexcept(false);
  KJ_DISALLOW_COPY(Updates);

  kj::Promise<WriteAnswer> write(At at, kj::Own<Payload> payload);
  // At the head. REQUIRES: sums compared, fields within bounds, room in memory. Refusals: WRONG_EPOCH,
  // NOT_LIVE, WRONG_CLUSTER, NO_SPACE: nothing is done; STALE: below the window; CORRUPT: its old
  // bytes are bad on every member. DISCONNECTED is thrown if the outcome is unknown: repeat it.
  kj::Promise<RoomAnswer> apply(At at, kj::Own<Payload> payload, BlockVersion version,
                                uint64_t baseEpoch);
  kj::Promise<RoomAnswer> reserve(At at, BlockId block, uint32_t offset, uint32_t bytes,
                                  uint32_t clearFrom);
  kj::Promise<Errno> install(At at, kj::Own<InstallPiece> piece);
  kj::Promise<Errno> remove(At at, kj::Array<BlockId> blocks);
  // Extra ones, found by the predecessor during resync.

  kj::Promise<void> noneOfTheDead();
  // Resolves when no update of a session that is not live in the present view is uncommitted here
  // (C3).
  bool roomyFrom(ChainId chain, uint64_t epoch);
  // This member and all after it have kRoomyBytes free, as last heard in that epoch.
  size_t pendingCount() const { return pending_.size(); }
  uint64_t committedCount() const { return committed_; }
  uint64_t wholeBlockCount() const { return wholeBlocks_; }

 private:
  bool roomy() const;
  struct Incoming : kj::Refcounted {
    uint64_t epoch = 0;  // of the chain
    BlockVersion at;
    uint32_t next = 0;
    kj::Maybe<kj::Own<BlockInstall>> install;
  };
  class Pending;  // an entry of pending_, for as long as it lives

  Task<WriteAnswer> writeOnce(At at, kj::Own<Payload> payload);
  Task<void> ended(RequestId request, kj::Promise<WriteAnswer> answer);
  Task<WriteAnswer> repeated(At at, RequestId request, BlockId block);
  Task<RoomAnswer> applyOne(At at, kj::Own<Payload> payload, BlockVersion version,
                            uint64_t baseEpoch);
  Task<RoomAnswer> reserveOne(At at, BlockId block, uint32_t offset, uint32_t bytes,
                              uint32_t clearFrom);
  Task<Errno> installPiece(At at, kj::Own<InstallPiece> piece);
  Task<Errno> finishInstall(At at, kj::Own<InstallPiece> piece, kj::Own<Incoming> incoming);
  Task<Errno> removeAll(At at, kj::Array<BlockId> blocks);
  Task<Errno> makeRoom(At at, kj::Own<Payload> payload);
  Task<Errno> applyHere(kj::Own<Payload> payload, BlockVersion version);
  struct EarlySend {
    // A large update is forwarded while it is applied here: its first try, made in that epoch.
    uint64_t epoch;
    kj::Promise<Errno> sent;
  };
  kj::Maybe<EarlySend> sendEarly(Payload& payload, BlockVersion version, uint64_t baseEpoch);
  Task<void> finish(BlockId block, kj::Maybe<kj::Own<Payload>> payload, BlockVersion version,
                    uint64_t baseEpoch, RequestId request, kj::Maybe<EarlySend> early);
  Task<Errno> sendOn(NodeId next, uint64_t epoch, kj::Maybe<kj::Own<Payload>> payload,
                     BlockId block, BlockVersion version, uint64_t baseEpoch);
  void viewChanged();
  void noteFresh(BlockId block, BlockVersion at);
  bool overtaken(BlockId block, BlockVersion at);
  void taskFailed(kj::Exception&& e) override;

  Env& env_;
  ViewKeeper& keeper_;
  BlockStore& store_;
  Forward& forward_;
  BlockTurns& turns_;

  std::map<BlockId, RequestId> pending_;
  Signal pendingLess_;
  std::map<ChainId, uint64_t> roomyIn_;  // the epoch in which all members after us said so
  std::map<ChainId, uint64_t> epochs_;   // as of the last view, to see chains move
  std::map<ChainId, std::set<BlockId>> reserved_;  // and not applied yet
  std::map<BlockId, kj::Own<Incoming>> incoming_;
  std::map<ChainId, std::map<BlockId, BlockVersion>> fresh_;
  // Live updates in the present epoch of chains in which this member is syncing: a delayed piece of
  // resync must not undo them.
  uint64_t committed_ = 0;
  uint64_t wholeBlocks_ = 0;
  RequestWindows windows_;  // holds running updates, so it goes before what they use
  kj::TaskSet tasks_;       // last: what runs uses the rest
};

class Updates::Pending {
 public:
  Pending(Updates& updates, BlockId block, RequestId request) : updates_(updates), block_(block) {
    updates_.pending_[block] = request;
  }
  ~Pending() noexcept(false) {
    updates_.pending_.erase(block_);
    updates_.pendingLess_.wake();
  }
  KJ_DISALLOW_COPY(Pending);

 private:
  Updates& updates_;
  const BlockId block_;
};

}  // namespace dfs
