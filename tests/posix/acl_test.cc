// Lists of access rights: set as the kernel takes them (no library), what they change, who inherits them, and whom they let in.
#include <fcntl.h>
#include <grp.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

constexpr char kAccess[] = "system.posix_acl_access";
constexpr char kDefault[] = "system.posix_acl_default";
constexpr uint32_t kNoId = UINT32_MAX;
constexpr gid_t kGroup = 23456;

struct Entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = kNoId;
};
Entry owner(uint16_t permissions) {
  return {0x01, permissions};
}
Entry user(uint32_t id, uint16_t permissions) {
  return {0x02, permissions, id};
}
Entry group(uint16_t permissions) {
  return {0x04, permissions};
}
Entry group(uint32_t id, uint16_t permissions) {
  return {0x08, permissions, id};
}
Entry mask(uint16_t permissions) {
  return {0x10, permissions};
}
Entry others(uint16_t permissions) {
  return {0x20, permissions};
}

std::string bytesOf(const std::vector<Entry>& entries, uint32_t version = 2) {
  std::string bytes(reinterpret_cast<const char*>(&version), 4);
  for (auto& e : entries) bytes.append(reinterpret_cast<const char*>(&e), sizeof e);
  return bytes;
}
static_assert(sizeof(Entry) == 8);

int set(const std::string& path, const char* name, const std::vector<Entry>& entries) {
  auto bytes = bytesOf(entries);
  return setxattr(path.c_str(), name, bytes.data(), bytes.size(), 0);
}
std::string get(const std::string& path, const char* name) {
  std::string value(4096, '\0');
  auto size = lgetxattr(path.c_str(), name, value.data(), value.size());
  if (size < 0) return errnoName(errno);
  value.resize(static_cast<size_t>(size));
  return value;
}
mode_t modeOf(const std::string& path) {
  return statOf(path).st_mode & 07777;
}

struct Umask {
  explicit Umask(mode_t wanted) : before(umask(wanted)) {}
  ~Umask() { umask(before); }
  const mode_t before;
};

int openClose(const std::string& path, int flags) {
  int fd = open(path.c_str(), flags | O_CLOEXEC);
  if (fd >= 0) close(fd);
  return fd;
}

const std::vector<Entry> kFull = {owner(7), user(kUser, 6), group(4), mask(6), others(1)};

TEST(Acl, SetsThePermissionBits) {
  Place p;
  makeFile(p.here("f"), "", 0644);
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  EXPECT_EQ(modeOf(p.there("f")), 0761u);
  EXPECT_EQ(get(p.there("f"), kAccess), bytesOf(kFull));
}

TEST(Acl, ThatSaysNoMoreThanAModeIsOnlyTheMode) {
  Place p;
  makeFile(p.here("f"), "", 0644);
  ASSERT_OK(set(p.here("f"), kAccess, {owner(7), group(5), others(0)}));
  EXPECT_EQ(modeOf(p.there("f")), 0750u);
  EXPECT_EQ(get(p.there("f"), kAccess), "ENODATA");
  EXPECT_EQ(listxattr(p.here("f").c_str(), nullptr, 0), 0);
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  ASSERT_OK(set(p.there("f"), kAccess, {owner(6), group(4), others(4)}));
  EXPECT_EQ(get(p.here("f"), kAccess), "ENODATA");
  EXPECT_EQ(modeOf(p.here("f")), 0644u);
}

TEST(Acl, IsListedAmongTheAttributes) {
  Place p;
  makeDirectory(p.here("d"));
  ASSERT_OK(set(p.here("d"), kAccess, kFull));
  char room[200];
  EXPECT_EQ(listxattr(p.there("d").c_str(), room, sizeof room), ssize_t(sizeof kAccess));
  EXPECT_STREQ(room, kAccess);
  ASSERT_OK(set(p.here("d"), kDefault, kFull));
  EXPECT_EQ(listxattr(p.there("d").c_str(), room, sizeof room),
            ssize_t(sizeof kAccess + sizeof kDefault));
}

TEST(Acl, ChmodChangesTheMaskNotTheGroup) {
  Place p;
  makeFile(p.here("f"), "", 0644);
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  ASSERT_OK(chmod(p.there("f").c_str(), 0604));
  EXPECT_EQ(get(p.here("f"), kAccess),
            bytesOf({owner(6), user(kUser, 6), group(4), mask(0), others(4)}));
  EXPECT_EQ(modeOf(p.here("f")), 0604u);
  ASSERT_OK(chmod(p.here("f").c_str(), 0677));
  EXPECT_EQ(get(p.there("f"), kAccess),
            bytesOf({owner(6), user(kUser, 6), group(4), mask(7), others(7)}));
}

TEST(Acl, RemovedLeavesTheModeAsItIs) {
  Place p;
  makeFile(p.here("f"), "", 0644);
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  ASSERT_OK(removexattr(p.there("f").c_str(), kAccess));
  EXPECT_EQ(get(p.here("f"), kAccess), "ENODATA");
  EXPECT_EQ(modeOf(p.here("f")), 0761u);
  EXPECT_OK(removexattr(p.here("f").c_str(), kAccess));  // no error, though none is there
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  EXPECT_OK(set(p.here("f"), kAccess, {}));
  EXPECT_EQ(get(p.there("f"), kAccess), "ENODATA");
}

TEST(Acl, InvalidOnesAreRefused) {
  Place p;
  makeDirectory(p.here("d"));
  for (auto name : {kAccess, kDefault}) {
    EXPECT_ERRNO(EINVAL, set(p.here("d"), name, {owner(7)}));
    EXPECT_ERRNO(EINVAL, set(p.here("d"), name, {owner(7), group(7)}));
    EXPECT_ERRNO(EINVAL, set(p.here("d"), name, {owner(7), user(1, 7), group(7), others(7)}));
    EXPECT_ERRNO(EINVAL,
                 set(p.here("d"), name, {owner(7), group(7), user(1, 7), mask(7), others(7)}));
    EXPECT_ERRNO(EINVAL, set(p.here("d"), name, {owner(8), group(7), others(7)}));
    EXPECT_ERRNO(EINVAL, set(p.here("d"), name, {owner(7), group(7), {0x40, 7}, others(7)}));
    EXPECT_ERRNO(EINVAL, setxattr(p.here("d").c_str(), name, "abc", 3, 0));
    auto old = bytesOf(kFull, 1);
    EXPECT_ERRNO(EOPNOTSUPP, setxattr(p.here("d").c_str(), name, old.data(), old.size(), 0));
    EXPECT_EQ(get(p.there("d"), name), "ENODATA");
  }
}

TEST(Acl, DefaultsAreForDirectories) {
  Place p;
  makeFile(p.here("f"));
  EXPECT_ERRNO(EACCES, set(p.here("f"), kDefault, kFull));
  EXPECT_OK(removexattr(p.here("f").c_str(), kDefault));
  makeDirectory(p.here("d"), 0700);
  ASSERT_OK(set(p.here("d"), kDefault, kFull));
  EXPECT_EQ(modeOf(p.there("d")), 0700u);
  EXPECT_EQ(get(p.there("d"), kDefault), bytesOf(kFull));
  ASSERT_OK(chmod(p.there("d").c_str(), 0755));
  EXPECT_EQ(get(p.here("d"), kDefault), bytesOf(kFull));
  ASSERT_OK(set(p.here("d"), kDefault, {owner(7), group(5), others(5)}));  // kept as it is
  EXPECT_EQ(get(p.there("d"), kDefault), bytesOf({owner(7), group(5), others(5)}));
  ASSERT_OK(removexattr(p.here("d").c_str(), kDefault));
  EXPECT_EQ(get(p.there("d"), kDefault), "ENODATA");
  EXPECT_OK(removexattr(p.here("d").c_str(), kDefault));
}

TEST(Acl, OfASymlinkThereIsNone) {
  Place p;
  ASSERT_OK(symlink("nothing", p.here("s").c_str()));
  auto bytes = bytesOf(kFull);
  EXPECT_ERRNO(EOPNOTSUPP, lsetxattr(p.here("s").c_str(), kAccess, bytes.data(), bytes.size(), 0));
}

TEST(Acl, IsSetByTheOwnerAlone) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0666);
  makeFile(p.here("own"), "", 0600);
  ASSERT_OK(chown(p.here("own").c_str(), kUser, kUser));
  p.asUser([&] {
    EXPECT_ERRNO(EPERM, set(p.here("f"), kAccess, kFull));
    EXPECT_ERRNO(EPERM, removexattr(p.here("f").c_str(), kAccess));
    EXPECT_OK(set(p.here("own"), kAccess, kFull));
    EXPECT_OK(removexattr(p.there("own").c_str(), kAccess));
  });
}

TEST(Acl, DefaultsAreInheritedInPlaceOfTheUmask) {
  Place p;
  Umask strict(077);
  makeDirectory(p.here("d"), 0777);
  ASSERT_OK(set(p.here("d"), kDefault, kFull));

  Fd(open(p.there("d/file").c_str(), O_CREAT | O_WRONLY, 0666));
  EXPECT_EQ(modeOf(p.here("d/file")), 0660u);
  EXPECT_EQ(get(p.here("d/file"), kAccess),
            bytesOf({owner(6), user(kUser, 6), group(4), mask(6), others(0)}));
  EXPECT_EQ(get(p.here("d/file"), kDefault), "ENODATA");

  ASSERT_OK(mkdir(p.here("d/sub").c_str(), 0777));
  EXPECT_EQ(modeOf(p.there("d/sub")), 0761u);
  EXPECT_EQ(get(p.there("d/sub"), kAccess), bytesOf(kFull));
  EXPECT_EQ(get(p.there("d/sub"), kDefault), bytesOf(kFull));

  ASSERT_OK(mkfifo(p.here("d/fifo").c_str(), 0640));
  EXPECT_EQ(modeOf(p.there("d/fifo")), 0640u);
  EXPECT_EQ(get(p.there("d/fifo"), kAccess),
            bytesOf({owner(6), user(kUser, 6), group(4), mask(4), others(0)}));

  ASSERT_OK(mknod(p.here("d/node").c_str(), S_IFREG | 0604, 0));
  EXPECT_EQ(modeOf(p.there("d/node")), 0600u);

  ASSERT_OK(symlink("x", p.here("d/link").c_str()));
  EXPECT_EQ(modeOf(p.there("d/link")), 0777u);
  EXPECT_EQ(get(p.there("d/link"), kAccess), "EOPNOTSUPP");
}

TEST(Acl, AMinimalDefaultTakesThePlaceOfTheUmaskToo) {
  Place p;
  Umask strict(077);
  makeDirectory(p.here("d"), 0777);
  std::vector<Entry> low = {owner(7), group(7), others(5)};
  ASSERT_OK(set(p.here("d"), kDefault, low));
  Fd(open(p.here("d/file").c_str(), O_CREAT | O_WRONLY, 0666));
  EXPECT_EQ(modeOf(p.there("d/file")), 0664u);
  EXPECT_EQ(get(p.there("d/file"), kAccess), "ENODATA");
  ASSERT_OK(mkdir(p.there("d/sub").c_str(), 0777));
  EXPECT_EQ(modeOf(p.here("d/sub")), 0775u);
  EXPECT_EQ(get(p.here("d/sub"), kAccess), "ENODATA");
  EXPECT_EQ(get(p.here("d/sub"), kDefault), bytesOf(low));
}

TEST(Acl, AnUnnamedFileInheritsTheDefaultToo) {
  Place p;
  makeDirectory(p.here("d"), 0777);
  ASSERT_OK(set(p.here("d"), kDefault, kFull));
  Fd fd(open(p.here("d").c_str(), O_TMPFILE | O_RDWR, 0666));
  ASSERT_GE(int(fd), 0) << errnoName(errno);
  auto self = "/proc/self/fd/" + std::to_string(fd);
  ASSERT_OK(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, p.here("d/f").c_str(), AT_SYMLINK_FOLLOW));
  Fd other(open(p.here("d/made").c_str(), O_CREAT | O_RDWR, 0666));
  EXPECT_EQ(get(p.there("d/f"), kAccess), get(p.there("d/made"), kAccess));
  EXPECT_EQ(modeOf(p.there("d/f")), modeOf(p.there("d/made")));
}

TEST(Acl, WithoutADefaultTheUmaskCounts) {
  Place p;
  Umask strict(027);
  Fd(open(p.here("file").c_str(), O_CREAT | O_WRONLY, 0666));
  EXPECT_EQ(modeOf(p.there("file")), 0640u);
  ASSERT_OK(mkdir(p.here("sub").c_str(), 0777));
  EXPECT_EQ(modeOf(p.there("sub")), 0750u);
  ASSERT_OK(mkfifo(p.here("fifo").c_str(), 0666));
  EXPECT_EQ(modeOf(p.there("fifo")), 0640u);
}

TEST(Acl, FromAnotherMountIsInheritedAtOnce) {
  Place p;
  makeDirectory(p.here("d"), 0777);
  for (int i = 0; i < 10; ++i) {
    auto name = "d/" + std::to_string(i);
    ASSERT_OK(set(p.there("d"), kDefault, kFull));
    Fd(open(p.here(name + "a").c_str(), O_CREAT | O_WRONLY, 0666));
    EXPECT_EQ(modeOf(p.here(name + "a")), 0660u);
    ASSERT_OK(removexattr(p.there("d").c_str(), kDefault));
    Fd(open(p.here(name + "b").c_str(), O_CREAT | O_WRONLY, 0666));
    EXPECT_EQ(modeOf(p.here(name + "b")), 0644u);
  }
}

TEST(Acl, LetsNamedUsersInAndKeepsThemOut) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("in"), "", 0600);
  makeFile(p.here("out"), "", 0666);
  ASSERT_OK(set(p.here("in"), kAccess, {owner(6), user(kUser, 4), group(0), mask(4), others(0)}));
  ASSERT_OK(set(p.here("out"), kAccess, {owner(6), user(kUser, 0), group(6), mask(6), others(6)}));
  for (auto path : {p.here(""), p.there("")}) {
    p.asUser([&] {
      EXPECT_OK(openClose(path + "/in", O_RDONLY));
      EXPECT_ERRNO(EACCES, openClose(path + "/in", O_WRONLY));
      EXPECT_OK(access((path + "/in").c_str(), R_OK));
      EXPECT_ERRNO(EACCES, access((path + "/in").c_str(), W_OK));
      EXPECT_ERRNO(EACCES, truncate((path + "/in").c_str(), 0));
      EXPECT_ERRNO(EACCES, openClose(path + "/out", O_RDONLY));
    });
    p.asWho({kOtherUser, kOtherUser, {}}, [&] {
      EXPECT_ERRNO(EACCES, openClose(path + "/in", O_RDONLY));
      EXPECT_OK(openClose(path + "/out", O_RDWR));
      EXPECT_OK(truncate((path + "/out").c_str(), 0));
    });
  }
}

TEST(Acl, LetsNamedGroupsInUnderTheMask) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "", 0600);
  ASSERT_OK(set(p.here("f"), kAccess, {owner(6), group(0), group(kGroup, 6), mask(4), others(0)}));
  auto path = p.here("f");
  auto member = [&](const std::function<void()>& work) { p.asWho({kUser, kUser, {kGroup}}, work); };
  member([&] {
    EXPECT_OK(openClose(path, O_RDONLY));
    EXPECT_ERRNO(EACCES, openClose(path, O_RDWR));
  });
  p.asUser([&] { EXPECT_ERRNO(EACCES, openClose(path, O_RDONLY)); });
  ASSERT_OK(chmod(p.there("f").c_str(), 0660));  // the mask
  member([&] { EXPECT_OK(openClose(path, O_RDWR)); });
  ASSERT_OK(chmod(p.there("f").c_str(), 0600));
  member([&] { EXPECT_ERRNO(EACCES, openClose(path, O_RDONLY)); });
}

TEST(Acl, OfADirectoryDecidesWhoSearchesAndChangesIt) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"), 0700);
  makeFile(p.here("d/f"), "text", 0644);
  p.asUser([&] { EXPECT_ERRNO(EACCES, access(p.here("d/f").c_str(), F_OK)); });
  auto allow = [&](uint16_t permissions) {
    ASSERT_OK(set(p.there("d"), kAccess,
                  {owner(7), user(kUser, permissions), group(0), mask(7), others(0)}));
  };
  allow(1);
  p.asUser([&] {
    EXPECT_EQ(contentsOf(p.here("d/f")), "text");
    EXPECT_ERRNO(EACCES, openClose(p.here("d"), O_RDONLY | O_DIRECTORY));
    EXPECT_ERRNO(EACCES, mkdir(p.here("d/sub").c_str(), 0755));
  });
  allow(7);
  p.asUser([&] {
    EXPECT_OK(openClose(p.here("d"), O_RDONLY | O_DIRECTORY));
    EXPECT_OK(mkdir(p.here("d/sub").c_str(), 0755));
    EXPECT_OK(rename(p.here("d/f").c_str(), p.here("d/g").c_str()));
    EXPECT_OK(unlink(p.here("d/g").c_str()));
    EXPECT_OK(rmdir(p.there("d/sub").c_str()));
  });
  p.asWho({kOtherUser, kOtherUser, {}},
          [&] { EXPECT_ERRNO(EACCES, mkdir(p.here("d/sub").c_str(), 0755)); });
}

TEST(Acl, OfAnotherMountCountsAtTheNextLook) {
  // Method: one process here, whose kernel has looked at the list before, while the other mount gives and takes.
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"), 0700);
  makeFile(p.here("d/f"), "text", 0600);
  int turns[2], answers[2];
  ASSERT_OK(pipe(turns));
  ASSERT_OK(pipe(answers));
  auto child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    ::close(turns[1]);
    bool user = setgroups(0, nullptr) == 0 && setresgid(kUser, kUser, kUser) == 0 &&
                setresuid(kUser, kUser, kUser) == 0;
    for (char c; user && read(turns[0], &c, 1) == 1;) {
      int fd = open(p.here("d/f").c_str(), O_RDONLY);
      char answer = fd >= 0 ? 'y' : 'n';
      if (fd >= 0) ::close(fd);
      if (write(answers[1], &answer, 1) != 1) break;
    }
    _exit(user ? 0 : 1);
  }
  ::close(turns[0]);
  ::close(answers[1]);
  auto mayOpen = [&]() {
    char c = '?';
    if (write(turns[1], "?", 1) != 1 || read(answers[0], &c, 1) != 1) return '?';
    return c;
  };
  auto allow = [&](const char* name, uint16_t permissions) {
    EXPECT_OK(set(p.there(name), kAccess,
                  {owner(7), user(kUser, permissions), group(0), mask(7), others(0)}));
  };
  for (int i = 0; i < 20; ++i) {
    allow("d", 1);
    allow("d/f", 4);
    EXPECT_EQ(mayOpen(), 'y');
    EXPECT_EQ(mayOpen(), 'y');
    allow("d/f", 0);
    EXPECT_EQ(mayOpen(), 'n');
    allow("d/f", 4);
    EXPECT_EQ(mayOpen(), 'y');
    allow("d", 0);
    EXPECT_EQ(mayOpen(), 'n');
    EXPECT_OK(removexattr(p.there("d").c_str(), kAccess));
    EXPECT_EQ(mayOpen(), 'n');
  }
  ::close(turns[1]);
  ::close(answers[0]);
  int status = 0;
  ASSERT_OK(waitpid(child, &status, 0));
  EXPECT_EQ(status, 0);
}

TEST(Acl, OfAnotherMountIsReadAfterTheNextStat) {
  Place p;
  makeFile(p.here("f"), "", 0600);
  Fd fd(open(p.here("f").c_str(), O_RDONLY));
  for (uint16_t i = 0; i < 8; ++i) {
    std::vector<Entry> list = {owner(6), user(kUser, i), group(0), mask(7), others(0)};
    ASSERT_OK(set(p.there("f"), kAccess, list));
    EXPECT_EQ(get(p.here("f"), kAccess), bytesOf(list));
    EXPECT_EQ(modeOf(p.here("f")), 0670u);
    list[1].permissions = 7 - i;
    ASSERT_OK(set(p.there("f"), kAccess, list));
    (void)statOf(fd);
    std::string room(200, '\0');
    auto size = fgetxattr(fd, kAccess, room.data(), room.size());
    ASSERT_GT(size, 0);
    EXPECT_EQ(room.substr(0, static_cast<size_t>(size)), bytesOf(list));
  }
}

TEST(Acl, TakesTheSetGroupBitFromWhoIsNotInTheGroup) {
  REQUIRE_ROOT();
  Place p;
  std::vector<Entry> list = {owner(7), user(kOtherUser, 7), group(5), mask(7), others(5)};
  auto reset = [&] {
    makeFile(p.here("f"));
    ASSERT_OK(chown(p.here("f").c_str(), kUser, kGroup));
    ASSERT_OK(chmod(p.here("f").c_str(), 02755));
  };
  reset();
  p.asUser([&] { ASSERT_OK(set(p.here("f"), kAccess, list)); });
  EXPECT_EQ(modeOf(p.there("f")), 0775u);
  ASSERT_OK(unlink(p.here("f").c_str()));
  reset();
  p.asWho({kUser, kUser, {kGroup}}, [&] { ASSERT_OK(set(p.here("f"), kAccess, list)); });
  EXPECT_EQ(modeOf(p.there("f")), 02775u);
  ASSERT_OK(set(p.here("f"), kAccess, list));
  EXPECT_EQ(modeOf(p.there("f")), 02775u);
}

TEST(Acl, MovesCtime) {
  Place p;
  makeFile(p.here("f"));
  auto before = statOf(p.here("f")).st_ctim;
  usleep(20'000);
  ASSERT_OK(set(p.here("f"), kAccess, kFull));
  auto after = statOf(p.there("f")).st_ctim;
  EXPECT_TRUE(after.tv_sec != before.tv_sec || after.tv_nsec != before.tv_nsec);
}

}  // namespace
}  // namespace dfs::posix
