// The file system as a whole: what df shows, and saving all of it.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <sys/statvfs.h>

namespace dfs::posix {
namespace {

struct statvfs look(const std::string& path) {
  struct statvfs now {};
  EXPECT_EQ(statvfs(path.c_str(), &now), 0) << errnoName(errno);
  return now;
}

TEST(Statvfs, TellsNumbersThatFitTogether) {
  Place p;
  makeFile(p.here("f"), "x");
  for (auto& path : {p.here(), p.here("f"), p.there()}) {
    auto now = look(path);
    EXPECT_GT(now.f_frsize, 0u);
    EXPECT_GT(now.f_blocks, 0u);
    EXPECT_LE(now.f_bfree, now.f_blocks);
    EXPECT_LE(now.f_bavail, now.f_bfree);
    EXPECT_LE(now.f_ffree, now.f_files);
    EXPECT_EQ(now.f_namemax, 255u);
  }
  EXPECT_EQ(look(p.here()).f_blocks, look(p.there()).f_blocks);
}

TEST(Statvfs, IsTheSameForADescriptorAndForAUser) {
  Place p;
  p.asUser([&]() {
    int fd = open(p.here().c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_GE(fd, 0);
    struct statvfs now {};
    EXPECT_EQ(fstatvfs(fd, &now), 0);
    EXPECT_EQ(now.f_blocks, look(p.here()).f_blocks);
    close(fd);
  });
}

TEST(Statvfs, OfNothingIsRefused) {
  Place p;
  struct statvfs now {};
  EXPECT_EQ(statvfs(p.here("none").c_str(), &now), -1);
  EXPECT_EQ(errno, ENOENT);
  makeFile(p.here("f"));
  EXPECT_EQ(statvfs(p.here("f/x").c_str(), &now), -1);
  EXPECT_EQ(errno, ENOTDIR);
}

TEST(Sync, OfADirectoryAndOfTheFileSystemReturnsZero) {
  Place p;
  makeFile(p.here("f"), "saved");
  int fd = open(p.here().c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fsync(fd), 0) << errnoName(errno);
  EXPECT_EQ(fdatasync(fd), 0) << errnoName(errno);
  EXPECT_EQ(syncfs(fd), 0) << errnoName(errno);
  close(fd);
  EXPECT_EQ(contentsOf(p.there("f")), "saved");
}

TEST(Sync, NeedsADescriptorThatIsNoMerePath) {
  Place p;
  int fd = open(p.here().c_str(), O_PATH | O_DIRECTORY);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fsync(fd), -1);
  EXPECT_EQ(errno, EBADF);
  close(fd);
}

}  // namespace
}  // namespace dfs::posix
