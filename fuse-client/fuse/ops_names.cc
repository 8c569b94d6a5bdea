#include "fuse-client/fuse/ops.h"

namespace dfs {

void FuseOps::replyEntry(Request& r, Outcome<Attr> made) {
  if (!made.ok()) return r.error(made.err());
  saw(r, *made);
  auto entry = toEntry(*made);
  entry.ino = node(made->ino);
  if (!r.entry(entry)) vfs_.forget(made->ino, 1);
}

Task<void> FuseOps::lookup(Request& r, InodeId parent, std::string name) {
  auto found = co_await vfs_.lookup(parent, kj::mv(name));
  replyEntry(r, kj::mv(found));
}

Task<void> FuseOps::mknod(Request& r, InodeId parent, std::string name, mode_t mode, dev_t rdev) {
  auto kind = kindOf(mode);
  if (kind == schema::Kind::NONE || kind == schema::Kind::DIRECTORY ||
      kind == schema::Kind::SYMLINK) {
    r.error(Errno::INVAL);
    co_return;
  }
  auto made = co_await vfs_.mknod(parent, kj::mv(name), kind, mode & 07777, rdev, callerOf(r));
  replyEntry(r, kj::mv(made));
}

Task<void> FuseOps::mkdir(Request& r, InodeId parent, std::string name, mode_t mode) {
  auto made = co_await vfs_.mkdir(parent, kj::mv(name), mode & 07777, callerOf(r));
  replyEntry(r, kj::mv(made));
}

Task<void> FuseOps::symlink(Request& r, std::string target, InodeId parent, std::string name) {
  auto made = co_await vfs_.symlink(parent, kj::mv(name), kj::mv(target), callerOf(r));
  replyEntry(r, kj::mv(made));
}

Task<void> FuseOps::link(Request& r, InodeId ino, InodeId parent, std::string name) {
  auto made = co_await vfs_.link(ino, parent, kj::mv(name), callerOf(r));
  replyEntry(r, kj::mv(made));
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
  auto err = co_await vfs_.rename(from, kj::mv(fromName), to, kj::mv(toName), flags, callerOf(r));
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
