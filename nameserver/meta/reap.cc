// What follows a removal: rows past the end of a truncated file, the rows of a freed one, its extended
// attributes, the inode.
//
// Removing a huge file or its contents is O(1) in its command (R4). Rows that stay behind are dead:
//   - of a freed inode all of them: its number is never used again;
//   - past the cut of a truncated file those that stood there when it was cut. The cut gets a
//     number, one above the last, and rows published from then on carry it; so a row is dead
//     exactly if it lies at or past a cut whose number is above its own (TrimRecord::dead). What
//     is published later at the same index replaces a dead row as any other, and `trim` lets it
//     stand.
// A later cut at or below an earlier one takes its place. So cuts grow both in index and in number,
// and there are few.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

#include <algorithm>

namespace dfs::meta {
namespace {

constexpr size_t kCutsMax = 64;
// With more cuts than this that still have dead rows, each of more than kRowsPerTrim, the next
// truncation removes all of its rows itself.
constexpr uint32_t kRowsAtReap = 16;
// A freed inode with no more rows, and no more extended attributes, than this needs no trim.

struct Batch {
  struct One {
    uint64_t index;
    RowRecord row;
  };
  std::vector<One> rows;
  bool more = false;  // there are rows past these
  uint64_t next = 0;  // the first index that was not looked at
};

Batch batchFrom(Store& store, InodeId ino, uint64_t index, uint32_t max) {
  Batch batch;
  batch.next = index;
  auto cursor = store.from(Table::ROW, key(ino.value, index));
  for (; cursor->valid() && keyNumber(cursor->key(), 0) == ino.value; cursor->next()) {
    if (batch.rows.size() == max) {
      batch.more = true;
      break;
    }
    auto at = keyNumber(cursor->key(), 1);
    batch.rows.push_back({at, RowRecord::decode(cursor->value())});
    batch.next = at + 1;
  }
  return batch;
}

void cutEnd(Context& c, Inode& file, const TrimRecord& trim, uint64_t size) {
  // The row in which the file now ends, if any: bytes past the end mean nothing from here on (R1).
  auto within = static_cast<uint32_t>(size % file.blockBytes);
  if (within == 0) return;
  auto index = size / file.blockBytes;
  KJ_IF_MAYBE(row, c.store.row(file.ino, index)) {
    if (row->end <= within || trim.dead(index, *row)) return;
    file.allocated -= row->end - within;
    row->end = within;
    c.store.putRow(file.ino, index, *row);
  }
}

void putTrim(Store& store, Inode& file, const TrimRecord& trim) {
  if (!trim.cuts.empty()) {
    store.put(Table::TRIM, key(file.ino.value), trim.encode());
  } else if (file.trimming) {
    KJ_ASSERT(store.erase(Table::TRIM, key(file.ino.value)), "a cut file without its trim",
              file.ino);
  }
  file.trimming = !trim.cuts.empty();
}

bool eraseXattrs(Store& store, InodeId ino, size_t max) {
  // Of a freed inode. False: there are more.
  std::vector<uint64_t> cookies;
  auto cursor = store.from(Table::XATTR, key(ino.value, kCookieHead));
  for (; cursor->valid() && keyNumber(cursor->key(), 0) == ino.value; cursor->next()) {
    if (cookies.size() == max) break;
    cookies.push_back(keyNumber(cursor->key(), 1));
  }
  bool all = !cursor->valid() || keyNumber(cursor->key(), 0) != ino.value;
  for (auto cookie : cookies) {
    KJ_ASSERT(store.erase(Table::XATTR, key(ino.value, cookie)), "an attribute went away", ino);
  }
  return all;
}

void freeInode(Context& c, const Inode& inode) {
  c.store.eraseOrphan(inode.ino);
  c.store.eraseInode(inode.ino);
  auto batch = batchFrom(c.store, inode.ino, 0, kRowsAtReap);
  auto xattrs = c.store.xattrSums(inode.ino).count;
  if (batch.more || xattrs > kRowsAtReap) {
    TrimRecord trim;
    trim.freed = true;
    c.store.put(Table::TRIM, key(inode.ino.value), trim.encode());
    return;
  }
  for (auto& one : batch.rows) c.store.eraseRow(inode.ino, one.index, one.row.block, c.nowMs());
  bool gone = xattrs == 0 || eraseXattrs(c.store, inode.ino, xattrs + 1);
  KJ_ASSERT(gone, "more attributes than counted", inode.ino);
  if (inode.trimming) {
    KJ_ASSERT(c.store.erase(Table::TRIM, key(inode.ino.value)), "a cut file without its trim",
              inode.ino);
  }
}

}  // namespace

void cutRows(Context& c, Inode& file, uint64_t size) {
  TrimRecord trim;
  if (file.trimming) trim = KJ_ASSERT_NONNULL(c.store.trim(file.ino), "a cut without its trim");
  cutEnd(c, file, trim, size);

  auto from = size / file.blockBytes + (size % file.blockBytes != 0 ? 1 : 0);
  auto gone = [from](const TrimRecord::Cut& cut) { return cut.from >= from; };
  trim.cuts.erase(std::remove_if(trim.cuts.begin(), trim.cuts.end(), gone), trim.cuts.end());
  Batch batch;
  do {
    batch = batchFrom(c.store, file.ino, from, kRowsPerTrim);
    for (auto& one : batch.rows) {
      file.allocated -= one.row.end;
      c.store.eraseRow(file.ino, one.index, one.row.block, c.nowMs());
    }
  } while (batch.more && trim.cuts.size() >= kCutsMax);
  if (batch.more) {
    file.cuts += 1;
    trim.next = trim.cuts.empty() ? from : std::min(trim.next, from);
    trim.cuts.push_back({from, file.cuts});
  }
  putTrim(c.store, file, trim);
}

Errno applyReap(Context& c, schema::Reap::Reader r) {
  if (r.getInos().size() > kInodesPerReapMax) return Errno::INVAL;
  for (auto number : r.getInos()) {
    InodeId ino(number);
    if (!c.store.isOrphan(ino)) continue;  // reaped before
    freeInode(c, KJ_ASSERT_NONNULL(c.store.inode(ino), "an orphan without an inode"));
  }
  return Errno::OK;
}

Errno applyTrim(Context& c, schema::Trim::Reader r, Answer& out) {
  InodeId ino(r.getIno());
  auto maybeTrim = c.store.trim(ino);
  if (maybeTrim == nullptr) return Errno::OK;  // done before
  auto& trim = KJ_ASSERT_NONNULL(maybeTrim);
  auto max = r.getRowsMax() == 0 ? kRowsPerTrim : std::min(r.getRowsMax(), kRowsPerTrim);
  auto maybeFile = c.store.inode(ino);
  KJ_ASSERT((maybeFile == nullptr) == trim.freed, "a trim that fits no inode", ino);

  auto batch = batchFrom(c.store, ino, trim.next, max);
  uint64_t bytes = 0;
  for (auto& one : batch.rows) {
    if (!trim.dead(one.index, one.row)) continue;
    bytes += one.row.end;
    c.store.eraseRow(ino, one.index, one.row.block, c.nowMs());
  }
  trim.next = batch.next;
  bool more = batch.more;
  if (!more && trim.freed) more = !eraseXattrs(c.store, ino, max - batch.rows.size());
  out.count = more ? 1 : 0;
  KJ_IF_MAYBE(file, maybeFile) {
    if (!batch.more) trim.cuts.clear();
    file->allocated -= bytes;
    putTrim(c.store, *file, trim);
    c.store.putInode(*file);
  } else if (more) {
    c.store.put(Table::TRIM, key(ino.value), trim.encode());
  } else {
    KJ_ASSERT(c.store.erase(Table::TRIM, key(ino.value)), "a trim went away", ino);
  }
  return Errno::OK;
}

}  // namespace dfs::meta
