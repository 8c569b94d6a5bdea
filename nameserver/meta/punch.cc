// A hole: rows of a file go, and their bytes read as zeros. What is left of a block at either end of
// the hole is the client's to clear.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {

Errno applyPunch(Context& c, schema::Punch::Reader r, Answer& out) {
  KJ_IF_MAYBE(file, c.store.inode(InodeId(r.getIno()))) {
    if (file->directory()) return Errno::IS_DIR;
    if (file->kind != Kind::FILE) return Errno::INVAL;
    auto written = fromWire(r.getMtime());
    if (r.getFirst() > r.getEnd() || written.nsec >= 1'000'000'000) return Errno::INVAL;

    auto rows = rowsIn(c.store, file->ino, r.getFirst(), r.getEnd(), kRowsPerTrim + 1);
    out.count = rows.size() > kRowsPerTrim ? 1 : 0;
    if (out.count != 0) rows.pop_back();
    for (auto& one : rows) {
      // Dead ones too: trim looks for what is there.
      file->allocated -= one.row.end;
      c.store.eraseRow(file->ino, one.index, one.row.block, c.nowMs());
    }
    setWriteTimes(*file, written);
    if (r.getKillSetId()) clearSetId(*file, false);
    c.store.putInode(*file);
    out.ino = file->ino;
    return Errno::OK;
  }
  return Errno::STALE;
}

}  // namespace dfs::meta
