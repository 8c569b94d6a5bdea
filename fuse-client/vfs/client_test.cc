// The client against a cluster of a few lines (fake_cluster.h), over real RPC and in virtual time.

#include "fuse-client/vfs/client_world.h"

namespace dfs {
namespace {

using namespace fake;

TEST(Client, WhatOneMountHasWrittenTheOtherReadsNext) {
  World w;
  Mount b(w.world, "b");
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "hello"), Errno::OK);
  auto handle = b.open("f");
  EXPECT_EQ(*b.read(handle, 0, 100), "hello");
  EXPECT_EQ(b.write(handle, 20000, "far"), Errno::OK);
  EXPECT_EQ((*w.a.read(made.opened.handle, 19998, 100)).substr(2), "far");
  EXPECT_EQ(w.world.wait(w.a.vfs->getattr(made.attr.ino))->size, 20003u);
  EXPECT_EQ(*w.a.read(made.opened.handle, 3, 4), std::string("lo\0\0", 4));
  auto dir = *w.world.wait(w.a.vfs->opendir(kRootInode));
  auto list = w.world.wait(w.a.vfs->readdir(kRootInode, dir, 0, 100, true));
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ((*list)[2].name, "f");
}

TEST(Client, AMutationWhoseAnswerIsLostHappensOnce) {
  World w;
  w.cluster.loseNextAnswer = true;
  w.a.create("once");
  EXPECT_EQ(w.cluster.creates, 1u);
}

TEST(Client, LeasesAreClaimedAfterAReconnect) {
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "kept"), Errno::OK);
  w.cluster.stopNames();
  w.world.pass(1000);
  w.cluster.serve();
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(w.cluster.claimed, 1u);
  EXPECT_EQ(w.cluster.inodes[made.attr.ino.value].size, 4u);
}

TEST(Client, AnEndedSessionTellsEveryDescriptorAndServesOn) {
  // S3. Pages go before the first GETATTR of the new session is answered.
  World w;
  auto made = w.a.create("f");
  auto second = w.a.open("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "lost"), Errno::OK);
  EXPECT_EQ(*w.a.read(made.opened.handle, 0, 4), "lost");
  w.a.kernel.hold = true;
  w.cluster.endSession(w.cluster.sessions.begin()->first);
  w.world.pass(5000);
  auto asked = w.a.vfs->getattr(made.attr.ino);
  w.world.pass(3000);
  EXPECT_FALSE(asked.poll(w.world.scope));
  w.a.kernel.hold = false;
  w.a.kernel.held.wake();
  EXPECT_EQ(w.world.wait(kj::mv(asked)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(made.opened.handle)), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::IO);  // the other's
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(second)), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(second)), Errno::OK);
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "new"), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
}

TEST(Client, TwoAppendersBothMakeProgressAndLoseNothing) {
  World w;
  Mount b(w.world, "b");
  auto made = w.a.create("log");
  auto other = b.open("log");
  std::vector<kj::Promise<void>> work;
  auto appends = [&](Mount& m, FileHandle h, char c) -> kj::Promise<void> {
    kj::Promise<void> all = kj::READY_NOW;
    for (int i = 0; i < 15; ++i) {
      all = all.then([&m, h, c]() { return m.writing(h, 0, std::string(7, c), true); })
                .then([](Outcome<uint32_t>&& n) { EXPECT_EQ(n.err(), Errno::OK); });
    }
    return all;
  };
  auto one = appends(w.a, made.opened.handle, 'a').eagerlyEvaluate(nullptr);
  auto two = appends(b, other, 'b').eagerlyEvaluate(nullptr);
  one.wait(w.world.scope);
  two.wait(w.world.scope);
  auto text = *w.a.read(made.opened.handle, 0, 1000);
  ASSERT_EQ(text.size(), 210u);
  int as = 0;
  for (size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(text.substr(i * 7, 7), std::string(7, text[i * 7]));
    as += text[i * 7] == 'a';
  }
  EXPECT_EQ(as, 15);
}

TEST(Client, ASyncCountsOnlyIfAMemberHasKeptTheWrite) {
  // Y3: one store that lost power costs nothing, both cost an error for every descriptor.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "one"), Errno::OK);
  w.cluster.powerCut(0);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "two"), Errno::OK);
  w.cluster.powerCut(0);
  w.cluster.powerCut(1);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(made.opened.handle)), Errno::IO);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
}

TEST(Client, AFullChainIsPassedByAndFullOnesAreNoSpace) {
  World w;
  auto made = w.a.create("f");
  w.cluster.full = {1};
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(w.a.write(made.opened.handle, i * kSmallBlock, "x"), Errno::OK);
  }
  auto size = w.world.wait(w.a.vfs->getattr(made.attr.ino))->size;
  w.cluster.full = {1, 2};
  EXPECT_EQ(w.a.write(made.opened.handle, 9 * kSmallBlock, "x"), Errno::NO_SPACE);
  EXPECT_EQ(w.world.wait(w.a.vfs->getattr(made.attr.ino))->size, size);
}

TEST(Client, PagesThatAWriteLeftGoWithTheLease) {
  // V6: the times may say that nothing has changed.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, std::string(4096, 'a')), Errno::OK);
  auto before = w.a.kernel.drops;
  Mount b(w.world, "b");
  EXPECT_EQ(b.write(b.open("f"), 0, std::string(4096, 'b')), Errno::OK);
  w.world.pass(500);
  EXPECT_GT(w.a.kernel.drops, before);
}

TEST(Client, AWriteThatWasGivenUpDoesNotOvertakeItsSuccessor) {
  // C6: its second piece would queue for its block behind what was written and synced since.
  World w;
  w.cluster.blockBytes = kBlockBytes;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "0"), Errno::OK);
  w.cluster.holdWrites = true;
  {
    auto killed = w.a.writing(made.opened.handle, 4096, std::string(1 << 20, 'k'));
    w.world.pass(10);
  }
  auto next = w.a.writing(made.opened.handle, 1 << 20, std::string(4096, 'n'));
  w.world.pass(10);
  w.cluster.holdWrites = false;
  w.cluster.writesGo.wake();
  EXPECT_EQ(w.world.wait(kj::mv(next)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(*w.a.read(made.opened.handle, 1 << 20, 4), "nnnn");
}

TEST(Client, ASyncedWriteWhoseBytesAreLostBeforeTheSyncIsNoSuccess) {
  World w;
  auto made = w.a.create("f", O_RDWR | O_DSYNC);
  bool once = true;
  w.cluster.onSync = [&]() {
    if (!std::exchange(once, false)) return;
    w.cluster.powerCut(0);
    w.cluster.powerCut(1);
  };
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "new"), Errno::IO);
}

TEST(Client, ALostFileIsNotRenamedOverAGoodOne) {
  // O3.
  World w;
  auto good = w.a.create("good");
  EXPECT_EQ(w.a.write(good.opened.handle, 0, "good"), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(good.attr.ino, false)), Errno::OK);
  auto made = w.a.create("tmp");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "new"), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(made.opened.handle)), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->release(made.opened.handle)), Errno::OK);
  w.cluster.powerCut(0);
  w.cluster.powerCut(1);
  EXPECT_EQ(w.world.wait(w.a.vfs->rename(kRootInode, "tmp", kRootInode, "good", 0, {})), Errno::IO);
  EXPECT_EQ(*w.a.read(w.a.open("good"), 0, 10), "good");
}

TEST(Client, APublishOfAnEndedSessionIsNotSentByTheNextOne) {
  World w;
  auto made = w.a.create("f");
  auto old = w.cluster.sessions.begin()->first;
  EXPECT_EQ(w.a.write(made.opened.handle, 0, std::string(2000, 'a')), Errno::OK);
  w.cluster.stopNames();
  w.world.pass(7000);  // due: synced, and the command waits for the name server
  w.cluster.endSession(old);
  w.cluster.serve();
  w.world.pass(10000);
  EXPECT_EQ(w.cluster.published, 0u);
  EXPECT_EQ(w.cluster.inodes[made.attr.ino.value].size, 0u);
}

TEST(Client, AMissingBlockIsAskedForAgainBeforeItIsAnError) {
  // C9: the file was rewritten by somebody between rows and read.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "data"), Errno::OK);
  Mount b(w.world, "b");
  auto handle = b.open("f");
  auto& row = w.cluster.inodes[made.attr.ino.value].rows[0];
  auto right = row.block;
  row.block = BlockId(ChainId(1), 9999);
  auto calls = w.cluster.rowsCalls;
  w.cluster.onRows = [&]() {
    if (w.cluster.rowsCalls == calls + 2) row.block = right;
  };
  EXPECT_EQ(*b.read(handle, 0, 10), "data");
  w.cluster.onRows = []() {};
  row.block = BlockId(ChainId(1), 9999);
  EXPECT_EQ(b.read(handle, 0, 10).err(), Errno::IO);
}

struct GrowingWorld : World {
  // A file of four bytes that mount b has read and keeps open, so that its kernel has a page and a size of it.
  GrowingWorld() {
    made = a.create("f");
    EXPECT_EQ(a.write(made.opened.handle, 0, "data"), Errno::OK);
    handle = b.open("f");
    EXPECT_EQ(size(), 4u);
    EXPECT_EQ(*b.read(handle, 0, 10), "data");
    before = b.kernel.drops;
  }
  uint64_t size() { return world.wait(b.vfs->getattr(made.attr.ino))->size; }
  void cut(uint64_t to) {
    SetAttr set;
    set.size = true;
    set.to.size = to;
    EXPECT_TRUE(world.wait(a.vfs->setattr(made.attr.ino, set, nullptr, {})).ok());
  }
  Mount b{world, "b"};
  Vfs::Created made;
  FileHandle handle;
  uint64_t before;
};

TEST(Client, TheKernelHasAGrownFilesEndBeforeTheAnswerThatItMayPassOver) {
  // V7: of several programs that ask at once it takes one answer only.
  GrowingWorld w;
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  EXPECT_EQ(w.size(), 8u);
  EXPECT_EQ(w.b.kernel.drops, w.before + 1);
  EXPECT_EQ(w.b.kernel.size, 8u);
  EXPECT_EQ(w.b.kernel.stored, "e");
  EXPECT_EQ(w.size(), 8u);
  EXPECT_EQ(w.b.kernel.drops, w.before + 1);
  EXPECT_EQ(w.b.kernel.stored, "e");
}

TEST(Client, OfSeveralWhoAskAtOnceNoneIsAnsweredBeforeTheKernelHasTheEnd) {
  GrowingWorld w;
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  auto first = w.b.vfs->getattr(w.made.attr.ino);
  auto second = w.b.vfs->getattr(w.made.attr.ino);
  EXPECT_EQ(w.world.wait(kj::mv(second))->size, 8u);
  EXPECT_EQ(w.b.kernel.size, 8u);
  EXPECT_EQ(w.world.wait(kj::mv(first))->size, 8u);
  EXPECT_EQ(w.b.kernel.stored, "e");
}

TEST(Client, WhereTheEndOfAGrownFileIsLostItsAttributesAreToldAllTheSame) {
  GrowingWorld w;
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(w.made.attr.ino, false)), Errno::OK);
  w.cluster.inodes[w.made.attr.ino.value].rows[0].block = BlockId(ChainId(1), 9999);
  EXPECT_EQ(w.world.wait(w.b.vfs->getattrToRead(w.made.attr.ino, w.handle))->size, 8u);
  EXPECT_EQ(w.size(), 8u);
  EXPECT_EQ(w.b.kernel.stored, "");
}

TEST(Client, NothingIsStoredOrDroppedBeforeTheAnswerToAChangeOfTheSize) {
  // The kernel holds back what it would have to write before it drops a page, until it has that answer.
  GrowingWorld w;
  EXPECT_EQ(w.b.write(w.handle, 0, "D"), Errno::OK);
  w.b.kernel.hold = true;
  for (uint64_t size : {9000, 2, 5}) {
    SetAttr set;
    set.size = true;
    set.to.size = size;
    EXPECT_EQ(w.world.wait(w.b.vfs->setattr(w.made.attr.ino, set, w.handle, {}))->size, size);
  }
  EXPECT_EQ(w.b.kernel.stored, "");
}

TEST(Client, AnEndOfThisMountsOwnMakingIsNotStored) {
  GrowingWorld w;
  auto attr = [&]() { return w.world.wait(w.b.vfs->getattrToRead(w.made.attr.ino, w.handle)); };
  EXPECT_EQ(w.b.write(w.handle, 0, "D"), Errno::OK);
  EXPECT_EQ(attr()->size, 4u);
  auto allocated = w.b.vfs->fallocate(w.handle, SpaceChange::ALLOCATE, 0, 9000, false, nullptr);
  EXPECT_EQ(w.world.wait(kj::mv(allocated)), Errno::OK);
  EXPECT_EQ(attr()->size, 9000u);
  EXPECT_EQ(w.b.kernel.stored, "");
}

TEST(Client, AReadWaitsForAWriteOfItsBytesThatCameBeforeIt) {
  // The kernel has dropped the page amid the write, or it would not ask; what it gets now it keeps.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "data"), Errno::OK);
  w.cluster.holdWrites = true;
  auto write = w.a.writing(made.opened.handle, 0, "DATA");
  w.world.pass(100);
  auto read = w.a.vfs->read(made.opened.handle, 0, 4);
  w.world.pass(500);
  EXPECT_FALSE(read.poll(w.world.scope));
  w.cluster.holdWrites = false;
  w.cluster.writesGo.wake();
  EXPECT_EQ(*w.world.wait(kj::mv(write)), 4u);
  auto got = w.world.wait(kj::mv(read));
  EXPECT_EQ(std::string(reinterpret_cast<char*>(got->begin()), got->size()), "DATA");
}

TEST(Client, NothingIsStoredOfAFileThatNobodyHasOpen) {
  GrowingWorld w;
  EXPECT_EQ(w.world.wait(w.b.vfs->release(w.handle)), Errno::OK);
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  EXPECT_EQ(w.size(), 8u);
  EXPECT_EQ(w.b.kernel.drops, w.before + 1);
  EXPECT_EQ(w.b.kernel.stored, "");
}

TEST(Client, AShorterFileIsToldByTheAnswerAloneAndTheNextOneMakesSure) {
  // A drop of ours before it would make the kernel forget the answer, and nothing else makes a file shorter for it.
  GrowingWorld w;
  w.cut(2);
  EXPECT_EQ(w.size(), 2u);
  EXPECT_EQ(w.b.kernel.drops, w.before);
  EXPECT_EQ(w.size(), 2u);
  EXPECT_EQ(w.b.kernel.drops, w.before + 1);
  EXPECT_EQ(w.size(), 2u);
  EXPECT_EQ(w.b.kernel.drops, w.before + 1);
}

TEST(Client, BehindAnAppendElsewhereThanTheKernelTookItsEndToBeTheNextAnswerTellsTheGrowth) {
  GrowingWorld w;
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  EXPECT_EQ(*w.world.wait(w.b.writing(w.handle, 4, "end", true)), 3u);
  EXPECT_EQ(w.b.kernel.stored, "");
  EXPECT_EQ(w.size(), 11u);
  EXPECT_EQ(w.b.kernel.size, 11u);
  EXPECT_EQ(w.b.kernel.stored, "d");
  EXPECT_EQ(*w.b.read(w.handle, 0, 20), "datamoreend");
}

TEST(Client, BehindAWriteInsideTheNextAnswerTellsTheEndThatOthersHaveMade) {
  GrowingWorld w;
  EXPECT_EQ(w.a.write(w.made.opened.handle, 4, "more"), Errno::OK);
  EXPECT_EQ(w.b.write(w.handle, 0, "D"), Errno::OK);
  EXPECT_EQ(w.size(), 8u);
  EXPECT_EQ(w.b.kernel.size, 8u);
  EXPECT_EQ(w.b.kernel.stored, "e");
  EXPECT_GT(w.b.kernel.drops, w.before);
}

TEST(Client, AWritersOwnEndsAreNotStored) {
  World w;
  auto made = w.a.create("f");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(w.a.write(made.opened.handle, i * 4, "data"), Errno::OK);
  EXPECT_EQ(*w.world.wait(w.a.writing(made.opened.handle, 16, "end", true)), 3u);
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "D"), Errno::OK);
  EXPECT_EQ(w.a.kernel.stored, "");
  EXPECT_EQ(w.a.kernel.drops, 0u);
}

TEST(Client, NoAttributesBeforePagesOfAnotherVersionAreGone) {
  // V7: the time of the change was set back, so that the kernel notices nothing.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "data"), Errno::OK);
  Mount b(w.world, "b");
  auto handle = b.open("f");
  auto told = w.world.wait(b.vfs->getattr(made.attr.ino));
  EXPECT_EQ(*b.read(handle, 0, 10), "data");
  auto before = b.kernel.drops;
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "DATA"), Errno::OK);
  SetAttr set;
  set.mtime = true;
  set.to.mtime = told->mtime;
  EXPECT_TRUE(w.world.wait(w.a.vfs->setattr(made.attr.ino, set, nullptr, {})).ok());
  b.kernel.hold = true;
  auto asked = b.vfs->getattr(made.attr.ino);
  w.world.pass(2000);
  EXPECT_FALSE(asked.poll(w.world.scope));
  EXPECT_GT(b.kernel.drops, before);
  b.kernel.hold = false;
  b.kernel.held.wake();
  EXPECT_EQ(w.world.wait(kj::mv(asked)).err(), Errno::OK);
}

void randomWritesMatchAnArrayOfBytes(bool early) {
  World w;
  w.cluster.roomy = early;
  Mount b(w.world, "b");
  auto made = w.a.create("f");
  auto handle = made.opened.handle;
  auto other = b.open("f");
  std::string model;
  SimRandom random(42);
  for (int step = 0; step < 400; ++step) {
    uint64_t at = random.below(4 * kSmallBlock);
    switch (random.below(4)) {
      case 0:
      case 1: {
        std::string text(1 + random.below(9000), static_cast<char>('a' + random.below(26)));
        ASSERT_EQ(w.a.write(handle, at, text), Errno::OK);
        if (model.size() < at + text.size()) model.resize(at + text.size());
        model.replace(at, text.size(), text);
        break;
      }
      case 2: {
        SetAttr set;
        set.size = true;
        set.to.size = at;
        ASSERT_EQ(w.world.wait(w.a.vfs->setattr(made.attr.ino, set, handle, {})).err(), Errno::OK);
        model.resize(at);
        break;
      }
      default: {
        auto n = static_cast<uint32_t>(1 + random.below(40000));
        auto expected = at < model.size() ? model.substr(at, n) : std::string();
        bool mine = random.below(4) != 0;
        auto got = mine ? w.a.read(handle, at, n) : b.read(other, at, n);
        ASSERT_EQ(got.err(), Errno::OK);
        ASSERT_TRUE(*got == expected) << "step " << step << " at " << at;
      }
    }
  }
  w.world.wait(w.a.vfs->detach());
  EXPECT_EQ(w.cluster.inodes[made.attr.ino.value].size, model.size());
}

TEST(Client, RandomWritesAndTruncationsMatchAnArrayOfBytes) {
  // Holes, ends and clearing, over small blocks; read by the writer and by another mount.
  randomWritesMatchAnArrayOfBytes(false);
}

TEST(Client, RandomWritesThatAreAnsweredEarlyMatchAnArrayOfBytes) {
  randomWritesMatchAnArrayOfBytes(true);
}

}  // namespace
}  // namespace dfs
