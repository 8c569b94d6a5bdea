// utimensat in all its forms, and which times of which inodes each operation moves.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <utime.h>

#include <map>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

const timespec kOld{1'000'000'000, 123'456'789};
const timespec kOlder{900'000'000, 1};

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool isNow(const timespec& t) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return t.tv_sec >= now.tv_sec - 60 && t.tv_sec <= now.tv_sec + 60;
}

int setTimes(const std::string& path, timespec atime, timespec mtime, int flags = 0) {
  timespec times[2] = {atime, mtime};
  return utimensat(AT_FDCWD, path.c_str(), times, flags);
}

TEST(Utimens, SetsNanosecondsNowAndOmit) {
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(setTimes(p.here("f"), kOld, kOlder));
  auto s = statOf(p.there("f"));
  EXPECT_TRUE(same(s.st_atim, kOld));
  EXPECT_TRUE(same(s.st_mtim, kOlder));
  EXPECT_TRUE(isNow(s.st_ctim));
  ASSERT_OK(setTimes(p.here("f"), {0, UTIME_OMIT}, {0, UTIME_NOW}));
  s = statOf(p.there("f"));
  EXPECT_TRUE(same(s.st_atim, kOld));
  EXPECT_TRUE(isNow(s.st_mtim));
  ASSERT_OK(setTimes(p.here("f"), {0, UTIME_NOW}, kOld));
  s = statOf(p.there("f"));
  EXPECT_TRUE(isNow(s.st_atim));
  EXPECT_TRUE(same(s.st_mtim, kOld));
  ASSERT_OK(utimensat(AT_FDCWD, p.here("f").c_str(), nullptr, 0));
  s = statOf(p.there("f"));
  EXPECT_TRUE(isNow(s.st_atim) && isNow(s.st_mtim));
}

TEST(Utimens, OmittingBothChangesNothing) {
  Place p;
  makeFile(p.here("f"));
  auto before = statOf(p.here("f"));
  usleep(20'000);
  ASSERT_OK(setTimes(p.here("f"), {0, UTIME_OMIT}, {0, UTIME_OMIT}));
  EXPECT_TRUE(same(statOf(p.there("f")).st_ctim, before.st_ctim));
}

TEST(Utimens, TakesTimesBefore1970AndAfter2038) {
  Place p;
  makeFile(p.here("f"));
  for (timespec t :
       {timespec{-1, 5}, timespec{-2'000'000'000, 999'999'999}, timespec{0, 0},
        timespec{2'147'483'648, 1}, timespec{4'294'967'296, 7}, timespec{9'000'000'000, 0}}) {
    ASSERT_OK(setTimes(p.here("f"), t, t));
    auto s = statOf(p.there("f"));
    EXPECT_TRUE(same(s.st_mtim, t)) << t.tv_sec << " became " << s.st_mtim.tv_sec;
    EXPECT_TRUE(same(s.st_atim, t)) << t.tv_sec << " became " << s.st_atim.tv_sec;
  }
}

TEST(Utimens, WorksOnLinksDirectoriesAndDescriptors) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  ASSERT_OK(symlink("f", p.here("l").c_str()));
  ASSERT_OK(setTimes(p.here("l"), kOld, kOld, AT_SYMLINK_NOFOLLOW));
  EXPECT_TRUE(same(statOf(p.there("l")).st_mtim, kOld));
  EXPECT_TRUE(isNow(statOf(p.there("f")).st_mtim));
  ASSERT_OK(setTimes(p.here("l"), kOlder, kOlder));
  EXPECT_TRUE(same(statOf(p.there("f")).st_mtim, kOlder));
  ASSERT_OK(setTimes(p.here("d"), kOld, kOld));
  EXPECT_TRUE(same(statOf(p.there("d")).st_mtim, kOld));
  Fd reading(open(p.here("f").c_str(), O_RDONLY));
  timespec times[2] = {kOld, kOld};
  ASSERT_OK(futimens(reading, times));
  EXPECT_TRUE(same(statOf(p.there("f")).st_atim, kOld));
  struct utimbuf seconds = {5, 6};
  ASSERT_OK(utime(p.here("f").c_str(), &seconds));
  EXPECT_EQ(statOf(p.there("f")).st_mtim.tv_sec, 6);
}

TEST(Utimens, RefusesWhatIsNoTime) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(EINVAL, setTimes(p.here("f"), {1, 1'000'000'000}, kOld));
  EXPECT_ERRNO(EINVAL, setTimes(p.here("f"), kOld, {1, -1}));
  EXPECT_ERRNO(ENOENT, setTimes(p.here("none"), kOld, kOld));
  EXPECT_ERRNO(ENOTDIR, setTimes(p.here("f/x"), kOld, kOld));
}

TEST(Utimens, OfOthersNeedsOwnershipOrForNowTheRightToWrite) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("read"), "", 0644);
  makeFile(p.here("write"), "", 0666);
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, setTimes(p.here("read"), kOld, kOld));
    EXPECT_ERRNO(EPERM, setTimes(p.here("write"), kOld, kOld));
    EXPECT_ERRNO(EACCES, utimensat(AT_FDCWD, p.here("read").c_str(), nullptr, 0));
    EXPECT_ERRNO(EACCES, setTimes(p.here("read"), {0, UTIME_NOW}, {0, UTIME_NOW}));
    EXPECT_OK(utimensat(AT_FDCWD, p.here("write").c_str(), nullptr, 0));
    EXPECT_OK(setTimes(p.here("write"), {0, UTIME_NOW}, {0, UTIME_NOW}));
    EXPECT_ERRNO(EPERM, setTimes(p.here("write"), {0, UTIME_NOW}, {0, UTIME_OMIT}));
    EXPECT_ERRNO(EPERM, setTimes(p.here("write"), {0, UTIME_OMIT}, kOld));
    EXPECT_OK(setTimes(p.here("read"), {0, UTIME_OMIT}, {0, UTIME_OMIT}));
  });
}

TEST(Utimens, StandsUntilTheNextWriteAlsoWhileTheFileIsOpen) {
  Place p;
  Fd fd(open(p.here("f").c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_EQ(write(fd, "abc", 3), 3);
  timespec times[2] = {kOld, kOlder};
  ASSERT_OK(futimens(fd, times));
  ASSERT_OK(fsync(fd));
  EXPECT_TRUE(same(statOf(fd).st_mtim, kOlder));
  EXPECT_TRUE(same(statOf(p.there("f")).st_mtim, kOlder));
  ASSERT_EQ(write(fd, "d", 1), 1);
  EXPECT_TRUE(isNow(statOf(fd).st_mtim));
  EXPECT_TRUE(isNow(statOf(p.there("f")).st_mtim));
}

TEST(Utimens, InTheFutureGivesWayToTheNextWrite) {
  Place p;
  timespec future{4'102'444'800, 1};
  makeFile(p.here("f"));
  ASSERT_OK(setTimes(p.here("f"), future, future));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(isNow(statOf(fd).st_ctim));
    ASSERT_EQ(write(fd, "x", 1), 1);
    EXPECT_TRUE(isNow(statOf(fd).st_mtim));
    EXPECT_TRUE(isNow(statOf(fd).st_ctim));
    EXPECT_TRUE(isNow(statOf(p.there("f")).st_mtim));
    timespec times[2] = {future, future};
    ASSERT_OK(futimens(fd, times));
    EXPECT_TRUE(same(statOf(fd).st_mtim, future));
  }
}

// --- which times move ---

struct Moves {
  // "m c" and the like: a for atime, m for mtime, c for ctime.
  std::string of(const struct stat& before, const struct stat& after) const {
    std::string text;
    if (!same(before.st_atim, after.st_atim)) text += "a";
    if (!same(before.st_mtim, after.st_mtim)) text += "m";
    if (!same(before.st_ctim, after.st_ctim)) text += "c";
    return text;
  }
};

class Scene {
  // d/f (12 bytes), d/l -> f, d/e/ (empty), other/, each with an atime later than its mtime, so that relatime moves none of them.
 public:
  Scene() {
    makeDirectory(p.here("d"));
    makeDirectory(p.here("other"));
    makeFile(p.here("d/f"), "twelve bytes");
    makeDirectory(p.here("d/e"));
    EXPECT_OK(symlink("f", p.here("d/l").c_str()));
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (auto name : {"d/f", "d/e", "d/l", "d", "other"}) {
      timespec later{now.tv_sec + 5, 0};  // later than the ctime that this very call stamps
      EXPECT_OK(setTimes(p.here(name), later, kOld, AT_SYMLINK_NOFOLLOW));
      before_[name] = statOf(p.here(name));
    }
    usleep(20'000);
  }
  void expect(const char* name, const char* moved, const char* now = nullptr) {
    auto after = statOf(p.there(now == nullptr ? name : now));
    EXPECT_EQ(Moves().of(before_[name], after), moved) << name;
  }
  void others(std::vector<const char*> names) {
    for (auto name : names) expect(name, "");
  }
  Place p;

 private:
  std::map<std::string, struct stat> before_;
};

TEST(TimesMoved, ByMakingNames) {
  {
    Scene s;
    makeFile(s.p.here("d/new"));
    s.expect("d", "mc");
    s.others({"d/f", "d/e", "d/l", "other"});
  }
  {
    Scene s;
    makeDirectory(s.p.here("d/new"));
    s.expect("d", "mc");
  }
  {
    Scene s;
    ASSERT_OK(mkfifo(s.p.here("d/new").c_str(), 0600));
    s.expect("d", "mc");
  }
  {
    Scene s;
    ASSERT_OK(symlink("x", s.p.here("d/new").c_str()));
    s.expect("d", "mc");
  }
  Scene s;
  ASSERT_OK(link(s.p.here("d/f").c_str(), s.p.here("other/new").c_str()));
  s.expect("other", "mc");
  s.expect("d/f", "c");
  s.others({"d", "d/e"});
}

TEST(TimesMoved, ByRemovingNames) {
  Scene s;
  Fd f(open(s.p.here("d/f").c_str(), O_RDONLY)), e(open(s.p.here("d/e").c_str(), O_RDONLY));
  auto file = statOf(f), empty = statOf(e);
  ASSERT_OK(unlink(s.p.here("d/f").c_str()));
  s.expect("d", "mc");
  EXPECT_EQ(Moves().of(file, statOf(f)), "c");
  ASSERT_OK(rmdir(s.p.here("d/e").c_str()));
  EXPECT_NE(Moves().of(empty, statOf(e)).find("c"), std::string::npos);
}

TEST(TimesMoved, ByRenaming) {
  {
    Scene s;
    ASSERT_OK(rename(s.p.here("d/f").c_str(), s.p.here("other/f").c_str()));
    s.expect("d", "mc");
    s.expect("other", "mc");
    s.expect("d/f", "c", "other/f");
  }
  {
    Scene s;
    ASSERT_OK(rename(s.p.here("d/f").c_str(), s.p.here("d/f").c_str()));
    s.others({"d", "d/f"});
  }
  Scene s;
  ASSERT_OK(renameat2(AT_FDCWD, s.p.here("d/f").c_str(), AT_FDCWD, s.p.here("other").c_str(),
                      RENAME_EXCHANGE));
  s.expect("d/f", "c", "other");
  s.expect("other", "c", "d/f");
}

TEST(TimesMoved, ByChangingAttributes) {
  Scene s;
  ASSERT_OK(chmod(s.p.here("d/f").c_str(), 0600));
  ASSERT_OK(chown(s.p.here("d/e").c_str(), -1, -1));
  ASSERT_OK(setTimes(s.p.here("other"), {0, UTIME_OMIT}, {0, UTIME_NOW}));
  s.expect("d/f", "c");
  s.expect("d/e", "c");
  s.expect("other", "mc");
  s.others({"d", "d/l"});
}

TEST(TimesMoved, ByWritingAndTruncation) {
  {
    Scene s;
    Fd fd(open(s.p.here("d/f").c_str(), O_WRONLY));
    s.others({"d/f"});
    ASSERT_EQ(write(fd, "x", 0), 0);
    s.others({"d/f"});
    ASSERT_EQ(write(fd, "x", 1), 1);
    s.expect("d/f", "mc");
    s.others({"d"});
  }
  {
    Scene s;
    Fd fd(open(s.p.here("d/f").c_str(), O_WRONLY | O_TRUNC));
    s.expect("d/f", "mc");
  }
  {
    Scene s;
    ASSERT_OK(truncate(s.p.here("d/f").c_str(), 100));
    s.expect("d/f", "mc");
  }
  Scene s;
  Fd fd(open(s.p.here("d/f").c_str(), O_WRONLY));
  ASSERT_OK(ftruncate(fd, 12));  // its size: an ftruncate moves them all the same
  s.expect("d/f", "mc");
}

TEST(TimesMoved, ByNothingThatOnlyLooks) {
  Scene s;
  Fd fd(open(s.p.here("d/f").c_str(), O_RDONLY));
  char c[16];
  ASSERT_EQ(read(fd, c, sizeof c), 12);  // relatime: it is later than both others
  EXPECT_EQ(namesIn(s.p.here("d")).size(), 3u);
  ASSERT_EQ(readlink(s.p.here("d/l").c_str(), c, sizeof c), 1);
  ASSERT_OK(access(s.p.here("d/f").c_str(), R_OK));
  usleep(100'000);
  s.others({"d", "d/f", "d/e", "d/l", "other"});
}

TEST(TimesMoved, AtimeByReadingAfterAChange) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("d/f"), "text");
  ASSERT_OK(symlink("f", p.here("d/l").c_str()));
  char c[16];
  auto accessed = [&](const char* name, const std::function<void()>& read) {
    ASSERT_OK(setTimes(p.here(name), kOlder, kOld, AT_SYMLINK_NOFOLLOW));
    usleep(20'000);
    auto before = statOf(p.here(name));
    read();
    auto after = statOf(p.here(name));
    EXPECT_EQ(Moves().of(before, after), "a") << name;
    usleep(20'000);
    read();
    EXPECT_EQ(Moves().of(after, statOf(p.here(name))), "") << name << ", the second time";
    // Another mount may know it a little later.
    usleep(p.twoMounts() ? 300'000 : 0);
    EXPECT_TRUE(same(statOf(p.there(name)).st_atim, after.st_atim));
  };
  Fd fd(open(p.here("d/f").c_str(), O_RDONLY));
  accessed("d/f", [&] { EXPECT_EQ(pread(fd, c, sizeof c, 0), 4); });
  accessed("d/f", [&] { EXPECT_EQ(contentsOf(p.here("d/f")), "text"); });
  Fd to(open(p.here("to").c_str(), O_RDWR | O_CREAT, 0644));
  accessed("d/f", [&] {
    off_t in = 0, out = 0;
    EXPECT_EQ(copy_file_range(fd, &in, to, &out, 4, 0), 4) << errnoName(errno);
  });
  accessed("d", [&] { EXPECT_EQ(namesIn(p.here("d")).size(), 2u); });
  accessed("d/l", [&] { EXPECT_EQ(readlink(p.here("d/l").c_str(), c, sizeof c), 1); });
}

TEST(TimesMoved, AtimeNotThroughONoatime) {
  Place p;
  makeFile(p.here("f"), "text");
  ASSERT_OK(setTimes(p.here("f"), kOlder, kOld));
  Fd fd(open(p.here("f").c_str(), O_RDONLY | O_NOATIME));
  char c[16];
  ASSERT_EQ(read(fd, c, sizeof c), 4);
  EXPECT_TRUE(same(statOf(fd).st_atim, kOlder));
  if (!isRoot()) return;
  p.asUser([&] { EXPECT_ERRNO(EPERM, open(p.here("f").c_str(), O_RDONLY | O_NOATIME)); });
}

}  // namespace
}  // namespace dfs::posix
