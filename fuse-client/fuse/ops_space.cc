// Space, holes and copies within the file system.

#include "fuse-client/fuse/ops.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

namespace dfs {

Task<void> FuseOps::fallocate(Request& r, FileHandle handle, int mode, uint64_t offset,
                              uint64_t bytes) {
  // The rest (ranges taken out or put in, blocks made one's own) would move or copy what lies behind.
  bool keepSize = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  auto change = SpaceChange::ALLOCATE;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      break;
    case FALLOC_FL_PUNCH_HOLE:
      change = SpaceChange::PUNCH;
      break;
    case FALLOC_FL_ZERO_RANGE:
      change = SpaceChange::ZERO;
      break;
    default:
      r.error(Errno::NOT_SUP);
      co_return;
  }
  if (change == SpaceChange::PUNCH && !keepSize) {
    r.error(Errno::NOT_SUP);
    co_return;
  }
  auto err = co_await vfs_.fallocate(handle, change, offset, bytes, keepSize, unprivilegedOf(r));
  r.error(err);
}

Task<void> FuseOps::seek(Request& r, FileHandle handle, uint64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    r.error(Errno::INVAL);  // the kernel knows how to do the others
    co_return;
  }
  auto found = co_await vfs_.seek(handle, offset, whence == SEEK_DATA);
  if (!found.ok()) {
    r.error(found.err());
    co_return;
  }
  KJ_IF_MAYBE(at, *found) {
    r.offset(*at);
  } else {
    r.noSuchOffset();
  }
}

Task<void> FuseOps::copyRange(Request& r, FileHandle from, uint64_t fromOffset, FileHandle to,
                              uint64_t toOffset, uint64_t bytes) {
  // The answer has 32 bits.
  bytes = kj::min(bytes, uint64_t(UINT32_MAX) & ~uint64_t(kUnitBytes - 1));
  auto copied = co_await vfs_.copyRange(from, fromOffset, to, toOffset, bytes, unprivilegedOf(r));
  if (!copied.ok()) {
    r.error(copied.err());
    co_return;
  }
  r.written(*copied);
}

}  // namespace dfs
