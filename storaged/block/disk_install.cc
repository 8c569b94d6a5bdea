// Whole blocks that arrive in pieces.
//
// They go into a slot of their own; one intent switches the block to it. A crash before that leaves a slot that nobody names. A power
// cut after it may have lost bytes of the new slot: then replay goes back to what the block was before, and marks it doubtful.

#include "common/checksum.h"
#include "storaged/block/disk_block_store.h"

#include <kj/debug.h>

namespace dfs::block {

class DiskInstall final : public BlockInstall {
 public:
  DiskInstall(DiskBlockStore& store, BlockId block, uint64_t slot)
      : store_(store), block_(block), slot_(slot) {}
  ~DiskInstall() noexcept(false) {
    if (finished_) return;
    store_.segments_.free(slot_);
  }

  kj::Promise<Errno> write(uint32_t offset, Bytes data,
                           kj::ArrayPtr<const uint64_t> sums) override {
    if (offset % kUnitBytes != 0 || offset < next_ || data.size() == 0 || offset >= kBlockBytes ||
        data.size() > kBlockBytes - offset || sums.size() != unitsTouched(offset, data.size())) {
      return Errno::INVAL;
    }
    return writeNow(offset, data, sums);
  }

  kj::Promise<Errno> finish(BlockVersion at, bool committed, uint32_t length,
                            RequestId request) override {
    return finishNow(at, committed, length, request);
  }

 private:
  Task<Errno> writeNow(uint32_t offset, Bytes data, kj::ArrayPtr<const uint64_t> sums) {
    uint32_t first = offset / kUnitBytes;
    uint32_t end = offset + static_cast<uint32_t>(data.size());
    if (sums_.size() < first + sums.size()) sums_.resize(first + sums.size(), 0);
    std::copy(sums.begin(), sums.end(), sums_.begin() + first);
    size_t rest = data.size() % kUnitBytes;
    auto whole = data.slice(0, data.size() - rest);
    if (whole.size() > 0) {
      auto err = co_await store_.segments_.write(slot_, offset, whole);
      if (err != Errno::OK) co_return taken(err);
    }
    if (rest > 0) {
      // The last unit of the block: what follows are zeros.
      auto unit = kj::heapArray<kj::byte>(kUnitBytes);
      memset(unit.begin(), 0, unit.size());
      memcpy(unit.begin(), data.end() - rest, rest);
      sums_.back() = checksum(unit);
      auto err = co_await store_.segments_.write(slot_, end - static_cast<uint32_t>(rest), unit);
      if (err != Errno::OK) co_return taken(err);
    }
    next_ = (end + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
    co_return Errno::OK;
  }

  Errno taken(Errno err) {
    return err == Errno::NO_SPACE ? err : store_.fail(err, "installing a block");
  }

  Task<Errno> finishNow(BlockVersion at, bool committed, uint32_t length, RequestId request) {
    while (store_.gateClosed_) {
      auto open = store_.gateOpen();
      co_await kj::mv(open);
    }
    if (store_.failed_) co_return Errno::IO;
    DiskBlockStore::Busy busy(store_, block_);
    Intent intent;
    intent.kind = IntentKind::INSTALL;
    intent.block = block_;
    intent.record = {slot_, at, length, committed, false, request};
    intent.sums = sums_;
    auto r = intent.record;
    auto sequence = co_await store_.appendIntent(kj::mv(intent));
    if (!sequence.ok()) co_return sequence.err();
    finished_ = true;
    auto old = store_.record(block_);
    KJ_IF_MAYBE(o, old) {
      store_.segments_.free(o->slot);
    } else {
      ++store_.blockCount_;
    }
    store_.eraseSums(block_, 0);
    store_.putSums(block_, 0, kj::arrayPtr(sums_.data(), sums_.size()));
    store_.put(block_, r);
    store_.recent_.erase(block_);
    store_.applied(*sequence, block_, true);
    co_return Errno::OK;
  }

  DiskBlockStore& store_;
  const BlockId block_;
  const uint64_t slot_;
  uint32_t next_ = 0;
  std::vector<uint64_t> sums_;
  bool finished_ = false;
};

kj::Promise<Outcome<kj::Own<BlockInstall>>> DiskBlockStore::install(BlockId block,
                                                                    uint32_t length) {
  using Result = Outcome<kj::Own<BlockInstall>>;
  if (failed_) return Result(Errno::IO);
  if (length > kBlockBytes) return Result(Errno::INVAL);
  if (!roomFor(length)) return Result(Errno::NO_SPACE);
  return Result(kj::Own<BlockInstall>(kj::heap<DiskInstall>(*this, block, segments_.take())));
}

}  // namespace dfs::block
