// link, symlink, readlink, and what paths may be made of.
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

TEST(Link, GivesOneFileTwoNames) {
  Place p;
  makeFile(p.here("a"), "one");
  ASSERT_OK(link(p.here("a").c_str(), p.here("b").c_str()));
  EXPECT_EQ(statOf(p.there("b")).st_ino, statOf(p.there("a")).st_ino);
  EXPECT_EQ(statOf(p.there("b")).st_nlink, 2u);
  ASSERT_OK(unlink(p.there("a").c_str()));
  EXPECT_EQ(contentsOf(p.here("b")), "one");
  EXPECT_EQ(statOf(p.here("b")).st_nlink, 1u);
}

TEST(Link, OfSymlinksFifosAndThroughThem) {
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(symlink("f", p.here("l").c_str()));
  ASSERT_OK(mkfifo(p.here("p").c_str(), 0600));
  ASSERT_OK(link(p.here("l").c_str(), p.here("l2").c_str()));
  EXPECT_EQ(statOf(p.there("l2")).st_ino, statOf(p.here("l")).st_ino);
  ASSERT_OK(
      linkat(AT_FDCWD, p.here("l").c_str(), AT_FDCWD, p.here("f2").c_str(), AT_SYMLINK_FOLLOW));
  EXPECT_EQ(statOf(p.there("f2")).st_ino, statOf(p.here("f")).st_ino);
  ASSERT_OK(link(p.here("p").c_str(), p.here("p2").c_str()));
  EXPECT_EQ(statOf(p.there("p")).st_nlink, 2u);
}

TEST(Link, RefusesAsLinuxDoes) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  auto f = p.here("f"), d = p.here("d");
  EXPECT_ERRNO(EPERM, link(d.c_str(), p.here("x").c_str()));
  EXPECT_ERRNO(EEXIST, link(f.c_str(), d.c_str()));
  EXPECT_ERRNO(EEXIST, link(d.c_str(), f.c_str()));
  EXPECT_ERRNO(EEXIST, link(f.c_str(), f.c_str()));
  EXPECT_ERRNO(ENOENT, link(p.here("none").c_str(), p.here("x").c_str()));
  EXPECT_ERRNO(ENOENT, link(f.c_str(), p.here("none/x").c_str()));
  EXPECT_ERRNO(ENOENT, link(f.c_str(), ""));
  EXPECT_ERRNO(ENOENT, link(f.c_str(), p.here("x/").c_str()));
  EXPECT_ERRNO(ENOTDIR, link(f.c_str(), p.here("f/x").c_str()));
  EXPECT_ERRNO(ENAMETOOLONG, link(f.c_str(), p.here(std::string(256, 'n')).c_str()));
  EXPECT_ERRNO(EXDEV, link(f.c_str(), "/dev/shm/dfs-posix-x"));
  EXPECT_ERRNO(EINVAL, linkat(AT_FDCWD, f.c_str(), AT_FDCWD, p.here("x").c_str(), 1));
}

TEST(Link, NeedsTheRightToWriteTheDirectory) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"), 0755);
  makeFile(p.here("f"));
  ASSERT_OK(chown(p.here("f").c_str(), kUser, kUser));
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, link(p.here("f").c_str(), p.here("d/g").c_str()));
    EXPECT_OK(link(p.here("f").c_str(), p.here("g").c_str()));
  });
}

TEST(Link, CountsManyNames) {
  // The bound (65,000, then EMLINK) is the name server's, and reached in its unit tests.
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  for (int i = 0; i < 200; ++i) {
    ASSERT_OK(link(p.here("f").c_str(), p.here("d/" + std::to_string(i)).c_str()));
  }
  EXPECT_EQ(statOf(p.there("f")).st_nlink, 201u);
}

TEST(Symlink, HoldsUpTo4095BytesOfAnyContent) {
  Place p;
  for (std::string target :
       {std::string("x"), std::string(4095, 't'), std::string("\xff\xfe\n /./..//")}) {
    ASSERT_OK(symlink(target.c_str(), p.here("l").c_str()));
    char text[5000];
    ssize_t n = readlink(p.there("l").c_str(), text, sizeof text);
    EXPECT_EQ(std::string(text, n < 0 ? 0 : n), target);
    EXPECT_EQ(statOf(p.there("l")).st_size, ssize_t(target.size()));
    EXPECT_EQ(statOf(p.there("l")).st_mode, mode_t(S_IFLNK | 0777));
    EXPECT_EQ(readlink(p.here("l").c_str(), text, 1), 1);  // cut without a word
    ASSERT_OK(unlink(p.here("l").c_str()));
  }
}

TEST(Symlink, RefusesAsLinuxDoes) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(ENAMETOOLONG, symlink(std::string(4096, 't').c_str(), p.here("l").c_str()));
  EXPECT_ERRNO(ENOENT, symlink("", p.here("l").c_str()));
  EXPECT_ERRNO(ENOENT, symlink("x", p.here("l/").c_str()));
  EXPECT_ERRNO(EEXIST, symlink("x", p.here("f").c_str()));
  EXPECT_ERRNO(EEXIST, symlink("x", p.here().c_str()));
  EXPECT_ERRNO(ENOTDIR, symlink("x", p.here("f/l").c_str()));
  char text[10];
  EXPECT_ERRNO(EINVAL, readlink(p.here("f").c_str(), text, sizeof text));
  EXPECT_ERRNO(EINVAL, readlink(p.here().c_str(), text, sizeof text));
  EXPECT_ERRNO(ENOENT, readlink(p.here("none").c_str(), text, sizeof text));
}

TEST(Symlink, IsFollowedUpTo40Times) {
  Place p;
  makeFile(p.here("f"), "end");
  std::string before = "f";
  for (int i = 0; i < 41; ++i) {
    auto name = "l" + std::to_string(i);
    ASSERT_OK(symlink(before.c_str(), p.here(name).c_str()));
    before = name;
  }
  EXPECT_EQ(contentsOf(p.there("l39")), "end");
  EXPECT_ERRNO(ELOOP, open(p.there("l40").c_str(), O_RDONLY));
  ASSERT_OK(symlink("loop", p.here("loop").c_str()));
  struct stat s;
  EXPECT_ERRNO(ELOOP, stat(p.there("loop").c_str(), &s));
  EXPECT_OK(lstat(p.there("loop").c_str(), &s));
  EXPECT_ERRNO(ELOOP, stat(p.there("loop/x").c_str(), &s));
  EXPECT_ERRNO(ELOOP, open(p.there("loop").c_str(), O_RDONLY | O_NOFOLLOW));
}

TEST(Names, Of255BytesOfAnyContent) {
  Place p;
  std::vector<std::string> names = {std::string(255, 'n'),
                                    std::string(255, '\xff'),
                                    "\n",
                                    " ",
                                    "-rf",
                                    "\xc3\x28",
                                    "a\\b",
                                    "*",
                                    "...",
                                    ".hidden",
                                    "\x01\x7f"};
  for (auto& name : names) makeFile(p.here(name), name);
  std::sort(names.begin(), names.end());
  auto there = namesIn(p.there());
  EXPECT_EQ(there, names);
  for (auto& name : names) EXPECT_EQ(contentsOf(p.there(name)), name);
  for (auto& name : names) ASSERT_OK(unlink(p.there(name).c_str()));
}

TEST(Names, Of256BytesAreTooLongForEveryCall) {
  Place p;
  makeFile(p.here("f"));
  auto name = p.here(std::string(256, 'n'));
  auto n = name.c_str();
  struct stat s;
  char text[10];
  EXPECT_ERRNO(ENAMETOOLONG, open(n, O_CREAT | O_WRONLY, 0600));
  EXPECT_ERRNO(ENAMETOOLONG, open(n, O_RDONLY));
  EXPECT_ERRNO(ENAMETOOLONG, mkdir(n, 0700));
  EXPECT_ERRNO(ENAMETOOLONG, mkfifo(n, 0600));
  EXPECT_ERRNO(ENAMETOOLONG, symlink("x", n));
  EXPECT_ERRNO(ENAMETOOLONG, unlink(n));
  EXPECT_ERRNO(ENAMETOOLONG, rmdir(n));
  EXPECT_ERRNO(ENAMETOOLONG, stat(n, &s));
  EXPECT_ERRNO(ENAMETOOLONG, chmod(n, 0600));
  EXPECT_ERRNO(ENAMETOOLONG, chown(n, 0, 0));
  EXPECT_ERRNO(ENAMETOOLONG, truncate(n, 0));
  EXPECT_ERRNO(ENAMETOOLONG, readlink(n, text, sizeof text));
  EXPECT_ERRNO(ENAMETOOLONG, rename(n, p.here("x").c_str()));
}

TEST(Names, PathsOf4095BytesAndNotMore) {
  Place p;
  // d/d/.../d of directories with long names, until the path is as long as may be.
  auto path = p.here();
  std::string component(200, 'c');
  while (path.size() + component.size() + 1 < PATH_MAX - 201) {
    path += "/" + component;
    ASSERT_OK(mkdir(path.c_str(), 0755));
  }
  path += "/" + std::string(PATH_MAX - 1 - path.size() - 1, 'f');
  ASSERT_EQ(path.size(), size_t(PATH_MAX - 1));
  makeFile(path, "deep");
  EXPECT_EQ(contentsOf(path), "deep");
  EXPECT_ERRNO(ENAMETOOLONG, open((path + "x").c_str(), O_CREAT | O_WRONLY, 0600));
}

TEST(Names, TreesOf2000Levels) {
  Place p;
  Fd at(open(p.here().c_str(), O_RDONLY | O_DIRECTORY));
  for (int i = 0; i < 2000; ++i) {
    ASSERT_OK(mkdirat(at, "d", 0755)) << i;
    Fd next(openat(at, "d", O_RDONLY | O_DIRECTORY));
    ASSERT_GE(next, 0);
    at = std::move(next);
  }
  Fd file(openat(at, "f", O_CREAT | O_WRONLY, 0600));
  EXPECT_GE(file, 0);
  ASSERT_OK(unlinkat(at, "f", 0));
  for (int i = 0; i < 2000; ++i) {
    Fd up(openat(at, "..", O_RDONLY | O_DIRECTORY));
    ASSERT_OK(unlinkat(up, "d", AT_REMOVEDIR)) << i;
    at = std::move(up);
  }
}

TEST(Names, OfDirectoriesBehindFilesAndWithSlashes) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  ASSERT_OK(symlink("d", p.here("l").c_str()));
  struct stat s;
  EXPECT_ERRNO(ENOTDIR, stat(p.here("f/").c_str(), &s));
  EXPECT_ERRNO(ENOTDIR, stat(p.here("f/.").c_str(), &s));
  EXPECT_ERRNO(ENOTDIR, stat(p.here("f/..").c_str(), &s));
  EXPECT_ERRNO(ENOENT, stat(p.here("none/..").c_str(), &s));
  EXPECT_ERRNO(ENOENT, stat("", &s));
  EXPECT_OK(stat(p.here("d///").c_str(), &s));
  EXPECT_OK(lstat(p.here("l/").c_str(), &s));
  EXPECT_TRUE(S_ISDIR(s.st_mode));
  EXPECT_ERRNO(EISDIR, open(p.here("x/").c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_OK(mkdir(p.here("x/").c_str(), 0700));
  EXPECT_ERRNO(ENOTDIR, unlink(p.here("f/").c_str()));
  EXPECT_ERRNO(ENOTDIR, rmdir(p.here("l/").c_str()));
}

}  // namespace
}  // namespace dfs::posix
