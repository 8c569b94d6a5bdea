// Histories of the whole cluster by name, each the one that a rule of the protocols prevents.

#include "tests/sim/history.h"

namespace dfs {
namespace {

using Cluster = History;

TEST(Histories, Y1WhatAnotherClientHasReadSurvivesThePowerCutOfEverything) {
  Cluster c;
  c.makeWritten("f", "seen");
  EXPECT_EQ(c.read(1, c.open(1, "f")), "seen");
  c.restartAfterPowerCut();
  EXPECT_EQ(c.read(1, c.open(1, "f")), "seen");
}

TEST(Histories, Y2KilledServersLoseNothingThatWasAcknowledged) {
  Cluster c;
  auto made = c.makeWritten("f", "kept");
  c.killServers();
  c.pass(1000);
  c.startAll();
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3APowerCutOfAllStoresBeforeFsyncIsToldByFsync) {
  Cluster c;
  auto made = c.makeWritten("f", "gone");
  for (uint32_t i = 0; i < 2; ++i) c.powerCutStore(i);
  c.startAll();
  // Either it is still there, or the loss is told.
  bool told = c.lossTold(made);
  c.restartAfterPowerCut();
  EXPECT_TRUE(told || c.read(1, c.open(1, "f")) == "gone");
}

TEST(Histories, Y3AKilledStoreCostsNoError) {
  Cluster c;
  auto made = c.makeWritten("f", "kept");
  c.killStore(0);
  EXPECT_FALSE(c.lossTold(made));
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3StoresThatAreKilledOneAfterTheOtherCostNoError) {
  Cluster c;
  auto made = c.makeWritten("f", "kept");
  c.killServers();
  c.startNames();
  c.startStore(1);
  c.pass(20'000);
  c.startStore(0);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3AMemberThatWasBroughtUpCoversWhatItWasGiven) {
  // It came back with an empty memory and got the bytes from the other one, which is killed then.
  Cluster c;
  auto made = c.makeWritten("f", "kept");
  c.loseMemoryAndComeBack(0);
  c.killStore(1);
  EXPECT_FALSE(c.lossTold(made));
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(Histories, Y3AMemberThatWasBroughtUpAndHasForgottenCoversNothing) {
  // Nobody has synced the bytes but the catching up (Y6), so either they are there or it is told.
  Cluster c;
  auto made = c.makeWritten("f", "gone");
  c.loseMemoryAndComeBack(0);
  EXPECT_EQ(c.write(0, made.opened.handle, "late"), Errno::OK);
  for (uint32_t i = 0; i < 2; ++i) c.powerCutStore(i);
  c.startAll();
  bool told = c.lossTold(made);
  c.restartAfterPowerCut();
  EXPECT_TRUE(told || c.read(1, c.open(1, "f")) == "late");
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
  auto made = c.makeWritten("f", "mine");
  c.isolate(c.clientName(0));
  c.pass(11'000);
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "mine");
}

TEST(Histories, S3AClientThatIsCutOffWhileItsFileIsWantedIsToldAndServesOn) {
  Cluster c;
  auto made = c.makeWritten("f", "lost");
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
  auto made = c.makeWritten("f", "held");
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

TEST(Histories, S6ARepeatedCreateHandsOutNoSecondLease) {
  // The answer is lost with the name server; the one to the repetition grants anew.
  Cluster c;
  c.world.network.cut("names", c.clientName(0));
  auto making =
      c.vfs(0).create(kRootInode, "f", 0644, O_RDWR | O_CREAT, {}).eagerlyEvaluate(nullptr);
  c.pass(500);
  auto other = c.vfs(1).lookup(kRootInode, "f").eagerlyEvaluate(nullptr);  // recalls the first one
  c.pass(8000);
  c.killNames();
  c.world.network.healAll();
  c.startNames();
  auto made = c.get(kj::mv(making));
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(c.get(kj::mv(other)).ok());
  auto theirs = c.open(1, "f");
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(c.write(1, theirs, "theirs"), Errno::OK);
    EXPECT_EQ(c.read(0, made->opened.handle), "theirs");
    EXPECT_EQ(c.write(0, made->opened.handle, "made's"), Errno::OK);
    EXPECT_EQ(c.read(1, theirs), "made's");
  }
}

TEST(Histories, C3AWriteOnAStalledLinkDoesNotCutInUnderTheNextHolder) {
  Cluster c;
  auto made = c.makeWritten("f", "first");
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

TEST(Histories, C4AStoreThatWasStoppedServesNothingThatTheChainHasLeftBehind) {
  // To everybody else it is silent; its own timers have not run meanwhile.
  Cluster c;
  c.pass(20'000);  // silence counts (C5)
  auto made = c.makeWritten("f", "before");
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  for (uint32_t i = 0; i < 2; ++i) {
    for (auto& peer : {std::string("names"), c.storeName(1 - i)}) {
      c.world.network.cut(c.storeName(i), peer);
      c.world.network.cut(peer, c.storeName(i));
    }
    // Clients still reach both: the one that is cut off must not answer with what it has.
    std::string text = "after" + std::to_string(i);
    EXPECT_EQ(c.write(0, made.opened.handle, text), Errno::OK);
    EXPECT_EQ(c.read(1, c.open(1, "f")).substr(0, text.size()), text);
    c.world.network.healAll();
    ASSERT_TRUE(c.waitHealthy(60'000)) << c.trouble();
  }
}

TEST(Histories, C5AfterARestartOfEverythingTheCopyThatKnowsMoreIsTaken) {
  // One copy missed a synced update, and comes back first.
  Cluster c;
  c.pass(20'000);
  auto made = c.makeWritten("f", "older");
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  c.killStore(0);
  EXPECT_EQ(c.write(0, made.opened.handle, "newer"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  c.powerCutAll();
  c.startNames();
  c.startStore(0);
  for (uint32_t i = 0; i < 2; ++i) c.startClient(i);
  auto reading = c.vfs(1).lookup(kRootInode, "f").eagerlyEvaluate(nullptr);
  c.pass(30'000);
  c.startStore(1);
  EXPECT_TRUE(c.get(kj::mv(reading)).ok());
  EXPECT_EQ(c.read(1, c.open(1, "f")), "newer");
  ASSERT_TRUE(c.waitHealthy(120'000)) << c.trouble();
  EXPECT_EQ(c.read(1, c.open(1, "f")), "newer");
}

TEST(Histories, C9AReaderThatWasStoppedDoesNotStumbleOverBlocksThatAreGone) {
  Cluster c;
  auto made = c.makeWritten("f", "old");
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  auto reader = c.open(1, "f");
  for (uint32_t i = 0; i < 2; ++i) c.world.network.cut(c.clientName(1), c.storeName(i));
  auto reading = c.vfs(1).read(reader, 0, 100).eagerlyEvaluate(nullptr);
  c.pass(100);
  SetAttr set;
  set.size = true;
  set.to.size = 0;
  ASSERT_TRUE(c.get(c.vfs(0).setattr(made.attr.ino, set, nullptr, {})).ok());
  EXPECT_EQ(c.write(0, made.opened.handle, "new"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made.attr.ino, false)), Errno::OK);
  c.pass(25'000);  // the grace of freed blocks is over
  c.world.network.healAll();
  auto got = c.get(kj::mv(reading));
  ASSERT_TRUE(got.ok()) << nameOf(got.err()).cStr();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(got->begin()), got->size()), "new");
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
  auto made = c.makeWritten("f", "abcdefgh");
  SetAttr set;
  set.size = true;
  set.to.size = 2;
  ASSERT_TRUE(c.get(c.vfs(1).setattr(made.attr.ino, set, nullptr, {})).ok());
  set.to.size = 6;
  ASSERT_TRUE(c.get(c.vfs(1).setattr(made.attr.ino, set, nullptr, {})).ok());
  EXPECT_EQ(c.read(0, made.opened.handle), std::string("ab\0\0\0\0", 6));
}

TEST(Histories, R3ABlockWhosePublishWaitsForTheNameServerIsNotCollected) {
  Cluster c;
  auto made = c.makeWritten("f", "late");
  c.killNames();
  auto syncing = c.vfs(0).fsync(made.attr.ino, false).eagerlyEvaluate(nullptr);
  c.pass(600'000);
  c.isolate(c.clientName(0));  // the stores are in and compare their lists before it is back
  c.startNames();
  c.pass(8000);
  c.unisolate(c.clientName(0));
  EXPECT_EQ(c.get(kj::mv(syncing)), Errno::OK);
  c.pass(300'000);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "late");
  EXPECT_EQ(c.fsck(), std::vector<std::string>());
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
