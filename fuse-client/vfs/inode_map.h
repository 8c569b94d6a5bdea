#pragma once
// Which inodes the kernel knows, and which of them the name server keeps for us (G4).
//
// Thread: the loop's. Owner: the Client.
// Invariant: an inode is pinned here from the moment an answer said that it is used until the unpin
// after its last FORGET has been taken up.

#include "common/ids.h"

#include <rpc-schema/types.capnp.h>

#include <map>
#include <set>
#include <vector>

namespace dfs {

class InodeMap {
 public:
  void count(InodeId ino, schema::Kind kind, uint32_t blockBytes);
  bool forget(InodeId ino, uint64_t lookups);
  // True: that was the last one.
  bool inUse(InodeId ino) const { return inodes_.count(ino) != 0; }
  schema::Kind kind(InodeId ino) const;
  uint32_t blockBytes(InodeId ino) const {
    auto found = inodes_.find(ino);
    return found == inodes_.end() ? 0 : found->second.blockBytes;
  }  // 0: not known

  void pin(InodeId ino) { pinned_.insert(ino); }
  bool unpin(InodeId ino) { return pinned_.erase(ino) != 0; }
  const std::set<InodeId>& pinned() const { return pinned_; }
  void sessionEnded() { pinned_.clear(); }
  size_t size() const { return inodes_.size(); }

 private:
  struct Known {
    uint64_t lookups = 0;
    schema::Kind kind = schema::Kind::NONE;
    uint32_t blockBytes = 0;
  };
  std::map<InodeId, Known> inodes_;
  std::set<InodeId> pinned_;
};

inline void InodeMap::count(InodeId ino, schema::Kind kind, uint32_t blockBytes) {
  auto& known = inodes_[ino];
  ++known.lookups;
  known.kind = kind;
  known.blockBytes = blockBytes;
}

inline bool InodeMap::forget(InodeId ino, uint64_t lookups) {
  auto found = inodes_.find(ino);
  if (found == inodes_.end()) return false;
  if (found->second.lookups > lookups) {
    found->second.lookups -= lookups;
    return false;
  }
  inodes_.erase(found);
  return true;
}

inline schema::Kind InodeMap::kind(InodeId ino) const {
  if (ino == kRootInode) return schema::Kind::DIRECTORY;
  auto found = inodes_.find(ino);
  return found == inodes_.end() ? schema::Kind::NONE : found->second.kind;
}

}  // namespace dfs
