// Histories of the whole cluster by name, each the one that a rule of the protocols prevents.

#include "tests/sim/sim_cluster.h"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace dfs {
namespace {

struct Cluster : SimCluster {
  explicit Cluster(SimShape shape = {.stores = 2, .clients = 2, .replicas = 2})
      : SimCluster(7, shape) {
    create();
  }
  template <typename T> T get(kj::Promise<T> promise, uint64_t ms = 60'000) {
    return KJ_REQUIRE_NONNULL(within<T>(ms, kj::mv(promise)), "it does not end");
  }
  Vfs& vfs(uint32_t i) { return *client(i).vfs; }
  Vfs::Created make(uint32_t i, const char* name) {
    auto made = get(vfs(i).create(kRootInode, name, 0644, O_RDWR | O_CREAT, {}));
    KJ_REQUIRE(made.ok());
    return *made;
  }
  FileHandle open(uint32_t i, const char* name) {
    auto attr = get(vfs(i).lookup(kRootInode, name));
    KJ_REQUIRE(attr.ok());
    return get(vfs(i).open(attr->ino, O_RDWR, {}))->handle;
  }
  kj::Promise<Outcome<uint32_t>> writing(uint32_t i, FileHandle h, std::string text) {
    auto data = kj::heapArray<kj::byte>(text.size());
    memcpy(data.begin(), text.data(), text.size());
    return vfs(i).write(h, 0, kj::mv(data), false, false, nullptr);
  }
  Errno write(uint32_t i, FileHandle h, std::string text) {
    return get(writing(i, h, kj::mv(text))).err();
  }
  std::string read(uint32_t i, FileHandle h) {
    auto got = get(vfs(i).read(h, 0, 100));
    if (!got.ok()) return nameOf(got.err()).cStr();
    return std::string(reinterpret_cast<const char*>(got->begin()), got->size());
  }
  void killServers() {
    killNames();
    for (uint32_t i = 0; i < stores(); ++i) killStore(i);
  }
  void restartAfterPowerCut() {
    powerCutAll();
    startAll();
    ASSERT_TRUE(waitHealthy(120'000)) << trouble();
  }
};

TEST(Histories, Y1WhatAnotherClientHasReadSurvivesThePowerCutOfEverything) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "seen"), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "seen");
  c.restartAfterPowerCut();
  EXPECT_EQ(c.read(1, c.open(1, "f")), "seen");
}

TEST(Histories, Y2KilledServersLoseNothingThatWasAcknowledged) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "kept"), Errno::OK);
  c.killServers();
  c.pass(1000);
  c.startAll();
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3APowerCutOfAllStoresBeforeFsyncIsToldByFsync) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "gone"), Errno::OK);
  for (uint32_t i = 0; i < 2; ++i) c.powerCutStore(i);
  c.startAll();
  // Either it is still there, or the loss is told.
  auto err = c.get(c.vfs(0).fsync(made.attr.ino, false));
  auto flushed = c.get(c.vfs(0).flush(made.opened.handle));
  bool told = err != Errno::OK || flushed != Errno::OK;
  c.restartAfterPowerCut();
  EXPECT_TRUE(told || c.read(1, c.open(1, "f")) == "gone");
}

TEST(Histories, Y3AKilledStoreCostsNoError) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "kept"), Errno::OK);
  c.killStore(0);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).flush(made.opened.handle)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3StoresThatAreKilledOneAfterTheOtherCostNoError) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "kept"), Errno::OK);
  c.killServers();
  c.startNames();
  c.startStore(1);
  c.pass(20'000);
  c.startStore(0);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, X1AMutationWhoseAnswerWasLostWithTheNameServerHappensOnce) {
  Cluster c;
  c.world.network.cut("names", c.clientName(0));
  auto made = c.vfs(0).mkdir(kRootInode, "d", 0755, {}).eagerlyEvaluate(nullptr);
  c.pass(500);
  EXPECT_FALSE(made.poll(c.world.scope));
  EXPECT_TRUE(c.get(c.vfs(1).lookup(kRootInode, "d")).ok());
  c.pass(8000);  // the client gives the silent connection up, and the answer on it
  c.killNames();
  c.world.network.healAll();
  c.startNames();
  EXPECT_EQ(c.get(kj::mv(made)).err(), Errno::OK);
}

TEST(Histories, S2ALinkThatIsDownForElevenSecondsCostsNothingThatNobodyElseWanted) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "mine"), Errno::OK);
  c.isolate(c.clientName(0));
  c.pass(11'000);
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "mine");
}

TEST(Histories, S3AClientThatIsCutOffWhileItsFileIsWantedIsToldAndServesOn) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "lost"), Errno::OK);
  c.isolate(c.clientName(0));
  auto other = c.open(1, "f");
  EXPECT_EQ(c.read(1, other), "");
  EXPECT_EQ(c.write(1, other, "next"), Errno::OK);
  c.unisolate(c.clientName(0));
  auto err = c.get(c.vfs(0).fsync(made.attr.ino, false));
  auto flushed = c.get(c.vfs(0).flush(made.opened.handle));
  EXPECT_TRUE(err == Errno::IO || flushed == Errno::IO);
  EXPECT_EQ(c.read(0, c.open(0, "f")), "next");
}

TEST(Histories, S5AnUnlinkAfterARestartWaitsForTheClaimOfAnotherClient) {
  // The other one holds the file and its unsynced bytes; they are whole after the restart.
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "held"), Errno::OK);
  c.killNames();
  c.isolate(c.clientName(0));
  c.startNames();
  auto unlink = c.vfs(1).unlink(kRootInode, "f", {}).eagerlyEvaluate(nullptr);
  c.pass(3000);
  EXPECT_FALSE(unlink.poll(c.world.scope));
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.get(kj::mv(unlink)), Errno::OK);
  EXPECT_EQ(c.read(0, made.opened.handle), "held");  // removed, open, and pinned (G4)
}

TEST(Histories, C3AWriteOnAStalledLinkDoesNotCutInUnderTheNextHolder) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "first"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  for (auto& s : c.servers()) c.world.network.cut(c.clientName(0), s);
  auto late = c.writing(0, made.opened.handle, "stale").eagerlyEvaluate(nullptr);
  c.pass(200);
  auto other = c.open(1, "f");
  EXPECT_EQ(c.write(1, other, "newer"), Errno::OK);
  c.world.network.healAll();
  c.pass(20'000);
  EXPECT_EQ(c.read(1, other), "newer");
  EXPECT_TRUE(late.poll(c.world.scope));
}

TEST(Histories, G1AFileMadeAndNotOpenedIsAtOnceThereForOthers) {
  // The grant in the answer is of no use to who made it; unacknowledged it is not recalled soon.
  Cluster c;
  auto made = c.get(c.vfs(0).mknod(kRootInode, "f", schema::Kind::FILE, 0644, 0, {}));
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(c.get(c.vfs(1).lookup(kRootInode, "f"), 1000).ok());
  // Nor to who has gone before the answer came.
  c.world.network.cut("names", c.clientName(0));
  auto gone = c.vfs(0).create(kRootInode, "g", 0644, O_RDWR | O_CREAT, {}).eagerlyEvaluate(nullptr);
  c.pass(500);
  gone = nullptr;
  c.world.network.healAll();
  EXPECT_TRUE(c.get(c.vfs(1).lookup(kRootInode, "g"), 1000).ok());
}

TEST(Histories, R1BytesThatWereCutOffDoNotComeBackWhenTheFileGrows) {
  Cluster c;
  auto made = c.make(0, "f");
  EXPECT_EQ(c.write(0, made.opened.handle, "abcdefgh"), Errno::OK);
  SetAttr set;
  set.size = true;
  set.to.size = 2;
  ASSERT_TRUE(c.get(c.vfs(1).setattr(made.attr.ino, set, nullptr, {})).ok());
  set.to.size = 6;
  ASSERT_TRUE(c.get(c.vfs(1).setattr(made.attr.ino, set, nullptr, {})).ok());
  EXPECT_EQ(c.read(0, made.opened.handle), std::string("ab\0\0\0\0", 6));
}

TEST(Histories, N1ANameServerThatFindsItsDirectoryEmptyRefuses) {
  Cluster c;
  NameServerOptions o;
  o.listen = {"other:7400"};
  auto process = c.world.machine("other").process("/name");
  NameServer server(process->env, o);
  EXPECT_NE(kj::runCatchingExceptions([&]() { c.done(5000, server.start()); }), nullptr);
}

}  // namespace
}  // namespace dfs
