// What is removed and still open, from the same mount and from the other; and working in a directory that is gone.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

TEST(Removed, FilesWorkUntilTheyAreClosed) {
  Place p;
  for (bool fromThere : {false, true}) {
    makeFile(p.here("f"), "contents");
    Fd fd(open(p.here("f").c_str(), O_RDWR));
    ASSERT_OK(unlink((fromThere ? p.there("f") : p.here("f")).c_str()));
    usleep(1'200'000);  // longer than what nobody uses is kept
    char c[16];
    EXPECT_EQ(pread(fd, c, 16, 0), 8);
    EXPECT_EQ(pwrite(fd, "more", 4, 8), 4);
    EXPECT_OK(ftruncate(fd, 10));
    EXPECT_OK(fchmod(fd, 0600));
    EXPECT_OK(fsync(fd));
    auto s = statOf(fd);
    EXPECT_EQ(s.st_nlink, 0u);
    EXPECT_EQ(s.st_size, 10);
    EXPECT_EQ(s.st_mode & 07777, 0600u);
    auto self = "/proc/self/fd/" + std::to_string(fd);
    EXPECT_EQ(contentsOf(self), "contentsmo");  // opened once more
    EXPECT_ERRNO(ENOENT,
                 linkat(AT_FDCWD, self.c_str(), AT_FDCWD, p.here("g").c_str(), AT_SYMLINK_FOLLOW));
  }
}

TEST(Removed, ReplacedByRenameWorksUntilItIsClosed) {
  Place p;
  makeFile(p.here("f"), "old");
  makeFile(p.here("g"), "new");
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  ASSERT_OK(rename(p.there("g").c_str(), p.there("f").c_str()));
  usleep(1'200'000);
  char c[8];
  EXPECT_EQ(pread(fd, c, 8, 0), 3);
  EXPECT_EQ(std::string(c, 3), "old");
  EXPECT_EQ(contentsOf(p.here("f")), "new");
}

TEST(Removed, TheNameCanBeUsedAgainAtOnce) {
  Place p;
  for (int i = 0; i < 50; ++i) {
    makeFile(p.here("f"), std::to_string(i));
    EXPECT_EQ(contentsOf(p.there("f")), std::to_string(i));
    ASSERT_OK(unlink(p.there("f").c_str()));
    makeDirectory(p.there("f"));
    ASSERT_OK(rmdir(p.here("f").c_str()));
  }
}

TEST(Removed, DirectoriesThatAreOpenAreEmptyAndTakeNothing) {
  Place p;
  for (bool fromThere : {false, true}) {
    makeDirectory(p.here("d"));
    Fd fd(open(p.here("d").c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_OK(rmdir((fromThere ? p.there("d") : p.here("d")).c_str()));
    usleep(1'200'000);
    EXPECT_ERRNO(ENOENT, openat(fd, "f", O_CREAT | O_WRONLY, 0600));
    EXPECT_ERRNO(ENOENT, mkdirat(fd, "d", 0700));
    EXPECT_ERRNO(ENOENT, mkfifoat(fd, "p", 0700));
    EXPECT_ERRNO(ENOENT, symlinkat("x", fd, "l"));
    EXPECT_ERRNO(ENOENT, unlinkat(fd, "f", 0));
    makeFile(p.here("g"));
    EXPECT_ERRNO(ENOENT, linkat(AT_FDCWD, p.here("g").c_str(), fd, "g", 0));
    EXPECT_ERRNO(ENOENT, renameat(AT_FDCWD, p.here("g").c_str(), fd, "g"));
    ASSERT_OK(unlink(p.here("g").c_str()));
    struct stat s;
    EXPECT_ERRNO(ENOENT, fstatat(fd, "f", &s, 0));
    EXPECT_OK(fstatat(fd, ".", &s, 0));
    EXPECT_EQ(s.st_nlink, 0u);
    EXPECT_OK(fstatat(fd, "..", &s, 0));
    EXPECT_OK(fchmod(fd, 0700));
    DIR* dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
    ASSERT_NE(dir, nullptr);
    errno = 0;
    EXPECT_EQ(readdir(dir), nullptr);
    closedir(dir);
  }
}

TEST(Removed, TheCurrentDirectoryMayGo) {
  Place p;
  for (bool fromThere : {false, true}) {
    makeDirectory(p.here("d"));
    inChild([&] {
      ASSERT_OK(chdir(p.here("d").c_str()));
      ASSERT_OK(rmdir((fromThere ? p.there("d") : p.here("d")).c_str()));
      usleep(1'200'000);
      struct stat s;
      EXPECT_OK(stat(".", &s));
      EXPECT_OK(stat("..", &s));
      EXPECT_EQ(s.st_ino, statOf(p.here()).st_ino);
      EXPECT_ERRNO(ENOENT, open("f", O_CREAT | O_WRONLY, 0600));
      EXPECT_ERRNO(ENOENT, mkdir("d", 0700));
      EXPECT_ERRNO(ENOENT, stat("f", &s));
      EXPECT_ERRNO(EINVAL, rmdir("."));
      char text[4096];
      if (!fromThere) EXPECT_EQ(getcwd(text, sizeof text), nullptr);
      EXPECT_OK(chdir(".."));
    });
  }
}

TEST(Removed, WhatTheOtherMountReplacedIsFoundAnew) {
  // A path walked before; then all of its parts are other ones. No ESTALE, no old contents.
  Place p;
  for (int i = 0; i < 20; ++i) {
    makeDirectory(p.there("a"));
    makeDirectory(p.there("a/b"));
    makeFile(p.there("a/b/f"), std::to_string(i));
    EXPECT_EQ(contentsOf(p.here("a/b/f")), std::to_string(i));
    EXPECT_OK(chmod(p.here("a/b/f").c_str(), 0600));
    ASSERT_OK(unlink(p.there("a/b/f").c_str()));
    ASSERT_OK(rmdir(p.there("a/b").c_str()));
    ASSERT_OK(rmdir(p.there("a").c_str()));
    EXPECT_ERRNO(ENOENT, access(p.here("a/b/f").c_str(), F_OK));
  }
}

TEST(Removed, WhileBothMountsDoItOneSucceeds) {
  Place p;
  for (int i = 0; i < 50; ++i) {
    makeFile(p.here("f"));
    makeDirectory(p.here("d"));
    pid_t child = fork();
    if (child == 0) {
      int done = (unlink(p.there("f").c_str()) == 0) + 2 * (rmdir(p.there("d").c_str()) == 0);
      _exit(done);
    }
    int file = unlink(p.here("f").c_str());
    EXPECT_TRUE(file == 0 || errno == ENOENT) << errnoName(errno);
    int directory = rmdir(p.here("d").c_str());
    EXPECT_TRUE(directory == 0 || errno == ENOENT) << errnoName(errno);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ((WEXITSTATUS(status) & 1) + (file == 0), 1);
    EXPECT_EQ((WEXITSTATUS(status) >> 1) + (directory == 0), 1);
  }
}

TEST(Attributes, ChangeWhileTheOtherMountWrites) {
  Place p;
  makeFile(p.here("f"), "", 0666);
  Fd fd(open(p.there("f").c_str(), O_WRONLY));
  off_t written = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_EQ(pwrite(fd, "12345678", 8, written), 8);
    written += 8;
    EXPECT_OK(chmod(p.here("f").c_str(), i % 2 == 0 ? 0644 : 0600));
    auto s = statOf(p.here("f"));
    EXPECT_EQ(s.st_size, written);
    EXPECT_EQ(s.st_mode & 0777, i % 2 == 0 ? 0644u : 0600u);
    timespec times[2] = {{i, 5}, {i, 7}};
    EXPECT_OK(utimensat(AT_FDCWD, p.here("f").c_str(), times, 0));
    EXPECT_EQ(statOf(fd).st_mtim.tv_sec, i);
    EXPECT_EQ(statOf(p.here("f")).st_mtim.tv_nsec, 7);
  }
  EXPECT_OK(truncate(p.here("f").c_str(), 4));
  EXPECT_EQ(statOf(fd).st_size, 4);
  EXPECT_EQ(contentsOf(p.here("f")), "1234");
}

TEST(MountRoot, IsBusy) {
  DFS_ONLY();
  REQUIRE_ROOT();
  Place p;
  // The path of the mount, without links and dots: the last parent of the same device.
  auto mount = p.here();
  auto device = statOf(mount).st_dev;
  for (;;) {
    auto parent = mount.substr(0, mount.rfind('/'));
    if (statOf(parent).st_dev != device) break;
    mount = parent;
  }
  EXPECT_ERRNO(EBUSY, rmdir(mount.c_str()));
  EXPECT_ERRNO(EBUSY, rename(mount.c_str(), (mount + ".moved").c_str()));
  makeFile(p.here("f"));
  EXPECT_ERRNO(EXDEV, rename(p.here("f").c_str(), (mount + ".f").c_str()));
  EXPECT_ERRNO(EXDEV, link(p.here("f").c_str(), (mount + ".f").c_str()));
}

}  // namespace
}  // namespace dfs::posix
