// Extended attributes: what setxattr(2) and removexattr(2) do, and lists of access rights, which are
// attributes that the mode has to agree with.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {
namespace {

Errno mayWriteUser(Context& c, const Inode& inode) {
  if (inode.kind != Kind::FILE && !inode.directory()) return Errno::PERM;
  bool sticky = inode.directory() && (inode.mode & kSticky) != 0;
  if (sticky && !c.caller.owns(inode)) return Errno::PERM;
  return c.caller.may(inode, kMayWrite) ? Errno::OK : Errno::ACCESS;
}

Errno mayChangeAcl(Context& c, const Inode& inode, bool defaults, bool removes) {
  if (inode.kind == Kind::SYMLINK) return Errno::NOT_SUP;
  if (defaults && !inode.directory()) return removes ? Errno::OK : Errno::ACCESS;
  return c.caller.owns(inode) ? Errno::OK : Errno::PERM;
}

Errno mayChange(Context& c, const Inode& inode, XattrSpace space, schema::Setxattr::Reader r) {
  switch (space) {
    case XattrSpace::USER:
      return mayWriteUser(c, inode);
    case XattrSpace::TRUSTED:
      return c.caller.root() ? Errno::OK : Errno::PERM;
    case XattrSpace::SECURITY: {
      // Whoever writes to a file takes its capabilities away, by way of the kernel that let him write.
      bool drops = r.getRemove() && bytesOf(kCapabilityName) == r.getName();
      return c.caller.root() || drops ? Errno::OK : Errno::PERM;
    }
    case XattrSpace::ACCESS_ACL:
      return mayChangeAcl(c, inode, false, r.getRemove());
    case XattrSpace::DEFAULT_ACL:
      return mayChangeAcl(c, inode, true, r.getRemove());
  }
  return Errno::NOT_SUP;
}

Errno changeAcl(Context& c, Inode& inode, std::string_view name, schema::Setxattr::Reader r) {
  Acl acl;
  if (!r.getRemove()) {
    auto parsed = Acl::parse(r.getValue());
    if (!parsed.ok()) return parsed.err();
    acl = kj::mv(*parsed);
  }
  if (acl.empty()) {
    // Not an error where there is none; the mode stays as it is.
    if (c.store.eraseXattr(inode.ino, name)) stampChange(inode, c.now);
    return Errno::OK;
  }
  auto refusal = c.store.putAcl(inode.ino, name, acl);
  if (refusal != Errno::OK) return refusal;
  if (name == kAccessAclName) {
    inode.mode = acl.toMode(inode.mode);
    if (!c.caller.root() && !c.caller.in(inode.gid)) inode.mode &= ~kSetGid;
  }
  stampChange(inode, c.now);
  return Errno::OK;
}

Errno change(Context& c, Inode& inode, std::string_view name, schema::Setxattr::Reader r) {
  bool there = c.store.xattr(inode.ino, name) != nullptr;
  if (there && r.getCreate()) return Errno::EXIST;
  if (!there && (r.getReplace() || r.getRemove())) return Errno::NO_DATA;
  if (r.getRemove()) {
    c.store.eraseXattr(inode.ino, name);
  } else {
    auto refusal = c.store.putXattr(inode.ino, name, textOf(r.getValue()));
    if (refusal != Errno::OK) return refusal;
  }
  stampChange(inode, c.now);
  return Errno::OK;
}

}  // namespace

Errno applySetxattr(Context& c, schema::Setxattr::Reader r, Answer& out) {
  auto name = textOf(r.getName());
  auto space = xattrSpace(name);
  if (!space.ok()) return space.err();
  if (r.getValue().size() > kXattrValueBytesMax || (r.getCreate() && r.getReplace())) {
    return Errno::INVAL;
  }
  KJ_IF_MAYBE(inode, c.store.inode(InodeId(r.getIno()))) {
    auto refusal = mayChange(c, *inode, *space, r);
    if (refusal != Errno::OK) return refusal;
    bool acl = *space == XattrSpace::ACCESS_ACL || *space == XattrSpace::DEFAULT_ACL;
    refusal = acl ? changeAcl(c, *inode, name, r) : change(c, *inode, name, r);
    if (refusal != Errno::OK) return refusal;
    c.store.putInode(*inode);
    out.ino = inode->ino;
    return Errno::OK;
  }
  return Errno::STALE;
}

}  // namespace dfs::meta
