// open and its flags.
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

TEST(Open, CreatesWithExclOnceOnly) {
  Place p;
  EXPECT_OK(close(open(p.here("f").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600)));
  EXPECT_ERRNO(EEXIST, open(p.there("f").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
  EXPECT_OK(close(open(p.there("f").c_str(), O_CREAT | O_WRONLY, 0)));
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 0600u);
  ASSERT_OK(symlink("none", p.here("l").c_str()));
  EXPECT_ERRNO(EEXIST, open(p.there("l").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
  EXPECT_OK(close(open(p.there("l").c_str(), O_CREAT | O_WRONLY, 0640)));  // what it points to
  EXPECT_TRUE(S_ISREG(statOf(p.here("none")).st_mode));
  EXPECT_ERRNO(EEXIST, open(p.here().c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
}

TEST(Open, RacesOfExclHaveOneWinner) {
  Place p;
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> won = 0, lost = 0;
    std::vector<std::thread> all;
    for (int i = 0; i < 4; ++i) {
      auto path = i % 2 == 0 ? p.here("f") : p.there("f");
      all.emplace_back([&won, &lost, path] {
        Fd fd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
        if (fd >= 0) ++won;
        if (fd < 0 && errno == EEXIST) ++lost;
      });
    }
    for (auto& one : all) one.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, 3);
    ASSERT_OK(unlink(p.here("f").c_str()));
  }
}

TEST(Open, RacesOfCreateWithoutExclAllWin) {
  Place p;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> all;
    for (int i = 0; i < 4; ++i) {
      auto path = i % 2 == 0 ? p.here("f") : p.there("f");
      all.emplace_back([path] {
        Fd fd(open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600));
        EXPECT_OK(int(fd));
        EXPECT_EQ(write(fd, "x", 1), 1);
      });
    }
    for (auto& one : all) one.join();
    EXPECT_EQ(contentsOf(p.there("f")), "xxxx");
    ASSERT_OK(unlink(p.here("f").c_str()));
  }
}

TEST(Open, CreatesWhatMayBeWrittenThoughItsModeForbidsIt) {
  Place p;
  Fd fd(open(p.here("f").c_str(), O_CREAT | O_RDWR, 0));
  ASSERT_GE(fd, 0);
  EXPECT_EQ(write(fd, "abc", 3), 3);
  char c[4];
  EXPECT_EQ(pread(fd, c, 4, 0), 3);
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 0u);
}

TEST(Open, TruncWorksWithEveryWayOfOpening) {
  Place p;
  for (int way : {O_WRONLY, O_RDWR, O_RDONLY}) {
    auto name = std::to_string(way);
    makeFile(p.here(name), "contents");
    Fd fd(open(p.here(name).c_str(), way | O_TRUNC));
    EXPECT_GE(fd, 0);
    EXPECT_EQ(statOf(p.there(name)).st_size, 0);
  }
}

TEST(Open, TruncNeedsTheRightToWrite) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "contents", 0644);
  makeFile(p.here("w"), "contents", 0622);
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, open(p.there("f").c_str(), O_RDONLY | O_TRUNC));
    EXPECT_ERRNO(EACCES, open(p.there("f").c_str(), O_WRONLY | O_TRUNC));
    EXPECT_ERRNO(EACCES, open(p.there("f").c_str(), O_RDWR));
    EXPECT_ERRNO(EACCES, truncate(p.there("f").c_str(), 0));
    EXPECT_ERRNO(EACCES, open(p.there("w").c_str(), O_RDONLY));
    EXPECT_OK(close(open(p.there("w").c_str(), O_WRONLY | O_TRUNC)));
  });
  EXPECT_EQ(statOf(p.here("f")).st_size, 8);
  EXPECT_EQ(statOf(p.here("w")).st_size, 0);
}

TEST(Open, OfDirectoriesLinksAndWhatIsNone) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("f"));
  ASSERT_OK(symlink("f", p.here("l").c_str()));
  EXPECT_ERRNO(EISDIR, open(p.here("d").c_str(), O_WRONLY));
  EXPECT_ERRNO(EISDIR, open(p.here("d").c_str(), O_RDWR));
  EXPECT_ERRNO(EISDIR, open(p.here("d").c_str(), O_CREAT | O_RDONLY, 0600));
  EXPECT_ERRNO(EISDIR, open(p.here("d").c_str(), O_RDONLY | O_TRUNC));
  EXPECT_OK(close(open(p.here("d").c_str(), O_RDONLY | O_DIRECTORY)));
  EXPECT_ERRNO(ENOTDIR, open(p.here("f").c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_ERRNO(ENOTDIR, open(p.here("l").c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_ERRNO(ELOOP, open(p.here("l").c_str(), O_RDONLY | O_NOFOLLOW));
  EXPECT_ERRNO(ENOENT, open(p.here("none").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOENT, open(p.here("none/f").c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_ERRNO(ENOTDIR, open(p.here("f/x").c_str(), O_CREAT | O_WRONLY, 0600));
  Fd fd(open(p.here("d").c_str(), O_RDONLY));
  char c;
  EXPECT_ERRNO(EISDIR, read(fd, &c, 1));
  EXPECT_ERRNO(EBADF, write(fd, &c, 1));
}

TEST(Open, DescriptorsAllowOnlyWhatTheyWereOpenedFor) {
  Place p;
  makeFile(p.here("f"), "x");
  char c = 'y';
  Fd reading(open(p.here("f").c_str(), O_RDONLY)), writing(open(p.here("f").c_str(), O_WRONLY));
  EXPECT_ERRNO(EBADF, write(reading, &c, 1));
  EXPECT_ERRNO(EBADF, read(writing, &c, 1));
  EXPECT_ERRNO(EINVAL, ftruncate(reading, 0));
  Fd path(open(p.here("f").c_str(), O_PATH));
  EXPECT_ERRNO(EBADF, read(path, &c, 1));
  EXPECT_EQ(statOf(path).st_size, 1);
  auto again = "/proc/self/fd/" + std::to_string(path);
  EXPECT_EQ(contentsOf(again), "x");
}

TEST(Open, RightsAreOfTheMomentOfOpening) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "x", 0666);
  p.asUser([&] {
    Fd fd(open(p.here("f").c_str(), O_RDWR));
    inChild([] {});
    Fd other(open(p.there("f").c_str(), O_WRONLY));
    EXPECT_EQ(write(fd, "y", 1), 1);
    EXPECT_EQ(pwrite(other, "z", 1, 1), 1);
    EXPECT_OK(ftruncate(fd, 1));
  });
  Fd fd(open(p.here("f").c_str(), O_WRONLY));
  ASSERT_OK(chmod(p.there("f").c_str(), 0));
  EXPECT_EQ(write(fd, "q", 1), 1);
  EXPECT_OK(ftruncate(fd, 1));
  EXPECT_EQ(contentsOf(p.there("f")), "q");
}

TEST(Open, ADescriptorThatWasHandedOnWritesAndTakesSetIdBitsAway) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0);
  Fd fd(open(p.here("f").c_str(), O_WRONLY));
  ASSERT_OK(chmod(p.here("f").c_str(), 06711));
  p.asUser([&] { EXPECT_EQ(write(fd, "x", 1), 1); });
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 0711u);
  ASSERT_OK(chmod(p.here("f").c_str(), 06711));
  p.asUser([&] { EXPECT_OK(ftruncate(fd, 0)); });
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 0711u);
  p.asUser([&] { EXPECT_ERRNO(EPERM, chmod(p.here("f").c_str(), 0711)); });
}

TEST(Open, TmpfileHasNoNameUntilItIsLinked) {
  Place p;
  auto before = namesIn(p.there());
  Fd fd(open(p.here().c_str(), O_TMPFILE | O_RDWR, 0640));
  ASSERT_GE(fd, 0) << errnoName(errno);
  EXPECT_EQ(namesIn(p.there()), before);
  EXPECT_EQ(statOf(fd).st_nlink, 0u);
  EXPECT_EQ(statOf(fd).st_mode, mode_t(S_IFREG | 0640));
  ASSERT_EQ(write(fd, "abc", 3), 3);
  usleep(1'500'000);  // longer than unused ones are kept
  char c[4];
  EXPECT_EQ(pread(fd, c, 4, 0), 3);
  auto self = "/proc/self/fd/" + std::to_string(fd);
  ASSERT_OK(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, p.here("named").c_str(), AT_SYMLINK_FOLLOW));
  EXPECT_EQ(contentsOf(p.there("named")), "abc");
  EXPECT_EQ(statOf(p.there("named")).st_nlink, 1u);
  ASSERT_OK(unlink(p.there("named").c_str()));
}

TEST(Open, TmpfileWithExclNeverGetsAName) {
  Place p;
  Fd fd(open(p.here().c_str(), O_TMPFILE | O_EXCL | O_WRONLY, 0600));
  ASSERT_GE(fd, 0) << errnoName(errno);
  auto self = "/proc/self/fd/" + std::to_string(fd);
  EXPECT_ERRNO(ENOENT,
               linkat(AT_FDCWD, self.c_str(), AT_FDCWD, p.here("x").c_str(), AT_SYMLINK_FOLLOW));
  EXPECT_ERRNO(EINVAL, open(p.here().c_str(), O_TMPFILE | O_RDONLY, 0600));
  makeFile(p.here("f"));
  EXPECT_ERRNO(ENOTDIR, open(p.here("f").c_str(), O_TMPFILE | O_RDWR, 0600));
}

TEST(Open, TmpfileNeedsTheRightToWriteTheDirectory) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"), 0755);
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, open(p.here("d").c_str(), O_TMPFILE | O_RDWR, 0600));
    Fd fd(open(p.here().c_str(), O_TMPFILE | O_RDWR, 0600));
    EXPECT_GE(fd, 0);
    EXPECT_EQ(statOf(fd).st_uid, kUser);
  });
}

TEST(Open, BusyTextIsNotWritten) {
  Place p;
  makeFile(p.here("program"), contentsOf("/bin/sleep"), 0755);
  pid_t child = fork();
  if (child == 0) {
    execl(p.here("program").c_str(), "sleep", "5", nullptr);
    _exit(127);
  }
  usleep(200'000);
  EXPECT_ERRNO(ETXTBSY, open(p.here("program").c_str(), O_WRONLY));
  EXPECT_ERRNO(ETXTBSY, truncate(p.here("program").c_str(), 0));
  Fd writing(open(p.here("other").c_str(), O_CREAT | O_WRONLY, 0755));
  inChild([&] {
    Fd fd(open(p.here("other").c_str(), O_WRONLY));
    EXPECT_ERRNO(ETXTBSY, execl(p.here("other").c_str(), "x", nullptr));
  });
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_OK(close(open(p.there("program").c_str(), O_WRONLY)));
}

TEST(Openat2, KeepsToTheDirectory) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("d/f"), "x");
  makeFile(p.here("f"));
  ASSERT_OK(symlink("../f", p.here("d/out").c_str()));
  ASSERT_OK(symlink("f", p.here("d/in").c_str()));
  Fd dir(open(p.here("d").c_str(), O_RDONLY | O_DIRECTORY));
  auto openBy = [&](const char* path, uint64_t resolve) {
    open_how how{O_RDONLY, 0, resolve};
    long fd;
    do {
      // EAGAIN: something was renamed meanwhile, anywhere on the machine.
      fd = syscall(SYS_openat2, int(dir), path, &how, sizeof how);
    } while (fd < 0 && errno == EAGAIN);
    if (fd >= 0) close(static_cast<int>(fd));
    return fd;
  };
  EXPECT_OK(openBy("in", RESOLVE_BENEATH));
  EXPECT_ERRNO(EXDEV, openBy("out", RESOLVE_BENEATH));
  EXPECT_ERRNO(EXDEV, openBy("../f", RESOLVE_BENEATH));
  EXPECT_ERRNO(ENOENT, openBy("../../../none", RESOLVE_IN_ROOT));
  EXPECT_OK(openBy("../f", RESOLVE_IN_ROOT));
  EXPECT_ERRNO(ELOOP, openBy("in", RESOLVE_NO_SYMLINKS));
  EXPECT_OK(openBy("f", RESOLVE_NO_XDEV));
}

TEST(Truncate, CutsAndExtendsWithZeros) {
  Place p;
  makeFile(p.here("f"), "0123456789");
  ASSERT_OK(truncate(p.here("f").c_str(), 4));
  EXPECT_EQ(contentsOf(p.there("f")), "0123");
  ASSERT_OK(truncate(p.there("f").c_str(), 8));
  EXPECT_EQ(contentsOf(p.here("f")), std::string("0123\0\0\0\0", 8));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  ASSERT_OK(ftruncate(fd, 2));
  EXPECT_EQ(contentsOf(p.there("f")), "01");
}

TEST(Truncate, RefusesAsLinuxDoes) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  ASSERT_OK(mkfifo(p.here("p").c_str(), 0600));
  EXPECT_ERRNO(EISDIR, truncate(p.here("d").c_str(), 0));
  EXPECT_ERRNO(EINVAL, truncate(p.here("f").c_str(), -1));
  EXPECT_ERRNO(EINVAL, truncate(p.here("p").c_str(), 0));
  EXPECT_ERRNO(ENOENT, truncate(p.here("none").c_str(), 0));
  EXPECT_ERRNO(ENOTDIR, truncate(p.here("f/x").c_str(), 0));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  EXPECT_ERRNO(EINVAL, ftruncate(fd, -1));
}

}  // namespace
}  // namespace dfs::posix
