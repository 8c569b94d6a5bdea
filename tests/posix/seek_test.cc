// lseek(2), SEEK_DATA and SEEK_HOLE above all.

#include "tests/posix/place.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>

namespace dfs::posix {
namespace {

size_t unitOf(const Place& p) {
  makeFile(p.here("unit"));
  return static_cast<size_t>(statOf(p.here("unit")).st_blksize);
}

TEST(Seek, AFileOfDataHasOneHoleAtItsEnd) {
  Place p;
  makeFile(p.here("f"), std::string(100'000, 'x'));
  for (auto& path : {p.here("f"), p.there("f")}) {
    Fd fd(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 0);
    EXPECT_EQ(lseek(fd, 99'999, SEEK_DATA), 99'999);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 100'000);
    EXPECT_EQ(lseek(fd, 99'999, SEEK_HOLE), 100'000);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 100'000);
  }
}

TEST(Seek, PastTheEndThereIsNothing) {
  Place p;
  makeFile(p.here("f"), "12345");
  Fd fd(open(p.here("f").c_str(), O_RDONLY));
  ASSERT_EQ(lseek(fd, 2, SEEK_SET), 2);
  for (int whence : {SEEK_DATA, SEEK_HOLE}) {
    EXPECT_ERRNO(ENXIO, lseek(fd, 5, whence));
    EXPECT_ERRNO(ENXIO, lseek(fd, 6, whence));
    EXPECT_ERRNO(ENXIO, lseek(fd, -1, whence));
    EXPECT_ERRNO(EBADF, lseek(-1, 0, whence));
  }
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
  makeFile(p.here("empty"));
  Fd empty(open(p.here("empty").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENXIO, lseek(empty, 0, SEEK_DATA));
  EXPECT_ERRNO(ENXIO, lseek(empty, 0, SEEK_HOLE));
}

TEST(Seek, HolesAndDataOfASparseFile) {
  // Method: data in units 2, 3 and 6 of 9, as written and not yet synced, and through the other mount.
  Place p;
  auto unit = static_cast<off_t>(unitOf(p));
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT, 0644));
  std::string data(static_cast<size_t>(unit), 'x');
  for (off_t at : {2, 3, 6}) ASSERT_EQ(pwrite(fd, data.data(), data.size(), at * unit), unit);
  ASSERT_OK(ftruncate(fd, 9 * unit));
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  for (int f : {int(fd), int(other)}) {
    EXPECT_EQ(lseek(f, 0, SEEK_DATA), 2 * unit);
    EXPECT_EQ(lseek(f, 0, SEEK_HOLE), 0);
    EXPECT_EQ(lseek(f, 2 * unit, SEEK_HOLE), 4 * unit);
    EXPECT_EQ(lseek(f, 2 * unit + 5, SEEK_DATA), 2 * unit + 5);
    EXPECT_EQ(lseek(f, 3 * unit - 1, SEEK_HOLE), 4 * unit);
    EXPECT_EQ(lseek(f, 4 * unit, SEEK_DATA), 6 * unit);
    EXPECT_EQ(lseek(f, 4 * unit + 1, SEEK_HOLE), 4 * unit + 1);
    EXPECT_EQ(lseek(f, 6 * unit, SEEK_HOLE), 7 * unit);
    EXPECT_ERRNO(ENXIO, lseek(f, 7 * unit, SEEK_DATA));
    EXPECT_EQ(lseek(f, 7 * unit, SEEK_HOLE), 7 * unit);
  }
}

TEST(Seek, AFileThatOnlyGrewIsOneHole) {
  Place p;
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_OK(ftruncate(fd, off_t(1) << 40));
  EXPECT_ERRNO(ENXIO, lseek(fd, 0, SEEK_DATA));
  EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
  EXPECT_EQ(lseek(fd, 12345, SEEK_HOLE), 12345);
  ASSERT_OK(pwrite(fd, "x", 1, (off_t(1) << 40) - 1));
  auto found = lseek(fd, 0, SEEK_DATA);
  EXPECT_GT(found, (off_t(1) << 40) - (off_t(8) << 20));
  EXPECT_LT(found, off_t(1) << 40);
}

TEST(Seek, APunchedRangeIsAHole) {
  Place p;
  auto unit = static_cast<off_t>(unitOf(p));
  makeFile(p.here("f"), std::string(static_cast<size_t>(5 * unit), 'x'));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  ASSERT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, unit, 2 * unit));
  Fd other(open(p.there("f").c_str(), O_RDONLY));
  for (int f : {int(fd), int(other)}) {
    EXPECT_EQ(lseek(f, 0, SEEK_HOLE), unit);
    EXPECT_EQ(lseek(f, unit, SEEK_DATA), 3 * unit);
    EXPECT_EQ(lseek(f, 3 * unit, SEEK_HOLE), 5 * unit);
  }
  Fd writer(open(p.there("f").c_str(), O_RDWR));
  ASSERT_OK(pwrite(writer, "y", 1, unit));  // and data again, written by the other mount
  EXPECT_EQ(lseek(fd, unit, SEEK_DATA), unit);
}

TEST(Seek, APageStoredThroughAMappingIsData) {
  Place p;
  auto unit = static_cast<off_t>(unitOf(p));
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_OK(ftruncate(fd, 4 * unit));
  auto length = static_cast<size_t>(4 * unit);
  auto map = static_cast<char*>(mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  map[2 * unit] = 'x';
  EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 2 * unit);
  EXPECT_EQ(map[2 * unit], 'x');
  ASSERT_OK(munmap(map, length));
}

TEST(Seek, TheOtherWhencesAreAsEverywhere) {
  Place p;
  makeFile(p.here("f"), "12345");
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  EXPECT_EQ(lseek(fd, 3, SEEK_SET), 3);
  EXPECT_EQ(lseek(fd, 1, SEEK_CUR), 4);
  EXPECT_EQ(lseek(fd, -1, SEEK_END), 4);
  EXPECT_EQ(lseek(fd, 100, SEEK_END), 105);
  EXPECT_ERRNO(EINVAL, lseek(fd, -1, SEEK_SET));
  EXPECT_ERRNO(EINVAL, lseek(fd, -6, SEEK_END));
  EXPECT_ERRNO(EINVAL, lseek(fd, 0, 99));
  Fd other(open(p.there("f").c_str(), O_WRONLY | O_APPEND));
  ASSERT_EQ(write(other, "6789", 4), 4);
  EXPECT_EQ(lseek(fd, 0, SEEK_END), 9);  // what another mount has appended counts
}

}  // namespace
}  // namespace dfs::posix
