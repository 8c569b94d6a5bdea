// What many clients lock at once: byte ranges of a file.

#include "tests/sim/shared_workload.h"

namespace dfs {

Task<void> SharedWorkload::lockSome(uint32_t client, uint32_t id) {
  constexpr uint64_t kLockBytes = 8;
  auto& c = cluster_.client(client);
  FileLock lock;
  lock.owner = id + 1;
  lock.kind = random_.chance(50) ? LockKind::READ : LockKind::WRITE;
  lock.space = random_.chance(30) ? LockSpace::FLOCK : LockSpace::POSIX;
  lock.pid = id;
  if (lock.space == LockSpace::POSIX) {
    lock.span.start = random_.below(kLockBytes);
    lock.span.end = random_.between(lock.span.start, kLockBytes);
  }
  bool wait = random_.chance(60);
  auto what = c.machine + " lock " + std::to_string(lock.span.start) + "-" +
              std::to_string(lock.span.end) + (lock.kind == LockKind::READ ? " read" : " write") +
              (lock.space == LockSpace::FLOCK ? " flock" : "") + (wait ? ", waits" : "");
  now_[id] = what;
  auto handle = mounts_[client].handles[kFiles];
  Locked mine{client, lossesOf_[client], lock.span, lock.kind};
  auto err = co_await c.call(c.vfs->lock(handle, lock, wait, kj::NEVER_DONE));
  if (!wait && err == Errno::AGAIN) co_return;
  result(client, what, err, false);
  if (err != Errno::OK) co_return;
  auto& holders = locked_[lock.space == LockSpace::FLOCK];
  for (auto& [other, theirs] : holders) {
    bool cutOff = theirs.losses != lossesOf_[theirs.client] || lost_[theirs.client] > 0;
    if (cutOff || !theirs.span.overlaps(mine.span) || !conflict(theirs.kind, mine.kind)) continue;
    journal_.fail(what + ": and worker " + std::to_string(other) + " of client " +
                  std::to_string(theirs.client) + " holds it");
  }
  holders.emplace(id, mine);
  KJ_DEFER(locked_[lock.space == LockSpace::FLOCK].erase(id));
  co_await c.call(cluster_.world.time.timer.afterDelay(random_.between(0, 500) * kj::MILLISECONDS));
  now_[id] = what + ", and unlock";
  lock.kind = LockKind::NONE;
  locked_[lock.space == LockSpace::FLOCK].erase(id);
  err = co_await c.call(c.vfs->lock(handle, lock, false, kj::NEVER_DONE));
  result(client, what + ", and unlock", err, false);
}

}  // namespace dfs
