// Updates of blocks: write, erase, accept, and the room that they need.
//
// A write goes through these steps; after each, what a crash leaves:
//   new units:     data in place -> nothing names it     | intent in the log -> counts, if its sums are found
//   other units:   intent in the log (synced, if their bytes may be: B2) -> old bytes, doubtful | data in place -> counts
//   then the index (in memory until a checkpoint)

#include "common/checksum.h"
#include "storaged/block/disk_block_store.h"

#include <kj/debug.h>

namespace dfs::block {
namespace {

uint32_t unitsUpTo(uint32_t bytes) {
  return (bytes + kUnitBytes - 1) / kUnitBytes;
}

}  // namespace

struct DiskBlockStore::Edit {
  // A write, as the units that it changes.
  BlockRecord record;  // after it
  bool creates = false;
  bool overwrites = false;  // touches units that have bytes: then the intent goes first
  bool clears = false;      // takes away units that have bytes
  uint32_t firstUnit = 0;   // of the write itself
  uint32_t count = 0;
  std::vector<uint64_t> sums;      // new, of those
  kj::Array<kj::byte> head, tail;  // merged units at the edges; empty: that edge is whole
  kj::Maybe<uint32_t> clearUnit;   // below firstUnit: has bytes at and past clearFrom
  kj::Array<kj::byte> clearBytes;
  uint64_t clearSum = 0;
  uint32_t clearFirst =
      kUnitsPerBlock;  // units from here on that the write does not touch are gone
};

kj::Promise<Errno> DiskBlockStore::apply(BlockWrite write) {
  return update(kj::mv(write));
}

Task<Outcome<kj::Array<kj::byte>>> DiskBlockStore::oldUnit(uint64_t slot, uint32_t unit,
                                                           uint64_t sum, uint32_t clearFrom) {
  // The bytes of a unit that a write keeps; those from clearFrom on mean nothing and become zeros.
  auto bytes = kj::heapArray<kj::byte>(kUnitBytes);
  uint32_t start = unit * kUnitBytes;
  if (sum == 0 || clearFrom <= start) {
    memset(bytes.begin(), 0, bytes.size());
    co_return kj::mv(bytes);
  }
  auto n = co_await segments_.read(slot, start, bytes);
  if (!n.ok()) co_return fail(n.err(), "reading before a write");
  if (*n != bytes.size() || checksum(bytes) != sum) co_return Errno::CORRUPT;
  if (clearFrom < start + kUnitBytes)
    memset(bytes.begin() + (clearFrom - start), 0, kUnitBytes - (clearFrom - start));
  co_return kj::mv(bytes);
}

Task<Errno> DiskBlockStore::planEdit(Edit& edit, const BlockWrite& write) {
  auto found = record(write.block);
  KJ_IF_MAYBE(r, found) {
    edit.record = *r;
  } else {
    edit.creates = true;
  }
  uint32_t end = write.offset + static_cast<uint32_t>(write.data.size());
  edit.firstUnit = write.offset / kUnitBytes;
  edit.count = unitsTouched(write.offset, write.data.size());
  auto slot = edit.record.slot;
  auto old = edit.creates ? std::vector<uint64_t>(edit.count, 0)
                          : sums(write.block, edit.firstUnit, edit.count);
  edit.sums.assign(write.sums.begin(), write.sums.end());

  uint32_t lastUnit = edit.firstUnit + edit.count - 1;
  bool partHead = write.offset % kUnitBytes != 0 || end < (edit.firstUnit + 1) * kUnitBytes;
  bool partTail = end % kUnitBytes != 0 && lastUnit != edit.firstUnit;
  if (partHead) {
    auto unit = co_await oldUnit(slot, edit.firstUnit, old.front(), write.clearFrom);
    if (!unit.ok()) co_return unit.err();
    edit.head = kj::mv(*unit);
    uint32_t at = write.offset % kUnitBytes;
    size_t n = kj::min<size_t>(kUnitBytes - at, write.data.size());
    memcpy(edit.head.begin() + at, write.data.begin(), n);
    edit.sums.front() = checksum(edit.head);
  }
  if (partTail) {
    auto unit = co_await oldUnit(slot, lastUnit, old.back(), write.clearFrom);
    if (!unit.ok()) co_return unit.err();
    edit.tail = kj::mv(*unit);
    size_t n = end % kUnitBytes;
    memcpy(edit.tail.begin(), write.data.end() - n, n);
    edit.sums.back() = checksum(edit.tail);
  }

  uint32_t length = edit.record.length;
  if (write.clearFrom < length) {
    edit.clearFirst = unitsUpTo(write.clearFrom);
    if (edit.clearFirst < unitsUpTo(length)) {
      auto gone = sums(write.block, edit.clearFirst, unitsUpTo(length) - edit.clearFirst);
      for (auto sum : gone) edit.clears = edit.clears || sum != 0;
    }
    uint32_t unit = write.clearFrom / kUnitBytes;
    if (write.clearFrom % kUnitBytes != 0 && unit < edit.firstUnit) {
      auto sum = sums(write.block, unit, 1)[0];
      auto bytes = co_await oldUnit(slot, unit, sum, write.clearFrom);
      if (!bytes.ok()) co_return bytes.err();
      if (sum != 0) {
        edit.clearUnit = unit;
        edit.clearBytes = kj::mv(*bytes);
        edit.clearSum = checksum(edit.clearBytes);
        edit.overwrites = true;
      }
    }
    length = write.clearFrom;
  }
  for (auto sum : old) edit.overwrites = edit.overwrites || sum != 0;
  edit.record.at = write.at;
  edit.record.length = kj::max(length, end);
  edit.record.committed = false;
  edit.record.doubtful = edit.record.doubtful && !edit.creates;
  edit.record.request = write.request;
  co_return Errno::OK;
}

Task<Errno> DiskBlockStore::writeEdit(const Edit& edit, const BlockWrite& write) {
  auto slot = edit.record.slot;
  KJ_IF_MAYBE(unit, edit.clearUnit) {
    auto err = co_await segments_.write(slot, *unit * kUnitBytes, edit.clearBytes);
    if (err != Errno::OK) co_return err;
  }
  // The whole units in between go from the caller's bytes as they are.
  uint32_t from = edit.firstUnit * kUnitBytes;
  Bytes middle = write.data;
  if (edit.head.size() > 0) {
    auto err = co_await segments_.write(slot, from, edit.head);
    if (err != Errno::OK) co_return err;
    size_t skip = kj::min<size_t>(kUnitBytes - write.offset % kUnitBytes, middle.size());
    middle = middle.slice(skip, middle.size());
    from += kUnitBytes;
  }
  if (edit.tail.size() > 0) {
    size_t n = (write.offset + write.data.size()) % kUnitBytes;
    auto err =
        co_await segments_.write(slot, (edit.firstUnit + edit.count - 1) * kUnitBytes, edit.tail);
    if (err != Errno::OK) co_return err;
    middle = middle.slice(0, middle.size() - n);
  }
  if (middle.size() > 0) {
    auto err = co_await segments_.write(slot, from, middle);
    if (err != Errno::OK) co_return err;
  }
  co_return Errno::OK;
}

void DiskBlockStore::putEdit(const Edit& edit, const BlockWrite& write) {
  if (edit.clearFirst < kUnitsPerBlock) eraseSums(write.block, edit.clearFirst);
  KJ_IF_MAYBE(unit, edit.clearUnit) {
    putSums(write.block, *unit, kj::arrayPtr(&edit.clearSum, 1));
  }
  putSums(write.block, edit.firstUnit, kj::arrayPtr(edit.sums.data(), edit.sums.size()));
  put(write.block, edit.record);
  if (edit.creates) ++blockCount_;
}

Task<Errno> DiskBlockStore::update(BlockWrite write) {
  KJ_REQUIRE(write.data.size() > 0 && write.offset < kBlockBytes &&
             write.data.size() <= kBlockBytes - write.offset &&
             write.sums.size() == unitsTouched(write.offset, write.data.size()));
  while (gateClosed_) {
    auto open = gateOpen();
    co_await kj::mv(open);
  }
  if (failed_) co_return Errno::IO;
  Busy busy(*this, write.block);
  bool reserved = reserved_.count(write.block) != 0;
  unreserve(write.block);
  if (!reserved && !roomFor(bytesWanted(write.block, write.offset, write.data.size())))
    co_return Errno::NO_SPACE;

  Edit edit;
  auto err = co_await planEdit(edit, write);
  if (err != Errno::OK) co_return err;
  if (edit.creates) edit.record.slot = segments_.take();

  Intent intent;
  intent.kind = IntentKind::WRITE;
  intent.block = write.block;
  intent.record = edit.record;
  intent.clearFirst = edit.clearFirst;
  intent.firstUnit = edit.firstUnit;
  intent.sums = edit.sums;
  KJ_IF_MAYBE(unit, edit.clearUnit) {
    // One range for both: what lies between is cleared.
    intent.firstUnit = *unit;
    intent.sums.insert(intent.sums.begin(), edit.firstUnit - *unit, 0);
    intent.sums.front() = edit.clearSum;
  }

  if (!edit.overwrites) {
    err = co_await writeEdit(edit, write);
    if (err == Errno::NO_SPACE) {
      // Nothing names what was written of it.
      if (edit.creates) segments_.free(edit.record.slot);
      co_return Errno::NO_SPACE;
    }
    if (err != Errno::OK) co_return fail(err, "writing a block");
  }
  auto sequence = co_await appendIntent(kj::mv(intent));
  if (!sequence.ok()) co_return sequence.err();
  if ((edit.overwrites || edit.clears) && mayHoldSynced(write.block)) {
    // Or, of clearing: later bytes go where the synced index still expects the old ones.
    err = co_await log_.sync();
    if (err != Errno::OK) co_return fail(err, "syncing the intent log");
    logSynced_ = kj::max(logSynced_, *sequence);
  }
  if (edit.overwrites) {
    err = co_await writeEdit(edit, write);
    if (err != Errno::OK) co_return fail(err, "overwriting a block");
  }
  putEdit(edit, write);
  applied(*sequence, write.block, edit.creates);
  co_return Errno::OK;
}

Task<Outcome<uint64_t>> DiskBlockStore::appendIntent(Intent intent) {
  // Numbered and queued without a wait in between, so that the log is in order.
  uint64_t sequence = ++sequence_;
  intent.sequence = sequence;
  intent.dataSynced = dataSynced_;
  intent.logSynced = logSynced_;
  underWay_.insert(sequence);
  auto err = co_await log_.append(encode(intent, log_.number()));
  if (err != Errno::OK) co_return fail(err, "writing the intent log");
  if (log_.bytes() > logBytes_ / 2) wantCheckpoint();
  co_return sequence;
}

void DiskBlockStore::applied(uint64_t sequence, BlockId block, bool created) {
  underWay_.erase(sequence);
  auto& recent = recent_[block];
  recent.lastAt = kj::max(recent.lastAt, sequence);
  if (created) recent.createdAt = sequence;
  cell_->setSequence(appliedThrough());
}

bool DiskBlockStore::mayHoldSynced(BlockId block) {
  // A block that was made after the last sync began has no byte that anybody was promised.
  auto found = recent_.find(block);
  return found == recent_.end() || found->second.createdAt == 0 ||
         found->second.createdAt <= syncStartedThrough_;
}

uint64_t DiskBlockStore::bytesWanted(BlockId block, uint32_t offset, size_t bytes) {
  uint32_t count = unitsTouched(offset, bytes);
  if (record(block) == nullptr) return uint64_t(count) * kUnitBytes;
  uint64_t wanted = 0;
  for (auto sum : sums(block, offset / kUnitBytes, count)) wanted += sum == 0 ? kUnitBytes : 0;
  return wanted;
}

bool DiskBlockStore::roomFor(uint64_t bytes) {
  if (bytes == 0) return true;
  bool room = space().freeBytes >= reserveBytes_ + reservedBytes_ + bytes;
  if (!room && segments_.freedCount() > 0) wantCheckpoint();  // gives space back
  return room;
}

kj::Promise<Errno> DiskBlockStore::reserve(const BlockWrite& write) {
  if (failed_) return Errno::IO;
  unreserve(write.block);
  uint64_t bytes = bytesWanted(write.block, write.offset, write.data.size());
  if (!roomFor(bytes)) return Errno::NO_SPACE;
  reserved_[write.block] = bytes;
  reservedBytes_ += bytes;
  return Errno::OK;
}

void DiskBlockStore::unreserve(BlockId block) {
  auto found = reserved_.find(block);
  if (found == reserved_.end()) return;
  reservedBytes_ -= found->second;
  reserved_.erase(found);
}

kj::Promise<Errno> DiskBlockStore::erase(BlockId block) {
  return eraseNow(block);
}

Task<Errno> DiskBlockStore::eraseNow(BlockId block) {
  while (gateClosed_) {
    auto open = gateOpen();
    co_await kj::mv(open);
  }
  if (failed_) co_return Errno::IO;
  unreserve(block);
  auto found = record(block);
  if (found == nullptr) co_return Errno::OK;
  Busy busy(*this, block);
  auto old = KJ_ASSERT_NONNULL(found);
  Intent intent;
  intent.kind = IntentKind::ERASE;
  intent.block = block;
  intent.record = old;
  auto sequence = co_await appendIntent(kj::mv(intent));
  if (!sequence.ok()) co_return sequence.err();
  eraseSums(block, 0);
  index_->erase(kRecordTable, bytesOf(recordKey(block)));
  changedSinceCheckpoint_ = true;
  uncertain_.erase(block);
  --blockCount_;
  applied(*sequence, block, false);
  segments_.free(old.slot);
  co_return Errno::OK;
}

kj::Promise<void> DiskBlockStore::accept(BlockId block) {
  if (failed_) return kj::READY_NOW;
  auto work = kj::Promise<void>(acceptNow(block)).fork();
  tasks_.add(work.addBranch());
  return work.addBranch();
}

Task<void> DiskBlockStore::acceptNow(BlockId block) {
  while (gateClosed_) {
    auto open = gateOpen();
    co_await kj::mv(open);
  }
  Busy busy(*this, block);
  auto found = record(block);
  if (found == nullptr || failed_) co_return;
  auto r = KJ_ASSERT_NONNULL(found);
  if (!r.doubtful) co_return;
  Intent intent;
  intent.kind = IntentKind::ACCEPT;
  intent.sums = sums(block, 0, unitsUpTo(r.length));
  auto unit = kj::heapArray<kj::byte>(kUnitBytes);
  for (uint32_t i = 0; i < intent.sums.size(); ++i) {
    // What was whole keeps its sum: bytes that have gone bad since do not become right.
    if (intent.sums[i] != kTornSum) continue;
    auto n = co_await segments_.read(r.slot, i * kUnitBytes, unit);
    if (!n.ok()) {
      fail(n.err(), "reading a doubtful block");
      co_return;
    }
    memset(unit.begin() + *n, 0, kUnitBytes - *n);
    intent.sums[i] = checksum(unit);
  }
  auto now = record(block);
  if (now == nullptr) co_return;
  r = KJ_ASSERT_NONNULL(now);
  r.doubtful = false;
  auto newSums = intent.sums;
  intent.block = block;
  intent.record = r;
  auto sequence = co_await appendIntent(kj::mv(intent));
  if (!sequence.ok()) co_return;
  putSums(block, 0, kj::arrayPtr(newSums.data(), newSums.size()));
  put(block, r);
  applied(*sequence, block, false);
}

}  // namespace dfs::block
