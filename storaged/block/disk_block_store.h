#pragma once
// The block store on disk. Formats and crash orders: README.md.
//
// Thread: the loop's. Owner: StorageServer, through BlockStore.
// Invariants:
//   1. A unit whose sum the index or a counting intent names lies on the disk with that sum, or the block is doubtful, or a read of
//      it is CORRUPT.
//   2. Over units that may be synced data is written only after the intent is synced (B2).
//   3. The index is committed at a checkpoint only: no update is under way, and all data of what it holds is synced (B3).
//   4. appliedThrough(): every intent up to it has record and data in the page cache. It is what the since cell keeps.

#include "common/env.h"
#include "common/task.h"
#include "storaged/block/block_store.h"
#include "storaged/block/format.h"
#include "storaged/block/intent_log.h"
#include "storaged/block/segments.h"

#include <map>
#include <set>

namespace dfs::block {

class DiskBlockStore final : public BlockStore, private kj::TaskSet::ErrorHandler {
 public:
  DiskBlockStore(Env& env, kj::Own<Kv> index, kj::Own<SinceCell> cell);
  ~DiskBlockStore() noexcept(false);

  Task<void> start();
  // Replays the intents. Throws with a sentence, having changed nothing, if something cannot be trusted. disk_start.cc.

  kj::Maybe<StoredBlock> find(BlockId block) override;
  kj::Promise<Errno> reserve(const BlockWrite& write) override;
  void unreserve(BlockId block) override;
  kj::Promise<Errno> apply(BlockWrite write) override;
  void commit(BlockId block, BlockVersion at) override;
  kj::Promise<void> accept(BlockId block) override;
  kj::Promise<Outcome<BlockPiece>> read(BlockId block, uint32_t offset, uint32_t bytes) override;
  kj::Promise<Errno> sync() override;
  bool unsynced(BlockId block) override;
  kj::Promise<Outcome<kj::Own<BlockInstall>>> install(BlockId block, uint32_t length) override;
  kj::Promise<Errno> erase(BlockId block) override;
  std::vector<BlockId> list(BlockId above, uint32_t blocksMax) override;
  std::vector<BlockId> uncertain() override;
  uint64_t digest(BlockId block) override;
  kj::Promise<Errno> verify(BlockId block) override;
  uint64_t since() override { return cell_->since(); }
  SpaceInfo space() override;
  uint64_t reserveBytes() override { return reserveBytes_; }
  uint64_t blockCount() override { return blockCount_; }
  kj::Promise<void> broken() override { return broken_.addBranch(); }
  kj::Promise<void> close() override;

 private:
  friend class DiskInstall;
  struct Replay;

  struct Recent {
    // A block that was updated since the last sync that covers it.
    uint64_t createdAt = 0;  // sequence of its first intent, if that is among them
    uint64_t lastAt = 0;
  };
  class Busy;  // an update under way: counts in busy_ and updating_

  // disk_block_store.cc
  kj::Maybe<BlockRecord> record(BlockId block);
  void put(BlockId block, const BlockRecord& record);
  Group group(BlockId block, uint32_t number);
  std::vector<uint64_t> sums(BlockId block, uint32_t firstUnit, uint32_t count);
  void putSums(BlockId block, uint32_t firstUnit, kj::ArrayPtr<const uint64_t> sums);
  void eraseSums(BlockId block, uint32_t firstUnit);
  Task<Outcome<BlockPiece>> readOnce(BlockId block, BlockRecord record, uint32_t offset,
                                     uint32_t bytes);
  Task<Outcome<BlockPiece>> readUntilStable(BlockId block, uint32_t offset, uint32_t bytes);
  Task<Errno> verifyAll(BlockId block);
  Errno fail(Errno err, const char* what);  // W5: out of service; returns IO
  void taskFailed(kj::Exception&& e) override;

  // disk_update.cc
  struct Edit;
  Task<Errno> update(BlockWrite write);
  Task<Errno> planEdit(Edit& edit, const BlockWrite& write);
  Task<Outcome<kj::Array<kj::byte>>> oldUnit(uint64_t slot, uint32_t unit, uint64_t sum,
                                             uint32_t clearFrom);
  Task<Errno> writeEdit(const Edit& edit, const BlockWrite& write);
  void putEdit(const Edit& edit, const BlockWrite& write);
  // References: `edit` and `write` live in update()'s frame, which awaits each of these.
  Task<Outcome<uint64_t>> appendIntent(Intent intent);
  void applied(uint64_t sequence, BlockId block, bool created);
  bool roomFor(uint64_t bytes);
  uint64_t bytesWanted(BlockId block, uint32_t offset, size_t bytes);
  Task<void> acceptNow(BlockId block);
  Task<Errno> eraseNow(BlockId block);
  bool mayHoldSynced(BlockId block);

  // disk_checkpoint.cc
  Task<Errno> syncTurn();
  Task<Errno> syncOnce();
  Task<void> keepCheckpoints();
  Task<Errno> checkpoint();
  void wantCheckpoint();
  kj::Promise<void> gateOpen();
  void openGate();

  Env& env_;
  kj::Own<Kv> index_;
  kj::Own<SinceCell> cell_;
  Segments segments_;
  IntentLog log_;

  uint64_t reserveBytes_ = 0;
  uint64_t logBytes_ = 0;
  uint64_t blockCount_ = 0;
  std::set<BlockId> uncertain_;
  std::map<BlockId, uint64_t> reserved_;
  uint64_t reservedBytes_ = 0;

  uint64_t sequence_ = 0;            // of the last intent that was made
  std::set<uint64_t> underWay_;      // intents that are made and not yet applied
  uint64_t dataSynced_ = 0;          // the data of all intents up to it is on the disk
  uint64_t logSynced_ = 0;           // all intents up to it are
  uint64_t syncStartedThrough_ = 0;  // appliedThrough() when the last sync began
  std::map<BlockId, Recent> recent_;

  uint32_t busy_ = 0;
  std::map<BlockId, uint32_t> updating_;
  bool gateClosed_ = false;
  std::vector<kj::Own<kj::PromiseFulfiller<void>>> gateWaiters_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> quiet_;  // who waits for busy_ == 0

  kj::Maybe<kj::ForkedPromise<Errno>> syncing_;
  kj::Maybe<kj::ForkedPromise<Errno>> nextSync_;
  bool checkpointWanted_ = false;
  bool changedSinceCheckpoint_ = false;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> checkpointWaker_;

  bool failed_ = false;
  kj::Own<kj::PromiseFulfiller<void>> brokenFulfiller_;
  kj::ForkedPromise<void> broken_ = nullptr;
  kj::TaskSet tasks_;

  uint64_t appliedThrough() const { return underWay_.empty() ? sequence_ : *underWay_.begin() - 1; }
};

class DiskBlockStore::Busy {
 public:
  Busy(DiskBlockStore& store, BlockId block) : store_(store), block_(block) {
    ++store_.busy_;
    ++store_.updating_[block_];
  }
  ~Busy() noexcept(false) {
    if (--store_.updating_[block_] == 0) store_.updating_.erase(block_);
    if (--store_.busy_ > 0) return;
    KJ_IF_MAYBE(q, store_.quiet_) {
      (*q)->fulfill();
    }
  }
  KJ_DISALLOW_COPY(Busy);

 private:
  DiskBlockStore& store_;
  const BlockId block_;
};

}  // namespace dfs::block
