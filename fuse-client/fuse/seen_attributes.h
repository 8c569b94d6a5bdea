#pragma once
// What each thread was last told of an inode, so that what the kernel asks next of its extended attributes needs no RPC.
//
// Where the caller is not the owner, a check of permissions is a GETATTR and then, in the same call and by the same thread, a
// GETXATTR of the access list; reading a user.* attribute begins with such a check too. If the attributes said that the inode has no
// extended attributes, there is nothing to ask for.
//
// Thread: the loop's. Owner: FuseOps.
// Invariants:
//   1. An entry is the last answer to that thread; its next request but a GETXATTR ends it.
//   2. It counts for nothing once this mount has changed extended attributes after the thread asked.
// An fgetxattr of an access list after an fstat is answered so too: as fresh as that fstat, as it would be from the kernel's own
// cache of such lists.

#include "common/ids.h"

#include <unordered_map>

namespace dfs {

class SeenAttributes {
 public:
  void asks(int32_t tid) {
    // Anything but GETXATTR. Thread 0 is any of another pid namespace.
    if (tid == 0) return;
    if (threads_.size() >= kThreadsMax && threads_.count(tid) == 0) threads_.clear();
    threads_[tid] = {InodeId(), changes_};
  }
  void told(int32_t tid, InodeId ino, bool xattrs) {
    auto found = threads_.find(tid);
    if (found != threads_.end()) found->second.lacks = xattrs ? InodeId() : ino;
  }
  void changed() { ++changes_; }
  // Before the change is answered.
  bool lacksXattrs(int32_t tid, InodeId ino) const {
    auto found = threads_.find(tid);
    return found != threads_.end() && found->second.lacks == ino &&
           found->second.changes == changes_;
  }

 private:
  static constexpr size_t kThreadsMax = 1024;
  struct Seen {
    InodeId lacks;
    uint64_t changes;  // when it was asked
  };
  uint64_t changes_ = 0;
  std::unordered_map<int32_t, Seen> threads_;
};

}  // namespace dfs
