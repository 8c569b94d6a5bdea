// Removing names: unlink and rmdir. What loses its last name becomes an orphan; `reap` frees it
// when nobody holds it (G4).

#include "nameserver/meta/operations.h"

namespace dfs::meta {

void dropName(Context& c, Inode& victim, Answer& out) {
  victim.nlink = victim.directory() ? 0 : victim.nlink - 1;
  stampChange(victim, c.now);
  c.store.putInode(victim);
  if (victim.nlink == 0) c.store.addOrphan(victim.ino);
  out.ino = victim.ino;
  out.links = victim.nlink;
}

Errno applyUnlink(Context& c, schema::Unlink::Reader r, Answer& out) {
  auto parent = searchDirectory(c, InodeId(r.getParent()));
  if (!parent.ok()) return parent.err();
  Bytes name = r.getName();
  auto refusal = checkName(name);
  if (refusal != Errno::OK) return refusal;
  auto last = lastName(name);
  if (last != LastName::NORMAL && !r.getDirectory()) return Errno::IS_DIR;
  if (last == LastName::DOT) return Errno::INVAL;
  if (last == LastName::DOT_DOT) return Errno::NOT_EMPTY;

  KJ_IF_MAYBE(found, c.store.findName(parent->ino, name)) {
    auto victim = KJ_ASSERT_NONNULL(c.store.inode(found->entry.ino), "an entry without an inode");
    if (!c.caller.may(*parent, kMayWrite)) return Errno::ACCESS;
    if (!c.caller.mayRemove(*parent, victim)) return Errno::PERM;
    if (r.getDirectory() && !victim.directory()) return Errno::NOT_DIR;
    if (!r.getDirectory() && victim.directory()) return Errno::IS_DIR;
    if (victim.directory() && !c.store.emptyDirectory(victim.ino)) return Errno::NOT_EMPTY;

    c.store.eraseName(parent->ino, found->cookie, victim.ino);
    if (victim.directory()) parent->nlink -= 1;
    stampModify(*parent, c.now);
    c.store.putInode(*parent);
    dropName(c, victim, out);
    return Errno::OK;
  }
  return Errno::NO_ENT;
}

}  // namespace dfs::meta
