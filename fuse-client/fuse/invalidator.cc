#include "fuse-client/fuse/invalidator.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <kj/async.h>
#include <kj/debug.h>
#include <kj/mutex.h>

namespace dfs {

struct Invalidator::Worker {
  // A thread with an event loop of its own that does what it is handed, in order.
  struct Shared {
    kj::Maybe<kj::Own<const kj::Executor>> executor;
    kj::Maybe<kj::Own<kj::CrossThreadPromiseFulfiller<void>>> end;
  };
  kj::MutexGuarded<Shared> shared;
  kj::Thread thread{[this]() {
    kj::EventLoop loop;
    kj::WaitScope scope(loop);
    auto end = kj::newPromiseAndCrossThreadFulfiller<void>();
    {
      auto locked = shared.lockExclusive();
      locked->end = kj::mv(end.fulfiller);
      locked->executor = kj::getCurrentThreadExecutor().addRef();
    }
    end.promise.wait(scope);
  }};

  const kj::Executor& executor() {
    // Waits for the thread's first steps, at the first use only.
    return shared.when(
        [](const Shared& s) { return s.executor != nullptr; },
        [](Shared& s) -> const kj::Executor& { return *KJ_ASSERT_NONNULL(s.executor); });
  }
  ~Worker() noexcept(false) {
    executor();
    KJ_ASSERT_NONNULL(shared.lockExclusive()->end)->fulfill();
  }
};

Invalidator::Invalidator(fuse_session* session) : session_(session), worker_(kj::heap<Worker>()) {}
Invalidator::~Invalidator() noexcept(false) {}

kj::Promise<void> Invalidator::notify(InodeId ino, int64_t offset, int64_t bytes) {
  return worker_->executor().executeAsync([session = session_, ino, offset, bytes]() {
    int rc = fuse_lowlevel_notify_inval_inode(session, ino.value, offset, bytes);
    // ENOENT: the kernel does not know the inode, so it has nothing of it. ENODEV, ENOTCONN: unmounted.
    if (rc != 0 && rc != -ENOENT && rc != -ENODEV && rc != -ENOTCONN && rc != -ENOSYS) {
      KJ_LOG(ERROR, "the kernel does not drop an inode's cache", ino.value, rc);
    }
  });
}

kj::Promise<void> Invalidator::dropAttributes(InodeId ino) {
  return notify(ino, -1, 0);
}

kj::Promise<void> Invalidator::dropPages(InodeId ino, uint64_t offset, uint64_t bytes) {
  return notify(ino, static_cast<int64_t>(offset), static_cast<int64_t>(bytes));
}

}  // namespace dfs
