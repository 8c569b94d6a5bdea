#include "fuse-client/fuse/newer_requests.h"
#include "fuse-client/fuse/ops.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kStatBlockBytes = 512;
constexpr uint32_t kFragmentBytes = 4096;

timespec toHost(const Time& t) {
  return {t.sec, t.nsec};
}

}  // namespace

mode_t typeBits(schema::Kind kind) {
  switch (kind) {
    case schema::Kind::FILE:
      return S_IFREG;
    case schema::Kind::DIRECTORY:
      return S_IFDIR;
    case schema::Kind::SYMLINK:
      return S_IFLNK;
    case schema::Kind::FIFO:
      return S_IFIFO;
    case schema::Kind::SOCKET:
      return S_IFSOCK;
    case schema::Kind::CHAR_DEVICE:
      return S_IFCHR;
    case schema::Kind::BLOCK_DEVICE:
      return S_IFBLK;
    case schema::Kind::NONE:
      break;
  }
  return 0;
}

schema::Kind kindOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
      return schema::Kind::FILE;
    case S_IFDIR:
      return schema::Kind::DIRECTORY;
    case S_IFLNK:
      return schema::Kind::SYMLINK;
    case S_IFIFO:
      return schema::Kind::FIFO;
    case S_IFSOCK:
      return schema::Kind::SOCKET;
    case S_IFCHR:
      return schema::Kind::CHAR_DEVICE;
    case S_IFBLK:
      return schema::Kind::BLOCK_DEVICE;
    default:
      return schema::Kind::NONE;
  }
}

mode_t modeOf(const Attr& attr) {
  return typeBits(attr.kind) | (attr.mode & 07777);
}

struct stat toStat(const Attr& attr) {
  struct stat st {};
  st.st_ino = attr.ino.value;
  st.st_mode = modeOf(attr);
  st.st_nlink = attr.nlink;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_rdev = attr.rdev;
  st.st_size = static_cast<off_t>(attr.size);
  // What a hole is aligned to, and the best size of a read or write.
  st.st_blksize = std::max(attr.blockBytes, kFragmentBytes);
  auto units = (attr.allocated + kUnitBytes - 1) / kUnitBytes;
  st.st_blocks = static_cast<blkcnt_t>(units * (kUnitBytes / kStatBlockBytes));
  st.st_atim = toHost(attr.atime);
  st.st_mtim = toHost(attr.mtime);
  st.st_ctim = toHost(attr.ctime);
  return st;
}

fuse_entry_param toEntry(const Attr& attr) {
  fuse_entry_param e{};
  e.ino = attr.ino.value;
  e.attr = toStat(attr);
  return e;
}

Task<void> FuseOps::getattr(Request& r, InodeId ino, kj::Maybe<FileHandle> toRead) {
  Outcome<Attr> attr = Errno::IO;
  KJ_IF_MAYBE(handle, toRead) {
    attr = co_await vfs_.getattrToRead(ino, *handle);
  } else {
    attr = co_await vfs_.getattr(ino);
  }
  if (!attr.ok()) {
    r.error(attr.err());
    co_return;
  }
  saw(r, *attr);
  r.attr(toStat(*attr));
}

Task<void> FuseOps::statx(Request& r, InodeId ino) {
  auto attr = co_await vfs_.getattr(ino);
  if (!attr.ok()) {
    r.error(attr.err());
    co_return;
  }
  auto answer = statxAnswer(toStat(*attr), toHost(attr->btime));
  r.data(kj::arrayPtr(reinterpret_cast<const kj::byte*>(&answer), sizeof answer));
}

Task<void> FuseOps::setattr(Request& r, InodeId ino, SetAttr set, kj::Maybe<FileHandle> handle) {
  auto attr = co_await vfs_.setattr(ino, kj::mv(set), kj::mv(handle), callerOf(r));
  if (!attr.ok()) {
    r.error(attr.err());
    co_return;
  }
  saw(r, *attr);
  r.attr(toStat(*attr));
}

Task<void> FuseOps::statfs(Request& r) {
  auto stat = co_await vfs_.statfs();
  if (!stat.ok()) {
    r.error(stat.err());
    co_return;
  }
  struct statvfs st {};
  st.f_bsize = kFragmentBytes;
  st.f_frsize = kFragmentBytes;
  st.f_blocks = stat->bytes / kFragmentBytes;
  st.f_bfree = st.f_bavail = stat->bytesFree / kFragmentBytes;
  st.f_files = stat->inodes;
  st.f_ffree = st.f_favail = stat->inodesFree;
  st.f_namemax = stat->nameBytesMax;
  r.statfs(st);
}

}  // namespace dfs
