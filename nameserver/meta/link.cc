// Another name for an inode.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {

Errno applyLink(Context& c, schema::Link::Reader r, Answer& out) {
  KJ_IF_MAYBE(inode, c.store.inode(InodeId(r.getIno()))) {
    auto parent = searchDirectory(c, InodeId(r.getParent()));
    if (!parent.ok()) return parent.err();
    Bytes name = r.getName();
    auto refusal = checkName(name);
    if (refusal != Errno::OK) return refusal;
    if (lastName(name) != LastName::NORMAL) return Errno::EXIST;
    if (c.store.findName(parent->ino, name) != nullptr) return Errno::EXIST;
    if (!c.caller.may(*parent, kMayWrite)) return Errno::ACCESS;
    if (inode->directory()) return Errno::PERM;
    bool unnamed = inode->nlink == 0;
    if (unnamed && !c.store.isUnnamed(inode->ino)) return Errno::NO_ENT;
    if (inode->nlink >= kLinksMax) return Errno::MANY_LINKS;
    auto cookie = c.store.freeCookie(parent->ino, name);
    if (!cookie.ok()) return cookie.err();

    if (unnamed) c.store.eraseOrphan(inode->ino);
    inode->nlink += 1;
    stampChange(*inode, c.now);
    c.store.putInode(*inode);
    c.store.putName(parent->ino, *cookie,
                    {inode->ino, inode->kind,
                     std::string(reinterpret_cast<const char*>(name.begin()), name.size())});
    stampModify(*parent, c.now);
    c.store.putInode(*parent);
    out.ino = inode->ino;
    return Errno::OK;
  }
  return Errno::STALE;
}

}  // namespace dfs::meta
