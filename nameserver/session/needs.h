#pragma once
// What a command needs of leases before it is applied (G6). The one place for it:
//
//   command    inodes that no other session may hold exclusively     names it touches
//   create     none                                                  the new one, if it has one
//   link       the file                                              the new one
//   unlink     what the name stands for, if it is a file             the name
//   rename     what both names stand for, if they are files          both
//   setattr    the inode; nothing for a time of access                none
//   setxattr   the inode: a holder knows whether there are any       none
//   publish    the inode, which the sender itself must hold          none
//
// Thread: the loop's. A function of the applied state: names change, so it is asked again after
// every wait.

#include "nameserver/meta/queries.h"

#include <rpc-schema/command.capnp.h>

#include <set>

namespace dfs {

using NameKey = std::pair<InodeId, std::string>;

struct Needs {
  std::set<InodeId> free;
  std::set<NameKey> names;
  std::set<InodeId> held;  // must be held by the sender
  InodeId contents;        // whose bytes change; 0: nobody's
};

Errno checkClientCommand(schema::Command::Reader command, SessionId session);
// INVAL: not a command that a client may send, not its own, or too large for the log.
Needs needsOf(Queries& queries, schema::Command::Reader command);

}  // namespace dfs
