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

std::map<uint64_t, FileRow>::iterator BlockMap::drop(std::map<uint64_t, FileRow>::iterator row) {
  delta_ -= row->second.end;
  dirty_.erase(row->first);
  return rows_.erase(row);
}

void BlockMap::punch(uint64_t first, uint64_t end) {
  ++cuts_;
  for (auto i = rows_.lower_bound(first); i != rows_.end() && i->first < end;) i = drop(i);
}

void BlockMap::cut(uint64_t index, uint32_t end) {
  auto found = rows_.find(index);
  if (found == rows_.end() || found->second.end <= end) return;
  KJ_ASSERT(end > 0, index);
  delta_ -= found->second.end - end;
  found->second.end = end;
  dirty_.insert(index);
}

void BlockMap::share(uint64_t first, uint64_t count) {
  ++cuts_;  // rows that were asked for before do not say it yet
  auto i = rows_.lower_bound(first);
  for (; i != rows_.end() && i->first - first < count; ++i) i->second.shared = true;
}

void BlockMap::clone(const BlockMap& from, uint64_t fromFirst, uint64_t count, uint64_t toFirst,
                     uint64_t size) {
  std::vector<std::pair<uint64_t, FileRow>> copies;
  auto i = from.rows_.lower_bound(fromFirst);
  for (; i != from.rows_.end() && i->first - fromFirst < count; ++i) {
    copies.push_back({i->first - fromFirst + toFirst, i->second});
  }
  punch(toFirst, toFirst + count);
  size_ = kj::max(size_, size);
  for (auto& [index, row] : copies) {
    if (index * blockBytes_ >= size_) break;
    row.shared = true;
    row.end = static_cast<uint32_t>(kj::min(uint64_t(row.end), size_ - index * blockBytes_));
    delta_ += row.end;
    rows_[index] = row;
  }
}

uint32_t BlockMap::endOf(uint64_t index) const {
  auto found = rows_.find(index);
  return found == rows_.end() ? 0 : found->second.end;
}

uint64_t BlockMap::dataEnd(uint64_t index, const FileRow& row) const {
  uint64_t whole = (uint64_t(row.end) + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
  return kj::min(size_, index * blockBytes_ + kj::min(whole, uint64_t(blockBytes_)));
}

kj::Maybe<uint64_t> BlockMap::nextData(uint64_t offset) const {
  for (auto i = rows_.lower_bound(offset / blockBytes_); i != rows_.end(); ++i) {
    if (dataEnd(i->first, i->second) > offset) return kj::max(offset, i->first * blockBytes_);
  }
  return nullptr;
}

uint64_t BlockMap::nextHole(uint64_t offset) const {
  while (offset < size_) {
    auto index = offset / blockBytes_;
    auto found = rows_.find(index);
    if (found == rows_.end()) return offset;
    auto end = dataEnd(index, found->second);
    if (end <= offset) return offset;
    offset = end;
    if (end % blockBytes_ != 0) break;
  }
  return kj::min(offset, size_);
}

void BlockMap::clean(uint64_t index, const FileRow& published) {
  auto found = rows_.find(index);
  if (found == rows_.end() || found->second == published) dirty_.erase(index);
}

}  // namespace dfs
