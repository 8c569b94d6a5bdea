// read, write and their kin: boundaries, flags, sparse and huge files, what st_blocks says.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace dfs::posix {
namespace {

constexpr off_t kBlock = 4 << 20;
constexpr off_t kBoundaries[] = {512, 4096, 64 << 10, 128 << 10, 1 << 20, kBlock, 2 * kBlock};

Fd openNew(const std::string& path, int flags = 0) {
  return Fd(open(path.c_str(), O_RDWR | O_CREAT | flags, 0644));
}

std::string readAt(int fd, off_t at, size_t bytes) {
  std::string text(bytes, '?');
  auto n = pread(fd, text.data(), bytes, at);
  EXPECT_GE(n, 0) << errnoName(errno);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}

TEST(Data, WritesAcrossEveryBoundary) {
  // Method: at each boundary, one before and one after, writes that end there, begin there and cross it.
  Place p;
  auto fd = openNew(p.here("f"));
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  std::string model(static_cast<size_t>(2 * kBlock + 8192), '\0');
  size_t size = 0;
  char with = 'a';
  for (auto boundary : kBoundaries) {
    for (off_t shift : {-1, 0, 1}) {
      for (size_t bytes : {1, 2, 4096, 4097}) {
        for (off_t back : {off_t(0), off_t(bytes / 2), off_t(bytes)}) {
          auto at = boundary + shift - back;
          if (at < 0) continue;
          with = with == 'z' ? 'a' : static_cast<char>(with + 1);
          std::string data(bytes, with);
          ASSERT_EQ(pwrite(fd, data.data(), bytes, at), ssize_t(bytes));
          model.replace(static_cast<size_t>(at), bytes, data);
          size = std::max(size, static_cast<size_t>(at) + bytes);
          auto from = std::max<off_t>(0, at - 10);
          auto wanted = model.substr(static_cast<size_t>(from),
                                     std::min(bytes + 20, size - static_cast<size_t>(from)));
          ASSERT_TRUE(readAt(fd, from, bytes + 20) == wanted) << at << "+" << bytes;
        }
      }
    }
    auto n = std::min<size_t>(size, 9000);
    ASSERT_TRUE(readAt(other, off_t(size - n), n) == model.substr(size - n, n)) << boundary;
  }
  model.resize(size);
  EXPECT_TRUE(contentsOf(p.there("f")) == model);
}

TEST(Data, TruncatesAroundEveryBoundary) {
  Place p;
  auto fd = openNew(p.here("f"));
  Fd other(open(p.there("f").c_str(), O_RDWR));
  for (auto boundary : kBoundaries) {
    for (off_t shift : {-1, 0, 1}) {
      auto cut = boundary + shift;
      std::string data(100, 'x');
      ASSERT_EQ(pwrite(fd, data.data(), 100, cut - 50), 100);
      ASSERT_OK(ftruncate(other, cut));
      EXPECT_EQ(statOf(fd).st_size, cut);
      EXPECT_EQ(readAt(fd, cut - 50, 100), std::string(50, 'x'));
      // What was cut off does not come back.
      ASSERT_OK(ftruncate(fd, cut + 1000));
      EXPECT_EQ(readAt(other, cut - 1, 1001), "x" + std::string(1000, '\0'));
      ASSERT_EQ(pwrite(other, "y", 1, cut + 5000), 1);
      EXPECT_EQ(readAt(fd, cut - 1, 6000), "x" + std::string(5000, '\0') + "y");
      ASSERT_OK(ftruncate(fd, 0));
      EXPECT_EQ(statOf(other).st_blocks, 0);
    }
  }
}

TEST(Data, VectorsAndPositions) {
  Place p;
  auto fd = openNew(p.here("f"));
  char one[] = "one", two[] = "twotwo", three[] = "3";
  iovec out[] = {{one, 3}, {two, 6}, {three, 0}, {three, 1}};
  ASSERT_EQ(writev(fd, out, 4), 10);
  ASSERT_EQ(pwritev(fd, out, 2, 4094), 9);
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 10);
  ASSERT_EQ(pwritev2(fd, out, 1, -1, 0), 3);  // -1: at the position
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 13);
  char a[4], b[20];
  iovec in[] = {{a, 4}, {b, 20}};
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  ASSERT_EQ(preadv(other, in, 2, 4093), 10);
  EXPECT_EQ(std::string(a, 4) + std::string(b, 6), std::string("\0onetwotwo", 10));
  ASSERT_EQ(preadv2(other, in, 1, 0, 0), 4);
  EXPECT_EQ(std::string(a, 4), "onet");
  ASSERT_EQ(readv(other, in, 2), 24);
}

TEST(Data, OfNoLengthDoNothing) {
  Place p;
  auto fd = openNew(p.here("f"));
  auto before = statOf(fd);
  EXPECT_EQ(write(fd, "", 0), 0);
  EXPECT_EQ(pwrite(fd, "", 0, 1 << 20), 0);
  EXPECT_EQ(statOf(fd).st_size, 0);
  char c;
  EXPECT_EQ(read(fd, &c, 0), 0);
  EXPECT_EQ(read(fd, &c, 1), 0);
  EXPECT_EQ(pread(fd, &c, 1, 1 << 30), 0);
  EXPECT_EQ(statOf(fd).st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

TEST(Data, RefusesBadArguments) {
  Place p;
  auto fd = openNew(p.here("f"));
  ASSERT_EQ(write(fd, "12345", 5), 5);
  auto nowhere = reinterpret_cast<char*>(8);
  EXPECT_ERRNO(EFAULT, pwrite(fd, nowhere, 5, 0));
  EXPECT_ERRNO(EFAULT, pread(fd, nowhere, 5, 0));
  EXPECT_ERRNO(EINVAL, pread(fd, nowhere, 5, -1));
  EXPECT_ERRNO(EINVAL, pwrite(fd, "x", 1, -1));
  Fd reader(open(p.here("f").c_str(), O_RDONLY)), writer(open(p.here("f").c_str(), O_WRONLY));
  char c;
  EXPECT_ERRNO(EBADF, write(reader, "x", 1));
  EXPECT_ERRNO(EBADF, read(writer, &c, 1));
  Fd directory(open(p.here().c_str(), O_RDONLY));
  EXPECT_ERRNO(EISDIR, read(directory, &c, 1));
  EXPECT_ERRNO(EISDIR, open(p.here().c_str(), O_WRONLY));
  EXPECT_EQ(contentsOf(p.there("f")), "12345");
}

TEST(Data, AWriteThatMeetsABadPageWritesWhatCameBefore) {
  Place p;
  auto fd = openNew(p.here("f"));
  auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto map = static_cast<char*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(map, MAP_FAILED);
  memset(map, 'x', page);
  ASSERT_OK(mprotect(map + page, page, PROT_NONE));
  auto n = pwrite(fd, map, 2 * page, 0);
  EXPECT_EQ(n, ssize_t(page));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(page, 'x'));
  ASSERT_OK(munmap(map, 2 * page));
}

TEST(Data, AppendsGoToTheRealEnd) {
  Place p;
  auto fd = openNew(p.here("f"), O_APPEND);
  Fd other(open(p.there("f").c_str(), O_WRONLY | O_APPEND));
  std::string wanted;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(write(i % 2 == 0 ? fd : other, i % 2 == 0 ? "a" : "bb", 1 + i % 2), 1 + i % 2);
    wanted += i % 2 == 0 ? "a" : "bb";
  }
  EXPECT_EQ(contentsOf(p.here("f")), wanted);
  if (!p.twoMounts()) {
    // Behind what it wrote last; the kernel does not ask where that was.
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 28);
  }
  ASSERT_OK(ftruncate(fd, 3));
  ASSERT_EQ(write(other, "c", 1), 1);
  EXPECT_EQ(contentsOf(p.here("f")), "abbc");
  // Set later by fcntl, and for one call alone.
  auto plain = openNew(p.here("g"));
  ASSERT_EQ(write(plain, "1234", 4), 4);
  ASSERT_OK(fcntl(plain, F_SETFL, O_APPEND));
  ASSERT_OK(lseek(plain, 0, SEEK_SET));
  ASSERT_EQ(write(plain, "5", 1), 1);
  ASSERT_OK(fcntl(plain, F_SETFL, 0));
  char six[] = "6";
  iovec v{six, 1};
  ASSERT_EQ(pwritev2(plain, &v, 1, 0, RWF_APPEND), 1);
  EXPECT_EQ(contentsOf(p.there("g")), "123456");
}

TEST(Data, TruncatingOpenEmptiesTheFile) {
  Place p;
  makeFile(p.here("f"), std::string(100'000, 'x'));
  Fd reader(open(p.there("f").c_str(), O_RDONLY));
  EXPECT_EQ(readAt(reader, 0, 10), std::string(10, 'x'));
  Fd fd(open(p.here("f").c_str(), O_WRONLY | O_TRUNC));
  EXPECT_EQ(readAt(reader, 0, 10), "");
  EXPECT_EQ(statOf(reader).st_size, 0);
  EXPECT_EQ(statOf(reader).st_blocks, 0);
}

TEST(Data, SyncFlagsTakeEffect) {
  Place p;
  for (int flags : {O_SYNC, O_DSYNC, O_SYNC | O_APPEND}) {
    auto name = "f" + std::to_string(flags);
    auto fd = openNew(p.here(name), flags);
    ASSERT_EQ(write(fd, "synced", 6), 6);
    EXPECT_EQ(contentsOf(p.there(name)), "synced");
  }
  auto fd = openNew(p.here("g"));
  char text[] = "text";
  iovec v{text, 4};
  for (int flags : {RWF_SYNC, RWF_DSYNC, RWF_HIPRI}) {
    ASSERT_EQ(pwritev2(fd, &v, 1, 0, flags), 4) << flags;
  }
  EXPECT_OK(fdatasync(fd));
  EXPECT_OK(fsync(fd));
  EXPECT_ERRNO(EOPNOTSUPP, pwritev2(fd, &v, 1, 0, 1 << 30));
  Fd reader(open(p.here("g").c_str(), O_RDONLY));
  EXPECT_OK(fsync(reader));
  ASSERT_OK(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE));
}

TEST(Data, DirectWritesAndReads) {
  Place p;
  auto fd = openNew(p.here("f"), O_DIRECT);
  ASSERT_GE(int(fd), 0);
  constexpr size_t kBytes = 3 << 20;
  std::unique_ptr<char, void (*)(void*)> memory(
      static_cast<char*>(std::aligned_alloc(4096, kBytes)), std::free);
  auto buffer = memory.get();
  memset(buffer, 'd', kBytes);
  ASSERT_EQ(pwrite(fd, buffer, kBytes, 4096), ssize_t(kBytes));
  Fd cached(open(p.there("f").c_str(), O_RDWR));
  auto wanted = std::string(4096, '\0') + std::string(kBytes, 'd');
  EXPECT_TRUE(readAt(cached, 0, kBytes + 8192) == wanted);
  // What goes through the cache of either mount is seen by a direct read, and the reverse.
  ASSERT_EQ(pwrite(cached, "cached", 6, 8190), 6);
  wanted.replace(8190, 6, "cached");
  ASSERT_EQ(pread(fd, buffer, 8192, 4096), 8192);
  EXPECT_TRUE(std::string(buffer, 8192) == wanted.substr(4096, 8192));
  memset(buffer, 'e', 4096);
  ASSERT_EQ(pwrite(fd, buffer, 4096, 8192), 4096);
  wanted.replace(8192, 4096, std::string(4096, 'e'));
  EXPECT_TRUE(readAt(cached, 0, kBytes + 8192) == wanted);
}

TEST(Data, DirectAppendsGoToTheRealEnd) {
  Place p;
  auto fd = openNew(p.here("f"), O_DIRECT | O_APPEND);
  Fd other(open(p.there("f").c_str(), O_WRONLY | O_APPEND));
  std::unique_ptr<char, void (*)(void*)> memory(static_cast<char*>(std::aligned_alloc(4096, 8192)),
                                                std::free);
  memset(memory.get(), 'd', 8192);
  std::string wanted;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(write(fd, memory.get(), 4096), 4096);
    std::string page(4096, static_cast<char>('0' + i));
    ASSERT_EQ(write(other, page.data(), 4096), 4096);
    wanted += std::string(4096, 'd') + page;
  }
  EXPECT_TRUE(contentsOf(p.here("f")) == wanted);
}

TEST(Data, AFileMayBeHuge) {
  Place p;
  auto fd = openNew(p.here("f"));
  // 1 TiB and more: every file system has this; what lies between is a hole.
  for (off_t at : {off_t(1) << 31, off_t(1) << 32, (off_t(1) << 40) - 3, (off_t(1) << 42) + 5}) {
    ASSERT_EQ(pwrite(fd, "abcdef", 6, at), 6) << at;
  }
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  EXPECT_EQ(statOf(other).st_size, (off_t(1) << 42) + 11);
  EXPECT_EQ(readAt(other, (off_t(1) << 40) - 4, 9), std::string("\0abcdef\0\0", 9));
  EXPECT_EQ(readAt(other, (off_t(1) << 42) + 4, 9), std::string("\0abcdef", 7));
  EXPECT_EQ(readAt(other, off_t(3) << 40, 9), std::string(9, '\0'));
  ASSERT_OK(ftruncate(fd, off_t(1) << 32));
  EXPECT_EQ(statOf(other).st_size, off_t(1) << 32);
}

TEST(Data, TheLargestFileEndsAtTheLimit) {
  DFS_ONLY();
  Place p;
  auto fd = openNew(p.here("f"));
  constexpr off_t kMax = off_t(1) << 62;
  ASSERT_EQ(pwrite(fd, "xy", 2, kMax - 1), 1);
  EXPECT_ERRNO(EFBIG, pwrite(fd, "x", 1, kMax));
  EXPECT_ERRNO(EFBIG, ftruncate(fd, kMax + 1));
  EXPECT_OK(ftruncate(fd, kMax));
  EXPECT_EQ(readAt(fd, kMax - 2, 10), std::string("\0x", 2));
  EXPECT_EQ(statOf(p.there("f")).st_size, kMax);
  EXPECT_EQ(lseek(fd, 0, SEEK_DATA) >= kMax - kBlock, true);
}

TEST(Data, ALimitOfTheProcessIsKeptWithASignal) {
  Place p;
  inChild([&] {
    rlimit limit{5000, 5000};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    static volatile sig_atomic_t signals;
    signals = 0;
    signal(SIGXFSZ, [](int) { signals = signals + 1; });
    auto fd = openNew(p.here("f"));
    std::string data(8000, 'x');
    EXPECT_EQ(write(fd, data.data(), 8000), 5000);
    EXPECT_EQ(signals, 0);
    EXPECT_ERRNO(EFBIG, write(fd, "x", 1));
    EXPECT_EQ(signals, 1);
    EXPECT_ERRNO(EFBIG, ftruncate(fd, 5001));
    EXPECT_EQ(signals, 2);
    EXPECT_OK(ftruncate(fd, 5000));
    EXPECT_EQ(pwrite(fd, "y", 1, 4999), 1);
  });
  EXPECT_EQ(statOf(p.there("f")).st_size, 5000);
}

TEST(Data, BlocksAreCountedAsTheyAreTaken) {
  Place p;
  auto unit = static_cast<off_t>([&] {
    makeFile(p.here("unit"));
    return statOf(p.here("unit")).st_blksize;
  }());
  auto fd = openNew(p.here("f"));
  auto blocks = [&](const char* when, off_t bytes) {
    ASSERT_OK(fsync(fd));
    EXPECT_EQ(statOf(fd).st_blocks * 512, bytes) << when;
    EXPECT_EQ(statOf(p.there("f")).st_blocks * 512, bytes) << when;
  };
  blocks("empty", 0);
  ASSERT_EQ(pwrite(fd, "x", 1, 0), 1);
  blocks("one byte", 4096);
  ASSERT_EQ(pwrite(fd, "x", 1, 4095), 1);
  blocks("one page", 4096);
  std::string data(static_cast<size_t>(unit), 'x');
  ASSERT_EQ(pwrite(fd, data.data(), data.size(), 5 * unit), unit);
  blocks("a hole in between", 4096 + unit);
  ASSERT_OK(ftruncate(fd, 100 * unit));
  blocks("longer", 4096 + unit);
  ASSERT_OK(ftruncate(fd, 6 * unit - 4096));
  blocks("shorter", unit);
  ASSERT_OK(ftruncate(fd, 5 * unit));
  blocks("the hole", 4096);
  ASSERT_OK(ftruncate(fd, 0));
  blocks("nothing", 0);
}

TEST(Data, ReadsStopAtTheEndAndGoOnWhenItMoves) {
  Place p;
  auto fd = openNew(p.here("f"));
  ASSERT_EQ(write(fd, "12345", 5), 5);
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  char text[100];
  ASSERT_EQ(read(other, text, 100), 5);
  ASSERT_EQ(read(other, text, 100), 0);
  ASSERT_EQ(write(fd, "678", 3), 3);
  ASSERT_EQ(read(other, text, 100), 3);
  EXPECT_EQ(std::string(text, 3), "678");
}

}  // namespace
}  // namespace dfs::posix
