// fcntl record locks, POSIX's and those of open files (OFD), and flock: between processes on one mount and on two.
#include <limits>

#include "tests/posix/lock_peer.h"

namespace dfs::posix {
namespace {

constexpr off_t kMax = std::numeric_limits<off_t>::max();

struct Two : Place {
  // A file, this process with a descriptor of it, and another process with one through the other mount.
  Two() {
    makeFile(here("f"), std::string(100, 'x'));
    theirs = peer.open(there("f"));
    mine = ::open(here("f").c_str(), O_RDWR);
    EXPECT_GE(theirs, 0);
    EXPECT_GE(mine, 0);
  }
  ~Two() { ::close(mine); }
  int lock(short type, off_t start = 0, off_t length = 0, int cmd = F_SETLK) {
    auto l = range(type, start, length);
    return ::fcntl(mine, cmd, &l);
  }
  bool free(short type, off_t start, off_t length, int cmd = F_SETLK) {
    // Whether the other process gets it; gives it back.
    auto got = peer.fcntl(theirs, cmd, range(type, start, length));
    if (got.result == 0) peer.fcntl(theirs, cmd, range(F_UNLCK, start, length));
    if (got.result != 0) EXPECT_EQ(got.error, EAGAIN);
    return got.result == 0;
  }
  Peer peer;
  int theirs = -1, mine = -1;
};

// --- fcntl, POSIX ---

TEST(Locks, ReadersShareAndWritersExclude) {
  Two t;
  ASSERT_OK(t.lock(F_RDLCK, 10, 10));
  EXPECT_TRUE(t.free(F_RDLCK, 0, 0));
  EXPECT_FALSE(t.free(F_WRLCK, 19, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 10));
  EXPECT_TRUE(t.free(F_WRLCK, 20, 0));
  ASSERT_OK(t.lock(F_WRLCK, 10, 10));  // stronger
  EXPECT_FALSE(t.free(F_RDLCK, 10, 1));
  ASSERT_OK(t.lock(F_RDLCK, 10, 10));  // and weaker again
  EXPECT_TRUE(t.free(F_RDLCK, 10, 1));
  ASSERT_OK(t.lock(F_UNLCK, 0, 0));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 0));
}

TEST(Locks, GetlkTellsWhoIsInTheWay) {
  Two t;
  auto free = t.peer.fcntl(t.theirs, F_GETLK, range(F_WRLCK, 5, 50));
  EXPECT_EQ(free.lock.l_type, F_UNLCK);
  EXPECT_EQ(free.lock.l_start, 5);  // nothing else is changed
  EXPECT_EQ(free.lock.l_len, 50);
  ASSERT_OK(t.lock(F_WRLCK, 30, 5));
  ASSERT_OK(t.lock(F_RDLCK, 10, 5));
  auto second = t.peer.fcntl(t.theirs, F_GETLK, range(F_RDLCK, 0, 0));
  EXPECT_EQ(second.lock.l_type, F_WRLCK);
  EXPECT_EQ(second.lock.l_start, 30);
  EXPECT_EQ(second.lock.l_len, 5);
  EXPECT_EQ(second.lock.l_whence, SEEK_SET);
  EXPECT_EQ(second.lock.l_pid, getpid());
  auto first = t.peer.fcntl(t.theirs, F_GETLK, range(F_WRLCK, 0, 0));
  EXPECT_EQ(first.lock.l_type, F_RDLCK);
  EXPECT_EQ(first.lock.l_start, 10);
  ASSERT_OK(t.lock(F_WRLCK, 50, 0));
  auto last = t.peer.fcntl(t.theirs, F_GETLK, range(F_WRLCK, 1000, 1));
  EXPECT_EQ(last.lock.l_start, 50);
  EXPECT_EQ(last.lock.l_len, 0);
  auto own = range(F_WRLCK);
  ASSERT_OK(::fcntl(t.mine, F_GETLK, &own));
  EXPECT_EQ(own.l_type, F_UNLCK);
}

TEST(Locks, RangesAreSplitAndJoined) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, 0, 100));
  ASSERT_OK(t.lock(F_UNLCK, 40, 20));
  EXPECT_FALSE(t.free(F_RDLCK, 39, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 40, 20));
  EXPECT_FALSE(t.free(F_RDLCK, 60, 1));
  ASSERT_OK(t.lock(F_RDLCK, 20, 10));
  EXPECT_TRUE(t.free(F_RDLCK, 20, 10));
  EXPECT_FALSE(t.free(F_RDLCK, 19, 1));
  EXPECT_FALSE(t.free(F_RDLCK, 30, 1));
  ASSERT_OK(t.lock(F_WRLCK, 20, 40));
  auto whole = t.peer.fcntl(t.theirs, F_GETLK, range(F_RDLCK));
  EXPECT_EQ(whole.lock.l_start, 0);
  EXPECT_EQ(whole.lock.l_len, 100);
}

TEST(Locks, WhenceAndLengthMayBeAnything) {
  Two t;
  ASSERT_OK(lseek(t.mine, 50, SEEK_SET));
  auto current = range(F_WRLCK, -10, 5, SEEK_CUR);
  ASSERT_OK(::fcntl(t.mine, F_SETLK, &current));
  EXPECT_FALSE(t.free(F_RDLCK, 40, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 45, 0));
  ASSERT_OK(t.lock(F_UNLCK));
  auto before = range(F_WRLCK, 50, -10);
  ASSERT_OK(::fcntl(t.mine, F_SETLK, &before));
  EXPECT_FALSE(t.free(F_RDLCK, 49, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 50, 0));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 40));
  ASSERT_OK(t.lock(F_UNLCK));
  struct stat st;
  ASSERT_OK(fstat(t.mine, &st));
  auto end = range(F_WRLCK, -1, 0, SEEK_END);
  ASSERT_OK(::fcntl(t.mine, F_SETLK, &end));
  EXPECT_FALSE(t.free(F_RDLCK, 99, 1));
  EXPECT_FALSE(t.free(F_RDLCK, 100'000, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 99));
  auto negative = range(F_WRLCK, -1, 1);
  EXPECT_ERRNO(EINVAL, ::fcntl(t.mine, F_SETLK, &negative));
  auto below = range(F_WRLCK, 5, -6);
  EXPECT_ERRNO(EINVAL, ::fcntl(t.mine, F_SETLK, &below));
  auto far = range(F_WRLCK, kMax, 2);
  EXPECT_ERRNO(EOVERFLOW, ::fcntl(t.mine, F_SETLK, &far));
}

TEST(Locks, TheLastByteOfAllCanBeLocked) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, kMax, 1));
  EXPECT_FALSE(t.free(F_RDLCK, kMax, 1));
  EXPECT_FALSE(t.free(F_RDLCK, 5, 0));
  EXPECT_TRUE(t.free(F_WRLCK, 0, kMax));
  ASSERT_OK(t.lock(F_WRLCK, 0, kMax));
  ASSERT_OK(t.lock(F_UNLCK, kMax, 0));
  EXPECT_TRUE(t.free(F_WRLCK, kMax, 1));
  EXPECT_FALSE(t.free(F_WRLCK, kMax - 1, 1));
}

TEST(Locks, ALockOfTheWrongModeIsRefused) {
  Two t;
  Fd reads(::open(t.here("f").c_str(), O_RDONLY)), writes(::open(t.here("f").c_str(), O_WRONLY));
  auto read = range(F_RDLCK), write = range(F_WRLCK), none = range(99);
  EXPECT_ERRNO(EBADF, ::fcntl(reads, F_SETLK, &write));
  EXPECT_OK(::fcntl(reads, F_SETLK, &read));
  EXPECT_ERRNO(EBADF, ::fcntl(writes, F_SETLK, &read));
  EXPECT_OK(::fcntl(writes, F_SETLK, &write));
  EXPECT_ERRNO(EINVAL, ::fcntl(t.mine, F_SETLK, &none));
  Fd path(::open(t.here("f").c_str(), O_PATH));
  EXPECT_ERRNO(EBADF, ::fcntl(path, F_SETLK, &read));
  EXPECT_ERRNO(EBADF, ::flock(path, LOCK_SH));
}

TEST(Locks, SetlkwWaitsForTheUnlock) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, 0, 10));
  t.peer.startFcntl(t.theirs, F_SETLKW, range(F_RDLCK, 5, 10));
  EXPECT_FALSE(t.peer.answered(300));
  ASSERT_OK(t.lock(F_UNLCK, 0, 5));
  EXPECT_FALSE(t.peer.answered(200));
  ASSERT_OK(t.lock(F_RDLCK, 5, 5));
  EXPECT_EQ(t.peer.answer().result, 0);
  EXPECT_ERRNO(EAGAIN, t.lock(F_WRLCK, 14, 1));
}

TEST(Locks, AHandlerInterruptsAWaitUnlessItRestarts) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK));
  t.peer.onSignal(0);
  t.peer.startFcntl(t.theirs, F_SETLKW, range(F_WRLCK));
  EXPECT_FALSE(t.peer.answered(200));
  t.peer.signal(SIGUSR1);
  EXPECT_EQ(t.peer.answer().error, EINTR);
  t.peer.startFlock(t.theirs, LOCK_EX);
  EXPECT_EQ(t.peer.answer().result, 0);  // another kind of lock
  t.peer.flock(t.theirs, LOCK_UN);

  t.peer.onSignal(SA_RESTART);
  t.peer.startFcntl(t.theirs, F_SETLKW, range(F_WRLCK));
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(t.peer.answered(50));
    t.peer.signal(SIGUSR1);
  }
  EXPECT_FALSE(t.peer.answered(100));
  ASSERT_OK(t.lock(F_UNLCK));
  EXPECT_EQ(t.peer.answer().result, 0);
}

TEST(Locks, AKilledWaiterEndsAtOnceAndHoldsNobodyUp) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK));
  auto waiter = std::make_unique<Peer>();
  int fd = waiter->open(t.there("f"));
  waiter->startFcntl(fd, F_SETLKW, range(F_WRLCK));
  EXPECT_FALSE(waiter->answered(200));
  t.peer.startFcntl(t.theirs, F_SETLKW, range(F_WRLCK));
  EXPECT_FALSE(t.peer.answered(100));
  EXPECT_TRUE(waiter->kill(SIGKILL));
  EXPECT_FALSE(t.peer.answered(100));
  ASSERT_OK(t.lock(F_UNLCK));
  EXPECT_EQ(t.peer.answer().result, 0);
}

TEST(Locks, ACircleOfWaitsIsRefused) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, 0, 1));
  EXPECT_EQ(t.peer.fcntl(t.theirs, F_SETLK, range(F_WRLCK, 1, 1)).result, 0);
  t.peer.startFcntl(t.theirs, F_SETLKW, range(F_WRLCK, 0, 1));
  EXPECT_FALSE(t.peer.answered(300));
  EXPECT_ERRNO(EDEADLK, t.lock(F_WRLCK, 1, 1, F_SETLKW));
  ASSERT_OK(t.lock(F_UNLCK, 0, 1));
  EXPECT_EQ(t.peer.answer().result, 0);
}

TEST(Locks, ClosingAnyDescriptorGivesUpAllOfTheProcess) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, 0, 10));
  {
    Fd other(::open(t.here("f").c_str(), O_RDONLY));
    ASSERT_GE(other, 0);
  }
  EXPECT_TRUE(t.free(F_WRLCK, 0, 10));
  ASSERT_OK(t.lock(F_WRLCK, 0, 10));
  ::close(dup(t.mine));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 10));
}

TEST(Locks, AChildInheritsNone) {
  Two t;
  ASSERT_OK(t.lock(F_WRLCK, 0, 10));
  inChild([&]() {
    EXPECT_ERRNO(EAGAIN, t.lock(F_RDLCK, 0, 1));
    EXPECT_OK(t.lock(F_UNLCK, 0, 10));  // it has none
  });
  EXPECT_FALSE(t.free(F_RDLCK, 0, 1));  // nor has its end taken the parent's
}

TEST(Locks, TheEndOfAProcessEndsItsLocks) {
  Two t;
  EXPECT_EQ(t.peer.fcntl(t.theirs, F_SETLK, range(F_WRLCK)).result, 0);
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_EX).result, 0);
  EXPECT_ERRNO(EAGAIN, t.lock(F_RDLCK));
  EXPECT_TRUE(t.peer.kill(SIGKILL));
  EXPECT_TRUE(eventually([&]() { return t.lock(F_WRLCK) == 0; }));
  EXPECT_TRUE(eventually([&]() { return ::flock(t.mine, LOCK_EX | LOCK_NB) == 0; }));
}

TEST(Locks, ARemovedFileCanBeLocked) {
  Two t;
  ASSERT_OK(unlink(t.here("f").c_str()));
  ASSERT_OK(t.lock(F_WRLCK, 0, 10));
  EXPECT_FALSE(t.free(F_RDLCK, 0, 1));
  EXPECT_TRUE(t.free(F_WRLCK, 10, 1));
  ASSERT_OK(::flock(t.mine, LOCK_EX));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).error, EWOULDBLOCK);
}

// --- fcntl, of open files ---

TEST(Locks, OfdLocksBelongToTheOpenFile) {
  Two t;
  Fd second(::open(t.here("f").c_str(), O_RDWR));
  auto write = range(F_WRLCK, 0, 10);
  ASSERT_OK(::fcntl(t.mine, F_OFD_SETLK, &write));
  EXPECT_ERRNO(EAGAIN, ::fcntl(second, F_OFD_SETLK, &write));  // of the same process
  EXPECT_ERRNO(EAGAIN, t.lock(F_WRLCK, 0, 1));                 // POSIX ones conflict too
  EXPECT_FALSE(t.free(F_RDLCK, 9, 1, F_OFD_SETLK));
  second.close();
  EXPECT_FALSE(t.free(F_RDLCK, 9, 1));
  Fd copy(dup(t.mine));
  ::close(t.mine);
  t.mine = -1;
  EXPECT_FALSE(t.free(F_RDLCK, 9, 1));
  auto seen = t.peer.fcntl(t.theirs, F_OFD_GETLK, range(F_RDLCK));
  EXPECT_EQ(seen.lock.l_type, F_WRLCK);
  EXPECT_EQ(seen.lock.l_len, 10);
  copy.close();
  EXPECT_TRUE(eventually([&]() { return t.free(F_WRLCK, 0, 10); }));
}

TEST(Locks, OfdLocksAreWaitedForAndInterrupted) {
  Two t;
  auto write = range(F_WRLCK);
  ASSERT_OK(::fcntl(t.mine, F_OFD_SETLK, &write));
  t.peer.onSignal(0);
  t.peer.startFcntl(t.theirs, F_OFD_SETLKW, range(F_RDLCK));
  EXPECT_FALSE(t.peer.answered(200));
  t.peer.signal(SIGUSR1);
  EXPECT_EQ(t.peer.answer().error, EINTR);
  t.peer.startFcntl(t.theirs, F_OFD_SETLKW, range(F_RDLCK));
  EXPECT_FALSE(t.peer.answered(100));
  auto none = range(F_UNLCK);
  ASSERT_OK(::fcntl(t.mine, F_OFD_SETLK, &none));
  EXPECT_EQ(t.peer.answer().result, 0);
}

// --- flock ---

TEST(Locks, FlockSharesAndExcludes) {
  Two t;
  ASSERT_OK(::flock(t.mine, LOCK_SH));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH).result, 0);
  EXPECT_ERRNO(EWOULDBLOCK, ::flock(t.mine, LOCK_EX | LOCK_NB));
  t.peer.flock(t.theirs, LOCK_UN);
  ASSERT_OK(::flock(t.mine, LOCK_EX | LOCK_NB));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).error, EWOULDBLOCK);
  ASSERT_OK(::flock(t.mine, LOCK_SH));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).result, 0);
  ASSERT_OK(::flock(t.mine, LOCK_UN));
  ASSERT_OK(::flock(t.mine, LOCK_UN));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_EX | LOCK_NB).result, 0);
  EXPECT_ERRNO(EINVAL, ::flock(t.mine, 0));
}

TEST(Locks, FlockGivesUpTheOldLockForANewKind) {
  // flock(2): "the conversion is not guaranteed to be atomic: the existing lock is first removed".
  Two t;
  Fd third(::open(t.here("f").c_str(), O_RDONLY));
  ASSERT_OK(::flock(t.mine, LOCK_SH));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH).result, 0);
  EXPECT_ERRNO(EWOULDBLOCK, ::flock(t.mine, LOCK_EX | LOCK_NB));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_EX | LOCK_NB).result, 0);  // nobody else has one any more
  EXPECT_ERRNO(EWOULDBLOCK, ::flock(third, LOCK_SH | LOCK_NB));
}

TEST(Locks, FlockBelongsToTheOpenFile) {
  Two t;
  Fd second(::open(t.here("f").c_str(), O_RDONLY));
  ASSERT_OK(::flock(t.mine, LOCK_EX));
  EXPECT_ERRNO(EWOULDBLOCK, ::flock(second, LOCK_SH | LOCK_NB));
  second.close();
  ::close(dup(t.mine));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).error, EWOULDBLOCK);
  inChild([&]() { EXPECT_OK(::flock(t.mine, LOCK_SH)); });  // a child has the same lock
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).result, 0);
  t.peer.flock(t.theirs, LOCK_UN);
  inChild([&]() { EXPECT_OK(::flock(t.mine, LOCK_UN)); });
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_EX | LOCK_NB).result, 0);
  t.peer.flock(t.theirs, LOCK_UN);

  ASSERT_OK(::flock(t.mine, LOCK_EX));
  Fd copy(dup(t.mine));
  ::close(t.mine);
  t.mine = -1;
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).error, EWOULDBLOCK);
  copy.close();
  EXPECT_TRUE(eventually([&]() { return t.peer.flock(t.theirs, LOCK_EX | LOCK_NB).result == 0; }));
}

TEST(Locks, FlockWaitsAndIsInterrupted) {
  Two t;
  ASSERT_OK(::flock(t.mine, LOCK_EX));
  t.peer.onSignal(0);
  t.peer.startFlock(t.theirs, LOCK_EX);
  EXPECT_FALSE(t.peer.answered(200));
  t.peer.signal(SIGUSR1);
  EXPECT_EQ(t.peer.answer().error, EINTR);
  t.peer.onSignal(SA_RESTART);
  t.peer.startFlock(t.theirs, LOCK_SH);
  EXPECT_FALSE(t.peer.answered(100));
  t.peer.signal(SIGUSR1);
  EXPECT_FALSE(t.peer.answered(100));
  ::close(t.mine);
  t.mine = -1;
  EXPECT_EQ(t.peer.answer().result, 0);
}

TEST(Locks, FlockAndFcntlKnowNothingOfEachOther) {
  Two t;
  ASSERT_OK(::flock(t.mine, LOCK_EX));
  EXPECT_TRUE(t.free(F_WRLCK, 0, 0));
  ASSERT_OK(::flock(t.mine, LOCK_UN));
  ASSERT_OK(t.lock(F_WRLCK));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_EX | LOCK_NB).result, 0);
}

TEST(Locks, FlockOfAReadOnlyDescriptorMayBeExclusive) {
  Two t;
  Fd reads(::open(t.here("f").c_str(), O_RDONLY));
  ASSERT_OK(::flock(reads, LOCK_EX | LOCK_NB));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH | LOCK_NB).error, EWOULDBLOCK);
}

TEST(Locks, ADirectoryCanBeFlockedOnOneMount) {
  Place p;
  Fd one(::open(p.here().c_str(), O_RDONLY | O_DIRECTORY));
  Fd two(::open(p.here().c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_OK(::flock(one, LOCK_EX));
  EXPECT_ERRNO(EWOULDBLOCK, ::flock(two, LOCK_SH | LOCK_NB));
  one.close();
  EXPECT_TRUE(eventually([&]() { return ::flock(two, LOCK_EX | LOCK_NB) == 0; }));
}

// --- what they are for ---

void countUnder(const std::string& path, bool byFlock) {
  Fd fd(::open(path.c_str(), O_RDWR));
  for (int i = 0; i < 50; ++i) {
    auto write = range(F_WRLCK, 0, 8), none = range(F_UNLCK, 0, 8);
    ASSERT_OK(byFlock ? ::flock(fd, LOCK_EX) : ::fcntl(fd, F_SETLKW, &write));
    uint64_t number = 0;
    ASSERT_EQ(pread(fd, &number, sizeof number, 0), 8);
    ++number;
    ASSERT_EQ(pwrite(fd, &number, sizeof number, 0), 8);
    ASSERT_OK(byFlock ? ::flock(fd, LOCK_UN) : ::fcntl(fd, F_SETLK, &none));
  }
}

TEST(Locks, WhatIsReadUnderALockIsWhatTheLastHolderWrote) {
  for (bool byFlock : {false, true}) {
    Place p;
    makeFile(p.here("count"), std::string(8, '\0'));
    auto here = [&] { countUnder(p.here("count"), byFlock); };
    auto there = [&] { countUnder(p.there("count"), byFlock); };
    atOnce({here, there, here, there});
    auto text = contentsOf(p.there("count"));
    uint64_t number = 0;
    memcpy(&number, text.data(), sizeof number);
    EXPECT_EQ(number, 200u) << byFlock;
  }
}

TEST(Locks, AWriterIsNotStarvedByReaders) {
  DFS_ONLY();
  Two t;
  Peer second;
  int other = second.open(t.here("f"));
  EXPECT_EQ(t.peer.flock(t.theirs, LOCK_SH).result, 0);
  Peer writer;
  int fd = writer.open(t.there("f"));
  writer.startFlock(fd, LOCK_EX);
  EXPECT_FALSE(writer.answered(200));
  second.startFlock(other, LOCK_SH);  // comes later, and goes later
  EXPECT_FALSE(second.answered(200));
  t.peer.flock(t.theirs, LOCK_UN);
  EXPECT_EQ(writer.answer().result, 0);
  EXPECT_FALSE(second.answered(200));
  writer.flock(fd, LOCK_UN);
  EXPECT_EQ(second.answer().result, 0);
}

}  // namespace
}  // namespace dfs::posix
