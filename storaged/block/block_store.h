#pragma once
// The blocks of one storage daemon on its disk. Knows nothing of chains: it keeps bytes, sums, and
// for each block the (epoch, version, committed) that chain/ gives it.
//
// Thread: the loop's; the disk works behind Env. Owner: Server.
// Two implementations, one contract suite (block_store_test.cc): DiskBlockStore, and whatever a
// test needs.
//
// Promises (protocols.md B1 to B4, Y2, Y8, C8):
//   1. When apply() has resolved with OK the bytes and their intent are in the page cache: a killed
//   process
//      loses nothing.
//   2. When sync() has resolved, all that had been applied when it was called survives a power cut,
//   also where
//      later unsynced writes hit the same place.
//   3. What a power cut has torn is detected: a read of it is CORRUPT or the block is `doubtful`,
//   never wrong.
//   4. Every byte that is read is verified against its sums.
//   5. After the first failed write or sync broken() resolves and nothing is taken or served any
//   more.
//   6. One update of a block at a time is the caller's work; different blocks may overlap freely.

#include "common/env.h"
#include "common/limits.h"

#include <kj/array.h>
#include <kj/async.h>

#include <vector>

namespace dfs {

struct BlockVersion {
  uint64_t epoch = 0;    // of the chain at the block's last update
  uint64_t version = 0;  // counts its updates; 0: there is none
  bool operator==(const BlockVersion&) const = default;
};

struct StoredBlock {
  BlockVersion at;
  bool committed = false;
  // An update whose commit() was not called (or not found after a crash) is uncommitted (C1).
  bool doubtful = false;
  // Found after a crash with units that match no record: compare it with another member before it
  // is served (B4). accept() ends that.
  uint32_t length = 0;  // bytes up to the end of the last unit part that was written
  RequestId request;    // of the last update
};

struct BlockWrite {
  BlockId block;
  BlockVersion at;  // the state after this update
  uint32_t offset = 0;
  Bytes data;                         // must live until apply() has resolved
  kj::ArrayPtr<const uint64_t> sums;  // as in schema::Update; already verified by the caller
  RequestId request;
  uint32_t clearFrom = kBlockBytes;
  // Bytes from here on mean nothing: those of them below `offset` become zeros, whole units without
  // touching the disk (R1). Equal to the block size: no clearing.
};

struct BlockPiece {
  kj::Array<kj::byte> data;
  kj::Array<uint64_t> sums;  // of what is in `data`, as in schema::Update
};

class BlockInstall {
  // A whole block that arrives in pieces and replaces what is here when it is finished; dropped
  // before: it never was.
 public:
  virtual ~BlockInstall() noexcept(false) {}
  virtual kj::Promise<Errno> write(uint32_t offset, Bytes data,
                                   kj::ArrayPtr<const uint64_t> sums) = 0;
  // In order, without overlap. A gap reads as zeros.
  virtual kj::Promise<Errno> finish(BlockVersion at, bool committed, uint32_t length,
                                    RequestId request) = 0;
};

class BlockStore {
 public:
  virtual ~BlockStore() noexcept(false) {}

  virtual kj::Maybe<StoredBlock> find(BlockId block) = 0;
  virtual kj::Promise<Errno> reserve(const BlockWrite& write) = 0;
  // Makes room for this update, so that apply() of it cannot meet NO_SPACE (C8). NO_SPACE: nothing
  // happened. What is reserved for a block is given back by its next apply(), or by unreserve().
  virtual void unreserve(BlockId block) = 0;
  virtual kj::Promise<Errno> apply(BlockWrite write) = 0;
  // Works also without reserve(); then NO_SPACE is possible and nothing happened. CORRUPT: the
  // write touches a part of a unit whose old bytes fail their sum; nothing happened.
  virtual void commit(BlockId block, BlockVersion at) = 0;
  // Marks it committed if it still stands at `at`. Durable with the next sync(), or never: then it
  // counts as uncommitted, which costs a comparison.
  virtual kj::Promise<void> accept(BlockId block) = 0;
  // A doubtful block has been compared, or there is nobody to compare with: sums are made anew from
  // what lies there. The caller keeps the block's turn until it resolves; dropping it stops nothing.
  virtual kj::Promise<Outcome<BlockPiece>> read(BlockId block, uint32_t offset, uint32_t bytes) = 0;
  // NO_BLOCK, CORRUPT, IO. Shorter than asked at `length`.
  virtual kj::Promise<Errno> sync() = 0;
  virtual bool unsynced(BlockId block) = 0;
  // There is an update of it that no sync() has covered (C9: another session's unit is synced
  // before it is served).
  virtual kj::Promise<Outcome<kj::Own<BlockInstall>>> install(BlockId block, uint32_t length) = 0;
  // NO_SPACE.
  virtual kj::Promise<Errno> erase(BlockId block) = 0;
  // OK too if there is none. Its space is free again after the next checkpoint of the index, which
  // this causes when space is short.
  virtual std::vector<BlockId> list(BlockId above, uint32_t blocksMax) = 0;
  // In order; all chains.
  virtual std::vector<BlockId> uncertain() = 0;
  // Those that are uncommitted or doubtful: after a start, what chain/ has to look at.
  virtual uint64_t digest(BlockId block) = 0;
  // Of its sums and length: equal for equal bytes.
  virtual kj::Promise<Errno> verify(BlockId block) = 0;
  // Reads all of it from the disk.
  virtual uint64_t since() = 0;  // Y8
  virtual SpaceInfo space() = 0;
  virtual uint64_t reserveBytes() = 0;  // below this much free, reserve() and apply() of what needs
                                        // room say NO_SPACE
  virtual uint64_t blockCount() = 0;
  virtual kj::Promise<void> broken() = 0;
  // Throws with the reason (a sentence) when the store goes out of service.
  virtual kj::Promise<void> close() = 0;
  // A clean end: all is synced and the index is up to date.
};

struct StoreIdentity {
  Uuid store;
  Uuid cluster;  // zero: belongs to none yet
};

kj::Promise<kj::Own<BlockStore>> openBlockStore(Env& env);
// Opens what lies in the data directory and replays the intent log into the index. Throws with a
// sentence that names file and offset if something there cannot be trusted, and then changes
// nothing.

kj::Promise<kj::Maybe<StoreIdentity>> readIdentity(Env& env);
kj::Promise<void> writeIdentity(Env& env, StoreIdentity identity);
// The file `identity` in the data directory: checksummed, replaced by rename. Null: an empty
// directory. Throws if the directory has a store but no identity.

}  // namespace dfs
