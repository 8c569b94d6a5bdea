#include "fuse-client/vfs/block_map.h"

#include <kj/debug.h>

namespace dfs {

void BlockMap::reset(uint64_t size, uint32_t blockBytes, bool complete) {
  *this = BlockMap();
  size_ = size;
  blockBytes_ = blockBytes == 0 ? kBlockBytes : blockBytes;
  complete_ = complete;
}

uint64_t BlockMap::allocated() const {
  uint64_t sum = 0;
  for (auto& [index, row] : rows_) sum += row.end;
  return sum;
}

std::vector<ReadSlice> BlockMap::slices(uint64_t offset, uint32_t bytes) const {
  std::vector<ReadSlice> result;
  if (offset >= size_) return result;
  uint64_t left = kj::min(uint64_t(bytes), size_ - offset);
  while (left > 0) {
    ReadSlice slice;
    slice.index = offset / blockBytes_;
    slice.from = static_cast<uint32_t>(offset % blockBytes_);
    slice.bytes = static_cast<uint32_t>(kj::min(left, uint64_t(blockBytes_ - slice.from)));
    auto found = rows_.find(slice.index);
    if (found != rows_.end() && found->second.end > slice.from) {
      slice.block = found->second.block;
      slice.stored = kj::min(slice.bytes, found->second.end - slice.from);
    }
    offset += slice.bytes;
    left -= slice.bytes;
    result.push_back(slice);
  }
  return result;
}

WritePlan BlockMap::plan(uint64_t index, uint32_t to) const {
  WritePlan plan;
  plan.clearFrom = blockBytes_;
  auto found = rows_.find(index);
  if (found == rows_.end()) return plan;
  plan.old = found->second;
  if (plan.old.shared) return plan;
  plan.block = plan.old.block;
  // What lies past the end means nothing, wherever it came from: cleared before it could show.
  if (to > plan.old.end) plan.clearFrom = plan.old.end;
  return plan;
}

void BlockMap::written(uint64_t index, BlockId block, uint32_t to) {
  KJ_ASSERT(to > 0 && to <= blockBytes_, to);
  auto& row = rows_[index];
  auto before = row.end;
  if (row.block != block || to > row.end) {
    row.block = block;
    row.shared = false;
    row.end = kj::max(row.end, to);
    dirty_.insert(index);
  }
  delta_ += int64_t(row.end) - before;
  size_ = kj::max(size_, index * blockBytes_ + to);
}

void BlockMap::resize(uint64_t size) {
  if (size < size_) {
    ++cuts_;
    uint64_t last = size / blockBytes_;
    auto within = static_cast<uint32_t>(size % blockBytes_);
    auto from = rows_.lower_bound(last);
    if (from != rows_.end() && from->first == last && within > 0) {
      if (from->second.end > within) {
        delta_ -= from->second.end - within;
        from->second.end = within;
      }
      ++from;
    }
    for (auto i = from; i != rows_.end(); ++i) delta_ -= i->second.end;
    if (from != rows_.end()) dirty_.erase(dirty_.lower_bound(from->first), dirty_.end());
    rows_.erase(from, rows_.end());
  }
  size_ = size;
}

void BlockMap::clean(uint64_t index, const FileRow& published) {
  auto found = rows_.find(index);
  if (found == rows_.end() || found->second == published) dirty_.erase(index);
}

}  // namespace dfs
