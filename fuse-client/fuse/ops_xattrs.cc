#include "common/xattr.h"

#include "fuse-client/fuse/ops.h"

#include <sys/xattr.h>

namespace dfs {

Task<void> FuseOps::setxattr(Request& r, InodeId ino, std::string name, kj::Array<kj::byte> value,
                             int flags) {
  auto replace = Vfs::Replace::EITHER;
  if (flags == XATTR_CREATE) replace = Vfs::Replace::CREATE;
  if (flags == XATTR_REPLACE) replace = Vfs::Replace::REPLACE;
  if (flags != 0 && replace == Vfs::Replace::EITHER) {
    r.error(Errno::INVAL);
    co_return;
  }
  auto err = co_await vfs_.setxattr(ino, kj::mv(name), kj::mv(value), replace, callerOf(r));
  seen_.changed();
  r.error(err);
}

Task<void> FuseOps::getxattr(Request& r, InodeId ino, std::string name, size_t room) {
  auto space = xattrSpace(name);
  bool checked = space.ok() && *space != XattrSpace::TRUSTED && *space != XattrSpace::SECURITY;
  if (checked && seen_.lacksXattrs(r.context().pid, ino)) {
    r.error(Errno::NO_DATA);
    co_return;
  }
  auto value = co_await vfs_.getxattr(ino, kj::mv(name));
  if (!value.ok()) {
    r.error(value.err());
  } else if (room == 0) {
    r.room(value->size());
  } else if (value->size() > room) {
    r.error(Errno::RANGE);
  } else {
    r.data(*value);
  }
}

Task<void> FuseOps::listxattr(Request& r, InodeId ino, size_t room) {
  auto names = co_await vfs_.listxattr(ino, callerOf(r, false));
  if (!names.ok()) {
    r.error(names.err());
    co_return;
  }
  std::string list;
  for (auto& name : *names) list.append(name).push_back('\0');
  if (room == 0) {
    r.room(list.size());
  } else if (list.size() > room) {
    r.error(Errno::RANGE);
  } else {
    r.data(kj::arrayPtr(reinterpret_cast<const kj::byte*>(list.data()), list.size()));
  }
}

Task<void> FuseOps::removexattr(Request& r, InodeId ino, std::string name) {
  auto err = co_await vfs_.removexattr(ino, kj::mv(name), callerOf(r));
  seen_.changed();
  r.error(err);
}

}  // namespace dfs
