// Mappings: between read, write and stores on one mount as on a local disk, between two after msync.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstring>

namespace dfs::posix {
namespace {

size_t pageBytes() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

class Map {
 public:
  Map(int fd, size_t bytes, int prot = PROT_READ | PROT_WRITE, int flags = MAP_SHARED)
      : bytes_(bytes), at_(static_cast<char*>(mmap(nullptr, bytes, prot, flags, fd, 0))) {
    EXPECT_NE(at_, MAP_FAILED) << errnoName(errno);
  }
  ~Map() { munmap(at_, bytes_); }
  Map(const Map&) = delete;
  char& operator[](size_t i) { return at_[i]; }
  std::string text(size_t from, size_t bytes) { return std::string(at_ + from, bytes); }
  char* at() { return at_; }

 private:
  const size_t bytes_;
  char* const at_;
};

sigjmp_buf jump;
bool touchDies(const std::function<void()>& work) {
  // Of SIGBUS.
  struct sigaction act {
  }, old{};
  act.sa_handler = [](int) { siglongjmp(jump, 1); };
  sigaction(SIGBUS, &act, &old);
  bool died = sigsetjmp(jump, 1) != 0;
  if (!died) work();
  sigaction(SIGBUS, &old, nullptr);
  return died;
}

Fd openFull(const std::string& path, size_t bytes) {
  makeFile(path, std::string(bytes, 'x'));
  return Fd(open(path.c_str(), O_RDWR));
}

TEST(Mmap, StoresAndCallsSeeEachOther) {
  Place p;
  auto fd = openFull(p.here("f"), 3 * pageBytes());
  Map map(fd, 3 * pageBytes());
  map[10] = 'a';
  char c;
  ASSERT_EQ(pread(fd, &c, 1, 10), 1);
  EXPECT_EQ(c, 'a');
  ASSERT_EQ(pwrite(fd, "b", 1, 11), 1);
  EXPECT_EQ(map[11], 'b');
  EXPECT_EQ(map[10], 'a');
  map[12] = 'c';
  EXPECT_EQ(contentsOf(p.here("f")).substr(9, 5), "xabcx");
}

TEST(Mmap, MsyncShowsStoresToOtherMounts) {
  Place p;
  auto fd = openFull(p.here("f"), 4 * pageBytes());
  Fd other(open(p.there("f").c_str(), O_RDWR));
  Map map(fd, 4 * pageBytes());
  Map theirs(other, 4 * pageBytes());
  EXPECT_EQ(theirs[0], 'x');
  for (int i = 0; i < 5; ++i) {
    auto with = static_cast<char>('a' + i);
    map[static_cast<size_t>(i) * 1000] = with;
    ASSERT_OK(msync(map.at(), 4 * pageBytes(), MS_SYNC));
    char c;
    ASSERT_EQ(pread(other, &c, 1, i * 1000), 1);
    EXPECT_EQ(c, with);
    EXPECT_EQ(theirs[static_cast<size_t>(i) * 1000], with);  // fresh since that read
    theirs[static_cast<size_t>(i) * 1000 + 1] = with;
    ASSERT_OK(msync(theirs.at(), 4 * pageBytes(), MS_SYNC));
    ASSERT_EQ(pread(fd, &c, 1, i * 1000 + 1), 1);
    EXPECT_EQ(c, with);
  }
}

TEST(Mmap, StoresAreWrittenWithoutMsyncToo) {
  Place p;
  {
    auto fd = openFull(p.here("f"), 2 * pageBytes());
    Map map(fd, 2 * pageBytes());
    fd.close();
    map[5] = 'a';
  }
  EXPECT_EQ(contentsOf(p.there("f")).substr(4, 3), "xax");
  EXPECT_EQ(contentsOf(p.here("f")).substr(4, 3), "xax");
}

TEST(Mmap, PastTheLastPageIsABusError) {
  Place p;
  auto fd = openFull(p.here("f"), 100);
  Map map(fd, 3 * pageBytes());
  EXPECT_EQ(map[99], 'x');
  EXPECT_EQ(map[100], '\0');  // the rest of the page
  map[200] = 'y';             // is nobody's
  EXPECT_TRUE(touchDies([&] { (void)*static_cast<volatile char*>(&map[pageBytes()]); }));
  ASSERT_OK(msync(map.at(), pageBytes(), MS_SYNC));
  EXPECT_EQ(statOf(fd).st_size, 100);
  EXPECT_EQ(contentsOf(p.there("f")), std::string(100, 'x'));
  ASSERT_OK(ftruncate(fd, static_cast<off_t>(2 * pageBytes())));
  EXPECT_EQ(map[pageBytes()], '\0');
  EXPECT_EQ(contentsOf(p.there("f")).substr(100), std::string(2 * pageBytes() - 100, '\0'));
}

TEST(Mmap, TruncationTakesPagesAway) {
  Place p;
  auto fd = openFull(p.here("f"), 4 * pageBytes());
  Map map(fd, 4 * pageBytes());
  map[3 * pageBytes()] = 'a';
  ASSERT_OK(ftruncate(fd, static_cast<off_t>(pageBytes() + 10)));
  EXPECT_TRUE(touchDies([&] { map[2 * pageBytes()] = 'b'; }));
  EXPECT_EQ(map[pageBytes() + 9], 'x');
  EXPECT_EQ(map[pageBytes() + 10], '\0');
  ASSERT_OK(ftruncate(fd, static_cast<off_t>(4 * pageBytes())));
  EXPECT_EQ(map[3 * pageBytes()], '\0');
  EXPECT_EQ(contentsOf(p.there("f")),
            std::string(pageBytes() + 10, 'x') + std::string(3 * pageBytes() - 10, '\0'));
}

TEST(Mmap, AFileGrowsAndShrinksUnderStores) {
  Place p;
  size_t page = pageBytes();
  auto fd = openFull(p.here("f"), page);
  for (int round = 0; round < 5; ++round) {
    // So that pages of this mount are old when its own call comes.
    Fd other(open(p.there("f").c_str(), O_RDWR));
    ASSERT_EQ(pwrite(other, "o", 1, 1), 1);
    ASSERT_EQ(pwrite(fd, "w", 1, 2), 1);
    Map map(fd, 4 * page);
    map[0] = static_cast<char>('a' + round);
    ASSERT_OK(ftruncate(fd, off_t(3 * page)));
    map[2 * page] = 'z';
    EXPECT_EQ(statOf(fd).st_size, off_t(3 * page));
    ASSERT_OK(ftruncate(fd, off_t(page)));
    EXPECT_EQ(map.text(0, 3), std::string(1, static_cast<char>('a' + round)) + "ow");
    ASSERT_OK(ftruncate(fd, off_t(3 * page)));
    EXPECT_EQ(map[2 * page], '\0');
    ASSERT_OK(ftruncate(fd, off_t(page)));
  }
  EXPECT_EQ(contentsOf(p.there("f")).substr(0, 3), "eow");
}

TEST(Mmap, StoresStayWhenACallWritesElsewhere) {
  Place p;
  size_t bytes = 2 * pageBytes();
  makeFile(p.there("f"), std::string(bytes, 'x'));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  EXPECT_EQ(statOf(fd).st_size, off_t(bytes));
  Map map(fd, bytes);
  map[bytes - 1] = 'N';
  ASSERT_EQ(pwrite(fd, "w", 1, 0), 1);
  EXPECT_EQ(map[bytes - 1], 'N');
  char c = 0;
  ASSERT_EQ(pread(fd, &c, 1, off_t(bytes - 1)), 1);
  EXPECT_EQ(c, 'N');
  ASSERT_OK(msync(map.at(), bytes, MS_SYNC));
  EXPECT_EQ(contentsOf(p.there("f")), "w" + std::string(bytes - 2, 'x') + "N");
}

TEST(Mmap, StoresBeforeTheEndStayWhenAnotherMountAppends) {
  Place p;
  size_t page = pageBytes();
  auto fd = openFull(p.here("f"), page / 2);
  Fd other(open(p.there("f").c_str(), O_WRONLY | O_APPEND));
  Map map(fd, 4 * page);
  for (size_t i = 0; i < 20; ++i) {
    auto size = statOf(fd).st_size;
    map[i] = static_cast<char>('a' + i);
    map[size_t(size) - 1] = 'E';
    ASSERT_EQ(write(other, "appended", 8), 8);
    ASSERT_EQ(statOf(fd).st_size, size + 8);
    EXPECT_EQ(map.text(size_t(size) - 1, 9), "Eappended");
    EXPECT_EQ(map[i], static_cast<char>('a' + i));
  }
  ASSERT_OK(msync(map.at(), page, MS_SYNC));
  EXPECT_EQ(contentsOf(p.there("f")).substr(0, 20), "abcdefghijklmnopqrst");
}

TEST(Mmap, TruncationByAnotherMountIsSeenAfterTheNextCall) {
  Place p;
  auto fd = openFull(p.here("f"), 4 * pageBytes());
  Map map(fd, 4 * pageBytes());
  EXPECT_EQ(map[3 * pageBytes()], 'x');
  ASSERT_OK(truncate(p.there("f").c_str(), static_cast<off_t>(pageBytes())));
  EXPECT_EQ(statOf(fd).st_size, static_cast<off_t>(pageBytes()));
  EXPECT_TRUE(touchDies([&] { (void)*static_cast<volatile char*>(&map[3 * pageBytes()]); }));
}

TEST(Mmap, AHolePunchedUnderAMappingReadsAsZeros) {
  Place p;
  auto fd = openFull(p.here("f"), 4 * pageBytes());
  Map map(fd, 4 * pageBytes());
  map[pageBytes()] = 'a';
  ASSERT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100,
                      static_cast<off_t>(2 * pageBytes())));
  EXPECT_EQ(map.text(100, 2 * pageBytes()), std::string(2 * pageBytes(), '\0'));
  EXPECT_EQ(map[99], 'x');
  EXPECT_EQ(map[2 * pageBytes() + 100], 'x');
  map[pageBytes()] = 'b';
  ASSERT_OK(msync(map.at(), 4 * pageBytes(), MS_SYNC));
  EXPECT_EQ(contentsOf(p.there("f"))[pageBytes()], 'b');
}

TEST(Mmap, StoresIntoAHoleStay) {
  Place p;
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT, 0644));
  constexpr size_t kBytes = 10 << 20;
  ASSERT_OK(ftruncate(fd, kBytes));
  Map map(fd, kBytes);
  for (size_t at = 5000; at < kBytes; at += 1'000'003) map[at] = 'm';
  ASSERT_OK(msync(map.at(), kBytes, MS_SYNC));
  auto text = contentsOf(p.there("f"));
  ASSERT_EQ(text.size(), kBytes);
  std::string wanted(kBytes, '\0');
  for (size_t at = 5000; at < kBytes; at += 1'000'003) wanted[at] = 'm';
  EXPECT_TRUE(text == wanted);
}

TEST(Mmap, PrivateStoresStayPrivate) {
  Place p;
  auto fd = openFull(p.here("f"), pageBytes());
  Map map(fd, pageBytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE);
  map[0] = 'p';
  ASSERT_OK(msync(map.at(), pageBytes(), MS_SYNC));
  EXPECT_EQ(contentsOf(p.here("f"))[0], 'x');
  EXPECT_EQ(map[0], 'p');
}

TEST(Mmap, NeedsADescriptorThatMay) {
  Place p;
  auto fd = openFull(p.here("f"), pageBytes());
  Fd reader(open(p.here("f").c_str(), O_RDONLY)), writer(open(p.here("f").c_str(), O_WRONLY));
  auto shared = [&](int f, int prot) { return mmap(nullptr, 4096, prot, MAP_SHARED, f, 0); };
  EXPECT_ERRNO(EACCES, shared(reader, PROT_READ | PROT_WRITE));
  EXPECT_ERRNO(EACCES, shared(writer, PROT_READ));
  Fd directory(open(p.here().c_str(), O_RDONLY));
  EXPECT_ERRNO(ENODEV, shared(directory, PROT_READ));
}

TEST(Mmap, ACopyTakesWhatWasStored) {
  Place p;
  constexpr size_t kBytes = 5 << 20;
  auto fd = openFull(p.here("f"), kBytes);
  Fd to(open(p.here("g").c_str(), O_RDWR | O_CREAT, 0644));
  Map map(fd, kBytes);
  map[3 << 20] = 'm';
  off_t in = 0, out = 0;
  size_t left = kBytes;
  while (left > 0) {
    auto n = copy_file_range(fd, &in, to, &out, left, 0);
    ASSERT_GT(n, 0) << errnoName(errno);
    left -= static_cast<size_t>(n);
  }
  EXPECT_EQ(contentsOf(p.there("g"))[3 << 20], 'm');
  map[1 << 20] = 'n';
  EXPECT_EQ(contentsOf(p.there("g"))[1 << 20], 'x');
}

}  // namespace
}  // namespace dfs::posix
