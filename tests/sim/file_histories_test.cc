// Histories of whole calls on files: made without a name, made exclusively, copied by reference, cut, filled and punched while answers
// are lost and others are at work on the same.

#include "tests/sim/history.h"

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

}  // namespace
}  // namespace dfs
