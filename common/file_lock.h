#pragma once
// File locks as name server and client both know them: one lock, and all ranges of one owner.
//
// Values, used on the loop's thread.

#include "common/ids.h"
#include "common/limits.h"
#include "common/outcome.h"

#include <rpc-schema/namespace.capnp.h>

#include <map>
#include <vector>

namespace dfs {

using LockKind = schema::FileLock::Kind;  // NONE < READ < WRITE: the stronger is the larger one
using LockSpace = schema::FileLock::Space;

inline constexpr uint64_t kLockEnd = uint64_t(INT64_MAX);  // to the end of the file, however far

struct LockSpan {
  uint64_t start = 0;       // in bytes
  uint64_t end = kLockEnd;  // the last one; never below start
  bool operator==(const LockSpan&) const = default;
  bool overlaps(const LockSpan& other) const { return start <= other.end && other.start <= end; }
};

struct FileLock {
  InodeId ino;
  uint64_t owner = 0;  // of one session, as the kernel names it
  LockSpace space = LockSpace::POSIX;
  LockKind kind = LockKind::NONE;
  LockSpan span;
  uint32_t pid = 0;
};

Outcome<FileLock> fromWire(schema::FileLock::Reader lock);
// INVAL: no such space, kind or range, or a flock of less than all.
void toWire(const FileLock& lock, schema::FileLock::Builder to);

inline bool conflict(LockKind one, LockKind other) {
  if (one == LockKind::NONE || other == LockKind::NONE) return false;
  return one == LockKind::WRITE || other == LockKind::WRITE;
}

class LockRanges {
  // What one owner holds of one file in one space.
  // Invariants: ranges are disjoint, none is of kind NONE, neighbours that touch differ in kind.
 public:
  struct Range {
    LockSpan span;
    LockKind kind;
    uint32_t pid;
    uint64_t sinceMs;  // of its oldest part
  };

  void set(LockSpan span, LockKind kind, uint32_t pid = 0, uint64_t sinceMs = 0);
  // Whatever lay in the span is replaced; NONE takes it away.
  void lower(LockSpan span, LockKind most);
  // Nothing in the span is stronger afterwards.
  bool covers(LockSpan span, LockKind least) const;
  // All of the span is held, nowhere weaker.
  bool splits(LockSpan span) const;
  // Taking the span away leaves one range more than there was.
  kj::Maybe<const Range&> against(LockSpan span, LockKind kind) const;
  // The first range that another owner's lock of that kind there would meet.
  std::vector<Range> in(LockSpan span) const;
  // The parts that lie in it.
  std::vector<Range> all() const { return in(LockSpan()); }
  bool empty() const { return ranges_.empty(); }
  size_t size() const { return ranges_.size(); }

 private:
  using Map = std::map<uint64_t, Range>;
  Map::const_iterator firstAt(uint64_t start) const;
  // The first range whose end is not below.
  void cut(LockSpan span);

  Map ranges_;  // by start
};

}  // namespace dfs
