// File locks of a mount: what it claims, repeats and gives back when connections, callers and sessions go.

#include "fuse-client/vfs/client_world.h"

namespace dfs::fake {
namespace {

FileLock posix(uint64_t owner, LockKind kind, uint64_t start = 0, uint64_t end = kLockEnd) {
  FileLock lock;
  lock.owner = owner;
  lock.kind = kind;
  lock.span = {start, end};
  lock.pid = 77;
  return lock;
}
FileLock flockOf(uint64_t owner, LockKind kind) {
  auto lock = posix(owner, kind);
  lock.space = LockSpace::FLOCK;
  return lock;
}
constexpr auto kRead = LockKind::READ;
constexpr auto kWrite = LockKind::WRITE;
constexpr auto kNone = LockKind::NONE;

struct Locked : World {
  Mount b{world, "b"};
  Vfs::Created made = a.create("f");
  FileHandle h = made.opened.handle;
  FileHandle theirs = b.open("f");

  Errno lock(Mount& m, FileHandle handle, FileLock wish) {
    return world.wait(m.vfs->lock(handle, wish, false, kj::NEVER_DONE));
  }
  kj::Promise<Errno> wait(Mount& m, FileHandle handle, FileLock wish,
                          kj::Promise<void> interrupted = kj::NEVER_DONE) {
    return m.vfs->lock(handle, wish, true, kj::mv(interrupted)).eagerlyEvaluate(nullptr);
  }
  template <typename T> bool waits(kj::Promise<T>& promise, uint64_t ms = 200) {
    world.pass(ms);
    return !promise.poll(world.scope);
  }
  void restartNames() {
    cluster.stopNames();
    world.pass(50);
    forgetLocks();
    cluster.serve();
    world.pass(3000);
  }
  void forgetLocks() {
    cluster.locks.held.clear();  // memory only
    for (auto& [id, session] : cluster.sessions) cluster.locks.unclaimed.insert(id);
  }
  void endSessions() {
    std::vector<uint64_t> ids;
    for (auto& [id, session] : cluster.sessions) ids.push_back(id);
    for (auto id : ids) cluster.endSession(id);
  }
};

TEST(Locks, OwnersExcludeEachOtherOnOneMountAndOnTwo) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, posix(2, kRead, 9, 9)), Errno::AGAIN);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 0)), Errno::AGAIN);
  auto found = w.world.wait(w.b.vfs->testLock(w.theirs, posix(1, kRead)));
  EXPECT_EQ(found->kind, kWrite);
  EXPECT_EQ(found->span, (LockSpan{0, 9}));
  EXPECT_EQ(found->pid, 77u);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kWrite)), Errno::OK);  // another space
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone)), Errno::OK);
  EXPECT_EQ(w.world.wait(w.b.vfs->testLock(w.theirs, posix(1, kWrite)))->kind, kNone);
}

TEST(Locks, ACloseTakesThePosixLocksOfItsOwnerAndTheLastOneTheRest) {
  Locked w;
  auto second = w.a.open("f");
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, second, posix(8, kWrite, 20, 29)), Errno::OK);  // OFD: of that open file
  EXPECT_EQ(w.lock(w.a, second, flockOf(8, kRead)), Errno::OK);
  // Through another descriptor than it was taken with.
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(second)), Errno::OK);
  w.world.wait(w.a.vfs->closeLocks(second, 1));
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 20, 20)), Errno::AGAIN);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kWrite)), Errno::AGAIN);
  EXPECT_EQ(w.world.wait(w.a.vfs->release(second)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 20, 20)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kWrite)), Errno::OK);
}

TEST(Locks, ALateReleaseDoesNotTakeWhatItsProcessHasLockedAnewElsewhere) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite)), Errno::OK);
  w.world.wait(w.a.vfs->closeLocks(w.h, 1));
  auto second = w.a.open("f");
  EXPECT_EQ(w.lock(w.a, second, posix(1, kWrite)), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->release(w.h)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead)), Errno::AGAIN);
}

TEST(Locks, AnInterruptedWaitEndsAtOnceAndLeavesTheQueue) {
  Locked w;
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite)), Errno::OK);
  auto signal = kj::newPromiseAndFulfiller<void>();
  auto waiting = w.wait(w.a, w.h, posix(1, kWrite), kj::mv(signal.promise));
  EXPECT_TRUE(w.waits(waiting));
  EXPECT_EQ(w.cluster.locks.waiting, 1u);
  signal.fulfiller->fulfill();
  EXPECT_FALSE(w.waits(waiting, 20));
  EXPECT_EQ(w.world.wait(kj::mv(waiting)), Errno::INTR);
  EXPECT_EQ(w.cluster.locks.waiting, 0u);
}

TEST(Locks, AnInterruptedWaitEndsSoonAlsoWhenNobodyHearsOfItAndIsGivenBackLater) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kRead, 5, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 0, 4)), Errno::OK);
  w.cluster.locks.deaf = true;
  auto signal = kj::newPromiseAndFulfiller<void>();
  auto waiting = w.wait(w.a, w.h, posix(1, kWrite, 0, 9), kj::mv(signal.promise));
  EXPECT_TRUE(w.waits(waiting));
  signal.fulfiller->fulfill();
  EXPECT_TRUE(w.waits(waiting, kLockCancelMs - 100));
  EXPECT_FALSE(w.waits(waiting, 200));
  EXPECT_EQ(w.world.wait(kj::mv(waiting)), Errno::INTR);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kNone)), Errno::OK);  // now it is given, to nobody
  w.world.pass(500);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 0, 4)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 5, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 5, 9)), Errno::AGAIN);  // what it had before
}

TEST(Locks, AWaitWhoseCallerIsKilledLeavesTheQueue) {
  Locked w;
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kWrite)), Errno::OK);
  auto waiting = w.wait(w.a, w.h, flockOf(1, kWrite));
  EXPECT_TRUE(w.waits(waiting));
  waiting = nullptr;
  w.world.pass(100);
  EXPECT_EQ(w.cluster.locks.waiting, 0u);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kNone)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(2, kWrite)), Errno::OK);
}

TEST(Locks, AreClaimedAfterARestartAndWaitsAreAskedForAgain) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, flockOf(1, kRead)), Errno::OK);
  auto waiting = w.wait(w.b, w.theirs, posix(1, kRead, 9, 9));
  EXPECT_TRUE(w.waits(waiting));
  w.restartNames();
  EXPECT_TRUE(w.waits(waiting));
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kWrite)), Errno::AGAIN);
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(waiting)), Errno::OK);
  EXPECT_EQ(w.a.write(w.h, 0, "still"), Errno::OK);
}

TEST(Locks, UnlockingDoesNotWaitForANameServerThatIsAway) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 20, 29)), Errno::OK);
  w.cluster.stopNames();
  w.world.pass(8000);
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone, 0, 9)), Errno::OK);
  w.forgetLocks();
  w.cluster.serve();
  w.world.pass(3000);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 20, 29)), Errno::AGAIN);
}

TEST(Locks, AnAnswerThatIsLostChangesNothingWhicheverItWas) {
  Locked w;
  w.cluster.locks.loseAnswers = 1;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 0)), Errno::AGAIN);
  w.cluster.locks.loseAnswers = 1;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone, 0, 4)), Errno::OK);
  w.world.pass(3000);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 0, 4)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 5, 5)), Errno::AGAIN);
  // A repeat of the unlocking does not undo what came after it.
  w.cluster.locks.loseAnswers = 1;
  auto first =
      w.a.vfs->lock(w.h, posix(1, kNone, 5, 9), false, kj::NEVER_DONE).eagerlyEvaluate(nullptr);
  auto second =
      w.a.vfs->lock(w.h, posix(1, kWrite, 7, 8), false, kj::NEVER_DONE).eagerlyEvaluate(nullptr);
  EXPECT_EQ(w.world.wait(kj::mv(second)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(first)), Errno::OK);
  w.world.pass(3000);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 7, 7)), Errno::AGAIN);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 5, 6)), Errno::OK);
}

TEST(Locks, AnotherThreadUnlocksWhileOneOfItsProcessWaits) {
  // For the same range: the wait is called back, and asked for again afterwards.
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 4)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 5, 9)), Errno::OK);
  auto waiting = w.wait(w.a, w.h, posix(1, kWrite, 0, 9));
  EXPECT_TRUE(w.waits(waiting));
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 4)), Errno::OK);
  EXPECT_TRUE(w.waits(waiting));
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kNone)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(waiting)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 0)), Errno::AGAIN);
}

TEST(Locks, ARefusedExchangeForAWeakerOneLeavesTheStrongerOneClaimed) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kWrite, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kWrite, 15, 15)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kRead, 0, 19)), Errno::AGAIN);
  w.restartNames();
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 0)), Errno::AGAIN);
}

TEST(Locks, S3WhoLosesLocksWithTheSessionIsToldUntilItLocksAnewOrCloses) {
  Locked w;
  auto plain = w.a.open("f");
  EXPECT_EQ(w.a.write(w.h, 0, "mine"), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(w.made.attr.ino, false, w.h)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, flockOf(1, kWrite)), Errno::OK);
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kRead, 3, 3)), Errno::OK);
  w.endSessions();
  w.world.pass(15'000);
  EXPECT_EQ(w.lock(w.b, w.theirs, flockOf(1, kRead)), Errno::OK);
  EXPECT_EQ(w.a.read(w.h, 0, 4).err(), Errno::IO);
  EXPECT_EQ(w.a.write(w.h, 0, "late"), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(w.h)), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(w.made.attr.ino, false, w.h)), Errno::IO);
  EXPECT_EQ(*w.a.read(plain, 0, 4), "mine");  // it had no lock
  EXPECT_EQ(w.lock(w.a, w.h, flockOf(1, kRead)), Errno::OK);
  EXPECT_EQ(w.a.read(w.h, 0, 4).err(), Errno::IO);  // the other one
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kNone)), Errno::OK);
  EXPECT_EQ(*w.a.read(w.h, 0, 4), "mine");
}

TEST(Locks, S3AWriteThatWaitedUnderALostLockIsNotMadeByTheNextSession) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, flockOf(1, kWrite)), Errno::OK);
  EXPECT_EQ(w.b.write(w.theirs, 0, "theirs"), Errno::OK);  // it holds the file exclusively
  w.cluster.stopNames();
  w.world.pass(8000);
  auto late = w.a.writing(w.h, 0, "late").eagerlyEvaluate(nullptr);
  EXPECT_TRUE(w.waits(late));
  w.endSessions();
  w.cluster.serve();
  EXPECT_EQ(w.world.wait(kj::mv(late)).err(), Errno::IO);
}

TEST(Locks, S3AWaitUnderALostLockFailsAndOneWithoutIsAskedForAgain) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, posix(1, kRead, 0, 9)), Errno::OK);
  EXPECT_EQ(w.lock(w.b, w.theirs, posix(1, kRead, 0, 9)), Errno::OK);
  auto upgrade = w.wait(w.a, w.h, posix(1, kWrite, 0, 9));
  auto other = w.wait(w.a, w.h, posix(2, kWrite, 0, 9));
  EXPECT_TRUE(w.waits(upgrade));
  w.endSessions();
  w.world.pass(15'000);
  EXPECT_EQ(w.world.wait(kj::mv(upgrade)), Errno::IO);
  EXPECT_EQ(w.world.wait(kj::mv(other)), Errno::OK);
}

TEST(Locks, ClaimsThatAreRefusedEndTheSession) {
  Locked w;
  EXPECT_EQ(w.lock(w.a, w.h, flockOf(1, kWrite)), Errno::OK);
  w.cluster.stopNames();
  w.world.pass(50);
  w.cluster.locks.refuseClaims = true;
  w.cluster.serve();
  w.world.pass(3000);
  EXPECT_EQ(w.a.read(w.h, 0, 4).err(), Errno::IO);
}

}  // namespace
}  // namespace dfs::fake
