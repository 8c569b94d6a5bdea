#include "storaged/block/segments.h"

#include <kj/debug.h>

#include <cstdio>

namespace dfs::block {
namespace {

constexpr uint64_t kLargeBytes = 256u << 10;

uint64_t pieceOf(uint64_t slot, uint32_t offset) {
  return slot * (kBlockBytes / kReadBytesMax) + offset / kReadBytesMax;
}

kj::String nameOf(uint64_t segment) {
  char name[32];
  std::snprintf(name, sizeof name, "segments/%06llu", static_cast<unsigned long long>(segment));
  return kj::str(name);
}

uint64_t fileOffset(uint64_t slot, uint32_t offset) {
  return slot % kSlotsPerSegment * kBlockBytes + offset;
}

}  // namespace

void Segments::markUsed(uint64_t slot) {
  while (slotEnd_ <= slot) free_.insert(slotEnd_++);
  KJ_REQUIRE(free_.erase(slot) == 1,
             "two blocks of the index are in one slot: the index is damaged", slot);
}

uint64_t Segments::take() {
  if (free_.empty()) return slotEnd_++;
  auto slot = *free_.begin();
  free_.erase(free_.begin());
  return slot;
}

Task<Errno> Segments::release(std::vector<uint64_t> slots) {
  for (auto slot : slots) {
    auto err = co_await open(slot / kSlotsPerSegment);
    if (err != Errno::OK) co_return err;
    auto& file = *files_[slot / kSlotsPerSegment].file;
    err = co_await file.punch(fileOffset(slot, 0), kBlockBytes);
    if (err != Errno::OK) co_return err;
    free_.insert(slot);
  }
  co_return Errno::OK;
}

Task<Errno> Segments::open(uint64_t segment) {
  auto& f = files_[segment];
  if (f.file.get() != nullptr) co_return Errno::OK;
  if (f.opening == nullptr) f.opening = kj::Promise<Errno>(openNow(segment)).fork();
  auto opened = KJ_ASSERT_NONNULL(f.opening).addBranch();
  auto err = co_await kj::mv(opened);
  co_return err;
}

Task<Errno> Segments::openNow(uint64_t segment) {
  // In a later turn, so that `opening` is set before it ends.
  co_await kj::evalLater([]() {});
  auto name = nameOf(segment);
  auto opened = co_await env_.disk.open(name, OpenMode::MUST_EXIST);
  if (!opened.ok() && opened.err() == Errno::NO_ENT) {
    namesDirty_ = true;
    opened = co_await env_.disk.open(name, OpenMode::CREATE);
    if (opened.ok()) {
      // Its full size at once: writes that extend a file go one at a time.
      auto err = co_await (*opened)->truncate(fileOffset(kSlotsPerSegment - 1, 0) + kBlockBytes);
      if (err != Errno::OK) opened = err;
    }
  }
  auto& f = files_[segment];
  if (opened.ok()) {
    f.file = kj::mv(*opened);
  } else {
    f.opening = nullptr;  // room may come
    co_return opened.err();
  }
  co_return Errno::OK;
}

Task<Errno> Segments::write(uint64_t slot, uint32_t offset, Bytes data) {
  auto segment = slot / kSlotsPerSegment;
  auto err = co_await open(segment);
  if (err != Errno::OK) co_return err;
  auto& file = *files_[segment].file;
  dirty_.insert(segment);
  auto at = fileOffset(slot, offset);
  bool large = data.size() >= kLargeBytes;
  if (!large) readOnce_.again(pieceOf(slot, offset));  // it lies in the page cache now
  auto work = large ? file.writeLarge(at, data) : file.write(at, data);
  err = co_await kj::mv(work);
  dirty_.insert(segment);  // again: a sync may have begun meanwhile
  co_return err;
}

Task<Outcome<size_t>> Segments::read(uint64_t slot, uint32_t offset, kj::ArrayPtr<kj::byte> into) {
  auto segment = slot / kSlotsPerSegment;
  auto err = co_await open(segment);
  if (err != Errno::OK) co_return err;
  auto& file = *files_[segment].file;
  auto at = fileOffset(slot, offset);
  bool once = into.size() >= kLargeBytes && !readOnce_.again(pieceOf(slot, offset));
  auto work = once ? file.readLarge(at, into) : file.read(at, into);
  auto n = co_await kj::mv(work);
  co_return n;
}

Task<Errno> Segments::sync() {
  auto segments = std::exchange(dirty_, {});
  bool names = std::exchange(namesDirty_, false);
  auto results = kj::heapArrayBuilder<kj::Promise<Errno>>(segments.size() + names);
  for (auto s : segments) {
    auto err = co_await open(s);
    if (err != Errno::OK) co_return err;
  }
  for (auto s : segments) results.add(files_[s].file->sync());
  if (names) results.add(env_.disk.syncDirectory("segments"));
  auto all = kj::joinPromises(results.finish());
  auto errors = co_await kj::mv(all);
  for (auto err : errors) {
    if (err != Errno::OK) co_return err;
  }
  co_return Errno::OK;
}

}  // namespace dfs::block
