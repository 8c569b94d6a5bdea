#include "storaged/block/disk_block_store.h"

#include "common/aligned_bytes.h"
#include "common/checksum.h"

#include <kj/debug.h>

namespace dfs::block {
namespace {

constexpr uint64_t kReserveLeast = 64 << 20;
constexpr uint64_t kReserveShare = 50;      // 2 % of a large disk
constexpr uint64_t kReserveMostShare = 10;  // but not more than 10 % of a small one
constexpr uint64_t kLogBytesMost = 32 << 20;
constexpr uint64_t kLogBytesLeast = 1 << 20;
constexpr uint64_t kLogShare = 64;
constexpr uint32_t kReadTries = 1000;  // while updates of the block come in between

uint64_t zeroUnitSum() {
  static const uint64_t sum = [] {
    kj::byte zeros[kUnitBytes] = {};
    return checksum(kj::arrayPtr(zeros, sizeof zeros));
  }();
  return sum;
}

}  // namespace

DiskBlockStore::DiskBlockStore(Env& env, kj::Own<Kv> index, kj::Own<SinceCell> cell)
    : env_(env),
      index_(kj::mv(index)),
      cell_(kj::mv(cell)),
      segments_(env),
      log_(env),
      tasks_(*this) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  brokenFulfiller_ = kj::mv(paf.fulfiller);
  broken_ = paf.promise.fork();
  auto total = space().totalBytes;
  reserveBytes_ = kj::min(kj::max(kReserveLeast, total / kReserveShare), total / kReserveMostShare);
  logBytes_ = kj::max(kLogBytesLeast, kj::min(kLogBytesMost, total / kLogShare));
}

DiskBlockStore::~DiskBlockStore() noexcept(false) {}

kj::Maybe<BlockRecord> DiskBlockStore::record(BlockId block) {
  auto found = index_->get(kRecordTable, bytesOf(recordKey(block)));
  KJ_IF_MAYBE(bytes, found) return decodeRecord(*bytes);
  return nullptr;
}

void DiskBlockStore::put(BlockId block, const BlockRecord& r) {
  index_->put(kRecordTable, bytesOf(recordKey(block)), bytesOf(encode(r)));
  changedSinceCheckpoint_ = true;
  if (r.committed && !r.doubtful) {
    uncertain_.erase(block);
  } else {
    uncertain_.insert(block);
  }
}

Group DiskBlockStore::group(BlockId block, uint32_t number) {
  auto found = index_->get(kSumTable, bytesOf(sumKey(block, number)));
  KJ_IF_MAYBE(bytes, found) return decodeGroup(*bytes);
  return Group{};
}

std::vector<uint64_t> DiskBlockStore::sums(BlockId block, uint32_t firstUnit, uint32_t count) {
  std::vector<uint64_t> all;
  all.reserve(count);
  for (uint32_t unit = firstUnit; unit < firstUnit + count;) {
    auto g = group(block, unit / kUnitsPerGroup);
    do {
      all.push_back(g[unit % kUnitsPerGroup]);
      ++unit;
    } while (unit < firstUnit + count && unit % kUnitsPerGroup != 0);
  }
  return all;
}

void DiskBlockStore::putSums(BlockId block, uint32_t firstUnit, kj::ArrayPtr<const uint64_t> sums) {
  uint32_t end = firstUnit + static_cast<uint32_t>(sums.size());
  for (uint32_t unit = firstUnit; unit < end;) {
    uint32_t number = unit / kUnitsPerGroup;
    bool whole = unit % kUnitsPerGroup == 0 && end - unit >= kUnitsPerGroup;
    auto g = whole ? Group{} : group(block, number);
    do {
      g[unit % kUnitsPerGroup] = sums[unit - firstUnit];
      ++unit;
    } while (unit < end && unit % kUnitsPerGroup != 0);
    index_->put(kSumTable, bytesOf(sumKey(block, number)), bytesOf(encode(g)));
  }
}

void DiskBlockStore::eraseSums(BlockId block, uint32_t firstUnit) {
  // Of all units from there on.
  uint32_t number = firstUnit / kUnitsPerGroup;
  if (firstUnit % kUnitsPerGroup != 0) {
    auto g = group(block, number);
    for (uint32_t i = firstUnit % kUnitsPerGroup; i < kUnitsPerGroup; ++i) g[i] = 0;
    index_->put(kSumTable, bytesOf(sumKey(block, number)), bytesOf(encode(g)));
    ++number;
  }
  for (; number < kGroupsPerBlock; ++number) {
    // Absent ones are no error: most blocks are shorter.
    index_->erase(kSumTable, bytesOf(sumKey(block, number)));
  }
}

kj::Maybe<StoredBlock> DiskBlockStore::find(BlockId block) {
  auto found = record(block);
  KJ_IF_MAYBE(r, found) {
    return StoredBlock{r->at, r->committed && !r->doubtful, r->doubtful, r->length, r->request};
  }
  return nullptr;
}

void DiskBlockStore::commit(BlockId block, BlockVersion at) {
  auto found = record(block);
  KJ_IF_MAYBE(r, found) {
    if (!(r->at == at) || r->committed || failed_) return;
    r->committed = true;
    put(block, *r);
    Intent intent;
    intent.kind = IntentKind::COMMIT;
    intent.block = block;
    intent.record = *r;
    // Nobody waits: without it the block counts as uncommitted after a crash, which costs a comparison.
    tasks_.add(kj::Promise<Outcome<uint64_t>>(appendIntent(kj::mv(intent)))
                   .then([this](Outcome<uint64_t> sequence) {
                     if (sequence.ok()) underWay_.erase(*sequence);
                   }));
  }
}

kj::Promise<Outcome<BlockPiece>> DiskBlockStore::read(BlockId block, uint32_t offset,
                                                      uint32_t bytes) {
  return readUntilStable(block, offset, bytes);
}

Task<Outcome<BlockPiece>> DiskBlockStore::readUntilStable(BlockId block, uint32_t offset,
                                                          uint32_t bytes) {
  // A read beside an update of the same block may meet bytes whose sums are not yet, or no longer, those of the index: then it is
  // made again. Only what is wrong while nothing changes is corrupt.
  if (offset >= kBlockBytes) co_return Errno::INVAL;
  for (uint32_t i = 0; i < kReadTries; ++i) {
    if (failed_) co_return Errno::IO;
    auto found = record(block);
    if (found == nullptr) co_return Errno::NO_BLOCK;
    auto before = KJ_ASSERT_NONNULL(found);
    bool busy = updating_.count(block) != 0;
    auto piece = co_await readOnce(block, before, offset, bytes);
    if (piece.ok() || piece.err() != Errno::CORRUPT) co_return kj::mv(piece);
    auto now = record(block);
    bool same = false;
    KJ_IF_MAYBE(n, now) {
      same = n->at == before.at && n->slot == before.slot && n->doubtful == before.doubtful;
    }
    if (same && !busy && updating_.count(block) == 0) co_return Errno::CORRUPT;
    co_await env_.clock.timer().afterDelay(1 * kj::MILLISECONDS);
  }
  co_return Errno::CORRUPT;
}

Task<Outcome<BlockPiece>> DiskBlockStore::readOnce(BlockId block, BlockRecord r, uint32_t offset,
                                                   uint32_t bytes) {
  BlockPiece piece;
  if (offset >= r.length || bytes == 0) co_return kj::mv(piece);
  uint32_t end = kj::min(r.length, offset + kj::min(bytes, kBlockBytes - offset));
  uint32_t first = offset / kUnitBytes;
  uint32_t count = (end - 1) / kUnitBytes - first + 1;
  auto expected = sums(block, first, count);
  auto buffer = alignedBytes(size_t(count) * kUnitBytes);
  // One read over all units that have bytes; what was never written is not asked of the disk.
  uint32_t low = 0, high = count;
  while (low < high && expected[low] == 0) ++low;
  while (high > low && expected[high - 1] == 0) --high;
  if (low < high) {
    auto part = buffer.slice(size_t(low) * kUnitBytes, size_t(high) * kUnitBytes);
    auto n = co_await segments_.read(r.slot, (first + low) * kUnitBytes, part);
    if (!n.ok()) co_return n.err() == Errno::IO ? Errno::IO : fail(n.err(), "reading");
    memset(part.begin() + *n, 0, part.size() - *n);
  }
  for (uint32_t i = 0; i < count; ++i) {
    auto unit = buffer.slice(size_t(i) * kUnitBytes, size_t(i + 1) * kUnitBytes);
    if (expected[i] == 0) {
      memset(unit.begin(), 0, unit.size());
      expected[i] = zeroUnitSum();
    } else if (checksum(unit) != expected[i]) {
      co_return Errno::CORRUPT;
    }
  }
  uint32_t skip = offset - first * kUnitBytes;
  uint32_t length = end - offset;
  piece.sums = kj::heapArray<uint64_t>(count);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t from = i == 0 ? skip : 0;
    uint32_t to = i + 1 == count ? skip + length - i * kUnitBytes : kUnitBytes;
    bool whole = from == 0 && to == kUnitBytes;
    auto unit = buffer.slice(size_t(i) * kUnitBytes + from, size_t(i) * kUnitBytes + to);
    piece.sums[i] = whole ? expected[i] : checksum(unit);
  }
  if (skip == 0 && length == buffer.size()) {
    piece.data = kj::mv(buffer);
  } else {
    piece.data = kj::heapArray(buffer.slice(skip, skip + length).asConst());
  }
  co_return kj::mv(piece);
}

kj::Promise<Errno> DiskBlockStore::verify(BlockId block) {
  return verifyAll(block);
}

Task<Errno> DiskBlockStore::verifyAll(BlockId block) {
  auto found = record(block);
  if (found == nullptr) co_return Errno::NO_BLOCK;
  uint32_t length = KJ_ASSERT_NONNULL(found).length;
  for (uint32_t at = 0; at < length; at += kReadBytesMax) {
    auto piece = co_await readUntilStable(block, at, kReadBytesMax);
    if (!piece.ok()) co_return piece.err();
  }
  co_return Errno::OK;
}

std::vector<BlockId> DiskBlockStore::list(BlockId above, uint32_t blocksMax) {
  std::vector<BlockId> all;
  for (auto c = index_->from(kRecordTable, bytesOf(recordKey(BlockId(above.value + 1))));
       c->valid(); c->next()) {
    if (all.size() >= blocksMax) break;
    all.push_back(blockOfKey(c->key()));
  }
  return all;
}

std::vector<BlockId> DiskBlockStore::uncertain() {
  return {uncertain_.begin(), uncertain_.end()};
}

uint64_t DiskBlockStore::digest(BlockId block) {
  // Units that were never written and units of zeros are the same bytes, so both count for nothing.
  auto found = record(block);
  if (found == nullptr) return 0;
  uint64_t result = KJ_ASSERT_NONNULL(found).length;
  auto prefix = recordKey(block);
  for (auto c = index_->from(kSumTable, bytesOf(prefix)); c->valid(); c->next()) {
    auto key = c->key();
    if (key.size() != prefix.size() + 1 || blockOfKey(key) != block) break;
    auto g = decodeGroup(c->value());
    for (uint32_t i = 0; i < kUnitsPerGroup; ++i) {
      if (g[i] == 0 || g[i] == zeroUnitSum()) continue;
      uint64_t pair[2] = {key[key.size() - 1] * uint64_t(kUnitsPerGroup) + i, g[i]};
      result = checksum(kj::arrayPtr(reinterpret_cast<const kj::byte*>(pair), sizeof pair), result);
    }
  }
  return result;
}

bool DiskBlockStore::unsynced(BlockId block) {
  auto found = recent_.find(block);
  return found != recent_.end() && found->second.lastAt > dataSynced_;
}

SpaceInfo DiskBlockStore::space() {
  auto space = env_.disk.space();
  if (!space.ok()) return {0, 0};
  return *space;
}

Errno DiskBlockStore::fail(Errno err, const char* what) {
  if (!failed_) {
    failed_ = true;
    cell_->forget();
    auto reason = KJ_EXCEPTION(FAILED, "the disk has failed: this store is out of service", what,
                               nameOf(err));
    KJ_LOG(ERROR, reason.getDescription());
    brokenFulfiller_->reject(kj::mv(reason));
  }
  return Errno::IO;
}

void DiskBlockStore::taskFailed(kj::Exception&& e) {
  KJ_LOG(ERROR, "a part of the block store has failed", e);
  fail(Errno::IO, "a part of the store");
}

}  // namespace dfs::block
