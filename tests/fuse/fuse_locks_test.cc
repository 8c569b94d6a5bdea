// File locks at the FUSE edge.

#include "tests/fuse/fuse_world.h"

#include <fcntl.h>

namespace dfs {
namespace {

std::string lockIn(uint64_t start, uint64_t end, uint32_t type, uint32_t flags = 0) {
  fuse_lk_in lk{};
  lk.fh = 6;
  lk.owner = 99;
  lk.lk = {start, end, type, 4711};
  lk.lk_flags = flags;
  return in(lk);
}

TEST(FuseLocks, AreAskedForOfTheFileSystemAndNotOfTheKernelAlone) {
  World w;
  auto out = w.hello.as<fuse_init_out>();
  EXPECT_NE(out.flags & FUSE_POSIX_LOCKS, 0u);
  EXPECT_NE(out.flags & FUSE_FLOCK_LOCKS, 0u);
}

TEST(FuseLocks, ArriveWithOwnerRangeAndKind) {
  World w;
  EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(10, 19, F_WRLCK)).error, 0);
  EXPECT_EQ(w.vfs.last(), "lock 6 false");
  EXPECT_EQ(w.vfs.lastLock.space, LockSpace::POSIX);
  EXPECT_EQ(w.vfs.lastLock.owner, 99u);
  EXPECT_EQ(w.vfs.lastLock.kind, LockKind::WRITE);
  EXPECT_EQ(w.vfs.lastLock.span, (LockSpan{10, 19}));
  EXPECT_EQ(w.vfs.lastLock.pid, 4711u);
  constexpr uint64_t kMax = INT64_MAX;
  for (auto span : {LockSpan{0, kMax}, LockSpan{0, kMax - 1}, LockSpan{kMax, kMax}}) {
    EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(span.start, span.end, F_UNLCK)).error, 0);
    EXPECT_EQ(w.vfs.lastLock.span, span);
    EXPECT_EQ(w.vfs.lastLock.kind, LockKind::NONE);
  }
  EXPECT_EQ(w.ask(FUSE_SETLKW, 40, lockIn(0, kMax, F_RDLCK, FUSE_LK_FLOCK)).error, 0);
  EXPECT_EQ(w.vfs.last(), "lock 6 true");
  EXPECT_EQ(w.vfs.lastLock.space, LockSpace::FLOCK);
  EXPECT_EQ(w.vfs.lastLock.kind, LockKind::READ);
  EXPECT_EQ(w.vfs.lastLock.span, LockSpan());
  for (auto [ours, host] : {std::pair(Errno::AGAIN, EAGAIN), std::pair(Errno::DEAD_LOCK, EDEADLK),
                            std::pair(Errno::NO_SPACE, ENOLCK)}) {
    w.vfs.errnos.add(ours);
    EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(0, 9, F_WRLCK)).error, host);
  }
}

TEST(FuseLocks, WhatIsInTheWayIsTold) {
  World w;
  auto free = w.ask(FUSE_GETLK, 40, lockIn(0, 9, F_WRLCK)).as<fuse_lk_out>();
  EXPECT_EQ(free.lk.type, static_cast<uint32_t>(F_UNLCK));
  FileLock found;
  found.kind = LockKind::READ;
  found.span = {5, kLockEnd};
  found.pid = 77;
  w.vfs.locks.add(found);
  auto taken = w.ask(FUSE_GETLK, 40, lockIn(0, 9, F_WRLCK)).as<fuse_lk_out>();
  EXPECT_EQ(taken.lk.type, static_cast<uint32_t>(F_RDLCK));
  EXPECT_EQ(taken.lk.start, 5u);
  EXPECT_EQ(taken.lk.end, uint64_t(INT64_MAX));
  EXPECT_EQ(taken.lk.pid, 77u);
}

TEST(FuseLocks, AnySignalEndsAWaitAndNoneATry) {
  World w;
  auto held = w.vfs.errnos.hold();
  auto waiting = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  EXPECT_FALSE(w.kernel.has(waiting));
  w.kernel.interrupt(waiting);
  EXPECT_EQ(w.kernel.reply(waiting).error, EINTR);
  // An INTERRUPT that comes before what it interrupts.
  auto second = w.vfs.errnos.hold();
  w.kernel.interrupt(w.kernel.upcoming());
  auto late = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  EXPECT_EQ(w.kernel.reply(late).error, EINTR);

  auto third = w.vfs.errnos.hold();
  auto tried = w.kernel.send(FUSE_SETLK, 40, lockIn(0, 9, F_WRLCK));
  w.kernel.settle();
  w.kernel.interrupt(tried);
  w.pass(200);
  EXPECT_FALSE(w.kernel.has(tried));
  third->fulfill(Errno::OK);
  EXPECT_EQ(w.kernel.reply(tried).error, 0);
}

TEST(FuseLocks, AKilledWaiterIsAnsweredWhateverTheLockDoes) {
  World w;
  w.vfs.deafToSignals = true;
  auto held = w.vfs.errnos.hold();
  w.callers.doomed.insert(77);
  auto waiting = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  w.kernel.settle();
  w.kernel.interrupt(waiting);
  w.pass(100);
  EXPECT_EQ(w.kernel.reply(waiting).error, EINTR);
  EXPECT_FALSE(held->isWaiting());
}

TEST(FuseLocks, EachCloseOfAnyDescriptorTellsItsOwner) {
  World w;
  fuse_open_in open{};
  open.flags = O_RDONLY;
  auto opened = w.ask(FUSE_OPEN, 40, in(open)).as<fuse_open_out>();
  EXPECT_EQ(opened.open_flags & FOPEN_NOFLUSH, 0u);
  fuse_flush_in flush{};
  flush.fh = 6;
  flush.lock_owner = 99;
  w.vfs.errnos.add(Errno::IO);
  EXPECT_EQ(w.ask(FUSE_FLUSH, 40, in(flush)).error, EIO);  // and the locks go all the same
  EXPECT_EQ(w.vfs.last(), "closeLocks 6 99");
}

}  // namespace
}  // namespace dfs
