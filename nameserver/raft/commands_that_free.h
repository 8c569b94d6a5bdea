#pragma once
// Which commands are admitted on a full disk (R5): those that give space back or end what holds it,
// and the few small ones without which the cluster could not move on.
//
// Thread: any.

#include <rpc-schema/command.capnp.h>

namespace dfs {

inline bool freesSpace(schema::Command::Reader command) {
  auto what = command.getDo();
  switch (what.which()) {
    case schema::Command::Do::UNLINK:
    case schema::Command::Do::REAP:
    case schema::Command::Do::TRIM:
    case schema::Command::Do::RECLAIMED:
    case schema::Command::Do::END_SESSION:
    case schema::Command::Do::FORGET_SESSION:
    case schema::Command::Do::DELETE_ORPHANS:
      return true;
    case schema::Command::Do::SETXATTR:
      return what.getSetxattr().getRemove();
    case schema::Command::Do::SETATTR:
      return what.getSetattr().getSet().getSize();  // a truncation; growing takes no room either
    case schema::Command::Do::PUT_NODE:
    case schema::Command::Do::PUT_CHAINS:
      return true;  // a chain must be able to change on a full disk, or its blocks are out of reach
    default:
      return false;
  }
}

}  // namespace dfs
