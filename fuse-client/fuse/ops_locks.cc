// fcntl(2) and flock(2). Which process holds a lock the kernel says by `owner`: one number for all
// descriptors of a process for POSIX locks, one for each open file for OFD locks and flocks.

#include "fuse-client/fuse/ops.h"

#include <fcntl.h>
#include <sys/file.h>

namespace dfs {
namespace {

LockKind kindOfLock(int type) {
  return type == F_RDLCK ? LockKind::READ : type == F_WRLCK ? LockKind::WRITE : LockKind::NONE;
}

}  // namespace

FileLock posixLock(const struct flock& lock, uint64_t owner) {
  // As libfuse makes it of the kernel's: from the start of the file, no length for "to the end".
  FileLock wish;
  wish.owner = owner;
  wish.kind = kindOfLock(lock.l_type);
  wish.span.start = static_cast<uint64_t>(lock.l_start);
  if (lock.l_len != 0) wish.span.end = wish.span.start + static_cast<uint64_t>(lock.l_len) - 1;
  wish.pid = static_cast<uint32_t>(lock.l_pid);
  return wish;
}

FileLock flockLock(int operation, uint64_t owner, uint32_t pid) {
  FileLock wish;
  wish.owner = owner;
  wish.space = LockSpace::FLOCK;
  if (operation & LOCK_SH) wish.kind = LockKind::READ;
  if (operation & LOCK_EX) wish.kind = LockKind::WRITE;
  wish.pid = pid;
  return wish;
}

Task<void> FuseOps::getlk(Request& r, FileHandle handle, FileLock lock) {
  auto found = co_await vfs_.testLock(handle, lock);
  if (!found.ok()) {
    r.error(found.err());
    co_return;
  }
  struct flock answer {};
  answer.l_whence = SEEK_SET;
  answer.l_type = found->kind == LockKind::READ    ? F_RDLCK
                  : found->kind == LockKind::WRITE ? F_WRLCK
                                                   : F_UNLCK;
  auto& span = found->span;
  answer.l_start = static_cast<off_t>(span.start);
  answer.l_len = span.end == kLockEnd ? 0 : static_cast<off_t>(span.end - span.start + 1);
  answer.l_pid = static_cast<pid_t>(found->pid);
  r.locked(answer);
}

Task<void> FuseOps::lock(Request& r, FileHandle handle, FileLock lock, bool wait,
                         kj::Promise<void> interrupted) {
  auto err = co_await vfs_.lock(handle, lock, wait, kj::mv(interrupted));
  if (err == Errno::NO_SPACE) {
    r.hostError(ENOLCK);
    co_return;
  }
  r.error(err);
}

}  // namespace dfs
