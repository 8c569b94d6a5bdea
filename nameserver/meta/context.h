#pragma once
// What an operation is given, and the rules that several operations share: who may do what, what a
// name may be, how times move.
//
// Thread: the loop's. Owner: a local of apply(). Every operation refuses first and writes after:
// once it has written it does not refuse any more.

#include "common/outcome.h"
#include "nameserver/meta/store.h"

#include <rpc-schema/command.capnp.h>

namespace dfs::meta {

inline constexpr uint32_t kSetUid = 04000;
inline constexpr uint32_t kSetGid = 02000;
inline constexpr uint32_t kSticky = 01000;
inline constexpr uint32_t kGroupExec = 00010;
inline constexpr uint32_t kModeBits = 07777;
inline constexpr uint32_t kMayWrite = 2;
inline constexpr uint32_t kMaySearch = 1;

struct Caller {
  Store& store;  // where lists of access rights are
  uint32_t uid;
  uint32_t gid;
  capnp::List<uint32_t>::Reader groups;

  bool root() const { return uid == 0; }
  bool in(uint32_t group) const;
  bool owns(const Inode& inode) const { return root() || uid == inode.uid; }
  bool may(const Inode& inode, uint32_t want) const;
  // By the inode's list of access rights, if it has one, else by its mode. Root may all (that needs a
  // permission here: execution is the kernel's).
  bool mayRemove(const Inode& directory, const Inode& victim) const;
  // The sticky rule alone.
};

struct Context {
  Store& store;
  Caller caller;
  Time now;
  SessionId client;

  uint64_t nowMs() const { return static_cast<uint64_t>(now.sec) * 1000 + now.nsec / 1'000'000; }
};

constexpr uint32_t kDirectoryLinksMax = 0x7fffffff;
// One for each directory in it, and two. No kLinksMax binds it: a local disk has none, either.

Outcome<Inode> searchDirectory(Context& c, InodeId ino);
// STALE: gone; NOT_DIR; ACCESS: no search permission; NO_ENT: a removed directory.

enum class LastName { NORMAL, DOT, DOT_DOT };
LastName lastName(Bytes name);
Errno checkName(Bytes name);
// NO_ENT: empty; NAME_TOO_LONG; INVAL: '/' or NUL within. Dots are the operation's matter.

Time stamped(const Time& previous, const Time& given);
// O4: later than before, and `given` if that is.
void stampChange(Inode& inode, const Time& now);  // ctime
void stampModify(Inode& inode, const Time& now);  // mtime and ctime
void clearSetId(Inode& inode, bool mayKeepGroup);
// What a write, a truncation or a chown by whom it does not trust takes away, as Linux does it: set-uid,
// and set-gid where the group may execute the file or the caller is neither root nor of that group.

// A change of two inodes that may be one and the same: both names for one object.
class InodePair {
 public:
  InodePair(Inode first, Inode second)
      : first_(kj::mv(first)), second_(kj::mv(second)), same_(first_.ino == second_.ino) {}
  KJ_DISALLOW_COPY(InodePair);
  bool same() const { return same_; }
  Inode& first() { return first_; }
  Inode& second() { return same_ ? first_ : second_; }
  void put(Store& store) {
    store.putInode(first_);
    if (!same_) store.putInode(second_);
  }

 private:
  Inode first_;
  Inode second_;
  const bool same_;
};

}  // namespace dfs::meta
