// chmod, chown and their relatives: who may, what goes with it, on which descriptors.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

constexpr uid_t kSame = static_cast<uid_t>(-1);

mode_t modeOf(const std::string& path) {
  return statOf(path).st_mode & 07777;
}

bool later(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

void expectNewCtime(const std::string& path, const std::function<void()>& work) {
  auto before = statOf(path);
  usleep(20'000);
  work();
  auto after = statOf(path);
  EXPECT_TRUE(later(after.st_ctim, before.st_ctim));
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

TEST(Chmod, SetsAllTwelveBitsOfEveryType) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  ASSERT_OK(mkfifo(p.here("p").c_str(), 0600));
  for (auto name : {"f", "d", "p"}) {
    for (mode_t mode : {0, 0111, 0644, 01755, 02750, 04711, 07777}) {
      ASSERT_OK(chmod(p.here(name).c_str(), mode));
      EXPECT_EQ(modeOf(p.there(name)), mode) << name;
    }
  }
  ASSERT_OK(chmod(p.here("d").c_str(), 0755));
}

TEST(Chmod, FollowsLinksAndFchmodatRefusesThemWithNofollow) {
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(symlink("f", p.here("l").c_str()));
  ASSERT_OK(chmod(p.here("l").c_str(), 0604));
  EXPECT_EQ(modeOf(p.there("f")), 0604u);
  EXPECT_EQ(modeOf(p.there("l")), 0777u);
  EXPECT_ERRNO(EOPNOTSUPP, fchmodat(AT_FDCWD, p.here("l").c_str(), 0600, AT_SYMLINK_NOFOLLOW));
  EXPECT_ERRNO(ENOENT, chmod(p.here("none").c_str(), 0600));
  EXPECT_ERRNO(ENOTDIR, chmod(p.here("f/x").c_str(), 0600));
  EXPECT_ERRNO(ENOENT, chmod("", 0600));
}

TEST(Chmod, FchmodWorksOnAnyDescriptorButAPath) {
  Place p;
  makeFile(p.here("f"));
  Fd reading(open(p.here("f").c_str(), O_RDONLY));
  ASSERT_OK(fchmod(reading, 0640));
  EXPECT_EQ(modeOf(p.there("f")), 0640u);
  ASSERT_OK(unlink(p.here("f").c_str()));
  ASSERT_OK(fchmod(reading, 0600));
  EXPECT_EQ(statOf(reading).st_mode & 07777, 0600u);
  Fd path(open(p.here().c_str(), O_PATH));
  EXPECT_ERRNO(EBADF, fchmod(path, 0700));
}

TEST(Chmod, MovesTheCtimeEvenIfNothingChanges) {
  Place p;
  makeFile(p.here("f"), "x", 0640);
  expectNewCtime(p.here("f"), [&] { EXPECT_OK(chmod(p.here("f").c_str(), 0640)); });
}

TEST(Chmod, IsTheOwnersAndLosesTheSetgidBitOfAForeignGroup) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("foreign"));
  makeFile(p.here("own"));
  ASSERT_OK(chown(p.here("own").c_str(), kUser, 777));
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, chmod(p.here("foreign").c_str(), 0666));
    EXPECT_OK(chmod(p.here("own").c_str(), 02755));
    EXPECT_EQ(modeOf(p.here("own")), 0755u);
  });
  p.asWho({kUser, kUser, {777}}, [&] {
    EXPECT_OK(chmod(p.here("own").c_str(), 02755));
    EXPECT_EQ(modeOf(p.here("own")), 02755u);
    EXPECT_OK(chmod(p.here("own").c_str(), 01644));  // sticky on a file: Linux lets it be
    EXPECT_EQ(modeOf(p.here("own")), 01644u);
  });
}

TEST(Chown, SetsOneOrBothAndMinusOneNeither) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(symlink("f", p.here("l").c_str()));
  ASSERT_OK(chown(p.here("f").c_str(), 123, 456));
  ASSERT_OK(chown(p.here("l").c_str(), kSame, 457));
  ASSERT_OK(lchown(p.here("l").c_str(), 999, 998));
  auto f = statOf(p.there("f")), l = statOf(p.there("l"));
  EXPECT_EQ(f.st_uid, 123u);
  EXPECT_EQ(f.st_gid, 457u);
  EXPECT_EQ(l.st_uid, 999u);
  EXPECT_EQ(l.st_gid, 998u);
  ASSERT_OK(chown(p.here("f").c_str(), 4294967294u, 4294967294u));
  EXPECT_EQ(statOf(p.there("f")).st_uid, 4294967294u);
  Fd fd(open(p.here("f").c_str(), O_RDONLY));
  ASSERT_OK(fchown(fd, 5, kSame));
  EXPECT_EQ(statOf(p.there("f")).st_uid, 5u);
  EXPECT_OK(fchownat(fd, "", 6, 7, AT_EMPTY_PATH));
  EXPECT_EQ(statOf(p.there("f")).st_gid, 7u);
}

TEST(Chown, MovesTheCtimeEvenIfNothingChanges) {
  Place p;
  makeFile(p.here("f"));
  expectNewCtime(p.here("f"), [&] { EXPECT_OK(chown(p.here("f").c_str(), kSame, kSame)); });
  auto own = statOf(p.here("f"));
  expectNewCtime(p.here("f"),
                 [&] { EXPECT_OK(chown(p.here("f").c_str(), own.st_uid, own.st_gid)); });
}

TEST(SetGroupBit, ThatNobodyExecutesStaysWhenAMemberOfTheGroupWrites) {
  REQUIRE_ROOT();
  Place p;
  auto path = p.here("f");
  makeFile(path, "text");
  ASSERT_OK(chown(path.c_str(), 0, kOtherUser));
  auto changed = [&](const Who& who, const std::function<int(int)>& change) {
    EXPECT_OK(chmod(path.c_str(), 02666));
    p.asWho(who, [&] {
      Fd fd(open(path.c_str(), O_RDWR));
      EXPECT_OK(change(fd));
    });
    return statOf(p.there("f")).st_mode & 07777;
  };
  Who member{kUser, kUser, {kOtherUser}}, stranger;
  const std::vector<std::function<int(int)>> changes = {
      [](int fd) { return pwrite(fd, "x", 1, 0) == 1 ? 0 : -1; },
      [](int fd) { return ftruncate(fd, 10); },
      [](int fd) { return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2); },
      [](int fd) { return fallocate(fd, 0, 0, 20); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    EXPECT_EQ(changed(member, changes[i]), 02666u) << "change " << i;
    EXPECT_EQ(changed(stranger, changes[i]), 0666u) << "change " << i;
  }
}

TEST(Chown, OfNothingIsTheOwnersOnlyWhereSetIdBitsWouldGo) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 06777);
  auto path = p.here("f");
  p.asUser([&] { EXPECT_ERRNO(EPERM, chown(path.c_str(), -1, -1)); });
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 06777u);
  ASSERT_OK(chmod(path.c_str(), 0700));
  p.asUser([&] { EXPECT_OK(chown(path.c_str(), -1, -1)); });
  ASSERT_OK(chmod(path.c_str(), 06777));
  Fd fd(open(path.c_str(), O_WRONLY));
  ASSERT_OK(chown(path.c_str(), -1, -1));
  EXPECT_EQ(statOf(p.there("f")).st_mode & 07777, 0777u);
}

TEST(Write, ByAMemberOfTheGroupLeavesSetgidThatNobodyExecutes) {
  REQUIRE_ROOT();
  Place p;
  constexpr gid_t kGroup = 54321;
  makeFile(p.here("f"), "abc", 0666);
  ASSERT_OK(chown(p.here("f").c_str(), 0, kGroup));
  auto writes = [&](const Who& who) {
    ASSERT_OK(chmod(p.here("f").c_str(), 02666));
    p.asWho(who, [&] {
      Fd fd(open(p.there("f").c_str(), O_WRONLY));
      EXPECT_EQ(write(fd, "x", 1), 1);
    });
  };
  writes({.groups = {kGroup}});
  EXPECT_EQ(statOf(p.here("f")).st_mode & 07777, 02666u);
  writes({.gid = kGroup});
  EXPECT_EQ(statOf(p.here("f")).st_mode & 07777, 02666u);
  writes({});
  EXPECT_EQ(statOf(p.here("f")).st_mode & 07777, 0666u);
}

TEST(Chown, TakesSetIdBitsFromFilesOnly) {
  Place p;
  auto own = statOf(p.here());
  for (bool nothing : {false, true}) {
    std::string f = nothing ? "f" : "g", d = nothing ? "d" : "e", s = nothing ? "s" : "t";
    makeFile(p.here(f), "", 06755);
    makeFile(p.here(s), "", 06744);  // set-gid without execution
    makeDirectory(p.here(d), 06755);
    for (auto& name : {f, s, d}) {
      ASSERT_OK(
          chown(p.here(name).c_str(), nothing ? kSame : own.st_uid, nothing ? kSame : own.st_gid));
    }
    EXPECT_EQ(modeOf(p.there(f)), 0755u);
    EXPECT_EQ(modeOf(p.there(s)), 02744u);
    EXPECT_EQ(modeOf(p.there(d)), 06755u);
  }
}

TEST(Chown, OfAUserGoesToHisOwnGroupsAlone) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"));
  makeFile(p.here("foreign"));
  ASSERT_OK(chown(p.here("f").c_str(), kUser, kUser));
  std::vector<gid_t> many;
  for (gid_t g = 50'000; g < 50'100; ++g) many.push_back(g);
  p.asWho({kUser, kUser, many}, [&] {
    EXPECT_ERRNO(EPERM, chown(p.here("f").c_str(), kOtherUser, kSame));
    EXPECT_ERRNO(EPERM, chown(p.here("f").c_str(), kSame, 777));
    EXPECT_OK(chown(p.here("f").c_str(), kUser, kSame));
    EXPECT_OK(chown(p.here("f").c_str(), kSame, 50'000));
    EXPECT_OK(chown(p.here("f").c_str(), kUser, 50'099));  // beyond the 32nd group
    EXPECT_ERRNO(EPERM, chown(p.here("foreign").c_str(), kSame, kUser));
    EXPECT_ERRNO(EPERM, chown(p.here("foreign").c_str(), 0, kSame));
    EXPECT_OK(chown(p.here("foreign").c_str(), kSame, kSame));
  });
  EXPECT_EQ(statOf(p.there("f")).st_gid, 50'099u);
}

TEST(Access, AsksForTheRealUserAndFaccessatForTheEffective) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0640);
  makeFile(p.here("x"), "", 0711);
  makeDirectory(p.here("closed"), 0700);
  makeFile(p.here("closed/f"), "", 0777);
  EXPECT_OK(access(p.here("f").c_str(), R_OK | W_OK));
  EXPECT_ERRNO(EACCES, access(p.here("f").c_str(), X_OK));  // root, but nobody may
  EXPECT_OK(access(p.here("x").c_str(), X_OK));
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, access(p.there("f").c_str(), R_OK));
    EXPECT_OK(access(p.there("f").c_str(), F_OK));
    EXPECT_OK(access(p.there("x").c_str(), X_OK));
    EXPECT_ERRNO(EACCES, access(p.there("x").c_str(), R_OK | X_OK));
    EXPECT_ERRNO(EACCES, access(p.there("closed/f").c_str(), F_OK));
  });
  ASSERT_OK(chmod(p.here("f").c_str(), 0600));
  inChild([&] {
    ASSERT_OK(seteuid(kUser));
    EXPECT_OK(access(p.there("f").c_str(), R_OK));
    EXPECT_ERRNO(EACCES, faccessat(AT_FDCWD, p.there("f").c_str(), R_OK, AT_EACCESS));
  });
  EXPECT_ERRNO(EINVAL, access(p.here("f").c_str(), 0100));
}

TEST(Umask, IsTakenOffWhatIsMadeAndOfNothingElse) {
  Place p;
  umask(027);
  Fd fd(open(p.here("f").c_str(), O_CREAT | O_WRONLY, 0777));
  ASSERT_OK(mkdir(p.here("d").c_str(), 0777));
  ASSERT_OK(mknod(p.here("p").c_str(), S_IFIFO | 0666, 0));
  ASSERT_OK(chmod(p.here("p").c_str(), 0666));
  umask(0);
  ASSERT_OK(mkdir(p.here("all").c_str(), 01777));
  EXPECT_EQ(modeOf(p.there("f")), 0750u);
  EXPECT_EQ(modeOf(p.there("d")), 0750u);
  EXPECT_EQ(modeOf(p.there("p")), 0666u);
  EXPECT_EQ(modeOf(p.there("all")), 01777u);
}

TEST(Stat, CountsLinksOfDirectoriesAndFiles) {
  Place p;
  makeDirectory(p.here("d"));
  EXPECT_EQ(statOf(p.there("d")).st_nlink, 2u);
  makeDirectory(p.here("d/1"));
  makeDirectory(p.here("d/2"));
  makeFile(p.here("d/f"));
  EXPECT_EQ(statOf(p.there("d")).st_nlink, 4u);
  ASSERT_OK(rename(p.here("d/1").c_str(), p.here("e").c_str()));
  EXPECT_EQ(statOf(p.there("d")).st_nlink, 3u);
  ASSERT_OK(rmdir(p.here("d/2").c_str()));
  EXPECT_EQ(statOf(p.there("d")).st_nlink, 2u);
  ASSERT_OK(link(p.here("d/f").c_str(), p.here("g").c_str()));
  EXPECT_EQ(statOf(p.there("g")).st_nlink, 2u);
  EXPECT_EQ(statOf(p.there("g")).st_ino, statOf(p.there("d/f")).st_ino);
}

TEST(Stat, TellsTypeSizeBlocksAndDevice) {
  Place p;
  makeFile(p.here("f"), std::string(10'000, 'x'));
  ASSERT_OK(symlink("12345", p.here("l").c_str()));
  auto f = statOf(p.there("f")), l = statOf(p.there("l"));
  EXPECT_EQ(f.st_size, 10'000);
  EXPECT_GE(f.st_blocks * 512, 10'000);
  EXPECT_LE(f.st_blocks * 512, 16'384);
  EXPECT_GE(f.st_blksize, 512);
  EXPECT_EQ(f.st_blksize & (f.st_blksize - 1), 0);
  EXPECT_TRUE(S_ISLNK(l.st_mode));
  EXPECT_EQ(l.st_size, 5);
  EXPECT_EQ(f.st_dev, statOf(p.there()).st_dev);
  ASSERT_OK(truncate(p.here("f").c_str(), 1 << 30));
  EXPECT_LE(statOf(p.there("f")).st_blocks * 512, 16'384);
}

TEST(Statx, TellsTheTimeOfBirth) {
  Place p;
  struct statx before, after;
  makeFile(p.here("f"));
  ASSERT_OK(statx(AT_FDCWD, p.here("f").c_str(), 0, STATX_BASIC_STATS | STATX_BTIME, &before));
  ASSERT_TRUE(before.stx_mask & STATX_BTIME);
  usleep(20'000);
  ASSERT_OK(truncate(p.here("f").c_str(), 5));
  ASSERT_OK(rename(p.here("f").c_str(), p.here("g").c_str()));
  ASSERT_OK(statx(AT_FDCWD, p.there("g").c_str(), 0, STATX_BASIC_STATS | STATX_BTIME, &after));
  EXPECT_EQ(after.stx_btime.tv_sec, before.stx_btime.tv_sec);
  EXPECT_EQ(after.stx_btime.tv_nsec, before.stx_btime.tv_nsec);
  EXPECT_EQ(after.stx_size, 5u);
  EXPECT_EQ(after.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
  auto s = statOf(p.there("g"));
  EXPECT_EQ(after.stx_ctime.tv_nsec, s.st_ctim.tv_nsec);
  EXPECT_EQ(after.stx_mode, s.st_mode);
  EXPECT_EQ(after.stx_ino, s.st_ino);
  EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, p.here("g").c_str(),
                             AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &after));
}

}  // namespace
}  // namespace dfs::posix
