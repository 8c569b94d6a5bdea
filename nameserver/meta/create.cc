// Commands that make a cluster, and that make inodes.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {
namespace {

bool device(Kind kind) {
  return kind == Kind::CHAR_DEVICE || kind == Kind::BLOCK_DEVICE;
}

Errno checkWhat(schema::Create::Reader r) {
  auto kind = r.getKind();
  if (r.getUnnamed() && kind != Kind::FILE) return Errno::INVAL;
  if (kind < Kind::FILE || kind > Kind::BLOCK_DEVICE) return Errno::INVAL;
  if (kind != Kind::SYMLINK) return Errno::OK;
  auto target = r.getTarget();
  if (target.size() == 0) return Errno::NO_ENT;
  if (target.size() > kTargetBytesMax) return Errno::NAME_TOO_LONG;
  for (auto b : target) {
    if (b == 0) return Errno::INVAL;
  }
  return Errno::OK;
}

void inherit(const Caller& caller, const Inode& parent, Inode& inode) {
  // Group and set-gid bit, as Linux does it: a directory hands both on; of a file the bit goes if
  // it would give the maker a group that he is not in.
  inode.uid = caller.uid;
  inode.gid = caller.gid;
  if ((parent.mode & kSetGid) == 0) return;
  inode.gid = parent.gid;
  if (inode.directory()) {
    inode.mode |= kSetGid;
  } else if ((inode.mode & kGroupExec) != 0 && !caller.root() && !caller.in(parent.gid)) {
    inode.mode &= ~kSetGid;
  }
}

struct Acls {
  // What a new inode has of them; empty: none.
  Acl access;
  Acl defaults;
};

Acls inheritAcls(Store& store, const Inode& parent, uint32_t umask, Inode& inode) {
  // The directory's default list decides instead of the umask, and a directory hands it on.
  if (inode.kind == Kind::SYMLINK) return {};
  Acls acls;
  acls.access = store.defaultAcl(parent.ino);
  if (acls.access.empty()) {
    inode.mode &= ~(umask & 0777);
    return {};
  }
  if (inode.directory()) acls.defaults = acls.access;
  inode.mode = acls.access.create(inode.mode);
  return acls;
}

void putAcls(Store& store, InodeId ino, const Acls& acls) {
  KJ_ASSERT(store.putAcl(ino, kAccessAclName, acls.access) == Errno::OK);
  KJ_ASSERT(store.putAcl(ino, kDefaultAclName, acls.defaults) == Errno::OK);
}

Inode newInode(Context& c, schema::Create::Reader r, InodeId ino, const Inode& parent) {
  Inode inode;
  inode.ino = ino;
  inode.kind = r.getKind();
  inode.mode = inode.kind == Kind::SYMLINK ? 0777 : r.getMode() & kModeBits;
  inherit(c.caller, parent, inode);
  inode.nlink = inode.directory() ? 2 : r.getUnnamed() ? 0 : 1;
  inode.atime = inode.mtime = inode.ctime = inode.btime = c.now;
  if (inode.directory()) inode.parent = parent.ino;
  if (device(inode.kind)) inode.rdev = r.getRdev();
  if (inode.kind == Kind::FILE) {
    inode.blockBytes = KJ_ASSERT_NONNULL(c.store.cluster()).blockBytes;
  }
  if (inode.kind == Kind::SYMLINK) {
    auto target = r.getTarget();
    inode.target.assign(reinterpret_cast<const char*>(target.begin()), target.size());
    inode.size = target.size();
  }
  return inode;
}

void addNew(Context& c, schema::Create::Reader r, InodeId ino, const Inode& parent) {
  auto inode = newInode(c, r, ino, parent);
  auto acls = inheritAcls(c.store, parent, r.getUmask(), inode);
  c.store.addInode(inode);
  putAcls(c.store, ino, acls);
}

Errno createUnnamed(Context& c, schema::Create::Reader r, const Inode& parent, Answer& out) {
  if (!c.caller.may(parent, kMayWrite)) return Errno::ACCESS;
  auto ino = checkInodeNumber(c, InodeId(r.getIno()));
  if (!ino.ok()) return ino.err();
  useInodeNumber(c.store, *ino);
  addNew(c, r, *ino, parent);
  c.store.addOrphan(*ino, true);
  out.ino = *ino;
  out.count = 1;
  return Errno::OK;
}

}  // namespace

Inode whiteoutIn(Context& c, InodeId ino, const Inode& parent) {
  Inode inode;
  inode.ino = ino;
  inode.kind = Kind::CHAR_DEVICE;
  inherit(c.caller, parent, inode);
  inode.nlink = 1;
  inode.atime = inode.mtime = inode.ctime = inode.btime = c.now;
  return inode;
}

Errno applyCreateCluster(Context& c, schema::CreateCluster::Reader r) {
  if (c.store.cluster() != nullptr) return Errno::EXIST;
  auto blockBytes = r.getBlockBytes();
  if (blockBytes == 0 || blockBytes > kBlockBytes || blockBytes % kUnitBytes != 0) {
    return Errno::INVAL;
  }
  if (r.getReplicas() > kReplicasMax || !fromWire(r.getUuid())) return Errno::INVAL;

  c.store.putMeta(MetaKey::CLUSTER,
                  ClusterRecord{fromWire(r.getUuid()), r.getReplicas(), blockBytes});
  c.store.putMeta(MetaKey::NEXT, NextRecord{kRootInode.value + 1, 1, 1});
  Inode root;
  root.ino = kRootInode;
  root.kind = Kind::DIRECTORY;
  root.mode = r.getRootMode() & kModeBits;
  root.uid = r.getRootUid();
  root.gid = r.getRootGid();
  root.nlink = 2;
  root.parent = kRootInode;
  root.atime = root.mtime = root.ctime = root.btime = c.now;
  c.store.addInode(root);
  return Errno::OK;
}

Errno applyCreate(Context& c, schema::Create::Reader r, Answer& out) {
  auto refusal = checkWhat(r);
  if (refusal != Errno::OK) return refusal;
  auto parent = searchDirectory(c, InodeId(r.getParent()));
  if (!parent.ok()) return parent.err();
  if (r.getUnnamed()) return createUnnamed(c, r, *parent, out);
  Bytes name = r.getName();
  refusal = checkName(name);
  if (refusal != Errno::OK) return refusal;
  if (lastName(name) != LastName::NORMAL) return Errno::EXIST;
  if (c.store.findName(parent->ino, name) != nullptr) return Errno::EXIST;
  if (!c.caller.may(*parent, kMayWrite)) return Errno::ACCESS;
  // A whiteout gives access to no device.
  bool whiteout = r.getKind() == Kind::CHAR_DEVICE && r.getRdev() == 0;
  if (device(r.getKind()) && !whiteout && !c.caller.root()) return Errno::PERM;
  bool directory = r.getKind() == Kind::DIRECTORY;
  if (directory && parent->nlink >= kDirectoryLinksMax) return Errno::MANY_LINKS;
  auto ino = checkInodeNumber(c, InodeId(r.getIno()));
  if (!ino.ok()) return ino.err();
  auto cookie = c.store.freeCookie(parent->ino, name);
  if (!cookie.ok()) return cookie.err();

  useInodeNumber(c.store, *ino);
  addNew(c, r, *ino, *parent);
  c.store.putName(
      parent->ino, *cookie,
      {*ino, r.getKind(), std::string(reinterpret_cast<const char*>(name.begin()), name.size())});
  if (directory) parent->nlink += 1;
  stampModify(*parent, c.now);
  c.store.putInode(*parent);
  out.ino = *ino;
  return Errno::OK;
}

}  // namespace dfs::meta
