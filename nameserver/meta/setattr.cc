// chmod, chown, utimes and truncation in one command, as the kernel sends them.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {
namespace {

bool valid(const Time& t) {
  return t.nsec < 1'000'000'000;
}

Errno checkSize(Context& c, const Inode& inode, schema::Setattr::Reader r) {
  if (inode.directory()) return Errno::IS_DIR;
  if (inode.kind != Kind::FILE) return Errno::INVAL;
  if (!r.getOpenForWrite() && !c.caller.may(inode, kMayWrite)) return Errno::ACCESS;
  if (r.getSize() > kFileBytesMax) return Errno::TOO_LARGE;
  return Errno::OK;
}

Errno checkOwner(Context& c, const Inode& inode, schema::Setattr::Reader r) {
  auto set = r.getSet();
  bool owner = c.caller.uid == inode.uid;
  if (set.getUid()) {
    if (r.getUid() == UINT32_MAX) return Errno::INVAL;
    if (!c.caller.root() && !(owner && r.getUid() == inode.uid)) return Errno::PERM;
  }
  if (set.getGid()) {
    if (r.getGid() == UINT32_MAX) return Errno::INVAL;
    bool member = r.getGid() == inode.gid || c.caller.in(r.getGid());
    if (!c.caller.root() && !(owner && member)) return Errno::PERM;
  }
  return Errno::OK;
}

Errno checkTimes(Context& c, const Inode& inode, schema::Setattr::Reader r) {
  auto set = r.getSet();
  bool atime = set.getAtime() || set.getAtimeNow();
  bool mtime = set.getMtime() || set.getMtimeNow();
  if (!atime && !mtime) return Errno::OK;
  bool atimeGiven = atime && !set.getAtimeNow();
  bool mtimeGiven = mtime && !set.getMtimeNow();
  if (atimeGiven && !valid(fromWire(r.getAtime()))) return Errno::INVAL;
  if (mtimeGiven && !valid(fromWire(r.getMtime()))) return Errno::INVAL;
  if (c.caller.owns(inode)) return Errno::OK;
  // Who may write may set both times to now. One alone is a matter of the owner, but for the mtime
  // that comes along with a truncation.
  bool truncation = set.getSize();
  bool touch = !atimeGiven && !mtimeGiven && (truncation || (atime && mtime));
  if (!touch) return Errno::PERM;
  return truncation || c.caller.may(inode, kMayWrite) ? Errno::OK : Errno::ACCESS;
}

bool takesSetIdAway(Context& c, const Inode& inode, schema::Setattr::Reader r) {
  // Where the kernel does it itself it changes the mode in the name of whoever is about to write.
  uint32_t left = inode.mode & ~(r.getMode() & kModeBits);
  bool only = (r.getMode() & kModeBits & ~inode.mode) == 0 && (left & ~(kSetUid | kSetGid)) == 0;
  return only && (r.getOpenForWrite() || c.caller.may(inode, kMayWrite));
}

bool mayKeepGroup(Context& c, const Inode& inode) {
  return c.caller.root() || c.caller.in(inode.gid);
}

bool isChownOfNothing(schema::Setattr::Reader r) {
  // chown(-1, -1). A write says openForWrite.
  auto set = r.getSet();
  bool nothing = set.getMode() + set.getUid() + set.getGid() + set.getSize() + set.getAtime() +
                     set.getAtimeNow() + set.getMtime() + set.getMtimeNow() ==
                 0;
  return nothing && r.getKillSetId() && !r.getOpenForWrite();
}

Errno check(Context& c, const Inode& inode, schema::Setattr::Reader r) {
  auto set = r.getSet();
  if (set.getSize()) {
    auto refusal = checkSize(c, inode, r);
    if (refusal != Errno::OK) return refusal;
  }
  auto refusal = checkOwner(c, inode, r);
  if (refusal != Errno::OK) return refusal;
  if (set.getMode()) {
    if (inode.kind == Kind::SYMLINK) return Errno::NOT_SUP;
    if (!c.caller.owns(inode) && !takesSetIdAway(c, inode, r)) return Errno::PERM;
  }
  if (isChownOfNothing(r) && !c.caller.owns(inode) && !inode.directory()) {
    // Anybody may, where no set-id bit would go.
    auto after = inode;
    clearSetId(after, mayKeepGroup(c, inode));
    if (after.mode != inode.mode) return Errno::PERM;
  }
  return checkTimes(c, inode, r);
}

void chmodAcl(Store& store, const Inode& inode) {
  auto acl = store.accessAcl(inode.ino);
  if (acl.empty()) return;
  acl.chmod(inode.mode);
  // As many bytes as before.
  KJ_ASSERT(store.putAcl(inode.ino, kAccessAclName, acl) == Errno::OK);
}

void setModeAndOwner(Context& c, Inode& inode, schema::Setattr::Reader r) {
  auto set = r.getSet();
  bool keepsGroup = mayKeepGroup(c, inode);
  if (set.getUid()) inode.uid = r.getUid();
  if (set.getGid()) inode.gid = r.getGid();
  if (set.getMode()) {
    inode.mode = r.getMode() & kModeBits;
    if (!c.caller.root() && !c.caller.in(inode.gid)) inode.mode &= ~kSetGid;
    chmodAcl(c.store, inode);
  }
  if (inode.directory()) return;
  bool given = set.getUid() || set.getGid();
  if (given || r.getKillSetId()) clearSetId(inode, keepsGroup);
  if (given || set.getSize()) c.store.eraseXattr(inode.ino, kCapabilityName);  // there or not
}

Errno applyAccess(Context& c, Inode& inode, Answer& out) {
  // What the kernel has let somebody read needs no right here. The time comes after the others', so that the
  // rule of relatime does not ask for it again; but not after one that a program has set.
  inode.atime = stamped(inode.ctime, c.now);
  if (!inode.mtimeSet && inode.mtime > inode.atime) inode.atime = stamped(inode.mtime, c.now);
  c.store.putInode(inode);
  out.ino = inode.ino;
  return Errno::OK;
}

}  // namespace

Errno applySetattr(Context& c, schema::Setattr::Reader r, Answer& out) {
  KJ_IF_MAYBE(inode, c.store.inode(InodeId(r.getIno()))) {
    if (r.getAccess()) return applyAccess(c, *inode, out);
    auto refusal = check(c, *inode, r);
    if (refusal != Errno::OK) return refusal;

    auto set = r.getSet();
    setModeAndOwner(c, *inode, r);
    if (set.getSize()) {
      if (r.getSize() < inode->size) cutRows(c, *inode, r.getSize());
      inode->size = r.getSize();
      stampModify(*inode, c.now);
    } else {
      stampChange(*inode, c.now);
    }
    if (set.getAtimeNow()) {
      inode->atime = c.now;
    } else if (set.getAtime()) {
      inode->atime = fromWire(r.getAtime());
    }
    if (set.getMtimeNow()) {
      if (!set.getSize()) inode->mtime = inode->ctime;
      inode->mtimeSet = false;
    } else if (set.getMtime()) {
      inode->mtime = fromWire(r.getMtime());
      inode->mtimeSet = true;
    }
    c.store.putInode(*inode);
    out.ino = inode->ino;
    return Errno::OK;
  }
  return Errno::STALE;
}

}  // namespace dfs::meta
