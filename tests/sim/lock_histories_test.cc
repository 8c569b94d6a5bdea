// Histories of file locks in the whole cluster: who holds, waits and loses them when clients, links and the name server fail.

#include "tests/sim/sim_cluster.h"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace dfs {
namespace {

constexpr auto kRead = LockKind::READ;
constexpr auto kWrite = LockKind::WRITE;
constexpr auto kNone = LockKind::NONE;

struct Cluster : SimCluster {
  explicit Cluster(uint32_t clients = 2)
      : SimCluster(7, {.stores = 2, .clients = clients, .replicas = 2}) {
    create();
    auto made = get(vfs(0).create(kRootInode, "f", 0644, O_RDWR | O_CREAT, {}));
    KJ_REQUIRE(made.ok());
    ino = made->attr.ino;
    handles.push_back(made->opened.handle);
    for (uint32_t i = 1; i < clients; ++i) handles.push_back(open(i));
  }
  template <typename T> T get(kj::Promise<T> promise, uint64_t ms = 60'000) {
    return KJ_REQUIRE_NONNULL(within<T>(ms, kj::mv(promise)), "it does not end");
  }
  Vfs& vfs(uint32_t i) { return *client(i).vfs; }
  FileHandle open(uint32_t i) {
    auto attr = get(vfs(i).lookup(kRootInode, "f"));
    KJ_REQUIRE(attr.ok());
    return get(vfs(i).open(attr->ino, O_RDWR, {}))->handle;
  }
  static FileLock wish(LockKind kind) {
    FileLock lock;
    lock.owner = 7;
    lock.kind = kind;
    lock.pid = 42;
    return lock;
  }
  Errno lock(uint32_t i, LockKind kind) {
    return get(vfs(i).lock(handles[i], wish(kind), false, kj::NEVER_DONE));
  }
  kj::Promise<Errno> wait(uint32_t i, LockKind kind) {
    return client(i)
        .call(vfs(i).lock(handles[i], wish(kind), true, kj::NEVER_DONE))
        .eagerlyEvaluate(nullptr);
  }
  template <typename T> bool waits(kj::Promise<T>& promise, uint64_t ms) {
    pass(ms);
    return !promise.poll(world.scope);
  }
  kj::Promise<Outcome<uint32_t>> writing(uint32_t i, std::string text) {
    auto data = kj::heapArray<kj::byte>(text.size());
    memcpy(data.begin(), text.data(), text.size());
    return vfs(i).write(handles[i], 0, kj::mv(data), {}, nullptr);
  }
  Errno write(uint32_t i, std::string text) { return get(writing(i, kj::mv(text))).err(); }
  std::string read(uint32_t i) {
    auto got = get(vfs(i).read(handles[i], 0, 100));
    if (!got.ok()) return nameOf(got.err()).cStr();
    return std::string(reinterpret_cast<const char*>(got->begin()), got->size());
  }
  InodeId ino;
  std::vector<FileHandle> handles;
};

TEST(LockHistories, S1TheLocksOfAKilledClientPassOnAtTheEndOfItsSession) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  EXPECT_EQ(c.write(0, "mine"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(kRootInode, false)), Errno::OK);
  c.killClient(0);
  auto waiting = c.wait(1, kWrite);
  EXPECT_TRUE(c.waits(waiting, 5000));
  EXPECT_FALSE(c.waits(waiting, 15'000));
  EXPECT_EQ(c.get(kj::mv(waiting)), Errno::OK);
  EXPECT_EQ(c.read(1), "mine");
}

TEST(LockHistories, AKilledWaiterLeavesTheQueue) {
  Cluster c(3);
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  auto first = c.wait(1, kWrite);
  EXPECT_TRUE(c.waits(first, 500));
  auto second = c.wait(2, kWrite);
  EXPECT_TRUE(c.waits(second, 500));
  c.killClient(1);
  EXPECT_TRUE(c.waits(second, 1000));
  EXPECT_EQ(c.lock(0, kNone), Errno::OK);
  EXPECT_EQ(c.get(kj::mv(second), 1000), Errno::OK);
}

TEST(LockHistories, S5LocksAndWaitsSurviveRestartsOfTheNameServer) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  auto waiting = c.wait(1, kRead);
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(c.waits(waiting, 1000));
    if (round == 1) {
      c.powerCutNames();
    } else {
      c.killNames();
    }
    c.pass(2000);
    c.startNames();
    EXPECT_TRUE(c.waits(waiting, 5000));
    EXPECT_EQ(c.lock(1, kRead), Errno::AGAIN);
    EXPECT_EQ(c.write(0, "held"), Errno::OK);
  }
  EXPECT_EQ(c.lock(0, kNone), Errno::OK);
  EXPECT_EQ(c.get(kj::mv(waiting), 1000), Errno::OK);
  EXPECT_EQ(c.read(1), "held");
}

TEST(LockHistories, S5NobodyIsGivenALockBeforeItsHolderHasClaimedIt) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  c.killNames();
  c.isolate(c.clientName(0));
  c.startNames();
  auto waiting = c.wait(1, kWrite);
  EXPECT_TRUE(c.waits(waiting, 6000));
  c.unisolate(c.clientName(0));
  EXPECT_TRUE(c.waits(waiting, 6000));
  EXPECT_EQ(c.write(0, "held"), Errno::OK);
  EXPECT_EQ(c.lock(0, kNone), Errno::OK);
  EXPECT_EQ(c.get(kj::mv(waiting), 1000), Errno::OK);
}

TEST(LockHistories, S5AnUnlockWhileTheNameServerIsAwayCounts) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  c.killNames();
  c.pass(8000);
  EXPECT_EQ(c.get(c.vfs(0).lock(c.handles[0], c.wish(kNone), false, kj::NEVER_DONE), 100),
            Errno::OK);
  c.startNames();
  auto waiting = c.wait(1, kWrite);
  EXPECT_EQ(c.get(kj::mv(waiting), 15'000), Errno::OK);
}

TEST(LockHistories, S3WhoWasCutOffWhileOthersWantedItsLockIsToldAndHarmsNobody) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  EXPECT_EQ(c.write(0, "old"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(kRootInode, false)), Errno::OK);
  c.isolate(c.clientName(0));
  auto late = c.client(0).call(c.writing(0, "bad")).eagerlyEvaluate(nullptr);
  EXPECT_EQ(c.get(c.wait(1, kWrite)), Errno::OK);
  EXPECT_EQ(c.write(1, "new"), Errno::OK);
  c.unisolate(c.clientName(0));
  auto answered = c.get(kj::mv(late)).err();
  EXPECT_TRUE(answered == Errno::OK || answered == Errno::IO);
  c.pass(10'000);
  EXPECT_EQ(c.read(0), "io");
  EXPECT_EQ(c.write(0, "bad"), Errno::IO);
  EXPECT_EQ(c.lock(0, kRead), Errno::AGAIN);
  EXPECT_EQ(c.read(0), "io");
  EXPECT_EQ(c.lock(1, kNone), Errno::OK);
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  // What was answered before its bytes were with the stores and is lost is told apart from that, once.
  auto flushed = c.get(c.vfs(0).flush(c.handles[0]));
  EXPECT_TRUE(flushed == Errno::IO || (flushed == Errno::OK && answered == Errno::IO));
  EXPECT_EQ(c.read(0), "new");
  EXPECT_EQ(c.write(0, "next"), Errno::OK);
  EXPECT_EQ(c.read(1), "next");
}

TEST(LockHistories, S3NothingOfAFileIsChangedThroughADescriptorThatHasLostItsLocks) {
  Cluster c;
  auto other = c.get(c.vfs(0).create(kRootInode, "g", 0644, O_RDWR | O_CREAT, {}))->opened.handle;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  c.isolate(c.clientName(0));
  EXPECT_EQ(c.get(c.wait(1, kWrite)), Errno::OK);
  EXPECT_EQ(c.write(1, "theirs"), Errno::OK);
  c.unisolate(c.clientName(0));
  c.pass(10'000);
  auto& vfs = c.vfs(0);
  for (auto change : {SpaceChange::ALLOCATE, SpaceChange::PUNCH, SpaceChange::ZERO}) {
    EXPECT_EQ(c.get(vfs.fallocate(c.handles[0], change, 0, 8192, false, nullptr)), Errno::IO);
  }
  EXPECT_EQ(c.get(vfs.copyRange(other, 0, c.handles[0], 0, 100, nullptr)).err(), Errno::IO);
  EXPECT_EQ(c.get(vfs.copyRange(c.handles[0], 0, other, 0, 100, nullptr)).err(), Errno::IO);
  SetAttr set;
  set.size = true;
  EXPECT_EQ(c.get(vfs.setattr(c.ino, set, c.handles[0], {})).err(), Errno::IO);
  EXPECT_EQ(c.read(1), "theirs");
  EXPECT_EQ(c.lock(1, kNone), Errno::OK);
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  EXPECT_EQ(c.get(vfs.flush(c.handles[0])), Errno::OK);
  EXPECT_EQ(c.get(vfs.copyRange(c.handles[0], 0, other, 0, 100, nullptr)).err(), Errno::OK);
  EXPECT_EQ(c.get(vfs.fallocate(c.handles[0], SpaceChange::PUNCH, 0, 3, true, nullptr)), Errno::OK);
  EXPECT_EQ(c.read(1), std::string("\0\0\0irs", 6));
}

TEST(LockHistories, S3WhatWasAskedUnderALockIsNotDoneByTheNextSession) {
  Cluster c;
  auto other = c.get(c.vfs(0).create(kRootInode, "g", 0644, O_RDWR | O_CREAT, {}))->opened.handle;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  EXPECT_EQ(c.write(0, "0123456789"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(kRootInode, false)), Errno::OK);
  c.isolate(c.clientName(0));
  c.pass(11'000);  // its lease is over: what comes now waits
  auto& vfs = c.vfs(0);
  auto call = [&c](auto promise) {
    return c.client(0).call(kj::mv(promise)).eagerlyEvaluate(nullptr);
  };
  auto fills = call(vfs.fallocate(c.handles[0], SpaceChange::ALLOCATE, 0, 8192, false, nullptr));
  auto punches = call(vfs.fallocate(c.handles[0], SpaceChange::PUNCH, 0, 5, true, nullptr));
  auto zeros = call(vfs.fallocate(c.handles[0], SpaceChange::ZERO, 0, 5, true, nullptr));
  auto copies = call(vfs.copyRange(c.handles[0], 0, other, 0, 100, nullptr));
  EXPECT_EQ(c.get(c.wait(1, kWrite)), Errno::OK);
  EXPECT_EQ(c.read(1), "0123456789");
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.get(kj::mv(fills)), Errno::IO);
  EXPECT_EQ(c.get(kj::mv(punches)), Errno::IO);
  EXPECT_EQ(c.get(kj::mv(zeros)), Errno::IO);
  EXPECT_EQ(c.get(kj::mv(copies)).err(), Errno::IO);
  EXPECT_EQ(c.read(1), "0123456789");
  auto attr = c.get(c.vfs(1).getattr(c.ino));
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->size, 10u);
}

TEST(LockHistories, S2ALinkThatIsDownForElevenSecondsCostsNoLockThatNobodyWanted) {
  Cluster c;
  EXPECT_EQ(c.lock(0, kWrite), Errno::OK);
  c.isolate(c.clientName(0));
  c.pass(11'000);
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.write(0, "mine"), Errno::OK);
  EXPECT_EQ(c.lock(1, kRead), Errno::AGAIN);
}

}  // namespace
}  // namespace dfs
