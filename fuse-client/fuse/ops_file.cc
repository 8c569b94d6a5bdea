#include "fuse-client/fuse/newer_requests.h"
#include "fuse-client/fuse/ops.h"

#include <fcntl.h>

namespace dfs {
namespace {

void fill(fuse_file_info& fi, const Vfs::Opened& opened) {
  fi.fh = opened.handle;
  fi.keep_cache = opened.keepCache;
  // Every close(2) has to be told, of descriptors that cannot write too: it is by FLUSH alone that POSIX
  // locks of its process end, and those of a read-only descriptor are read locks as good as any.
  fi.noflush = 0;
}

}  // namespace

Task<void> FuseOps::create(Request& r, InodeId parent, std::string name, mode_t mode,
                           fuse_file_info fi) {
  if (name == kUnnamed) name.clear();
  auto made = co_await vfs_.create(parent, kj::mv(name), mode & 07777, fi.flags, callerOf(r));
  if (!made.ok()) {
    r.error(made.err());
    co_return;
  }
  fill(fi, made->opened);
  saw(r, made->attr);
  if (r.created(toEntry(made->attr), fi)) co_return;
  vfs_.forget(made->attr.ino, 1);
  auto err = co_await vfs_.release(made->opened.handle);
  if (err != Errno::OK) KJ_LOG(WARNING, "closing a file that nobody waited for", nameOf(err));
}

Task<void> FuseOps::open(Request& r, InodeId ino, fuse_file_info fi) {
  auto opened = co_await vfs_.open(ino, fi.flags, callerOf(r));
  if (!opened.ok()) {
    r.error(opened.err());
    co_return;
  }
  fill(fi, *opened);
  if (r.opened(fi)) co_return;
  auto err = co_await vfs_.release(opened->handle);
  if (err != Errno::OK) KJ_LOG(WARNING, "closing a file that nobody waited for", nameOf(err));
}

Task<void> FuseOps::read(Request& r, FileHandle handle, uint64_t offset, uint32_t bytes) {
  auto data = co_await vfs_.read(handle, offset, bytes);
  if (!data.ok()) {
    r.error(data.err());
    co_return;
  }
  r.data(*data);
}

Task<void> FuseOps::write(Request& r, FileHandle handle, uint64_t offset, kj::Array<kj::byte> data,
                          WriteHow how) {
  kj::Maybe<Caller> unprivileged;
  if (!how.fromWriteback) unprivileged = unprivilegedOf(r);
  how.tid = r.context().pid;
  auto written = co_await vfs_.write(handle, offset, kj::mv(data), how, kj::mv(unprivileged));
  if (!written.ok()) {
    r.error(written.err());
    co_return;
  }
  r.written(*written);
}

Task<void> FuseOps::flush(Request& r, FileHandle handle, uint64_t lockOwner) {
  auto err = co_await vfs_.flush(handle);
  co_await vfs_.closeLocks(handle, lockOwner);
  r.error(err);
}

Task<void> FuseOps::release(Request& r, FileHandle handle) {
  // Nobody hears of an error here; flush and fsync have told it. A flock (flock_release) and locks of the
  // open file (OFD) go with the handle: it knows what was locked through it.
  auto err = co_await vfs_.release(handle);
  r.error(err);
}

Task<void> FuseOps::fsync(Request& r, InodeId ino, bool dataOnly, FileHandle handle) {
  auto err = co_await vfs_.fsync(ino, dataOnly, handle);
  r.error(err);
}

}  // namespace dfs
