// A copy by reference (G7): rows of one file become rows of another, or of the same one elsewhere.
// Their blocks have one name more; `shared` stands in both rows, and nobody writes in place there.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

#include <algorithm>

namespace dfs::meta {
namespace {

bool within(const Inode& file, uint64_t first, uint64_t count) {
  // Neither past what a file may have nor past what a number can say.
  uint64_t blocksMax = kFileBytesMax / file.blockBytes;
  return count <= blocksMax && first <= blocksMax - count;
}

Errno check(const Inode& from, const Inode& to, schema::Clone::Reader r) {
  for (auto file : {&from, &to}) {
    if (file->directory()) return Errno::IS_DIR;
    if (file->kind != Kind::FILE) return Errno::INVAL;
  }
  auto count = r.getCount();
  if (from.blockBytes != to.blockBytes || count == 0 || count > kRowsPerTrim) return Errno::INVAL;
  if (r.getSize() > kFileBytesMax) return Errno::TOO_LARGE;
  if (!within(from, r.getFromFirst(), count) || !within(to, r.getToFirst(), count)) {
    return Errno::TOO_LARGE;
  }
  bool apart =
      r.getFromFirst() + count <= r.getToFirst() || r.getToFirst() + count <= r.getFromFirst();
  if (from.ino == to.ino && !apart) return Errno::INVAL;
  if (fromWire(r.getMtime()).nsec >= 1'000'000'000) return Errno::INVAL;
  return Errno::OK;
}

void cloneRow(Context& c, const Inode& from, IndexedRow source, Inode& to, uint64_t index) {
  auto start = index * to.blockBytes;
  if (start >= to.size || deadRow(c.store, from, source.index, source.row)) return;
  source.row.shared = true;
  c.store.putRow(from.ino, source.index, source.row);
  auto end = static_cast<uint32_t>(std::min<uint64_t>(source.row.end, to.size - start));
  c.store.putRow(to.ino, index, RowRecord{source.row.block, end, true, to.cuts});
  to.allocated += end;
}

}  // namespace

Errno applyClone(Context& c, schema::Clone::Reader r, Answer& out) {
  auto from = c.store.inode(InodeId(r.getFrom()));
  auto maybeTo = c.store.inode(InodeId(r.getTo()));
  if (from == nullptr || maybeTo == nullptr) return Errno::STALE;
  auto& source = KJ_ASSERT_NONNULL(from);
  auto& to = KJ_ASSERT_NONNULL(maybeTo);
  auto refusal = check(source, to, r);
  if (refusal != Errno::OK) return refusal;

  auto fromEnd = r.getFromFirst() + r.getCount();
  auto toEnd = r.getToFirst() + r.getCount();
  auto rows = rowsIn(c.store, source.ino, r.getFromFirst(), fromEnd, kRowsPerTrim);
  for (auto& old : rowsIn(c.store, to.ino, r.getToFirst(), toEnd, kRowsPerTrim)) {
    to.allocated -= old.row.end;
    // A block that was shared with the source before still has its name there.
    c.store.eraseRow(to.ino, old.index, old.row.block, c.nowMs());
  }
  to.size = std::max(to.size, r.getSize());
  for (auto& row : rows) {
    cloneRow(c, source, row, to, row.index - r.getFromFirst() + r.getToFirst());
  }
  setWriteTimes(to, fromWire(r.getMtime()));
  if (r.getKillSetId()) clearSetId(to, false);
  c.store.putInode(to);
  out.ino = to.ino;
  return Errno::OK;
}

}  // namespace dfs::meta
