// Extended attributes: the calls in their three forms, their flags and limits, who may do what with which, and what takes
// security.capability away.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

int set(const std::string& path, const std::string& name, const std::string& value, int flags = 0) {
  return setxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags);
}
int remove(const std::string& path, const std::string& name) {
  return removexattr(path.c_str(), name.c_str());
}
std::string get(const std::string& path, const std::string& name) {
  // The value, or the name of the errno.
  std::string value(XATTR_SIZE_MAX, '\0');
  auto size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return errnoName(errno);
  value.resize(static_cast<size_t>(size));
  return value;
}
std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> names;
  for (size_t at = 0; at < list.size(); at += names.back().size() + 1)
    names.push_back(list.c_str() + at);
  std::sort(names.begin(), names.end());
  return names;
}
std::vector<std::string> namesOn(const std::string& path) {
  std::string list(XATTR_LIST_MAX, '\0');
  auto size = llistxattr(path.c_str(), list.data(), list.size());
  EXPECT_GE(size, 0) << errnoName(errno);
  list.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return split(list);
}
bool later(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}
void waitATick() {
  // Clocks of file systems are coarse.
  usleep(20'000);
}
using Names = std::vector<std::string>;

TEST(Xattr, IsReadAsItWasSet) {
  Place p;
  makeFile(p.here("f"));
  makeDirectory(p.here("d"));
  for (auto name : {"f", "d"}) {
    std::string binary("a\0b\xff", 4);
    ASSERT_OK(set(p.here(name), "user.a", binary));
    EXPECT_EQ(get(p.here(name), "user.a"), binary);
    EXPECT_EQ(get(p.there(name), "user.a"), binary);
    ASSERT_OK(set(p.there(name), "user.a", "longer than before"));
    EXPECT_EQ(get(p.here(name), "user.a"), "longer than before");
    ASSERT_OK(set(p.here(name), "user.a", ""));
    EXPECT_EQ(get(p.there(name), "user.a"), "");
    EXPECT_EQ(get(p.here(name), "user.b"), "ENODATA");
  }
}

TEST(Xattr, CreateAndReplaceLookWhetherItIsThere) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(ENODATA, set(p.here("f"), "user.a", "1", XATTR_REPLACE));
  EXPECT_OK(set(p.here("f"), "user.a", "1", XATTR_CREATE));
  EXPECT_ERRNO(EEXIST, set(p.there("f"), "user.a", "2", XATTR_CREATE));
  EXPECT_EQ(get(p.here("f"), "user.a"), "1");
  EXPECT_OK(set(p.there("f"), "user.a", "2", XATTR_REPLACE));
  EXPECT_EQ(get(p.here("f"), "user.a"), "2");
}

TEST(Xattr, UnknownFlagsAreInvalid) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(EINVAL, set(p.here("f"), "user.a", "1", 4));
  EXPECT_EQ(get(p.here("f"), "user.a"), "ENODATA");
}

TEST(Xattr, SizesAreToldAndBuffersTooSmallRefused) {
  Place p;
  makeFile(p.here("f"));
  auto path = p.here("f");
  ASSERT_OK(set(path, "user.a", "12345"));
  char room[100];
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), 5);
  EXPECT_ERRNO(ERANGE, getxattr(path.c_str(), "user.a", room, 4));
  EXPECT_EQ(getxattr(path.c_str(), "user.a", room, 5), 5);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", room, sizeof room), 5);
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 7);
  EXPECT_ERRNO(ERANGE, listxattr(path.c_str(), room, 6));
  EXPECT_EQ(listxattr(path.c_str(), room, 7), 7);
}

TEST(Xattr, ListNamesAllAndNothingElse) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_EQ(namesOn(p.here("f")), Names());
  for (auto name : {"user.b", "user.a", "user.dir.sub"}) ASSERT_OK(set(p.here("f"), name, "v"));
  EXPECT_EQ(namesOn(p.there("f")), (Names{"user.a", "user.b", "user.dir.sub"}));
  ASSERT_OK(remove(p.there("f"), "user.b"));
  EXPECT_EQ(namesOn(p.here("f")), (Names{"user.a", "user.dir.sub"}));
}

TEST(Xattr, RemovedOnesAreGone) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(ENODATA, remove(p.here("f"), "user.a"));
  ASSERT_OK(set(p.here("f"), "user.a", "1"));
  EXPECT_OK(remove(p.there("f"), "user.a"));
  EXPECT_EQ(get(p.here("f"), "user.a"), "ENODATA");
  EXPECT_ERRNO(ENODATA, remove(p.here("f"), "user.a"));
}

TEST(Xattr, DescriptorsReachThem) {
  Place p;
  makeFile(p.here("f"));
  Fd fd(open(p.here("f").c_str(), O_RDONLY));
  Fd other(open(p.there("f").c_str(), O_RDWR));
  char room[100];
  EXPECT_OK(fsetxattr(fd, "user.a", "12", 2, XATTR_CREATE));
  EXPECT_EQ(fgetxattr(other, "user.a", room, sizeof room), 2);
  EXPECT_EQ(flistxattr(other, room, sizeof room), 7);
  EXPECT_OK(fremovexattr(other, "user.a"));
  EXPECT_ERRNO(ENODATA, fgetxattr(fd, "user.a", room, sizeof room));
  EXPECT_EQ(flistxattr(fd, room, sizeof room), 0);
  EXPECT_OK(fsetxattr(other, "user.a", "3", 1, 0));
  EXPECT_EQ(flistxattr(fd, room, sizeof room), 7);
  Fd path(open(p.here("f").c_str(), O_PATH));
  EXPECT_ERRNO(EBADF, fsetxattr(path, "user.a", "1", 1, 0));
}

TEST(Xattr, OfASymlinkAreItsOwnWithTheLForms) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(symlink("f", p.here("s").c_str()));
  auto s = p.here("s");
  EXPECT_OK(set(s, "user.a", "of the file"));
  EXPECT_EQ(get(p.there("f"), "user.a"), "of the file");
  EXPECT_ERRNO(EPERM, lsetxattr(s.c_str(), "user.a", "1", 1, 0));
  EXPECT_OK(lsetxattr(s.c_str(), "trusted.a", "1", 1, 0));
  EXPECT_EQ(get(p.there("s"), "trusted.a"), "1");
  EXPECT_EQ(namesOn(p.there("s")), Names{"trusted.a"});
  EXPECT_EQ(get(p.here("f"), "trusted.a"), "ENODATA");
  EXPECT_EQ(get(s, "user.a"), "ENODATA");
  EXPECT_OK(lremovexattr(s.c_str(), "trusted.a"));
  EXPECT_EQ(namesOn(p.there("s")), Names());
  ASSERT_OK(symlink("nothing", p.here("dangling").c_str()));
  EXPECT_ERRNO(ENOENT, set(p.here("dangling"), "user.a", "1"));
  EXPECT_OK(lsetxattr(p.here("dangling").c_str(), "trusted.a", "1", 1, 0));
}

TEST(Xattr, OfSpecialFilesAreNotUsers) {
  REQUIRE_ROOT();
  Place p;
  ASSERT_OK(mkfifo(p.here("fifo").c_str(), 0666));
  ASSERT_OK(mknod(p.here("null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
  ASSERT_OK(mknod(p.here("socket").c_str(), S_IFSOCK | 0666, 0));
  for (auto name : {"fifo", "null", "socket"}) {
    EXPECT_ERRNO(EPERM, set(p.here(name), "user.a", "1"));
    EXPECT_EQ(get(p.here(name), "user.a"), "ENODATA");
    EXPECT_OK(set(p.here(name), "trusted.a", "1"));
    EXPECT_EQ(namesOn(p.there(name)), Names{"trusted.a"});
  }
}

TEST(Xattr, NamesHaveTheLengthsOfLinux) {
  Place p;
  makeFile(p.here("f"));
  std::string longest = "user." + std::string(XATTR_NAME_MAX - 5, 'n');
  EXPECT_OK(set(p.here("f"), longest, "v"));
  EXPECT_EQ(get(p.there("f"), longest), "v");
  EXPECT_EQ(namesOn(p.here("f")), Names{longest});
  EXPECT_ERRNO(ERANGE, set(p.here("f"), longest + "n", "v"));
  EXPECT_ERRNO(ERANGE, set(p.here("f"), "", "v"));
  EXPECT_EQ(get(p.here("f"), longest + "n"), "ERANGE");
  EXPECT_ERRNO(ERANGE, remove(p.here("f"), ""));
}

TEST(Xattr, NamesBelongToAKnownSpace) {
  Place p;
  makeFile(p.here("f"));
  for (auto name : {"a", "other.a", "system.other", "userx.a"}) {
    EXPECT_ERRNO(EOPNOTSUPP, set(p.here("f"), name, "v"));
    EXPECT_EQ(get(p.here("f"), name), "EOPNOTSUPP");
    EXPECT_ERRNO(EOPNOTSUPP, remove(p.here("f"), name));
  }
  EXPECT_ERRNO(EINVAL, set(p.here("f"), "user.", "v"));
  EXPECT_EQ(get(p.here("f"), "user."), "EINVAL");
}

TEST(Xattr, ValuesOf64KiBAndNoMore) {
  Place p;
  makeFile(p.here("f"));
  std::string most(XATTR_SIZE_MAX, 'x');
  EXPECT_ERRNO(E2BIG, set(p.here("f"), "user.a", most + "x"));
  DFS_ONLY();
  EXPECT_OK(set(p.here("f"), "user.a", most));
  EXPECT_EQ(get(p.there("f"), "user.a"), most);
  EXPECT_OK(set(p.here("f"), "user.b", most));
  EXPECT_OK(set(p.here("f"), "user.a", ""));
  EXPECT_EQ(get(p.there("f"), "user.b"), most);
}

TEST(Xattr, ThousandsFitAndThenThereIsNoSpace) {
  // A local disk has room for few; here the list of names is full first.
  DFS_ONLY();
  Place p;
  makeFile(p.here("f"));
  std::string filler(50, 'n');
  size_t listed = 0;
  int made = 0;
  for (;; ++made) {
    auto name = "user." + std::to_string(made) + filler;
    if (set(p.here("f"), name, "v") != 0) break;
    listed += name.size() + 1;
  }
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_GT(made, 1000);
  EXPECT_LE(listed, size_t(XATTR_LIST_MAX));
  EXPECT_EQ(namesOn(p.there("f")).size(), size_t(made));
  ASSERT_OK(remove(p.here("f"), "user.0" + filler));
  EXPECT_OK(set(p.here("f"), "user.a" + filler, "v"));
}

TEST(Xattr, OfATrustedSpaceAreRootsAlone) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0666);
  ASSERT_OK(set(p.here("f"), "trusted.a", "1"));
  ASSERT_OK(set(p.here("f"), "user.a", "1"));
  EXPECT_EQ(namesOn(p.here("f")), (Names{"trusted.a", "user.a"}));
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, set(p.here("f"), "trusted.b", "1"));
    EXPECT_ERRNO(EPERM, remove(p.here("f"), "trusted.a"));
    EXPECT_EQ(get(p.here("f"), "trusted.a"), "ENODATA");
    EXPECT_EQ(namesOn(p.here("f")), Names{"user.a"});
    EXPECT_EQ(namesOn(p.there("f")), Names{"user.a"});
  });
}

TEST(Xattr, OfTheSecuritySpaceAreSetByRootAndReadByAll) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0666);
  ASSERT_OK(set(p.here("f"), "security.dfs", "1"));
  p.asUser([&] {
    EXPECT_EQ(get(p.there("f"), "security.dfs"), "1");
    EXPECT_EQ(namesOn(p.there("f")), Names{"security.dfs"});
    EXPECT_ERRNO(EPERM, set(p.here("f"), "security.dfs", "2"));
    EXPECT_ERRNO(EPERM, remove(p.here("f"), "security.dfs"));
  });
}

TEST(Xattr, OfUsersNeedTheRightsOfTheContents) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("readable"), "", 0644);
  makeFile(p.here("secret"), "", 0600);
  makeFile(p.here("open"), "", 0666);
  ASSERT_OK(set(p.here("readable"), "user.a", "1"));
  ASSERT_OK(set(p.here("secret"), "user.a", "1"));
  p.asUser([&] {
    EXPECT_EQ(get(p.here("readable"), "user.a"), "1");
    EXPECT_ERRNO(EACCES, set(p.here("readable"), "user.a", "2"));
    EXPECT_ERRNO(EACCES, remove(p.here("readable"), "user.a"));
    EXPECT_EQ(get(p.here("secret"), "user.a"), "EACCES");
    EXPECT_EQ(namesOn(p.here("secret")), Names{"user.a"});
    EXPECT_OK(set(p.here("open"), "user.a", "2"));
  });
  EXPECT_EQ(get(p.there("open"), "user.a"), "2");
}

TEST(Xattr, OfAStickyDirectoryAreItsOwners) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("sticky"));
  ASSERT_OK(chmod(p.here("sticky").c_str(), 01777));
  makeDirectory(p.here("open"));
  ASSERT_OK(chmod(p.here("open").c_str(), 0777));
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, set(p.here("sticky"), "user.a", "1"));
    EXPECT_OK(set(p.here("open"), "user.a", "1"));
  });
}

TEST(Xattr, ChangesMoveCtimeAlone) {
  Place p;
  makeFile(p.here("f"));
  auto before = statOf(p.here("f"));
  waitATick();
  ASSERT_OK(set(p.here("f"), "user.a", "1"));
  auto after = statOf(p.there("f"));
  EXPECT_TRUE(later(after.st_ctim, before.st_ctim));
  EXPECT_EQ(memcmp(&after.st_mtim, &before.st_mtim, sizeof before.st_mtim), 0);
  waitATick();
  ASSERT_OK(remove(p.there("f"), "user.a"));
  EXPECT_TRUE(later(statOf(p.here("f")).st_ctim, after.st_ctim));
}

TEST(Xattr, BelongToTheInodeNotToItsName) {
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(set(p.here("f"), "user.a", "1"));
  ASSERT_OK(link(p.here("f").c_str(), p.here("g").c_str()));
  ASSERT_OK(rename(p.here("f").c_str(), p.here("h").c_str()));
  EXPECT_EQ(get(p.there("g"), "user.a"), "1");
  ASSERT_OK(set(p.there("g"), "user.a", "2"));
  EXPECT_EQ(get(p.here("h"), "user.a"), "2");
  Fd fd(open(p.here("h").c_str(), O_RDWR));
  ASSERT_OK(unlink(p.there("g").c_str()));
  ASSERT_OK(unlink(p.here("h").c_str()));
  char room[10];
  EXPECT_EQ(fgetxattr(fd, "user.a", room, sizeof room), 1);
  EXPECT_OK(fsetxattr(fd, "user.b", "3", 1, 0));
  EXPECT_EQ(flistxattr(fd, nullptr, 0), 14);
  makeFile(p.here("h"));
  EXPECT_EQ(namesOn(p.here("h")), Names());
}

// --- security.capability ---

std::string capability() {
  vfs_cap_data data{};
  data.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  data.data[0].permitted = 1u << CAP_NET_BIND_SERVICE;
  return std::string(reinterpret_cast<const char*>(&data), XATTR_CAPS_SZ_2);
}
constexpr char kCaps[] = "security.capability";

void expectGone(Place& p, const char* how, const std::function<void()>& change) {
  SCOPED_TRACE(how);
  ASSERT_OK(set(p.here("f"), kCaps, capability()));
  ASSERT_EQ(get(p.there("f"), kCaps), capability());
  change();
  EXPECT_EQ(get(p.here("f"), kCaps), "ENODATA");
  EXPECT_EQ(get(p.there("f"), kCaps), "ENODATA");
}

TEST(Xattr, CapabilitiesGoWhenContentsChange) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "contents", 0777);
  ASSERT_OK(set(p.here("f"), "user.a", "stays"));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  Fd append(open(p.there("f").c_str(), O_WRONLY | O_APPEND));
  auto path = p.here("f");
  // Twice: what the mount has learnt by the first write must not mislead the second.
  for (int i = 0; i < 2; ++i) {
    expectGone(p, "write", [&] { ASSERT_OK(pwrite(fd, "x", 1, 0)); });
    expectGone(p, "append", [&] { ASSERT_OK(write(append, "x", 1)); });
    expectGone(p, "truncate", [&] { ASSERT_OK(truncate(path.c_str(), 5 + i)); });
    expectGone(p, "ftruncate", [&] { ASSERT_OK(ftruncate(fd, 8 + i)); });
    expectGone(p, "O_TRUNC", [&] { Fd(open(path.c_str(), O_WRONLY | O_TRUNC)); });
  }
  EXPECT_EQ(get(p.there("f"), "user.a"), "stays");
}

TEST(Xattr, CapabilitiesGoWhenAUserWrites) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "contents", 0777);
  auto write = [&](const std::string& path) {
    p.asUser([&] {
      Fd fd(open(path.c_str(), O_WRONLY));
      ASSERT_OK(pwrite(fd, "x", 1, 0));
    });
  };
  expectGone(p, "here", [&] { write(p.here("f")); });
  expectGone(p, "there", [&] { write(p.there("f")); });
  expectGone(p, "with a descriptor alone", [&] {
    p.asUser([&] {
      Fd fd(open(p.here("f").c_str(), O_WRONLY));
      inChild([&] { ASSERT_OK(pwrite(fd, "x", 1, 0)); });
    });
  });
}

TEST(Xattr, CapabilitiesGoWithTheOwnerButNotByChmod) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0755);
  auto path = p.here("f");
  expectGone(p, "chown", [&] { ASSERT_OK(chown(path.c_str(), kUser, kUser)); });
  expectGone(p, "chgrp", [&] { ASSERT_OK(chown(path.c_str(), -1, 0)); });
  ASSERT_OK(set(path, kCaps, capability()));
  ASSERT_OK(chmod(path.c_str(), 0700));
  EXPECT_EQ(get(p.there("f"), kCaps), capability());
  ASSERT_OK(remove(p.there("f"), kCaps));
  EXPECT_EQ(get(path, kCaps), "ENODATA");
}

TEST(Xattr, OfAnotherMountAreSeenWhileTheFileIsBeingWritten) {
  Place p;
  makeFile(p.here("f"));
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(pwrite(fd, "x", 1, i));
    EXPECT_EQ(get(p.here("f"), "user.n"), i == 0 ? "ENODATA" : std::to_string(i - 1));
    ASSERT_OK(set(p.there("f"), "user.n", std::to_string(i)));
    char room[10];
    ASSERT_GT(fgetxattr(fd, "user.n", room, sizeof room), 0);
    EXPECT_EQ(get(p.here("f"), "user.n"), std::to_string(i));
  }
}

}  // namespace
}  // namespace dfs::posix
