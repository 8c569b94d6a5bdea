#include "nameserver/session/needs.h"

#include "common/limits.h"

namespace dfs {
namespace {

using Do = schema::Command::Do;

NameKey nameKey(uint64_t parent, capnp::Data::Reader name) {
  return {InodeId(parent), std::string(reinterpret_cast<const char*>(name.begin()), name.size())};
}

void addVictim(Queries& queries, Needs& needs, uint64_t parent, capnp::Data::Reader name) {
  needs.names.insert(nameKey(parent, name));
  auto found = queries.lookup(InodeId(parent), name);
  // A name that is not there, or a parent that is none, is refused at apply.
  if (found.ok() && found->kind == schema::Kind::FILE) needs.free.insert(found->ino);
}

bool namespaceCommand(Do::Which which) {
  switch (which) {
    case Do::CREATE:
    case Do::LINK:
    case Do::UNLINK:
    case Do::RENAME:
    case Do::SETATTR:
    case Do::PUBLISH:
    case Do::PUNCH:
    case Do::CLONE:
    case Do::SETXATTR:
      return true;
    default:
      return false;
  }
}

}  // namespace

Errno checkClientCommand(schema::Command::Reader command, SessionId session) {
  if (!namespaceCommand(command.getDo().which())) return Errno::INVAL;
  auto request = fromWire(command.getRequest());
  if (request.client != session.value || request.sequence == 0) return Errno::INVAL;
  if (command.getCredentials().getGroups().size() > kGroupsMax) return Errno::INVAL;
  if (command.totalSize().wordCount * sizeof(capnp::word) > kEntryBytesMax - 4096) {
    return Errno::INVAL;
  }
  return Errno::OK;
}

Needs needsOf(Queries& queries, schema::Command::Reader command) {
  Needs needs;
  auto what = command.getDo();
  switch (what.which()) {
    case Do::CREATE: {
      auto r = what.getCreate();
      if (r.getUnnamed()) break;
      needs.names.insert(nameKey(r.getParent(), r.getName()));
      break;
    }
    case Do::LINK: {
      auto r = what.getLink();
      needs.free.insert(InodeId(r.getIno()));
      needs.names.insert(nameKey(r.getParent(), r.getName()));
      break;
    }
    case Do::UNLINK: {
      auto r = what.getUnlink();
      addVictim(queries, needs, r.getParent(), r.getName());
      break;
    }
    case Do::RENAME: {
      auto r = what.getRename();
      addVictim(queries, needs, r.getFromParent(), r.getFromName());
      addVictim(queries, needs, r.getToParent(), r.getToName());
      break;
    }
    case Do::SETATTR: {
      auto r = what.getSetattr();
      if (r.getAccess()) break;
      needs.free.insert(InodeId(r.getIno()));
      if (r.getSet().getSize()) needs.contents = InodeId(r.getIno());
      break;
    }
    case Do::SETXATTR:
      needs.free.insert(InodeId(what.getSetxattr().getIno()));
      break;
    case Do::PUBLISH: {
      InodeId ino(what.getPublish().getIno());
      needs.free.insert(ino);
      needs.held = {ino};
      needs.contents = ino;
      break;
    }
    case Do::PUNCH: {
      InodeId ino(what.getPunch().getIno());
      needs.free.insert(ino);
      needs.held = {ino};
      needs.contents = ino;
      break;
    }
    case Do::CLONE: {
      // Both held, so that it never waits for anybody: two that copy crosswise would for ever (G9).
      InodeId from(what.getClone().getFrom());
      needs.contents = InodeId(what.getClone().getTo());
      needs.free = needs.held = {from, needs.contents};
      break;
    }
    default:
      break;
  }
  return needs;
}

}  // namespace dfs
