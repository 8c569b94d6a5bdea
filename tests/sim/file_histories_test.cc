// Histories of whole calls on files: made without a name, made exclusively, copied by reference, cut, filled and punched while answers
// are lost and others are at work on the same.

#include "tests/sim/history.h"

#include <array>

namespace dfs {
namespace {

struct Cluster : History {
  using History::History;
  kj::Promise<Outcome<Vfs::Created>> making(const char* name, int flags = O_RDWR | O_CREAT) {
    return vfs(0).create(kRootInode, name, 0644, flags, {}).eagerlyEvaluate(nullptr);
  }
  void loseAnswersAndRestart() {
    // What the first client has asked for is done, and it does not hear of it before a restart.
    pass(8000);
    killNames();
    world.network.healAll();
    startNames();
  }
  DirHandle rootOf(uint32_t i) { return *get(vfs(i).opendir(kRootInode)); }
  uint64_t inodesFree() { return get(vfs(1).statfs())->inodesFree; }
};

TEST(FileHistories, G4AnUnnamedFileWhoseMakerHasNotHeardOfItIsKept) {
  Cluster c;
  c.world.network.cut("names", c.clientName(0));
  auto making = c.making("", O_RDWR | O_TMPFILE);
  c.pass(500);
  EXPECT_FALSE(making.poll(c.world.scope));
  c.loseAnswersAndRestart();
  auto made = c.get(kj::mv(making));
  ASSERT_TRUE(made.ok()) << nameOf(made.err()).cStr();
  c.pass(10'000);
  EXPECT_EQ(c.write(0, made->opened.handle, "kept"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).link(made->attr.ino, kRootInode, "f", {})).err(), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
}

TEST(FileHistories, G4AnUnnamedFileWhoseMakerHasGoneBeforeTheAnswerIsFreed) {
  Cluster c;
  auto before = c.inodesFree();
  c.world.network.cut("names", c.clientName(0));
  auto making = c.making("", O_RDWR | O_TMPFILE);
  c.pass(500);
  EXPECT_EQ(c.inodesFree(), before - 1);
  making = nullptr;  // a killed process
  c.world.network.healAll();
  c.pass(2000);
  auto next = c.get(c.vfs(0).mkdir(kRootInode, "d", 0755, {}));
  ASSERT_TRUE(next.ok());
  c.pass(10'000);
  EXPECT_EQ(c.inodesFree(), before - 1);  // the directory
}

TEST(FileHistories, G4AnUnnamedFileThatGetsANameIsThereForThoseWhoDidNotKnowIt) {
  Cluster c;
  auto made = c.get(c.making("", O_RDWR | O_TMPFILE));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(c.write(0, made->opened.handle, "kept"), Errno::OK);
  EXPECT_EQ(c.get(c.vfs(0).fsync(made->attr.ino, false)), Errno::OK);
  c.pass(10'000);  // everybody has been asked
  EXPECT_EQ(c.get(c.vfs(0).link(made->attr.ino, kRootInode, "f", {})).err(), Errno::OK);
  EXPECT_EQ(c.read(1, c.open(1, "f")), "kept");
  EXPECT_EQ(c.write(1, c.open(1, "f"), "more"), Errno::OK);
  EXPECT_EQ(c.read(0, made->opened.handle), "more");
}

TEST(FileHistories, G4AnUnnamedFileGoesWithItsLastDescriptorAlsoAfterARestart) {
  Cluster c;
  auto before = c.inodesFree();
  auto made = c.get(c.making("", O_RDWR | O_TMPFILE));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(c.write(0, made->opened.handle, "kept"), Errno::OK);
  c.pass(10'000);
  c.killNames();
  c.startNames();
  c.pass(10'000);
  EXPECT_EQ(c.read(0, made->opened.handle), "kept");
  EXPECT_EQ(c.inodesFree(), before - 1);
  EXPECT_EQ(c.get(c.vfs(0).release(made->opened.handle)), Errno::OK);
  c.vfs(0).forget(made->attr.ino, 1);
  c.pass(10'000);
  EXPECT_EQ(c.inodesFree(), before);
}

TEST(FileHistories, S6ACreateIsAnsweredOnceItIsDoneThoughOthersWriteToTheFileByThen) {
  // The answer was lost with the connection, and another client gets the file before it is asked for again.
  Cluster c;
  c.world.network.cut("names", c.clientName(0));
  auto making = c.making("f", O_RDWR | O_CREAT | O_EXCL);
  c.pass(500);
  auto listed = c.get(c.vfs(1).readdir(kRootInode, c.rootOf(1), 0, 10, false));
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->back().name, "f");
  auto theirs = c.get(c.vfs(1).open(listed->back().ino, O_RDWR, {}))->handle;
  auto writing = c.writing(1, theirs, "theirs").eagerlyEvaluate(nullptr);
  c.pass(8000);
  EXPECT_FALSE(writing.poll(c.world.scope));
  c.world.network.healAll();
  EXPECT_EQ(c.get(kj::mv(writing)).err(), Errno::OK);
  auto made = c.get(kj::mv(making));
  ASSERT_TRUE(made.ok()) << nameOf(made.err()).cStr();
  EXPECT_EQ(c.read(0, made->opened.handle), "theirs");
}

TEST(FileHistories, X1WhatFailsWhenItIsDoneTwiceIsDoneOnceThoughItsAnswerWasLost) {
  Cluster c;
  for (auto name : {"moved", "gone", "linked"}) c.make(0, name);
  auto ino = c.make(0, "f").attr.ino;
  auto linked = c.get(c.vfs(0).lookup(kRootInode, "linked"))->ino;
  auto& vfs = c.vfs(0);
  c.world.network.cut("names", c.clientName(0));
  constexpr uint32_t noReplace = 1;
  std::vector<kj::Promise<Errno>> asked;
  asked.push_back(vfs.rename(kRootInode, "moved", kRootInode, "there", noReplace, {}));
  asked.push_back(vfs.unlink(kRootInode, "gone", {}));
  asked.push_back(
      vfs.setxattr(ino, "user.a", kj::heapArray<kj::byte>(1), Vfs::Replace::CREATE, {}));
  auto made = [](Outcome<Attr>&& attr) { return attr.err(); };
  asked.push_back(vfs.link(linked, kRootInode, "again", {}).then(made));
  asked.push_back(vfs.mkdir(kRootInode, "d", 0755, {}).then(made));
  asked.push_back(vfs.symlink(kRootInode, "s", "f", {}).then(made));
  asked.push_back(vfs.mknod(kRootInode, "fifo", schema::Kind::FIFO, 0644, 0, {}).then(made));
  for (auto& one : asked) one = one.eagerlyEvaluate(nullptr);
  c.pass(500);
  auto there = c.vfs(1).lookup(kRootInode, "there").eagerlyEvaluate(nullptr);
  c.loseAnswersAndRestart();
  for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(c.get(kj::mv(asked[i])), Errno::OK) << i;
  EXPECT_TRUE(c.get(kj::mv(there)).ok());
  EXPECT_EQ(c.fsck(), std::vector<std::string>());
}

struct CopyWorld : Cluster {
  // One client changes a file all the time, in sixteen places of eight blocks; another one copies it.
  static constexpr uint32_t kBlock = 16 * 4096, kPlaces = 16;
  using State = std::array<uint64_t, kPlaces>;  // what stands there; 0: nothing

  CopyWorld() : Cluster({.stores = 2, .clients = 2, .replicas = 2, .blockBytes = kBlock}) {
    source = make(0, "source").attr.ino;
    copy = make(0, "copy").opened.handle;
    SetAttr set;
    set.size = true;
    set.to.size = kPlaces / 2 * kBlock;
    KJ_REQUIRE(get(vfs(0).setattr(source, set, nullptr, {})).ok());
    from = open(0, "source");
    changed = open(1, "source");
    states.push_back(State{});
  }
  static uint64_t placeOf(uint32_t i) { return i / 2 * kBlock + i % 2 * 40'000; }
  static kj::Array<kj::byte> bytesOf(uint64_t number) {
    return kj::heapArray(reinterpret_cast<kj::byte*>(&number), sizeof number);
  }
  uint64_t at(uint32_t client, FileHandle h, uint32_t place) {
    auto got = get(vfs(client).read(h, placeOf(place), 8));
    KJ_REQUIRE(got.ok() && got->size() == 8, nameOf(got.err()));
    uint64_t number;
    memcpy(&number, got->begin(), sizeof number);
    return number;
  }

  Task<void> change() {
    while (!stop) {
      auto next = states.back();
      auto place = static_cast<uint32_t>(world.random.below(kPlaces));
      bool punch = world.random.chance(30);
      next[place] = punch ? 0 : states.size();
      if (punch) next[place ^ 1] = 0;
      states.push_back(next);
      if (punch) {
        auto err = co_await vfs(1).fallocate(changed, SpaceChange::PUNCH, place / 2 * kBlock,
                                             kBlock, true, nullptr);
        EXPECT_EQ(err, Errno::OK);
      } else {
        auto written =
            co_await vfs(1).write(changed, placeOf(place), bytesOf(next[place]), {}, nullptr);
        EXPECT_EQ(written.err(), Errno::OK);
      }
      done = states.size() - 1;
      co_await world.time.timer.afterDelay(world.random.below(30) * kj::MILLISECONDS);
    }
  }
  Task<Errno> copyAll() {
    uint64_t copied = 0, all = kPlaces / 2 * kBlock;
    while (copied < all) {
      auto some = co_await vfs(0).copyRange(from, copied, copy, copied, all - copied, nullptr);
      if (!some.ok()) co_return some.err();
      KJ_ASSERT(*some > 0);
      copied += *some;
    }
    co_return Errno::OK;
  }
  void copyAmid(uint32_t round) {
    auto least = done;
    auto copying = kj::Promise<Errno>(copyAll()).eagerlyEvaluate(nullptr);
    pass(world.random.below(20));
    befall(round);
    pass(world.random.below(2000));
    world.network.healAll();
    startAll();
    ASSERT_EQ(get(kj::mv(copying)), Errno::OK) << round;
    auto most = states.size();
    for (uint32_t i = 0; i < kPlaces; ++i) {
      auto found = at(0, copy, i);
      bool known = false;
      for (auto k = least; k < most; ++k) known = known || states[k][i] == found;
      EXPECT_TRUE(known) << "round " << round << ", place " << i << ": " << found;
    }
  }
  void befall(uint32_t round) {
    if (round % 8 == 3) killNames();
    if (round % 8 == 5) killStore(round / 8 % 2);
    if (round % 8 == 6) world.network.cut("names", clientName(round / 8 % 2));
  }

  InodeId source;
  FileHandle from, copy, changed;
  std::vector<State> states;  // after each change
  size_t done = 0;            // the last one that has been answered
  bool stop = false;
};

TEST(FileHistories, G7ACopyTakenAmidChangesAndFaultsIsOfItsTimeAndNeitherFileSeesTheOther) {
  CopyWorld c;
  auto changing = kj::Promise<void>(c.change()).eagerlyEvaluate(nullptr);
  for (uint32_t round = 0; round < 40; ++round) {
    c.copyAmid(round);
    if (testing::Test::HasFailure()) break;
    auto place = static_cast<uint32_t>(c.world.random.below(c.kPlaces));
    auto mine = c.bytesOf(~uint64_t(round));
    EXPECT_EQ(c.get(c.vfs(0).write(c.copy, c.placeOf(place), kj::mv(mine), {}, nullptr)).err(),
              Errno::OK);
  }
  c.stop = true;
  c.get(changing.then([]() { return true; }));
  for (uint32_t i = 0; i < c.kPlaces; ++i) {
    EXPECT_EQ(c.at(0, c.from, i), c.states.back()[i]) << i;
  }
  ASSERT_TRUE(c.waitHealthy(120'000)) << c.trouble();
  c.pass(30'000);
  EXPECT_EQ(c.fsck(), std::vector<std::string>());
  c.restartAfterPowerCut();
  auto again = c.open(1, "source");
  for (uint32_t i = 0; i < c.kPlaces; ++i) EXPECT_EQ(c.at(1, again, i), c.states.back()[i]) << i;
}

}  // namespace
}  // namespace dfs
