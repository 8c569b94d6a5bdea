// What the holder of a file's exclusive lease has written and synced becomes the file's (Y1).
//
// Invariants of rows (R1, G7): rows lie within the size, and so do their ends; a block that several
// rows name is shared in all of them and does not grow; a block that its last row has lost goes to
// reclaim and is never named again.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

#include <algorithm>
#include <set>

namespace dfs::meta {
namespace {

bool mayName(Context& c, const Inode& file, uint64_t index, BlockId block, uint32_t end) {
  // The block that stands there already; or a new one, out of the sender's own ranges.
  if (c.store.isNamed(block)) {
    if (!c.store.names(block, file.ino, index)) return false;
    auto row = KJ_ASSERT_NONNULL(c.store.row(file.ino, index), "a block's row is not there");
    return !deadRow(c.store, file, index, row) && !(row.shared && end > row.end);
  }
  if (!c.store.everAllotted(block)) return false;
  if (c.store.has(Table::RECLAIM, key(block.value))) return false;
  if (!c.client) return true;
  KJ_IF_MAYBE(owner, c.store.handedOutTo(block)) {
    return *owner == c.client;
  }
  return false;
}

Errno checkRows(Context& c, const Inode& file, uint64_t size,
                capnp::List<schema::Row>::Reader rows) {
  if (rows.size() > kRowsPerPublishMax) return Errno::INVAL;
  std::set<BlockId> blocks;
  bool first = true;
  uint64_t before = 0;
  for (auto row : rows) {
    auto index = row.getIndex();
    if (!first && index <= before) return Errno::INVAL;
    first = false;
    before = index;
    if (row.getEnd() == 0 || row.getEnd() > file.blockBytes) return Errno::INVAL;
    if (index > kFileBytesMax / file.blockBytes) return Errno::INVAL;
    if (index * file.blockBytes + row.getEnd() > size) return Errno::INVAL;
    if (!blocks.insert(BlockId(row.getBlock())).second) return Errno::INVAL;
    if (!mayName(c, file, index, BlockId(row.getBlock()), row.getEnd())) return Errno::INVAL;
  }
  return Errno::OK;
}

void putRows(Context& c, Inode& file, capnp::List<schema::Row>::Reader rows) {
  for (auto row : rows) {
    RowRecord record{BlockId(row.getBlock()), row.getEnd(), false, file.cuts};
    KJ_IF_MAYBE(old, c.store.row(file.ino, row.getIndex())) {
      file.allocated -= old->end;
      if (old->block == record.block) {
        record.shared = old->shared;
      } else {
        c.store.eraseRow(file.ino, row.getIndex(), old->block, c.nowMs());
      }
    }
    file.allocated += record.end;
    c.store.putRow(file.ino, row.getIndex(), record);
  }
}

}  // namespace

std::vector<IndexedRow> rowsIn(Store& store, InodeId ino, uint64_t first, uint64_t end,
                               size_t max) {
  std::vector<IndexedRow> rows;
  auto cursor = store.from(Table::ROW, key(ino.value, first));
  for (; cursor->valid() && rows.size() < max; cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    auto index = keyNumber(cursor->key(), 1);
    if (index >= end) break;
    rows.push_back({index, RowRecord::decode(cursor->value())});
  }
  return rows;
}

bool deadRow(Store& store, const Inode& file, uint64_t index, const RowRecord& row) {
  if (!file.trimming) return false;
  KJ_IF_MAYBE(trim, store.trim(file.ino)) {
    return trim->dead(index, row);
  }
  return false;
}

void setWriteTimes(Inode& file, const Time& written) {
  // The time of the last write is what the client has been showing since then (O4): told again with
  // more rows it does not move.
  if (file.mtimeSet) {
    file.mtime = written;
    file.mtimeSet = false;
  } else if (written != file.mtime) {
    file.mtime = stamped(file.mtime, written);
  }
  if (file.ctime < file.mtime) file.ctime = file.mtime;
}

Errno applyPublish(Context& c, schema::Publish::Reader r, Answer& out) {
  KJ_IF_MAYBE(file, c.store.inode(InodeId(r.getIno()))) {
    if (file->directory()) return Errno::IS_DIR;
    if (file->kind != Kind::FILE) return Errno::INVAL;
    if (r.getSize() > kFileBytesMax) return Errno::TOO_LARGE;
    auto written = fromWire(r.getMtime());
    if (r.getSetMtime() && written.nsec >= 1'000'000'000) return Errno::INVAL;
    auto size = std::max(file->size, r.getSize());
    auto refusal = checkRows(c, *file, size, r.getRows());
    if (refusal != Errno::OK) return refusal;

    putRows(c, *file, r.getRows());
    file->size = size;
    if (r.getSetMtime()) setWriteTimes(*file, written);
    c.store.putInode(*file);
    out.ino = file->ino;
    return Errno::OK;
  }
  return Errno::STALE;
}

}  // namespace dfs::meta
