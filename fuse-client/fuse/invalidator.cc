#include "fuse-client/fuse/invalidator.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <kj/async.h>
#include <kj/debug.h>
#include <kj/mutex.h>
#include <kj/thread.h>

#include <deque>

namespace dfs {

struct Invalidator::Worker {
  // Not kj::Executor: whoever drops the promise of a call under way there waits for it, and here that
  // would be the loop, waiting for a page that only it can unlock.
  struct Drop {
    fuse_ino_t node;
    int64_t offset;
    int64_t bytes;
    kj::Own<kj::CrossThreadPromiseFulfiller<void>> done;
  };
  struct Shared {
    std::deque<Drop> drops;
    bool end = false;
    bool ended = false;
  };

  fuse_session* session;
  kj::MutexGuarded<Shared> shared;
  kj::Thread thread;

  explicit Worker(fuse_session* s) : session(s), thread([this]() { work(); }) {}

  void work() {
    for (;;) {
      auto next = shared.when([](const Shared& s) { return s.end || !s.drops.empty(); },
                              [](Shared& s) -> kj::Maybe<Drop> {
                                if (s.end) {
                                  // The kernel's caches go with the mount.
                                  for (auto& d : s.drops) d.done->fulfill();
                                  s.drops.clear();
                                  s.ended = true;
                                  return nullptr;
                                }
                                auto drop = kj::mv(s.drops.front());
                                s.drops.pop_front();
                                return kj::mv(drop);
                              });
      KJ_IF_MAYBE(drop, next) {
        notify(*drop);
      } else {
        return;
      }
    }
  }

  void notify(Drop& drop) {
    int rc = fuse_lowlevel_notify_inval_inode(session, drop.node, drop.offset, drop.bytes);
    // ENOENT: the kernel does not know the inode, so it has nothing of it. ENODEV, ENOTCONN: unmounted.
    if (rc != 0 && rc != -ENOENT && rc != -ENODEV && rc != -ENOTCONN && rc != -ENOSYS) {
      KJ_LOG(ERROR, "the kernel does not drop an inode's cache", drop.node, rc);
    }
    drop.done->fulfill();
  }
};

Invalidator::Invalidator(fuse_session* session) : worker_(kj::heap<Worker>(session)) {}

Invalidator::~Invalidator() noexcept(false) {
  end();
}

void Invalidator::end() {
  worker_->shared.lockExclusive()->end = true;
}

bool Invalidator::ended() const {
  return worker_->shared.lockShared()->ended;
}

kj::Promise<void> Invalidator::notify(InodeId ino, int64_t offset, int64_t bytes) {
  auto done = kj::newPromiseAndCrossThreadFulfiller<void>();
  auto shared = worker_->shared.lockExclusive();
  if (shared->end) return kj::READY_NOW;
  auto node = ino == root_ ? FUSE_ROOT_ID : ino.value;
  shared->drops.push_back({node, offset, bytes, kj::mv(done.fulfiller)});
  return kj::mv(done.promise);
}

kj::Promise<void> Invalidator::dropAttributes(InodeId ino) {
  return notify(ino, -1, 0);
}

kj::Promise<void> Invalidator::dropPages(InodeId ino, uint64_t offset, uint64_t bytes) {
  return notify(ino, static_cast<int64_t>(offset), static_cast<int64_t>(bytes));
}

}  // namespace dfs
