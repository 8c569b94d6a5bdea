#pragma once
// Drops what the kernel has cached of inodes, on a thread of its own: a drop waits for pages that a READ in
// progress has locked, so it must never be made by the thread that answers READs, and no answer that such a READ
// needs may wait for it (V3).
//
// Thread: the loop's; the notifications run on the invalidator's. Owner: Mount; goes before the channel.

#include "fuse-client/vfs/vfs.h"

#include <kj/thread.h>

struct fuse_session;

namespace dfs {

class Invalidator final : public KernelCaches {
 public:
  explicit Invalidator(fuse_session* session);
  ~Invalidator() noexcept(false);
  // Waits for the notification that is under way: unmount first, then the kernel lets it go.

  kj::Promise<void> dropAttributes(InodeId ino) override;
  kj::Promise<void> dropPages(InodeId ino, uint64_t offset, uint64_t bytes) override;

 private:
  kj::Promise<void> notify(InodeId ino, int64_t offset, int64_t bytes);

  fuse_session* session_;
  struct Worker;
  kj::Own<Worker> worker_;
};

}  // namespace dfs
