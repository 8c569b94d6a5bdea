// See context.h.

#include "nameserver/meta/context.h"

#include "common/limits.h"

#include <algorithm>

namespace dfs::meta {

bool Caller::in(uint32_t group) const {
  if (group == gid) return true;
  for (auto g : groups) {
    if (g == group) return true;
  }
  return false;
}

bool Caller::may(const Inode& inode, uint32_t want) const {
  if (root()) return true;
  return permits(
      {inode.mode, inode.uid, inode.gid}, store.accessAcl(inode.ino), uid,
      [this](uint32_t group) { return in(group); }, want);
}

bool Caller::mayRemove(const Inode& directory, const Inode& victim) const {
  if ((directory.mode & kSticky) == 0) return true;
  return owns(directory) || owns(victim);
}

Outcome<Inode> searchDirectory(Context& c, InodeId ino) {
  KJ_IF_MAYBE(inode, c.store.inode(ino)) {
    if (!inode->directory()) return Errno::NOT_DIR;
    if (!c.caller.may(*inode, kMaySearch)) return Errno::ACCESS;
    if (inode->nlink == 0) return Errno::NO_ENT;
    return kj::mv(*inode);
  }
  return Errno::STALE;
}

LastName lastName(Bytes name) {
  if (name.size() == 1 && name[0] == '.') return LastName::DOT;
  if (name.size() == 2 && name[0] == '.' && name[1] == '.') return LastName::DOT_DOT;
  return LastName::NORMAL;
}

Errno checkName(Bytes name) {
  if (name.size() == 0) return Errno::NO_ENT;
  if (name.size() > kNameBytesMax) return Errno::NAME_TOO_LONG;
  for (auto b : name) {
    if (b == '/' || b == 0) return Errno::INVAL;
  }
  return Errno::OK;
}

Time stamped(const Time& previous, const Time& given) {
  if (given > previous) return given;
  if (previous.nsec + 1 < 1'000'000'000) return {previous.sec, previous.nsec + 1};
  return {previous.sec + 1, 0};
}

void stampChange(Inode& inode, const Time& now) {
  inode.ctime = stamped(inode.ctime, now);
}

void stampModify(Inode& inode, const Time& now) {
  inode.mtime = inode.mtimeSet ? now : stamped(inode.mtime, now);
  inode.mtimeSet = false;
  stampChange(inode, now);
}

void clearSetId(Inode& inode, bool mayKeepGroup) {
  inode.mode &= ~kSetUid;
  if ((inode.mode & kGroupExec) != 0 || !mayKeepGroup) inode.mode &= ~kSetGid;
}

}  // namespace dfs::meta
