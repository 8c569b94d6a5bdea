// rename(2) with its flags. Refusals in the order in which Linux gives them.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {
namespace {

std::string text(Bytes name) {
  return std::string(reinterpret_cast<const char*>(name.begin()), name.size());
}

bool within(Store& store, InodeId directory, InodeId ancestor) {
  // Is `ancestor` this directory or above it? The tree has no cycles, so the walk ends at the root.
  while (true) {
    if (directory == ancestor) return true;
    if (directory == kRootInode) return false;
    directory = KJ_ASSERT_NONNULL(store.inode(directory), "a directory without its parent").parent;
  }
}

Errno mayDelete(Context& c, const Inode& directory, const Inode& victim, bool asDirectory) {
  if (!c.caller.may(directory, kMayWrite)) return Errno::ACCESS;
  if (!c.caller.mayRemove(directory, victim)) return Errno::PERM;
  if (asDirectory && !victim.directory()) return Errno::NOT_DIR;
  if (!asDirectory && victim.directory()) return Errno::IS_DIR;
  return Errno::OK;
}

struct Ends {
  // Both ends of a rename, as they stand before it.
  InodePair parents;
  Inode source;
  uint64_t fromCookie;
  kj::Maybe<Inode> target;
  uint64_t toCookie;  // the target's, or where the new name will stand

  Inode& from() { return parents.first(); }
  Inode& to() { return parents.second(); }
};

Errno checkTree(Context& c, Ends& e, bool exchange) {
  if (e.source.directory() && !e.parents.same() && within(c.store, e.to().ino, e.source.ino)) {
    return Errno::INVAL;
  }
  KJ_IF_MAYBE(target, e.target) {
    if (target->directory() && !e.parents.same() && within(c.store, e.from().ino, target->ino)) {
      return exchange ? Errno::INVAL : Errno::NOT_EMPTY;
    }
  }
  return Errno::OK;
}

Errno checkRights(Context& c, Ends& e, bool exchange) {
  auto& caller = c.caller;
  auto refusal = mayDelete(c, e.from(), e.source, e.source.directory());
  if (refusal != Errno::OK) return refusal;
  bool targetDirectory = false;
  KJ_IF_MAYBE(target, e.target) {
    targetDirectory = target->directory();
    refusal = mayDelete(c, e.to(), *target, exchange ? targetDirectory : e.source.directory());
    if (refusal != Errno::OK) return refusal;
  } else if (!caller.may(e.to(), kMayWrite)) {
    return Errno::ACCESS;
  }
  if (e.parents.same()) return Errno::OK;
  // A directory that moves is itself written: its `..` changes.
  if (e.source.directory() && !caller.may(e.source, kMayWrite)) return Errno::ACCESS;
  if (exchange && targetDirectory) {
    KJ_IF_MAYBE(target, e.target) {
      if (!caller.may(*target, kMayWrite)) return Errno::ACCESS;
    }
  }
  if (e.source.directory() && !targetDirectory && e.to().nlink >= kDirectoryLinksMax) {
    return Errno::MANY_LINKS;
  }
  if (exchange && !e.source.directory() && targetDirectory &&
      e.from().nlink >= kDirectoryLinksMax) {
    return Errno::MANY_LINKS;
  }
  return Errno::OK;
}

void move(Context& c, Ends& e, Bytes toName, Answer& out) {
  c.store.eraseName(e.from().ino, e.fromCookie, e.source.ino);
  if (e.source.directory()) e.from().nlink -= 1;
  KJ_IF_MAYBE(target, e.target) {
    c.store.eraseName(e.to().ino, e.toCookie, target->ino);
    if (target->directory()) e.to().nlink -= 1;
    dropName(c, *target, out);
  }
  c.store.putName(e.to().ino, e.toCookie, {e.source.ino, e.source.kind, text(toName)});
  if (e.source.directory()) {
    e.to().nlink += 1;
    e.source.parent = e.to().ino;
  }
  stampChange(e.source, c.now);
  c.store.putInode(e.source);
}

void leaveWhiteout(Context& c, Ends& e, InodeId ino, Bytes fromName) {
  // The old name's cookie is free again, and the same name has it.
  useInodeNumber(c.store, ino);
  auto whiteout = whiteoutIn(c, ino, e.from());
  c.store.addInode(whiteout);
  c.store.putName(e.from().ino, e.fromCookie, {ino, whiteout.kind, text(fromName)});
}

void exchangeNames(Context& c, Ends& e, Inode& target, Bytes fromName, Bytes toName) {
  c.store.eraseName(e.from().ino, e.fromCookie, e.source.ino);
  c.store.eraseName(e.to().ino, e.toCookie, target.ino);
  c.store.putName(e.to().ino, e.toCookie, {e.source.ino, e.source.kind, text(toName)});
  c.store.putName(e.from().ino, e.fromCookie, {target.ino, target.kind, text(fromName)});
  if (e.source.directory()) {
    e.from().nlink -= 1;
    e.to().nlink += 1;
    e.source.parent = e.to().ino;
  }
  if (target.directory()) {
    e.to().nlink -= 1;
    e.from().nlink += 1;
    target.parent = e.from().ino;
  }
  stampChange(e.source, c.now);
  stampChange(target, c.now);
  c.store.putInode(e.source);
  c.store.putInode(target);
}

Errno checkNames(schema::Rename::Reader r) {
  if (r.getExchange() && (r.getNoReplace() || r.getWhiteout())) return Errno::INVAL;
  auto refusal = checkName(r.getFromName());
  if (refusal != Errno::OK) return refusal;
  refusal = checkName(r.getToName());
  if (refusal != Errno::OK) return refusal;
  if (lastName(r.getFromName()) != LastName::NORMAL) return Errno::BUSY;
  if (lastName(r.getToName()) != LastName::NORMAL) {
    return r.getNoReplace() ? Errno::EXIST : Errno::BUSY;
  }
  return Errno::OK;
}

}  // namespace

Errno applyRename(Context& c, schema::Rename::Reader r, Answer& out) {
  auto fromParent = searchDirectory(c, InodeId(r.getFromParent()));
  if (!fromParent.ok()) return fromParent.err();
  auto toParent = searchDirectory(c, InodeId(r.getToParent()));
  if (!toParent.ok()) return toParent.err();
  auto refusal = checkNames(r);
  if (refusal != Errno::OK) return refusal;
  Bytes fromName = r.getFromName();
  Bytes toName = r.getToName();

  auto maybeFrom = c.store.findName(fromParent->ino, fromName);
  if (maybeFrom == nullptr) return Errno::NO_ENT;
  auto& foundFrom = KJ_ASSERT_NONNULL(maybeFrom);
  auto source = KJ_ASSERT_NONNULL(c.store.inode(foundFrom.entry.ino), "an entry without an inode");
  auto maybeTo = c.store.findName(toParent->ino, toName);
  if (maybeTo != nullptr && r.getNoReplace()) return Errno::EXIST;
  if (maybeTo == nullptr && r.getExchange()) return Errno::NO_ENT;

  Ends e{{kj::mv(*fromParent), kj::mv(*toParent)}, kj::mv(source), foundFrom.cookie, nullptr, 0};
  KJ_IF_MAYBE(found, maybeTo) {
    e.target = KJ_ASSERT_NONNULL(c.store.inode(found->entry.ino), "an entry without an inode");
    e.toCookie = found->cookie;
  }
  refusal = checkTree(c, e, r.getExchange());
  if (refusal != Errno::OK) return refusal;
  KJ_IF_MAYBE(target, e.target) {
    if (target->ino == e.source.ino) return Errno::OK;  // two names of one inode: nothing happens
  }
  refusal = checkRights(c, e, r.getExchange());
  if (refusal != Errno::OK) return refusal;
  auto whiteout = checkInodeNumber(c, InodeId());
  if (!whiteout.ok()) return whiteout.err();
  KJ_IF_MAYBE(target, e.target) {
    if (r.getExchange()) {
      exchangeNames(c, e, *target, fromName, toName);
    } else {
      if (target->directory() && !c.store.emptyDirectory(target->ino)) return Errno::NOT_EMPTY;
      move(c, e, toName, out);
    }
  } else {
    auto cookie = c.store.freeCookie(e.to().ino, toName);
    if (!cookie.ok()) return cookie.err();
    e.toCookie = *cookie;
    move(c, e, toName, out);
  }
  if (r.getWhiteout()) leaveWhiteout(c, e, *whiteout, fromName);
  stampModify(e.from(), c.now);
  if (!e.parents.same()) stampModify(e.to(), c.now);
  e.parents.put(c.store);
  return Errno::OK;
}

}  // namespace dfs::meta
