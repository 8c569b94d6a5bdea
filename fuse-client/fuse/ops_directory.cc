#include "fuse-client/fuse/ops.h"

#include <algorithm>
#include <vector>

namespace dfs {
namespace {

constexpr uint32_t kEntryBytesLeast = 32;  // of one in a listing without attributes
constexpr uint32_t kPlusBytesLeast = 160;  // with them

}  // namespace

Task<void> FuseOps::opendir(Request& r, InodeId ino, fuse_file_info fi) {
  auto opened = co_await vfs_.opendir(ino);
  if (!opened.ok()) {
    r.error(opened.err());
    co_return;
  }
  fi.fh = *opened;
  if (!r.opened(fi)) vfs_.releasedir(*opened);
}

Task<void> FuseOps::readdir(Request& r, InodeId ino, DirHandle handle, uint64_t cookie,
                            size_t bytes, bool plus) {
  uint32_t most = static_cast<uint32_t>(bytes / (plus ? kPlusBytesLeast : kEntryBytesLeast)) + 1;
  most = std::min(most, kDirEntriesPerAnswerMax);
  auto listed = co_await vfs_.readdir(ino, handle, cookie, most, plus);
  if (!listed.ok()) {
    r.error(listed.err());
    co_return;
  }
  auto buffer = kj::heapArray<char>(bytes);
  size_t used = 0;
  bool full = false;
  std::vector<InodeId> given;  // a lookup of each
  for (auto& entry : *listed) {
    fuse_entry_param e{};
    // Without an inode number the kernel takes the entry as a name only.
    e.attr.st_ino = entry.ino.value;
    e.attr.st_mode = typeBits(entry.kind);
    bool counted = false;
    KJ_IF_MAYBE(attr, entry.attr) {
      counted = entry.name != "." && entry.name != "..";
      if (counted) e = toEntry(*attr);
    }
    size_t room = bytes - used;
    size_t size = 0;
    if (!full) {
      auto at = buffer.begin() + used;
      auto next = static_cast<off_t>(entry.cookie);
      size = plus ? fuse_add_direntry_plus(r.raw(), at, room, entry.name.c_str(), &e, next)
                  : fuse_add_direntry(r.raw(), at, room, entry.name.c_str(), &e.attr, next);
    }
    full = full || size > room;
    if (full) {
      if (counted) vfs_.forget(entry.ino, 1);
    } else {
      used += size;
      if (counted) given.push_back(entry.ino);
      bool directory = counted && entry.kind == schema::Kind::DIRECTORY;
      if (directory) places_.told(entry.ino, ino, entry.name);
    }
  }
  if (r.listed(buffer.slice(0, used))) co_return;
  for (auto child : given) vfs_.forget(child, 1);
}

}  // namespace dfs
