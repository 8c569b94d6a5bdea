// Writes that are answered before the storage daemons have them.

#include "fuse-client/vfs/client_world.h"

namespace dfs {
namespace {

using namespace fake;

TEST(EarlyWrites, WhereThereIsRoomAWriterDoesNotWaitForTheChainAndItsReaderDoes) {
  EarlyWorld w;
  EXPECT_EQ(w.a.write(w.handle(), 0, "new"), Errno::OK);
  auto read = w.a.vfs->read(w.handle(), 0, 10);
  EXPECT_TRUE(w.waits(read));
  w.go();
  auto got = w.world.wait(kj::mv(read));
  ASSERT_EQ(got.err(), Errno::OK);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(got->begin()), got->size()), "new");
}

TEST(EarlyWrites, NothingThatTellsOfAnAnsweredWriteIsAnsweredBeforeItIsDone) {
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

TEST(EarlyWrites, AnAnsweredWriteThatFailsIsToldWithItsErrnoByFlushAndFsync) {
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

TEST(EarlyWrites, OnlySoMuchIsAnsweredEarly) {
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

TEST(EarlyWrites, WithoutPlentyOfRoomOrForSyncedWritesTheWriterWaits) {
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

TEST(EarlyWrites, AHoleBelowAnAnsweredWriteIsNoEnd) {
  // What a page fault asks: no GETATTR comes before it.
  EarlyWorld w;
  EXPECT_EQ(w.a.write(w.handle(), 1'000'000, "x"), Errno::OK);
  auto read = w.a.vfs->read(w.handle(), 0, 4096);
  w.world.pass(100);
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(read))->size(), 4096u);
}

TEST(EarlyWrites, WriteBackBelowAnAnsweredWriteIsNotCut) {
  EarlyWorld w;
  EXPECT_EQ(w.a.write(w.handle(), 1'000'000, "x"), Errno::OK);
  auto page = [&](uint64_t at) {
    auto data = kj::heapArray<kj::byte>(4096);
    memset(data.begin(), 'm', data.size());
    return w.a.vfs->write(w.handle(), at, kj::mv(data), {.fromWriteback = true}, nullptr);
  };
  auto first = page(0);
  auto later = page(122 * 4096);
  w.world.pass(100);
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(first)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(kj::mv(later)).err(), Errno::OK);
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(w.made.attr.ino, false)), Errno::OK);
  EXPECT_EQ(*w.a.read(w.handle(), 0, 4), "mmmm");
  EXPECT_EQ(*w.a.read(w.handle(), 122 * 4096, 4), "mmmm");
}

TEST(EarlyWrites, AnAppendThatIsAnsweredIsReadWhereItLies) {
  EarlyWorld w;
  w.go();
  Mount b(w.world, "b");
  EXPECT_EQ(b.write(b.open("f"), 0, std::string(200'000, 'b')), Errno::OK);
  EXPECT_EQ(w.a.write(w.handle(), 0, "1"), Errno::OK);
  w.world.pass(200);
  w.cluster.holdWrites = true;
  EXPECT_EQ(w.world.wait(w.a.writing(w.handle(), 1, "append", true)).err(), Errno::OK);
  auto read = w.a.vfs->read(w.handle(), 200'000, 10);
  w.world.pass(100);
  w.go();
  EXPECT_EQ(w.world.wait(kj::mv(read))->size(), 6u);
}

TEST(EarlyWrites, OneOfAnEndedSessionTouchesNothingOfTheNextHolder) {
  // C3: the client's next session is live, so the daemons would take it.
  EarlyWorld w;
  w.cluster.blockBytes = kBlockBytes;
  w.cluster.holdWrites = false;
  auto made = w.a.create("g");
  auto handle = made.opened.handle;
  ASSERT_EQ(w.a.write(handle, 0, std::string(200'000, '0')), Errno::OK);
  ASSERT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
  auto old = w.cluster.sessions.begin()->first;
  Mount b(w.world, "b");
  w.cluster.holdWrites = true;
  EXPECT_EQ(w.a.write(handle, 65536, std::string(4096, 'y')), Errno::OK);   // at the chain
  EXPECT_EQ(w.a.write(handle, 131072, std::string(4096, 'w')), Errno::OK);  // waits for the block
  w.world.pass(10);
  w.cluster.holdWrites = false;  // what is there stays held
  w.cluster.endSession(old);
  auto other = b.open("g");
  EXPECT_EQ(b.write(other, 131072, std::string(4096, 'b')), Errno::OK);
  EXPECT_EQ(w.world.wait(b.vfs->fsync(made.attr.ino, false)), Errno::OK);
  w.world.pass(8000);
  EXPECT_EQ(w.world.wait(w.a.vfs->flush(handle)), Errno::IO);
  EXPECT_EQ(*b.read(other, 131072, 4), "bbbb");
}

}  // namespace
}  // namespace dfs
