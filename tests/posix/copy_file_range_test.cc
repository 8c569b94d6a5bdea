// copy_file_range(2): contents, offsets, errors; and that a large copy moves no bytes.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>

namespace dfs::posix {
namespace {

std::string pattern(size_t bytes, unsigned seed = 1) {
  std::string text(bytes, '\0');
  for (auto& c : text) {
    seed = seed * 1103515245 + 12345;
    c = static_cast<char>(seed >> 16);
  }
  return text;
}

ssize_t copyAll(int from, off_t fromAt, int to, off_t toAt, size_t bytes) {
  // As often as it takes; the bytes copied.
  ssize_t all = 0;
  while (bytes > 0) {
    auto n = copy_file_range(from, &fromAt, to, &toAt, bytes, 0);
    if (n < 0) return n;
    if (n == 0) break;
    all += n;
    bytes -= static_cast<size_t>(n);
  }
  return all;
}

Fd openFull(const std::string& path, const std::string& contents) {
  makeFile(path, contents);
  return Fd(open(path.c_str(), O_RDWR));
}

struct Two {
  explicit Two(const std::string& contents, const std::string& old = "")
      : from(openFull(p.here("from"), contents)), to(openFull(p.here("to"), old)) {}
  Place p;
  Fd from, to;
};

TEST(CopyFileRange, CopiesAWholeFile) {
  for (size_t bytes : {1, 4095, 4096, 300'000, (4 << 20) - 1, (4 << 20) + 1, 9 << 20}) {
    auto text = pattern(bytes);
    Two t(text);
    ASSERT_EQ(copyAll(t.from, 0, t.to, 0, bytes + 1000), ssize_t(bytes));
    ASSERT_TRUE(contentsOf(t.p.here("to")) == text) << bytes;
    ASSERT_TRUE(contentsOf(t.p.there("to")) == text) << bytes;
    ASSERT_TRUE(contentsOf(t.p.there("from")) == text) << bytes;
  }
}

TEST(CopyFileRange, CopiesAnyRangeToAnyPlace) {
  constexpr size_t kBlock = 4 << 20;
  auto text = pattern(3 * kBlock + 777);
  auto old = pattern(2 * kBlock, 9);
  struct Case {
    size_t from, to, bytes;
  };
  for (auto c : {Case{0, 1, kBlock}, Case{1, 0, kBlock}, Case{100, 100, 2 * kBlock},
                 Case{kBlock, 0, 2 * kBlock}, Case{0, kBlock, kBlock}, Case{0, 0, kBlock + 5},
                 Case{2 * kBlock, 5 * kBlock, kBlock + 777}, Case{5, 3 * kBlock + 9, 70'000}}) {
    Two t(text, old);
    auto n = std::min(c.bytes, text.size() - c.from);
    ASSERT_EQ(copyAll(t.from, off_t(c.from), t.to, off_t(c.to), c.bytes), ssize_t(n));
    auto wanted = old;
    if (wanted.size() < c.to + n) wanted.resize(c.to + n, '\0');
    wanted.replace(c.to, n, text, c.from, n);
    ASSERT_TRUE(contentsOf(t.p.here("to")) == wanted) << c.from << " " << c.to;
    ASSERT_TRUE(contentsOf(t.p.there("to")) == wanted) << c.from << " " << c.to;
  }
}

TEST(CopyFileRange, MovesOffsetsAsTold) {
  Two t("0123456789");
  ASSERT_EQ(lseek(t.from, 2, SEEK_SET), 2);
  EXPECT_EQ(copy_file_range(t.from, nullptr, t.to, nullptr, 3, 0), 3);
  EXPECT_EQ(lseek(t.from, 0, SEEK_CUR), 5);
  EXPECT_EQ(lseek(t.to, 0, SEEK_CUR), 3);
  off_t in = 1, out = 5;
  EXPECT_EQ(copy_file_range(t.from, &in, t.to, &out, 2, 0), 2);
  EXPECT_EQ(in, 3);
  EXPECT_EQ(out, 7);
  EXPECT_EQ(lseek(t.from, 0, SEEK_CUR), 5);
  EXPECT_EQ(contentsOf(t.p.there("to")), std::string("234\0\00012", 7));
  in = 10;
  EXPECT_EQ(copy_file_range(t.from, &in, t.to, &out, 2, 0), 0);
}

TEST(CopyFileRange, WithinAFile) {
  constexpr size_t kBlock = 4 << 20;
  auto text = pattern(4 * kBlock);
  Two t(text);
  ASSERT_EQ(copyAll(t.from, 0, t.from, 2 * kBlock, 2 * kBlock), ssize_t(2 * kBlock));
  auto wanted = text.substr(0, 2 * kBlock) + text.substr(0, 2 * kBlock);
  EXPECT_TRUE(contentsOf(t.p.there("from")) == wanted);
  off_t in = 0, out = 100;
  EXPECT_ERRNO(EINVAL, copy_file_range(t.from, &in, t.from, &out, 101, 0));
  ASSERT_OK(pwrite(t.from, "CHANGED", 7, 10));
  wanted.replace(10, 7, "CHANGED");
  EXPECT_TRUE(contentsOf(t.p.there("from")) == wanted);
}

TEST(CopyFileRange, NeitherFileSeesWhatIsLaterWrittenToTheOther) {
  auto text = pattern(10 << 20);
  Two t(text);
  ASSERT_EQ(copyAll(t.from, 0, t.to, 0, text.size()), ssize_t(text.size()));
  Fd other(open(t.p.there("from").c_str(), O_RDWR));
  ASSERT_OK(pwrite(t.from, "one", 3, 5 << 20));
  ASSERT_OK(pwrite(t.to, "two", 3, 1 << 20));
  ASSERT_OK(pwrite(other, "three", 5, 9 << 20));
  ASSERT_OK(ftruncate(t.to, 9 << 20));
  auto from = text, to = text.substr(0, 9 << 20);
  from.replace(5 << 20, 3, "one");
  from.replace(9 << 20, 5, "three");
  to.replace(1 << 20, 3, "two");
  EXPECT_TRUE(contentsOf(t.p.there("from")) == from);
  EXPECT_TRUE(contentsOf(t.p.there("to")) == to);
  ASSERT_OK(unlink(t.p.here("from").c_str()));
  EXPECT_TRUE(contentsOf(t.p.here("to")) == to);
}

TEST(CopyFileRange, TakesHolesAlong) {
  constexpr off_t kBlock = 4 << 20;
  Two t("");
  ASSERT_OK(pwrite(t.from, "x", 1, 5 * kBlock));
  ASSERT_OK(ftruncate(t.from, 8 * kBlock));
  ASSERT_OK(pwrite(t.to, std::string(100, 'o').data(), 100, 2 * kBlock));
  ASSERT_EQ(copyAll(t.from, 0, t.to, 0, 8 * kBlock), 8 * kBlock);
  EXPECT_EQ(statOf(t.p.there("to")).st_size, 8 * kBlock);
  char c[100];
  ASSERT_EQ(pread(t.to, c, 100, 2 * kBlock), 100);
  EXPECT_EQ(std::string(c, 100), std::string(100, '\0'));
  ASSERT_EQ(pread(t.to, c, 1, 5 * kBlock), 1);
  EXPECT_EQ(c[0], 'x');
}

TEST(CopyFileRange, OfALargeFileMovesNoBytes) {
  // Method: 1 GiB of holes and data is copied in a fraction of the time that its bytes would take.
  DFS_ONLY();
  Two t("");
  constexpr off_t kMany = 64 << 20;
  auto piece = pattern(1 << 20);
  for (off_t at = 0; at < kMany; at += 1 << 20)
    ASSERT_OK(pwrite(t.from, piece.data(), 1 << 20, at));
  ASSERT_OK(fsync(t.from));
  ASSERT_OK(ftruncate(t.from, off_t(1) << 40));
  off_t in = 0, out = 0;
  // What one call gives back is more than any client copies itself in one.
  EXPECT_GT(copy_file_range(t.from, &in, t.to, &out, size_t(1) << 30, 0), kMany);
  EXPECT_GE(statOf(t.to).st_blocks * 512, int64_t(kMany));
}

TEST(CopyFileRange, RefusesWhatLinuxRefuses) {
  Two t("contents");
  Fd reader(open(t.p.here("to").c_str(), O_RDONLY));
  Fd writer(open(t.p.here("from").c_str(), O_WRONLY));
  Fd appender(open(t.p.here("to").c_str(), O_WRONLY | O_APPEND));
  Fd directory(open(t.p.here().c_str(), O_RDONLY));
  EXPECT_ERRNO(EBADF, copy_file_range(t.from, nullptr, reader, nullptr, 1, 0));
  EXPECT_ERRNO(EBADF, copy_file_range(writer, nullptr, t.to, nullptr, 1, 0));
  EXPECT_ERRNO(EBADF, copy_file_range(t.from, nullptr, appender, nullptr, 1, 0));
  EXPECT_ERRNO(EISDIR, copy_file_range(directory, nullptr, t.to, nullptr, 1, 0));
  EXPECT_ERRNO(EINVAL, copy_file_range(t.from, nullptr, t.to, nullptr, 1, 1));
  off_t in = 0, negative = -1;
  EXPECT_ERRNO(EOVERFLOW, copy_file_range(t.from, &negative, t.to, &in, 1, 0));
  EXPECT_EQ(copy_file_range(t.from, nullptr, t.to, nullptr, 0, 0), 0);
}

TEST(CopyFileRange, KeepsToTheLimitOfTheProcess) {
  Two t(std::string(10'000, 'x'));
  inChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{4096, 4096};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    off_t in = 0, out = 0;
    EXPECT_EQ(copy_file_range(t.from, &in, t.to, &out, 10'000, 0), 4096);
    EXPECT_ERRNO(EFBIG, copy_file_range(t.from, &in, t.to, &out, 10'000, 0));
  });
  EXPECT_EQ(statOf(t.p.there("to")).st_size, 4096);
}

TEST(CopyFileRange, OfAnotherUserTakesSetIdBitsAway) {
  REQUIRE_ROOT();
  for (size_t bytes : {100, 9 << 20}) {
    Two t(pattern(bytes));
    ASSERT_OK(chmod(t.p.here("to").c_str(), 06777));
    ASSERT_OK(chmod(t.p.here("from").c_str(), 0666));
    t.p.asUser([&] {
      Fd from(open(t.p.here("from").c_str(), O_RDONLY));
      Fd to(open(t.p.here("to").c_str(), O_WRONLY));
      EXPECT_EQ(copyAll(from, 0, to, 0, bytes), ssize_t(bytes));
    });
    EXPECT_EQ(statOf(t.p.there("to")).st_mode & 07777, 0777u) << bytes;
  }
}

}  // namespace
}  // namespace dfs::posix
