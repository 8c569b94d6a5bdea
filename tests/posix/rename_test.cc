// rename and renameat2: what becomes of both names, and which error comes first.
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <thread>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

int renameWith(const std::string& from, const std::string& to, unsigned flags) {
  return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
}
int renameTo(const std::string& from, const std::string& to) {
  return renameWith(from, to, 0);
}

TEST(Rename, MovesEveryType) {
  Place p;
  makeFile(p.here("file"), "x");
  makeDirectory(p.here("dir"));
  makeFile(p.here("dir/inside"), "y");
  ASSERT_OK(symlink("target", p.here("link").c_str()));
  ASSERT_OK(mkfifo(p.here("fifo").c_str(), 0600));
  makeDirectory(p.here("to"));
  for (std::string name : {"file", "dir", "link", "fifo"}) {
    auto before = statOf(p.here(name));
    ASSERT_OK(renameTo(p.here(name), p.here("to/" + name)));
    auto after = statOf(p.there("to/" + name));
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(after.st_mode, before.st_mode);
    EXPECT_ERRNO(ENOENT, access(p.there(name).c_str(), F_OK));
  }
  EXPECT_EQ(contentsOf(p.there("to/dir/inside")), "y");
  EXPECT_EQ(statOf(p.there("to/dir/..")).st_ino, statOf(p.there("to")).st_ino);
}

TEST(Rename, ReplacesAFileAndKeepsWhatIsOpen) {
  Place p;
  makeFile(p.here("a"), "one");
  makeFile(p.here("b"), "two");
  Fd old(open(p.here("b").c_str(), O_RDONLY)), oldThere(open(p.there("b").c_str(), O_RDONLY));
  ASSERT_OK(renameTo(p.here("a"), p.here("b")));
  EXPECT_EQ(contentsOf(p.there("b")), "one");
  char c[8];
  EXPECT_EQ(pread(old, c, 8, 0), 3);
  EXPECT_EQ(pread(oldThere, c, 8, 0), 3);
  EXPECT_EQ(std::string(c, 3), "two");
  EXPECT_EQ(statOf(old).st_nlink, 0u);
}

TEST(Rename, ReplacesAnEmptyDirectoryOnly) {
  Place p;
  makeDirectory(p.here("a"));
  makeFile(p.here("a/x"));
  makeDirectory(p.here("empty"));
  makeDirectory(p.here("full"));
  makeFile(p.here("full/y"));
  makeFile(p.here("f"));
  EXPECT_ERRNO(ENOTEMPTY, renameTo(p.here("a"), p.here("full")));
  EXPECT_ERRNO(ENOTDIR, renameTo(p.here("a"), p.here("f")));
  EXPECT_ERRNO(EISDIR, renameTo(p.here("f"), p.here("empty")));
  EXPECT_OK(renameTo(p.here("a"), p.here("empty")));
  EXPECT_EQ(namesIn(p.there("empty")), std::vector<std::string>{"x"});
}

TEST(Rename, IntoItsOwnSubtreeIsInvalid) {
  Place p;
  makeDirectory(p.here("a"));
  makeDirectory(p.here("a/b"));
  EXPECT_ERRNO(EINVAL, renameTo(p.here("a"), p.here("a/c")));
  EXPECT_ERRNO(EINVAL, renameTo(p.here("a"), p.here("a/b/c")));
  EXPECT_ERRNO(EINVAL, renameTo(p.here("a"), p.here("a/b")));
  EXPECT_ERRNO(ENOTEMPTY, renameTo(p.here("a/b"), p.here("a")));
  EXPECT_ERRNO(EINVAL, renameWith(p.here("a"), p.here("a/b"), RENAME_EXCHANGE));
}

TEST(Rename, OfDotsIsBusyAndSlashesAreForDirectories) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("f"));
  EXPECT_ERRNO(EBUSY, renameTo(p.here("d/."), p.here("e")));
  EXPECT_ERRNO(EBUSY, renameTo(p.here("d/.."), p.here("e")));
  EXPECT_ERRNO(EBUSY, renameTo(p.here("f"), p.here("d/.")));
  EXPECT_ERRNO(EBUSY, renameTo(p.here("d"), p.here("d/../..")));
  EXPECT_ERRNO(ENOTDIR, renameTo(p.here("f/"), p.here("g")));
  EXPECT_ERRNO(ENOTDIR, renameTo(p.here("f"), p.here("g/")));
  EXPECT_OK(renameTo(p.here("d/"), p.here("e/")));
  EXPECT_OK(access(p.there("e").c_str(), F_OK));
}

TEST(Rename, OfTwoNamesOfOneFileDoesNothing) {
  Place p;
  makeFile(p.here("a"));
  ASSERT_OK(link(p.here("a").c_str(), p.here("b").c_str()));
  EXPECT_OK(renameTo(p.here("a"), p.here("b")));
  EXPECT_OK(renameTo(p.here("a"), p.here("a")));
  EXPECT_EQ(namesIn(p.there()), (std::vector<std::string>{"a", "b"}));
}

TEST(Rename, ErrorsInTheOrderOfLinux) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  auto longName = p.here(std::string(256, 'n'));
  EXPECT_ERRNO(ENOENT, renameTo(p.here("none"), p.here("x")));
  EXPECT_ERRNO(ENOENT, renameTo(p.here("none/x"), p.here("x")));
  EXPECT_ERRNO(ENOENT, renameTo(p.here("f"), p.here("none/x")));
  EXPECT_ERRNO(ENOENT, renameTo(p.here("f"), ""));
  EXPECT_ERRNO(ENOTDIR, renameTo(p.here("f/x"), p.here("x")));
  EXPECT_ERRNO(ENOTDIR, renameTo(p.here("d"), p.here("f/x")));
  EXPECT_ERRNO(ENAMETOOLONG, renameTo(p.here("f"), longName));
  EXPECT_ERRNO(ENAMETOOLONG, renameTo(longName, p.here("x")));
  EXPECT_ERRNO(EXDEV, renameTo(p.here("f"), "/dev/shm/dfs-posix-x"));
  EXPECT_ERRNO(EINVAL, renameWith(p.here("f"), p.here("d"), RENAME_NOREPLACE | RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, renameWith(p.here("f"), p.here("d"), RENAME_WHITEOUT | RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, renameWith(p.here("f"), p.here("g"), 0x80));
  EXPECT_ERRNO(ENOENT, renameWith(p.here("f"), p.here("none"), RENAME_EXCHANGE));
}

TEST(Rename, NeedsTheRightToWriteBothDirectories) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("closed"), 0755);
  makeDirectory(p.here("open"), 0777);
  makeDirectory(p.here("open/theirs"), 0755);
  makeFile(p.here("closed/f"));
  makeFile(p.here("open/f"));
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, renameTo(p.here("closed/f"), p.here("open/g")));
    EXPECT_ERRNO(EACCES, renameTo(p.here("open/f"), p.here("closed/g")));
    EXPECT_OK(renameTo(p.here("open/f"), p.here("open/g")));
    // Its `..` would change.
    EXPECT_ERRNO(EACCES, renameTo(p.here("open/theirs"), p.here("theirs")));
    EXPECT_OK(renameTo(p.here("open/theirs"), p.here("open/t")));
  });
}

TEST(Rename, InAStickyDirectoryIsTheOwners) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("s"), 01777);
  makeFile(p.here("s/roots"), "", 0666);
  makeFile(p.here("s/own"));
  makeFile(p.here("outside"));
  ASSERT_OK(chown(p.here("s/own").c_str(), kUser, kUser));
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, renameTo(p.here("s/roots"), p.here("s/x")));
    EXPECT_ERRNO(EPERM, renameTo(p.here("s/own"), p.here("s/roots")));
    EXPECT_ERRNO(EPERM, renameTo(p.here("outside"), p.here("s/roots")));
    EXPECT_ERRNO(EPERM, renameWith(p.here("s/own"), p.here("s/roots"), RENAME_EXCHANGE));
    EXPECT_OK(renameTo(p.here("s/own"), p.here("s/mine")));
  });
}

TEST(Rename, ExchangeSwapsTwoNames) {
  Place p;
  makeFile(p.here("a"), "one");
  makeDirectory(p.here("b"));
  makeFile(p.here("b/inside"), "two");
  auto a = statOf(p.here("a")).st_ino, b = statOf(p.here("b")).st_ino;

  ASSERT_OK(renameWith(p.here("a"), p.here("b"), RENAME_EXCHANGE));
  EXPECT_EQ(statOf(p.there("a")).st_ino, b);
  EXPECT_EQ(statOf(p.there("b")).st_ino, a);
  EXPECT_EQ(contentsOf(p.there("b")), "one");
  EXPECT_EQ(contentsOf(p.there("a/inside")), "two");
}

TEST(Rename, ExchangeAcrossDirectoriesMovesLinks) {
  Place p;
  makeDirectory(p.here("x"));
  makeDirectory(p.here("y"));
  makeDirectory(p.here("x/d"));
  makeFile(p.here("y/f"));
  ASSERT_OK(renameWith(p.here("x/d"), p.here("y/f"), RENAME_EXCHANGE));
  EXPECT_EQ(statOf(p.there("x")).st_nlink, 2u);
  EXPECT_EQ(statOf(p.there("y")).st_nlink, 3u);
  EXPECT_EQ(statOf(p.there("y/f/..")).st_ino, statOf(p.there("y")).st_ino);
}

TEST(Rename, NoReplaceRefusesWhatExists) {
  Place p;
  makeFile(p.here("a"), "one");
  makeFile(p.here("b"), "two");
  EXPECT_ERRNO(EEXIST, renameWith(p.here("a"), p.here("b"), RENAME_NOREPLACE));
  EXPECT_ERRNO(EEXIST, renameWith(p.here("a"), p.here("a"), RENAME_NOREPLACE));
  EXPECT_EQ(contentsOf(p.there("b")), "two");
  EXPECT_OK(renameWith(p.here("a"), p.here("c"), RENAME_NOREPLACE));
  EXPECT_EQ(contentsOf(p.there("c")), "one");
  EXPECT_ERRNO(ENOENT, access(p.there("a").c_str(), F_OK));
}

TEST(Rename, WhiteoutLeavesADeviceOfNumberZero) {
  Place p;
  makeFile(p.here("a"), "one");
  ASSERT_OK(renameWith(p.here("a"), p.here("b"), RENAME_WHITEOUT));
  auto left = statOf(p.there("a"));
  EXPECT_TRUE(S_ISCHR(left.st_mode));
  EXPECT_EQ(left.st_rdev, makedev(0, 0));
  EXPECT_EQ(left.st_nlink, 1u);
  EXPECT_EQ(contentsOf(p.there("b")), "one");
  ASSERT_OK(renameWith(p.here("b"), p.here("a"), RENAME_WHITEOUT | RENAME_NOREPLACE) == -1 &&
                    errno == EEXIST
                ? 0
                : -1);
  ASSERT_OK(unlink(p.here("a").c_str()));
}

TEST(Rename, ObserversSeeOneOfTheTwoAtAnyMoment) {
  // Somebody replaces a file over and over; whoever opens the name finds one of both contents, on either mount.
  Place p;
  makeFile(p.here("target"), "old");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 150; ++i) {
      makeFile(p.here("new"), i % 2 == 0 ? "even" : "odd");
      if (renameTo(p.here("new"), p.here("target")) != 0) ADD_FAILURE() << errnoName(errno);
    }
    stop = true;
  });
  uint64_t looks = 0;
  while (!stop) {
    auto text = contentsOf(looks++ % 2 == 0 ? p.here("target") : p.there("target"));
    if (text != "even" && text != "odd" && text != "old") ADD_FAILURE() << "\"" << text << "\"";
  }
  writer.join();
  EXPECT_GT(looks, 10u);
}

struct TwoDirectories : Place {
  // "a" with "d" in it, and "b" where it may go.
  TwoDirectories() {
    for (auto name : {"a", "b", "a/d"}) makeDirectory(here(name));
    makeFile(here("a/d/f"), "kept");
  }
};

TEST(Rename, OfADirectoryThatTheOtherMountHasJustMoved) {
  TwoDirectories p;
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(renameTo(p.here("a/d"), p.here("b/d"))) << i;
    ASSERT_OK(renameTo(p.there("b/d"), p.there("a/d"))) << i;
  }
  EXPECT_EQ(contentsOf(p.here("a/d/f")), "kept");
}

TEST(Rename, OfDirectoriesBackAndForthFromBothMountsLosesNothing) {
  TwoDirectories p;
  auto move = [&](bool other) {
    for (int i = 0; i < 100; ++i) {
      auto at = [&](const char* name) { return other ? p.there(name) : p.here(name); };
      int result = other ? renameTo(at("b/d"), at("a/d")) : renameTo(at("a/d"), at("b/d"));
      if (result != 0 && errno != ENOENT) ADD_FAILURE() << errnoName(errno);
    }
  };
  std::thread other([&] { move(true); });
  move(false);
  other.join();
  auto left = namesIn(p.here("a")).size() + namesIn(p.here("b")).size();
  EXPECT_EQ(left, 1u);
  EXPECT_EQ(contentsOf(p.there(namesIn(p.here("a")).empty() ? "b/d/f" : "a/d/f")), "kept");
}

}  // namespace
}  // namespace dfs::posix
