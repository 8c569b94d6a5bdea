// mkdir, mknod, unlink, rmdir: who may, whose the new inode is, and what special files are good for.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

TEST(Mkdir, RefusesAsLinuxDoes) {
  Place p;
  makeFile(p.here("f"));
  ASSERT_OK(symlink("none", p.here("l").c_str()));
  EXPECT_ERRNO(EEXIST, mkdir(p.here("f").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir(p.here("l").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir(p.here(".").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir(p.here("..").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir("/", 0755));
  EXPECT_ERRNO(ENOENT, mkdir(p.here("none/d").c_str(), 0755));
  EXPECT_ERRNO(ENOENT, mkdir(p.here("none/.").c_str(), 0755));
  EXPECT_ERRNO(ENOTDIR, mkdir(p.here("f/d").c_str(), 0755));
}

TEST(Mkdir, DropsSetIdBitsOfItsModeAndInheritsSetgid) {
  Place p;
  umask(0);
  ASSERT_OK(mkdir(p.here("d").c_str(), 07777));
  EXPECT_EQ(statOf(p.there("d")).st_mode & 07777, 01777u);
  ASSERT_OK(chmod(p.here("d").c_str(), 02755));
  ASSERT_OK(mkdir(p.here("d/e").c_str(), 0700));
  EXPECT_EQ(statOf(p.there("d/e")).st_mode & 07777, 02700u);
}

TEST(SetgidDirectory, GivesItsGroup) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"));
  ASSERT_OK(chown(p.here("d").c_str(), -1, 777));
  ASSERT_OK(chmod(p.here("d").c_str(), 02777));
  p.asUser([&] {
    umask(0);
    makeFile(p.here("d/f"));
    makeDirectory(p.here("d/e"));
    ASSERT_OK(mkdir(p.here("d/m").c_str(), 0700));
    ASSERT_OK(symlink("x", p.here("d/l").c_str()));
    // Set-gid and executable: that bit would give a group that he is not in.
    EXPECT_OK(close(open(p.here("d/x").c_str(), O_CREAT | O_WRONLY, 02775)));
    EXPECT_OK(close(open(p.here("d/y").c_str(), O_CREAT | O_WRONLY, 02664)));
  });
  for (auto name : {"f", "e", "m", "l", "x", "y"}) {
    auto s = statOf(p.there(std::string("d/") + name));
    EXPECT_EQ(s.st_gid, 777u) << name;
    EXPECT_EQ(s.st_uid, kUser) << name;
  }
  EXPECT_EQ(statOf(p.there("d/m")).st_mode & 07777, 02700u);
  EXPECT_EQ(statOf(p.there("d/x")).st_mode & 07777, 0775u);
  EXPECT_EQ(statOf(p.there("d/y")).st_mode & 07777, 02664u);
}

TEST(Mknod, MakesDevicesForRootOnly) {
  REQUIRE_ROOT();
  Place p;
  ASSERT_OK(mknod(p.here("null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
  ASSERT_OK(mknod(p.here("disk").c_str(), S_IFBLK | 0600, makedev(259, 1048575)));
  auto c = statOf(p.there("null")), b = statOf(p.there("disk"));
  EXPECT_TRUE(S_ISCHR(c.st_mode) && S_ISBLK(b.st_mode));
  EXPECT_EQ(c.st_rdev, makedev(1, 3));
  EXPECT_EQ(b.st_rdev, makedev(259, 1048575));
  EXPECT_EQ(contentsOf(p.there("null")), "");
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, mknod(p.here("x").c_str(), S_IFCHR | 0666, makedev(1, 3)));
    EXPECT_ERRNO(EPERM, mknod(p.here("x").c_str(), S_IFBLK | 0666, makedev(1, 3)));
    EXPECT_OK(mknod(p.here("file").c_str(), S_IFREG | 0666, 0));
    EXPECT_OK(mknod(p.here("whiteout").c_str(), S_IFCHR | 0600, makedev(0, 0)));
  });
}

TEST(Mknod, RefusesAsLinuxDoes) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(EPERM, mknod(p.here("d").c_str(), S_IFDIR | 0755, 0));
  EXPECT_ERRNO(EINVAL, mknod(p.here("l").c_str(), S_IFLNK | 0755, 0));
  EXPECT_ERRNO(EEXIST, mknod(p.here("f").c_str(), S_IFIFO | 0600, 0));
  EXPECT_ERRNO(ENOENT, mknod(p.here("x/").c_str(), S_IFIFO | 0600, 0));
  EXPECT_ERRNO(ENOTDIR, mknod(p.here("f/x").c_str(), S_IFIFO | 0600, 0));
}

TEST(Fifo, CarriesBytesBetweenProcessesOfOneMount) {
  Place p;
  ASSERT_OK(mkfifo(p.here("p").c_str(), 0600));
  EXPECT_ERRNO(ENXIO, open(p.here("p").c_str(), O_WRONLY | O_NONBLOCK));
  std::thread writer([&] {
    Fd fd(open(p.here("p").c_str(), O_WRONLY));
    EXPECT_EQ(write(fd, "hello", 5), 5);
  });
  Fd fd(open(p.here("p").c_str(), O_RDONLY));
  char c[8];
  EXPECT_EQ(read(fd, c, sizeof c), 5);
  writer.join();
  EXPECT_EQ(read(fd, c, sizeof c), 0);
  EXPECT_ERRNO(ESPIPE, lseek(fd, 0, SEEK_SET));
}

TEST(Socket, TakesConnectionsOnOneMount) {
  Place p;
  Fd listener(socket(AF_UNIX, SOCK_STREAM, 0)), client(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(p.here("s").size(), sizeof address.sun_path);
  strcpy(address.sun_path, p.here("s").c_str());
  auto at = reinterpret_cast<sockaddr*>(&address);
  ASSERT_OK(bind(listener, at, sizeof address));
  EXPECT_TRUE(S_ISSOCK(statOf(p.there("s")).st_mode));
  EXPECT_ERRNO(EADDRINUSE, bind(client, at, sizeof address));
  ASSERT_OK(listen(listener, 1));
  ASSERT_OK(connect(client, at, sizeof address));
  EXPECT_ERRNO(ENXIO, open(p.here("s").c_str(), O_RDONLY));
  ASSERT_OK(unlink(p.here("s").c_str()));
  EXPECT_ERRNO(ENOENT, connect(client, at, sizeof address) == -1 && errno == EISCONN
                           ? (errno = ENOENT, -1)
                           : connect(client, at, sizeof address));
}

TEST(Unlink, RefusesAsLinuxDoes) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("f"));
  EXPECT_ERRNO(EISDIR, unlink(p.here("d").c_str()));
  EXPECT_ERRNO(ENOENT, unlink(p.here("none").c_str()));
  EXPECT_ERRNO(ENOTDIR, unlink(p.here("f/x").c_str()));
  EXPECT_ERRNO(EISDIR, unlink(p.here("d/.").c_str()));
  EXPECT_ERRNO(EISDIR, unlink(p.here("d/..").c_str()));
  EXPECT_ERRNO(EINVAL, unlinkat(AT_FDCWD, p.here("f").c_str(), 1));
}

TEST(Rmdir, RefusesAsLinuxDoes) {
  Place p;
  makeDirectory(p.here("d"));
  makeDirectory(p.here("d/e"));
  makeFile(p.here("f"));
  ASSERT_OK(symlink("d", p.here("l").c_str()));
  EXPECT_ERRNO(ENOTEMPTY, rmdir(p.here("d").c_str()));
  EXPECT_ERRNO(ENOTDIR, rmdir(p.here("f").c_str()));
  EXPECT_ERRNO(ENOTDIR, rmdir(p.here("l").c_str()));
  EXPECT_ERRNO(ENOENT, rmdir(p.here("none").c_str()));
  EXPECT_ERRNO(EINVAL, rmdir(p.here("d/.").c_str()));
  EXPECT_ERRNO(ENOTEMPTY, rmdir(p.here("d/..").c_str()));
  EXPECT_ERRNO(EBUSY, rmdir("/"));
  ASSERT_OK(rmdir(p.there("d/e").c_str()));
  EXPECT_OK(rmdir(p.here("d").c_str()));
  EXPECT_ERRNO(ENOENT, access(p.there("d").c_str(), F_OK));
}

TEST(Rights, ToADirectoryDecideWhatMayBeDoneInIt) {
  REQUIRE_ROOT();
  Place p;
  for (auto name : {"read", "search", "write"}) {
    makeDirectory(p.here(name));
    makeFile(p.here(std::string(name) + "/f"), "x", 0666);
  }
  ASSERT_OK(chmod(p.here("read").c_str(), 0744));
  ASSERT_OK(chmod(p.here("search").c_str(), 0711));
  ASSERT_OK(chmod(p.here("write").c_str(), 0772));
  p.asUser([&] {
    struct stat s;
    EXPECT_EQ(namesIn(p.there("read")), std::vector<std::string>{"f"});
    EXPECT_ERRNO(EACCES, stat(p.there("read/f").c_str(), &s));
    EXPECT_ERRNO(EACCES, open(p.there("search").c_str(), O_RDONLY));
    EXPECT_EQ(contentsOf(p.there("search/f")), "x");
    EXPECT_ERRNO(EACCES, unlink(p.there("search/f").c_str()));
    EXPECT_ERRNO(EACCES, mkdir(p.there("search/d").c_str(), 0700));
    EXPECT_ERRNO(EACCES, mkfifo(p.there("search/p").c_str(), 0700));
    EXPECT_ERRNO(EACCES, symlink("x", p.there("search/l").c_str()));
    EXPECT_ERRNO(EACCES, open(p.there("search/n").c_str(), O_CREAT | O_WRONLY, 0600));
    EXPECT_ERRNO(EACCES, mkdir(p.there("write/d").c_str(), 0700));
    EXPECT_ERRNO(EACCES, unlink(p.there("write/f").c_str()));
    EXPECT_ERRNO(EEXIST, mkdir(p.there("search/f").c_str(), 0700));  // before EACCES
    EXPECT_ERRNO(ENOENT, unlink(p.there("search/none").c_str()));
    EXPECT_ERRNO(EACCES, chdir(p.there("read").c_str()));
  });
}

TEST(Rights, OfSupplementaryGroupsCountBeyondThe32nd) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"), 0770);
  ASSERT_OK(chown(p.here("d").c_str(), 0, 60'000));
  Who who;
  for (gid_t g = 59'000; g <= 60'000; ++g) who.groups.push_back(g);
  p.asWho(who, [&] {
    makeFile(p.here("d/f"), "x", 0600);
    EXPECT_EQ(contentsOf(p.there("d/f")), "x");
    EXPECT_OK(unlink(p.there("d/f").c_str()));
  });
  who.groups.pop_back();
  p.asWho(who,
          [&] { EXPECT_ERRNO(EACCES, open(p.here("d/f").c_str(), O_CREAT | O_WRONLY, 0600)); });
}

TEST(Rights, TheFirstClassThatFitsDecides) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "x", 0077);
  makeFile(p.here("g"), "x", 0707);
  ASSERT_OK(chown(p.here("f").c_str(), kUser, kUser));
  ASSERT_OK(chown(p.here("g").c_str(), 0, kUser));
  p.asUser([&] {
    EXPECT_ERRNO(EACCES, open(p.there("f").c_str(), O_RDONLY));
    EXPECT_ERRNO(EACCES, open(p.there("g").c_str(), O_RDONLY));
  });
}

TEST(StickyDirectory, LetsOwnersAloneRemove) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("s"), 01777);
  makeFile(p.here("s/roots"), "", 0666);
  makeDirectory(p.here("s/rootsDir"), 0777);
  p.asWho({kOtherUser, kOtherUser, {}}, [&] { makeFile(p.here("s/other")); });
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, unlink(p.here("s/roots").c_str()));
    EXPECT_ERRNO(EPERM, unlink(p.there("s/other").c_str()));
    EXPECT_ERRNO(EPERM, rmdir(p.here("s/rootsDir").c_str()));
    makeFile(p.here("s/own"));
    EXPECT_OK(unlink(p.there("s/own").c_str()));
  });
  ASSERT_OK(chown(p.here("s").c_str(), kUser, -1));
  p.asUser([&] { EXPECT_OK(unlink(p.there("s/other").c_str())); });
}

}  // namespace
}  // namespace dfs::posix
