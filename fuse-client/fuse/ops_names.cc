#include "fuse-client/fuse/ops.h"

#include <stdio.h>

namespace dfs {

void FuseOps::replyEntry(Request& r, Outcome<Attr> made, InodeId parent, const std::string& name) {
  if (!made.ok()) return r.error(made.err());
  saw(r, *made);
  if (made->kind == schema::Kind::DIRECTORY) places_.told(made->ino, parent, name);
  auto entry = toEntry(*made);
  entry.ino = node(made->ino);
  if (!r.entry(entry)) vfs_.forget(made->ino, 1);
}

Task<void> FuseOps::lookup(Request& r, InodeId parent, std::string name) {
  if (places_.dropping()) co_await places_.dropped();
  auto found = co_await vfs_.lookup(parent, name);
  replyEntry(r, kj::mv(found), parent, name);
}

Task<void> FuseOps::mknod(Request& r, InodeId parent, std::string name, mode_t mode, dev_t rdev) {
  auto kind = kindOf(mode);
  if (kind == schema::Kind::NONE || kind == schema::Kind::DIRECTORY ||
      kind == schema::Kind::SYMLINK) {
    r.error(Errno::INVAL);
    co_return;
  }
  auto made = co_await vfs_.mknod(parent, name, kind, mode & 07777, rdev, callerOf(r));
  replyEntry(r, kj::mv(made), parent, name);
}

Task<void> FuseOps::mkdir(Request& r, InodeId parent, std::string name, mode_t mode) {
  auto made = co_await vfs_.mkdir(parent, name, mode & 07777, callerOf(r));
  replyEntry(r, kj::mv(made), parent, name);
}

Task<void> FuseOps::symlink(Request& r, std::string target, InodeId parent, std::string name) {
  auto made = co_await vfs_.symlink(parent, name, kj::mv(target), callerOf(r));
  replyEntry(r, kj::mv(made), parent, name);
}

Task<void> FuseOps::link(Request& r, InodeId ino, InodeId parent, std::string name) {
  auto made = co_await vfs_.link(ino, parent, name, callerOf(r));
  replyEntry(r, kj::mv(made), parent, name);
}

Task<void> FuseOps::unlink(Request& r, InodeId parent, std::string name) {
  auto err = co_await vfs_.unlink(parent, kj::mv(name), callerOf(r));
  r.error(err);
}

Task<void> FuseOps::rmdir(Request& r, InodeId parent, std::string name) {
  auto err = co_await vfs_.rmdir(parent, kj::mv(name), callerOf(r));
  r.error(err);
}

Task<void> FuseOps::rename(Request& r, InodeId from, std::string fromName, InodeId to,
                           std::string toName, uint32_t flags) {
  auto err = co_await vfs_.rename(from, fromName, to, toName, flags, callerOf(r));
  if (err == Errno::OK) places_.renamed(from, fromName, to, toName, flags & RENAME_EXCHANGE);
  r.error(err);
}

Task<void> FuseOps::readlink(Request& r, InodeId ino) {
  auto target = co_await vfs_.readlink(ino);
  if (!target.ok()) {
    r.error(target.err());
    co_return;
  }
  r.link(target->c_str());
}

}  // namespace dfs
