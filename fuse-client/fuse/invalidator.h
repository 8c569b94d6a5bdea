#pragma once
// Drops what the kernel has cached of inodes, on a thread of its own: a drop waits for pages that a READ in
// progress has locked, so it must never be made by the thread that answers READs, and no answer that such a READ
// needs may wait for it (V3). Names have a thread of their own besides: the drop of one waits for whoever works in its directory,
// who may wait for another client, which may wait for pages to be dropped here.
//
// Thread: the loop's; the notifications run on the invalidator's two. Owner: Mount; goes before the channel.

#include "fuse-client/fuse/directory_places.h"
#include "fuse-client/vfs/vfs.h"

#include <kj/async.h>
#include <kj/memory.h>

struct fuse_session;

namespace dfs {

class Invalidator final : public KernelCaches, public KernelEntries {
 public:
  explicit Invalidator(fuse_session* session);
  ~Invalidator() noexcept(false);
  // Waits for the notification that is under way. REQUIRES: requests are still answered until ended(),
  // for it may wait for one of them.

  void end();
  // Starts nothing more: what waits in line counts as done, what is under way goes on. Returns at once.
  bool ended() const;
  void setRoot(InodeId ino) { root_ = ino; }
  // The inode that is the kernel's number 1. REQUIRES: nothing has been dropped yet.

  kj::Promise<void> dropAttributes(InodeId ino) override;
  kj::Promise<void> dropPages(InodeId ino, uint64_t offset, uint64_t bytes) override;
  kj::Promise<void> storePages(InodeId ino, uint64_t offset, kj::Array<kj::byte> data) override;
  kj::Promise<void> dropEntry(InodeId parent, const std::string& name) override;

 private:
  struct Drop;
  struct Worker;
  kj::Promise<void> notify(Worker& worker, InodeId ino, Drop drop);

  kj::Own<Worker> pages_;
  kj::Own<Worker> entries_;
  InodeId root_ = kRootInode;
};

}  // namespace dfs
