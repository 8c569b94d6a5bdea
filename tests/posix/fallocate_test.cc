// fallocate(2). Sizes are multiples of st_blksize, which is what a hole is aligned to here as on a local disk.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

namespace dfs::posix {
namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

int64_t blocksOf(int fd) {
  return statOf(fd).st_blocks * 512;
}

Fd openFull(const std::string& path, size_t bytes, char with = 'x') {
  makeFile(path, std::string(bytes, with));
  Fd fd(open(path.c_str(), O_RDWR));
  EXPECT_OK(fsync(fd));  // a local disk may count what it has not yet allocated otherwise
  return fd;
}

size_t unitOf(const Place& p) {
  makeFile(p.here("unit"));
  return static_cast<size_t>(statOf(p.here("unit")).st_blksize);
}

TEST(Fallocate, ExtendsTheFileWithZerosAndTakesTheSpace) {
  Place p;
  auto fd = openFull(p.here("f"), 10);
  ASSERT_OK(fallocate(fd, 0, 5, 100'000));
  EXPECT_EQ(statOf(fd).st_size, 100'005);
  EXPECT_GE(blocksOf(fd), 100'005);
  EXPECT_EQ(contentsOf(p.there("f")), std::string(10, 'x') + std::string(99'995, '\0'));
  EXPECT_GE(statOf(p.there("f")).st_blocks * 512, 100'005);
}

TEST(Fallocate, OfWhatIsThereChangesNoByte) {
  Place p;
  auto fd = openFull(p.here("f"), 50'000);
  ASSERT_OK(fallocate(fd, 0, 0, 50'000));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(50'000, 'x'));
}

TEST(Fallocate, FillsAHole) {
  Place p;
  auto unit = unitOf(p);
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_OK(ftruncate(fd, static_cast<off_t>(3 * unit)));
  EXPECT_EQ(blocksOf(fd), 0);
  ASSERT_OK(fallocate(fd, 0, static_cast<off_t>(unit), static_cast<off_t>(unit)));
  EXPECT_EQ(blocksOf(fd), static_cast<int64_t>(unit));
  EXPECT_EQ(statOf(fd).st_size, static_cast<off_t>(3 * unit));
}

TEST(Fallocate, KeepSizeLeavesTheSize) {
  Place p;
  auto fd = openFull(p.here("f"), 1000);
  ASSERT_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100'000));
  EXPECT_EQ(statOf(fd).st_size, 1000);
  EXPECT_EQ(contentsOf(p.there("f")), std::string(1000, 'x'));
  ASSERT_OK(pwrite(fd, "y", 1, 50'000));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(1000, 'x') + std::string(49'000, '\0') + "y");
}

TEST(Fallocate, PosixFallocateDoesTheSame) {
  Place p;
  auto fd = openFull(p.here("f"), 3);
  EXPECT_EQ(posix_fallocate(fd, 0, 9000), 0);
  EXPECT_EQ(statOf(fd).st_size, 9000);
  EXPECT_EQ(posix_fallocate(fd, -1, 10), EINVAL);
  EXPECT_EQ(posix_fallocate(fd, 0, 0), EINVAL);
}

TEST(Fallocate, PunchMakesAHoleAndFreesTheSpace) {
  Place p;
  auto unit = unitOf(p);
  auto fd = openFull(p.here("f"), 4 * unit);
  auto before = blocksOf(fd);
  ASSERT_OK(fallocate(fd, kPunch, static_cast<off_t>(unit), static_cast<off_t>(unit)));
  EXPECT_EQ(blocksOf(fd), before - static_cast<int64_t>(unit));
  EXPECT_EQ(statOf(fd).st_size, static_cast<off_t>(4 * unit));
  auto wanted = std::string(unit, 'x') + std::string(unit, '\0') + std::string(2 * unit, 'x');
  EXPECT_TRUE(contentsOf(p.here("f")) == wanted);
  EXPECT_TRUE(contentsOf(p.there("f")) == wanted);
  ASSERT_OK(fallocate(fd, kPunch, 0, static_cast<off_t>(9 * unit)));
  EXPECT_EQ(blocksOf(fd), 0);
  EXPECT_EQ(statOf(fd).st_size, static_cast<off_t>(4 * unit));
  EXPECT_TRUE(contentsOf(p.there("f")) == std::string(4 * unit, '\0'));
}

TEST(Fallocate, PunchOfPartsOfUnitsMakesZeros) {
  Place p;
  auto unit = unitOf(p);
  auto fd = openFull(p.here("f"), 3 * unit);
  struct Hole {
    size_t from, bytes;
  };
  auto wanted = std::string(3 * unit, 'x');
  for (auto h : {Hole{10, 1}, Hole{unit - 1, 2}, Hole{100, 4096}, Hole{unit / 2, unit},
                 Hole{2 * unit + 5, unit}}) {
    ASSERT_OK(fallocate(fd, kPunch, static_cast<off_t>(h.from), static_cast<off_t>(h.bytes)));
    auto n = std::min(h.bytes, 3 * unit - h.from);
    wanted.replace(h.from, n, std::string(n, '\0'));
    ASSERT_TRUE(contentsOf(p.here("f")) == wanted) << h.from;
    ASSERT_TRUE(contentsOf(p.there("f")) == wanted) << h.from;
  }
  // What was punched out does not come back when the file is written and grows again.
  ASSERT_OK(ftruncate(fd, static_cast<off_t>(2 * unit + 3)));
  ASSERT_OK(pwrite(fd, "z", 1, static_cast<off_t>(3 * unit)));
  wanted.resize(2 * unit + 3);
  wanted += std::string(unit - 3, '\0') + "z";
  EXPECT_TRUE(contentsOf(p.there("f")) == wanted);
}

TEST(Fallocate, PunchPastTheEndDoesNothing) {
  Place p;
  auto fd = openFull(p.here("f"), 1000);
  ASSERT_OK(fallocate(fd, kPunch, 1000, 5000));
  ASSERT_OK(fallocate(fd, kPunch, 1 << 30, 5000));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(1000, 'x'));
}

TEST(Fallocate, PunchIsSeenByAnOpenDescriptorElsewhere) {
  Place p;
  auto fd = openFull(p.here("f"), 300'000);
  Fd other(open(p.there("f").c_str(), O_RDWR));
  std::string text(300'000, '?');
  ASSERT_EQ(pread(other, text.data(), text.size(), 0), 300'000);
  ASSERT_OK(fallocate(fd, kPunch, 1000, 200'000));
  ASSERT_EQ(pread(other, text.data(), text.size(), 0), 300'000);
  EXPECT_TRUE(text ==
              std::string(1000, 'x') + std::string(200'000, '\0') + std::string(99'000, 'x'));
  ASSERT_OK(fallocate(other, kPunch, 0, 1000));
  ASSERT_EQ(pread(fd, text.data(), 1000, 0), 1000);
  EXPECT_TRUE(text.substr(0, 1000) == std::string(1000, '\0'));
}

TEST(Fallocate, ZeroRangeKeepsTheSpace) {
  Place p;
  auto unit = unitOf(p);
  auto fd = openFull(p.here("f"), 3 * unit);
  auto before = blocksOf(fd);
  ASSERT_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, static_cast<off_t>(unit - 1),
                      static_cast<off_t>(unit + 2)));
  EXPECT_EQ(blocksOf(fd), before);
  auto wanted =
      std::string(unit - 1, 'x') + std::string(unit + 2, '\0') + std::string(unit - 1, 'x');
  EXPECT_TRUE(contentsOf(p.here("f")) == wanted);
  EXPECT_TRUE(contentsOf(p.there("f")) == wanted);
}

TEST(Fallocate, ZeroRangeExtendsTheFileUnlessToldNotTo) {
  Place p;
  auto fd = openFull(p.here("f"), 1000);
  ASSERT_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 500, 10'000));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(500, 'x') + std::string(500, '\0'));
  ASSERT_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 900, 10'000));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(500, 'x') + std::string(10'400, '\0'));
}

TEST(Fallocate, OtherModesAreNotSupported) {
  DFS_ONLY();
  Place p;
  auto fd = openFull(p.here("f"), 100'000);
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4096));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(100'000, 'x'));
}

TEST(Fallocate, PunchNeedsKeepSize) {
  Place p;
  auto fd = openFull(p.here("f"), 10'000);
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, kPunch | FALLOC_FL_ZERO_RANGE, 0, 4096));
}

TEST(Fallocate, RefusesBadRangesAndDescriptors) {
  Place p;
  auto fd = openFull(p.here("f"), 100);
  for (int mode : {0, FALLOC_FL_KEEP_SIZE, kPunch, FALLOC_FL_ZERO_RANGE}) {
    EXPECT_ERRNO(EINVAL, fallocate(fd, mode, 0, 0));
    EXPECT_ERRNO(EINVAL, fallocate(fd, mode, 0, -1));
    EXPECT_ERRNO(EINVAL, fallocate(fd, mode, -1, 1));
    EXPECT_ERRNO(EFBIG, fallocate(fd, mode, INT64_MAX - 1, 100));
    Fd reader(open(p.here("f").c_str(), O_RDONLY));
    EXPECT_ERRNO(EBADF, fallocate(reader, mode, 0, 10));
    EXPECT_ERRNO(EBADF, fallocate(-1, mode, 0, 10));
    Fd directory(open(p.here().c_str(), O_RDONLY));
    EXPECT_ERRNO(EBADF, fallocate(directory, mode, 0, 10));
  }
  ASSERT_OK(mkfifo(p.here("pipe").c_str(), 0600));
  Fd pipe(open(p.here("pipe").c_str(), O_RDWR));
  EXPECT_ERRNO(ESPIPE, fallocate(pipe, 0, 0, 10));
  EXPECT_EQ(statOf(fd).st_size, 100);
}

TEST(Fallocate, WhatCannotFitIsRefusedAndLeavesTheSize) {
  DFS_ONLY();  // a local disk fills up before it says so, and keeps what it got
  Place p;
  auto fd = openFull(p.here("f"), 100);
  struct statvfs fs;
  ASSERT_OK(fstatvfs(fd, &fs));
  auto bytes = static_cast<off_t>(fs.f_bfree * fs.f_frsize) + (off_t(1) << 30);
  EXPECT_ERRNO(ENOSPC, fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, bytes));
  EXPECT_EQ(statOf(fd).st_size, 100);
  EXPECT_ERRNO(ENOSPC, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes));
  EXPECT_ERRNO(ENOSPC, fallocate(fd, 0, 0, bytes));
  EXPECT_EQ(statOf(fd).st_size, 100);
  ASSERT_OK(pwrite(fd, "still", 5, 0));
}

TEST(Fallocate, BeyondTheLimitOfTheProcessIsTooBig) {
  Place p;
  inChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    auto fd = openFull(p.here("f"), 100);
    rlimit limit{8192, 8192};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_ERRNO(EFBIG, fallocate(fd, 0, 0, 8193));
    EXPECT_OK(fallocate(fd, 0, 0, 8192));
    EXPECT_EQ(statOf(fd).st_size, 8192);
  });
}

TEST(Fallocate, MovesTimes) {
  Place p;
  auto fd = openFull(p.here("f"), 100'000);
  struct Change {
    int mode;
    off_t at;
  };
  // Also of what lies past the end.
  for (const auto& change : {Change{0, 10}, Change{kPunch, 10}, Change{FALLOC_FL_ZERO_RANGE, 10},
                             Change{kPunch, 300'000}}) {
    auto mode = change.mode;
    auto before = statOf(fd);
    usleep(20'000);
    ASSERT_OK(fallocate(fd, mode, change.at, 90'000 + mode));
    for (auto now : {statOf(fd), statOf(p.there("f"))}) {
      auto later = [](const timespec& a, const timespec& b) {
        return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
      };
      EXPECT_TRUE(later(now.st_mtim, before.st_mtim)) << mode;
      EXPECT_TRUE(later(now.st_ctim, before.st_ctim)) << mode;
    }
  }
}

TEST(Fallocate, OfAnotherUserTakesSetIdBitsAway) {
  REQUIRE_ROOT();
  Place p;
  for (int mode : {0, kPunch, FALLOC_FL_ZERO_RANGE}) {
    auto name = "f" + std::to_string(mode);
    makeFile(p.here(name), std::string(100'000, 'x'));
    ASSERT_OK(chmod(p.here(name).c_str(), 06777));
    p.asUser([&] {
      Fd fd(open(p.here(name).c_str(), O_RDWR));
      EXPECT_OK(fallocate(fd, mode, 0, 50'000));
    });
    EXPECT_EQ(statOf(p.there(name)).st_mode & 07777, 0777u) << mode;
    // Root may keep them.
    ASSERT_OK(chmod(p.here(name).c_str(), 06777));
    Fd fd(open(p.here(name).c_str(), O_RDWR));
    EXPECT_OK(fallocate(fd, mode, 0, 50'000));
    EXPECT_EQ(statOf(p.there(name)).st_mode & 07777, 06777u) << mode;
  }
}

}  // namespace
}  // namespace dfs::posix
