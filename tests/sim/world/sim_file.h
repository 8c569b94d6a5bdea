#pragma once
// One file of a simulated disk: pages as they are in the cache, and what the platter has where that
// differs.

#include "tests/sim/world/sim_random.h"

#include <array>
#include <map>

namespace dfs {

class SimFile {
 public:
  static constexpr uint64_t kPage = 4096;
  static constexpr uint64_t kSector = 512;
  using Page = std::array<kj::byte, kPage>;

  uint64_t size = 0;

  void write(uint64_t offset, Bytes data) {
    ++generation_;
    size_t done = 0;
    while (done < data.size()) {
      uint64_t number = (offset + done) / kPage;
      uint64_t in = (offset + done) % kPage;
      size_t n = kj::min(kPage - in, data.size() - done);
      auto& page = touch(number);
      memcpy(page.data() + in, data.begin() + done, n);
      done += n;
    }
    size = kj::max(size, offset + data.size());
    reserve(offset, data.size());
  }

  size_t read(uint64_t offset, kj::ArrayPtr<kj::byte> into) const {
    if (offset >= size) return 0;
    size_t most = kj::min(into.size(), size - offset);
    for (size_t done = 0; done < most;) {
      uint64_t number = (offset + done) / kPage;
      uint64_t in = (offset + done) % kPage;
      size_t n = kj::min(kPage - in, most - done);
      auto found = pages_.find(number);
      if (found == pages_.end()) {
        memset(into.begin() + done, 0, n);
      } else {
        memcpy(into.begin() + done, found->second.data() + in, n);
      }
      done += n;
    }
    return most;
  }

  void truncate(uint64_t bytes) {
    ++generation_;
    if (bytes < size) zero(bytes, size - bytes);
    size = bytes;
    release(bytes, ~uint64_t(0) - bytes);
  }

  void zero(uint64_t offset, uint64_t bytes) {
    ++generation_;
    uint64_t end = offset + bytes;
    for (auto it = pages_.lower_bound(offset / kPage);
         it != pages_.end() && it->first * kPage < end; ++it) {
      uint64_t from = kj::max(offset, it->first * kPage);
      uint64_t to = kj::min(end, (it->first + 1) * kPage);
      auto& page = touch(it->first);
      memset(page.data() + from % kPage, 0, to - from);
    }
  }

  // A sync in two halves: what it covers is fixed when it begins.
  struct Sync {
    uint64_t generation;
    uint64_t size;
    std::map<uint64_t, Page> dirty;
  };
  Sync beginSync() const {
    Sync sync{generation_, size, {}};
    for (auto& [number, old] : platter_) {
      auto found = pages_.find(number);
      sync.dirty.emplace(number, found == pages_.end() ? Page{} : found->second);
    }
    return sync;
  }
  void endSync(const Sync& sync) {
    for (auto& [number, page] : sync.dirty) {
      auto found = platter_.find(number);
      if (found == platter_.end()) continue;
      if (changed_[number] <= sync.generation) {
        platter_.erase(found);
        changed_.erase(number);
      } else {
        found->second = page;
      }
    }
    platterSize_ = sync.size;
  }

  void powerCut(SimRandom& random) {
    // Each write that was not synced is kept, dropped or torn; so is the size, where a longer file
    // has zeros in what was not kept.
    uint64_t mood = random.below(4);  // all dropped, all kept, or a mixture
    for (auto& [number, old] : platter_) {
      auto& page = pages_[number];
      for (uint64_t at = 0; at < kPage; at += kSector) {
        bool keep = mood == 0 ? false : mood == 1 ? true : random.chance(50);
        if (!keep) memcpy(page.data() + at, old.data() + at, kSector);
      }
    }
    bool keepSize = mood == 0 ? false : mood == 1 ? true : random.chance(50);
    if (!keepSize && size != platterSize_) {
      if (platterSize_ < size) {
        pages_.erase(pages_.upper_bound(platterSize_ / kPage), pages_.end());
        auto last = pages_.find(platterSize_ / kPage);
        if (last != pages_.end()) {
          memset(last->second.data() + platterSize_ % kPage, 0, kPage - platterSize_ % kPage);
        }
      }
      size = platterSize_;
    }
    platterSize_ = size;
    platter_.clear();
    changed_.clear();
  }

  bool flip(uint64_t offset, uint8_t bit) {
    if (offset >= size) return false;
    pages_[offset / kPage][offset % kPage] ^= kj::byte(1u << bit);
    auto old = platter_.find(offset / kPage);
    if (old != platter_.end()) old->second[offset % kPage] ^= kj::byte(1u << bit);
    return true;
  }

  // Space, in bytes that are taken: intervals [start, end).
  uint64_t taken() const { return taken_; }
  uint64_t wouldTake(uint64_t offset, uint64_t bytes) const {
    uint64_t more = bytes;
    uint64_t end = offset + bytes;
    auto it = intervals_.upper_bound(offset);
    if (it != intervals_.begin()) --it;
    for (; it != intervals_.end() && it->first < end; ++it) {
      uint64_t from = kj::max(offset, it->first);
      uint64_t to = kj::min(end, it->second);
      if (from < to) more -= to - from;
    }
    return more;
  }
  void reserve(uint64_t offset, uint64_t bytes) {
    if (bytes == 0) return;
    uint64_t start = offset, end = offset + bytes;
    taken_ += wouldTake(offset, bytes);
    auto it = intervals_.upper_bound(start);
    if (it != intervals_.begin()) {
      auto before = std::prev(it);
      if (before->second >= start) it = before;
    }
    while (it != intervals_.end() && it->first <= end) {
      start = kj::min(start, it->first);
      end = kj::max(end, it->second);
      it = intervals_.erase(it);
    }
    intervals_[start] = end;
  }
  void release(uint64_t offset, uint64_t bytes) {
    uint64_t end = offset + bytes;
    auto it = intervals_.upper_bound(offset);
    if (it != intervals_.begin()) --it;
    while (it != intervals_.end() && it->first < end) {
      uint64_t from = it->first, to = it->second;
      if (to <= offset) {
        ++it;
        continue;
      }
      it = intervals_.erase(it);
      taken_ -= kj::min(to, end) - kj::max(from, offset);
      if (from < offset) intervals_[from] = offset;
      if (to > end) intervals_[end] = to;
    }
  }

 private:
  Page& touch(uint64_t number) {
    auto [it, made] = pages_.try_emplace(number);
    if (made) it->second.fill(0);
    platter_.try_emplace(number, it->second);
    changed_[number] = generation_;
    return it->second;
  }

  std::map<uint64_t, Page> pages_;        // as read
  std::map<uint64_t, Page> platter_;      // pages that were not synced: what lies below
  std::map<uint64_t, uint64_t> changed_;  // their last write's generation
  uint64_t platterSize_ = 0;
  uint64_t generation_ = 0;
  std::map<uint64_t, uint64_t> intervals_;
  uint64_t taken_ = 0;
};

}  // namespace dfs
