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

struct Invalidator::Drop {
  int64_t offset = 0;
  int64_t bytes = 0;
  std::string name;            // or else of the inode's own
  kj::Array<kj::byte> stored;  // or else to be put there
  fuse_ino_t node = 0;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> done;
};

struct Invalidator::Worker {
  // Not kj::Executor: whoever drops the promise of a call under way there waits for it, and here that
  // would be the loop, waiting for a page that only it can unlock.
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
    auto& name = drop.name;
    int rc = 0;
    if (drop.stored != nullptr && !drop.done->isWaiting())
      return;  // nobody answers for what it is now
    if (!name.empty()) {
      rc = fuse_lowlevel_notify_inval_entry(session, drop.node, name.c_str(), name.size());
    } else if (drop.stored != nullptr) {
      fuse_bufvec data = FUSE_BUFVEC_INIT(drop.stored.size());
      data.buf[0].mem = drop.stored.begin();
      rc = fuse_lowlevel_notify_store(session, drop.node, drop.offset, &data,
                                      fuse_buf_copy_flags(0));
    } else {
      rc = fuse_lowlevel_notify_inval_inode(session, drop.node, drop.offset, drop.bytes);
    }
    // ENOENT: the kernel does not know the inode or the name, so it has nothing of it. ENODEV, ENOTCONN: unmounted.
    if (rc != 0 && rc != -ENOENT && rc != -ENODEV && rc != -ENOTCONN && rc != -ENOSYS) {
      KJ_LOG(ERROR, "the kernel does not do as it is told with what it has cached", drop.node, rc);
    }
    drop.done->fulfill();
  }
};

Invalidator::Invalidator(fuse_session* session)
    : pages_(kj::heap<Worker>(session)), entries_(kj::heap<Worker>(session)) {}

Invalidator::~Invalidator() noexcept(false) {
  end();
}

void Invalidator::end() {
  pages_->shared.lockExclusive()->end = true;
  entries_->shared.lockExclusive()->end = true;
}

bool Invalidator::ended() const {
  return pages_->shared.lockShared()->ended && entries_->shared.lockShared()->ended;
}

kj::Promise<void> Invalidator::notify(Worker& worker, InodeId ino, Drop drop) {
  auto done = kj::newPromiseAndCrossThreadFulfiller<void>();
  auto shared = worker.shared.lockExclusive();
  if (shared->end) return kj::READY_NOW;
  drop.node = ino == root_ ? FUSE_ROOT_ID : ino.value;
  drop.done = kj::mv(done.fulfiller);
  shared->drops.push_back(kj::mv(drop));
  return kj::mv(done.promise);
}

kj::Promise<void> Invalidator::dropAttributes(InodeId ino) {
  Drop drop;
  drop.offset = -1;
  return notify(*pages_, ino, kj::mv(drop));
}

kj::Promise<void> Invalidator::dropPages(InodeId ino, uint64_t offset, uint64_t bytes) {
  Drop drop;
  drop.offset = static_cast<int64_t>(offset);
  drop.bytes = static_cast<int64_t>(bytes);
  return notify(*pages_, ino, kj::mv(drop));
}

kj::Promise<void> Invalidator::storePages(InodeId ino, uint64_t offset, kj::Array<kj::byte> data) {
  Drop drop;
  drop.offset = static_cast<int64_t>(offset);
  drop.stored = kj::mv(data);
  return notify(*pages_, ino, kj::mv(drop));
}

kj::Promise<void> Invalidator::dropEntry(InodeId parent, const std::string& name) {
  Drop drop;
  drop.name = name;
  return notify(*entries_, parent, kj::mv(drop));
}

}  // namespace dfs
