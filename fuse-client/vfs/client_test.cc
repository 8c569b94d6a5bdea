// The client against a cluster of a few lines (fake_cluster.h), over real RPC and in virtual time.

#include "fuse-client/vfs/fake_cluster.h"
#include "fuse-client/vfs/vfs.h"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace dfs {
namespace {

struct Kernel final : public KernelCaches {
  // Answers drops when told to, and remembers them.
  kj::Promise<void> dropAttributes(InodeId) override { return kj::READY_NOW; }
  kj::Promise<void> dropPages(InodeId, uint64_t, uint64_t) override {
    ++drops;
    if (!hold) return kj::READY_NOW;
    return held.next();
  }
  uint64_t drops = 0;
  bool hold = false;
  Signal held;
};

struct Mount {
  Mount(SimWorld& w, const char* name) : world(w), process(w.machine(name).process("/data")) {
    VfsOptions options;
    options.nameservers = {"servers:7000"};
    options.host = name;
    vfs = newVfs(process->env, options);
    vfs->setKernel(kernel);
    w.wait(vfs->attach());
  }

  Vfs::Created create(const char* name, int flags = O_RDWR) {
    auto made = world.wait(vfs->create(kRootInode, name, 0644, flags | O_CREAT, {}));
    EXPECT_EQ(made.err(), Errno::OK);
    return *made;
  }
  FileHandle open(const char* name) {
    auto attr = world.wait(vfs->lookup(kRootInode, name));
    EXPECT_EQ(attr.err(), Errno::OK);
    return world.wait(vfs->open(attr->ino, O_RDWR, {}))->handle;
  }
  kj::Promise<Outcome<uint32_t>> writing(FileHandle h, uint64_t at, std::string text,
                                         bool append = false) {
    auto data = kj::heapArray<kj::byte>(text.size());
    memcpy(data.begin(), text.data(), text.size());
    return vfs->write(h, at, kj::mv(data), append, false, false);
  }
  Errno write(FileHandle h, uint64_t at, std::string text) {
    return world.wait(writing(h, at, kj::mv(text))).err();
  }
  Outcome<std::string> read(FileHandle h, uint64_t at, uint32_t bytes) {
    auto got = world.wait(vfs->read(h, at, bytes));
    if (!got.ok()) return got.err();
    return std::string(reinterpret_cast<char*>(got->begin()), got->size());
  }

  SimWorld& world;
  kj::Own<SimProcess> process;
  Kernel kernel;
  kj::Own<Vfs> vfs;
};

struct World {
  SimWorld world{1};
  fake::Cluster cluster{world};
  Mount a{world, "a"};
};

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
    EXPECT_EQ(w.a.write(made.opened.handle, i * fake::kSmallBlock, "x"), Errno::OK);
  }
  auto size = w.world.wait(w.a.vfs->getattr(made.attr.ino))->size;
  w.cluster.full = {1, 2};
  EXPECT_EQ(w.a.write(made.opened.handle, 9 * fake::kSmallBlock, "x"), Errno::NO_SPACE);
  EXPECT_EQ(w.world.wait(w.a.vfs->getattr(made.attr.ino))->size, size);
}

struct EarlyWorld : World {
  // A file of one byte, written so that the client knows of the room; then writes are held up.
  EarlyWorld() {
    cluster.roomy = true;
    made = a.create("f");
    EXPECT_EQ(a.write(made.opened.handle, 0, "0"), Errno::OK);
    cluster.holdWrites = true;
  }
  void go() {
    cluster.holdWrites = false;
    cluster.writesGo.wake();
  }
  template <typename T> bool waits(kj::Promise<T>& promise) {
    world.pass(500);
    return !promise.poll(world.scope);
  }
  FileHandle handle() { return made.opened.handle; }
  Vfs::Created made;
};

TEST(Client, WhereThereIsRoomAWriterDoesNotWaitForTheChainAndItsReaderDoes) {
  EarlyWorld w;
  EXPECT_EQ(w.a.write(w.handle(), 0, "new"), Errno::OK);
  auto read = w.a.vfs->read(w.handle(), 0, 10);
  EXPECT_TRUE(w.waits(read));
  w.go();
  auto got = w.world.wait(kj::mv(read));
  ASSERT_EQ(got.err(), Errno::OK);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(got->begin()), got->size()), "new");
}

TEST(Client, NothingThatTellsOfAnAnsweredWriteIsAnsweredBeforeItIsDone) {
  EarlyWorld w;
  Mount b(w.world, "b");
  auto other = b.open("f");
  EXPECT_EQ(w.a.write(w.handle(), 0, "new"), Errno::OK);
  auto stat = w.a.vfs->getattr(w.made.attr.ino);
  auto looked = w.a.vfs->lookup(kRootInode, "f");
  auto flush = w.a.vfs->flush(w.handle());
  auto sync = w.a.vfs->fsync(w.made.attr.ino, false);
  auto rename = w.a.vfs->rename(kRootInode, "f", kRootInode, "g", 0, {});
  auto read = b.vfs->read(other, 0, 10);
  SetAttr cut;
  cut.size = true;
  cut.to.size = 2;
  EXPECT_TRUE(w.waits(looked));
  EXPECT_TRUE(w.waits(stat) && w.waits(flush) && w.waits(sync) && w.waits(rename));
  EXPECT_TRUE(w.waits(read));
  auto truncate = w.a.vfs->setattr(w.made.attr.ino, cut, w.handle(), {});
  EXPECT_TRUE(w.waits(truncate));
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(stat))->size, 3u);
  EXPECT_EQ(w.world.wait(kj::mv(looked))->size, 3u);
  EXPECT_EQ(w.world.wait(kj::mv(flush)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(sync)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(rename)), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(truncate))->size, 2u);
  EXPECT_EQ(*w.a.read(w.handle(), 0, 10), "ne");
  EXPECT_EQ(w.world.wait(kj::mv(read)).err(), Errno::OK);
}

TEST(Client, AnAnsweredWriteThatFailsIsToldWithItsErrnoByFlushAndFsync) {
  EarlyWorld w;
  auto second = w.a.open("f");
  EXPECT_EQ(w.a.write(w.handle(), 0, "new"), Errno::OK);
  w.cluster.full = {1, 2};
  auto flush = w.a.vfs->flush(w.handle());
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(flush)), Errno::NO_SPACE);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(w.made.attr.ino, false)), Errno::NO_SPACE);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(second)), Errno::NO_SPACE);
  EXPECT_EQ(w.world.wait(w.a.vfs->getattr(w.made.attr.ino))->size, 1u);
  EXPECT_EQ(*w.a.read(w.handle(), 0, 10), "0");
  // It is known now that there is no room: the next writer waits to hear it.
  EXPECT_EQ(w.a.write(w.handle(), 0, "new"), Errno::NO_SPACE);
}

TEST(Client, OnlySoMuchIsAnsweredEarly) {
  EarlyWorld w;
  for (uint64_t i = 0; i < kEarlyBytesMax >> 20; ++i) {
    EXPECT_EQ(w.a.write(w.handle(), i << 20, std::string(1 << 20, 'x')), Errno::OK);
  }
  auto more = w.a.writing(w.handle(), kEarlyBytesMax, "y");
  EXPECT_TRUE(w.waits(more));
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(more)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->getattr(w.made.attr.ino))->size, kEarlyBytesMax + 1);
}

TEST(Client, WithoutPlentyOfRoomOrForSyncedWritesTheWriterWaits) {
  EarlyWorld w;
  auto synced = w.world.wait(w.a.vfs->open(w.made.attr.ino, O_RDWR | O_DSYNC, {}));
  auto one = w.a.writing(synced->handle, 0, "x");
  EXPECT_TRUE(w.waits(one));
  w.world.pass(kRoomyForMs);  // the daemons' word is too old
  auto two = w.a.writing(w.handle(), 4096, "y");
  EXPECT_TRUE(w.waits(two));
  w.cluster.roomy = false;
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(one)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(two)).err(), Errno::OK);
  w.cluster.holdWrites = true;
  auto three = w.a.writing(w.handle(), 0, "z");
  EXPECT_TRUE(w.waits(three));
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(three)).err(), Errno::OK);
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

TEST(Client, NoAttributesBeforePagesOfAnotherVersionAreGone) {
  // V7.
  World w;
  auto made = w.a.create("f");
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "data"), Errno::OK);
  Mount b(w.world, "b");
  auto handle = b.open("f");
  EXPECT_EQ(*b.read(handle, 0, 10), "data");
  auto before = b.kernel.drops;
  EXPECT_EQ(w.a.write(made.opened.handle, 0, "DATA"), Errno::OK);
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
    uint64_t at = random.below(4 * fake::kSmallBlock);
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
