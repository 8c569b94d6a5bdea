#include "common/file_lock.h"

#include <algorithm>

namespace dfs {

Outcome<FileLock> fromWire(schema::FileLock::Reader lock) {
  FileLock to;
  to.ino = InodeId(lock.getIno());
  to.owner = lock.getOwner();
  to.space = lock.getSpace();
  to.kind = lock.getKind();
  to.span = {lock.getStart(), std::min(lock.getEnd(), kLockEnd)};
  to.pid = lock.getPid();
  bool known =
      (to.space == LockSpace::POSIX || to.space == LockSpace::FLOCK) &&
      (to.kind == LockKind::NONE || to.kind == LockKind::READ || to.kind == LockKind::WRITE);
  bool whole = to.span == LockSpan();
  if (!known || !to.ino || to.span.end < to.span.start) return Errno::INVAL;
  if (to.space == LockSpace::FLOCK && !whole) return Errno::INVAL;
  return to;
}

void toWire(const FileLock& lock, schema::FileLock::Builder to) {
  to.setIno(lock.ino.value);
  to.setOwner(lock.owner);
  to.setSpace(lock.space);
  to.setKind(lock.kind);
  to.setStart(lock.span.start);
  to.setEnd(lock.span.end);
  to.setPid(lock.pid);
}

LockRanges::Map::const_iterator LockRanges::firstAt(uint64_t start) const {
  auto at = ranges_.upper_bound(start);
  if (at == ranges_.begin()) return at;
  auto before = std::prev(at);
  return before->second.span.end >= start ? before : at;
}

void LockRanges::cut(LockSpan span) {
  auto at = firstAt(span.start);
  while (at != ranges_.end() && at->second.span.start <= span.end) {
    auto range = at->second;
    at = ranges_.erase(at);
    if (range.span.start < span.start) {
      auto left = range;
      left.span.end = span.start - 1;
      ranges_.emplace(left.span.start, left);
    }
    if (range.span.end > span.end) {
      auto right = range;
      right.span.start = span.end + 1;
      ranges_.emplace(right.span.start, right);
    }
  }
}

void LockRanges::set(LockSpan span, LockKind kind, uint32_t pid, uint64_t sinceMs) {
  if (kind != LockKind::NONE) {
    // What is of that kind already, and touches it, becomes one with it.
    LockSpan reach{span.start == 0 ? 0 : span.start - 1,
                   span.end == kLockEnd ? kLockEnd : span.end + 1};
    auto joined = span;
    for (auto at = firstAt(reach.start); at != ranges_.end(); ++at) {
      auto& range = at->second;
      if (range.span.start > reach.end) break;
      if (range.kind != kind) continue;
      joined.start = std::min(joined.start, range.span.start);
      joined.end = std::max(joined.end, range.span.end);
      sinceMs = std::min(sinceMs, range.sinceMs);
    }
    span = joined;
  }
  cut(span);
  if (kind != LockKind::NONE) ranges_.emplace(span.start, Range{span, kind, pid, sinceMs});
}

void LockRanges::lower(LockSpan span, LockKind most) {
  for (auto& range : in(span)) {
    if (range.kind > most) set(range.span, most, range.pid, range.sinceMs);
  }
}

bool LockRanges::covers(LockSpan span, LockKind least) const {
  uint64_t next = span.start;
  for (auto& range : in(span)) {
    if (range.span.start != next || range.kind < least) return false;
    if (range.span.end >= span.end) return true;
    next = range.span.end + 1;
  }
  return false;
}

bool LockRanges::splits(LockSpan span) const {
  auto at = firstAt(span.start);
  if (at == ranges_.end()) return false;
  return at->second.span.start < span.start && at->second.span.end > span.end;
}

kj::Maybe<const LockRanges::Range&> LockRanges::against(LockSpan span, LockKind kind) const {
  for (auto at = firstAt(span.start); at != ranges_.end(); ++at) {
    if (at->second.span.start > span.end) break;
    if (conflict(at->second.kind, kind)) return at->second;
  }
  return nullptr;
}

std::vector<LockRanges::Range> LockRanges::in(LockSpan span) const {
  std::vector<Range> parts;
  for (auto at = firstAt(span.start); at != ranges_.end(); ++at) {
    if (at->second.span.start > span.end) break;
    auto part = at->second;
    part.span.start = std::max(part.span.start, span.start);
    part.span.end = std::min(part.span.end, span.end);
    parts.push_back(part);
  }
  return parts;
}

}  // namespace dfs
