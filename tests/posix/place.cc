#include "tests/posix/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace dfs::posix {
namespace {

constexpr long kFuseMagic = 0x65735546;

std::string fromEnvironment(const char* name, const std::string& otherwise) {
  const char* value = getenv(name);
  return value == nullptr || *value == 0 ? otherwise : value;
}

std::string root() {
  auto path = fromEnvironment("DFS_POSIX_DIR", "");
  if (!path.empty()) return path;
  fprintf(stderr, "DFS_POSIX_DIR names the directory to test in\n");
  exit(2);
}

void removeTree(int parent, const char* name) {
  // What cannot be removed stays, and is seen by who looks at the directory after the tests.
  if (unlinkat(parent, name, 0) == 0) return;
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0) return;
  (void)fchmodat(parent, name, 0700, 0);  // a test may have left it without rights
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  DIR* dir = fdopendir(fd);
  std::vector<std::string> names;
  while (auto entry = readdir(dir)) {
    std::string child = entry->d_name;
    if (child != "." && child != "..") names.push_back(child);
  }
  for (auto& child : names) removeTree(fd, child.c_str());
  closedir(dir);
  if (unlinkat(parent, name, AT_REMOVEDIR) != 0) fprintf(stderr, "%s stays: %m\n", name);
}

void become(const Who& who) {
  if (!isRoot()) return;
  if (setgroups(who.groups.size(), who.groups.data()) != 0 ||
      setresgid(who.gid, who.gid, who.gid) != 0 || setresuid(who.uid, who.uid, who.uid) != 0) {
    perror("changing the user");
    _exit(2);
  }
}

}  // namespace

Place::Place() {
  umask(022);
  // mkdtemp() puts what nobody else has in the place of the marks at the end.
  auto path = root() + "/t." + std::string(6, 'X');
  if (mkdtemp(path.data()) == nullptr || chmod(path.c_str(), 0777) != 0) {
    fprintf(stderr, "%s: %m\n", path.c_str());
    exit(2);
  }
  here_ = path;
  there_ = fromEnvironment("DFS_POSIX_OTHER", root()) + path.substr(path.rfind('/'));
}

Place::~Place() {
  removeTree(AT_FDCWD, here_.c_str());
}

std::string Place::here(const std::string& name) const {
  return name.empty() ? here_ : here_ + "/" + name;
}

std::string Place::there(const std::string& name) const {
  return name.empty() ? there_ : there_ + "/" + name;
}

void Place::asWho(const Who& who, const std::function<void()>& work) const {
  inChild([&] {
    become(who);
    work();
  });
}

void inChild(const std::function<void()>& work) {
  atOnce({work});
}

void atOnce(const std::vector<std::function<void()>>& works) {
  fflush(stdout);
  fflush(stderr);
  std::vector<pid_t> children;
  for (auto& work : works) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      work();
      fflush(stdout);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    children.push_back(child);
  }
  for (auto child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "failed in the child: " << status;
  }
}

bool isRoot() {
  return geteuid() == 0;
}

bool onDfs() {
  struct statfs s;
  return statfs(root().c_str(), &s) == 0 && s.f_type == kFuseMagic;
}

void makeFile(const std::string& path, const std::string& contents, mode_t mode) {
  Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  ASSERT_GE(fd, 0) << path << ": " << errnoName(errno);
  ASSERT_EQ(write(fd, contents.data(), contents.size()), ssize_t(contents.size()));
  ASSERT_OK(fchmod(fd, mode));
}

void makeDirectory(const std::string& path, mode_t mode) {
  ASSERT_OK(mkdir(path.c_str(), 0700)) << path;
  ASSERT_OK(chmod(path.c_str(), mode));
}

std::string contentsOf(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_GE(fd, 0) << path << ": " << errnoName(errno);
  if (fd < 0) return "";
  std::string all;
  char piece[65536];
  ssize_t n;
  while ((n = read(fd, piece, sizeof(piece))) > 0) all.append(piece, n);
  EXPECT_EQ(n, 0) << path << ": " << errnoName(errno);
  return all;
}

struct stat statOf(const std::string& path) {
  struct stat s = {};
  EXPECT_OK(lstat(path.c_str(), &s)) << path;
  return s;
}

struct stat statOf(int fd) {
  struct stat s = {};
  EXPECT_OK(fstat(fd, &s));
  return s;
}

std::vector<std::string> namesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  EXPECT_NE(dir, nullptr) << path << ": " << errnoName(errno);
  if (dir == nullptr) return names;
  while (auto entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

std::string errnoName(int code) {
  const char* name = strerrorname_np(code);
  return name == nullptr ? std::to_string(code) : name;
}

testing::AssertionResult succeeded(const char* call, Returned returned) {
  if (returned.first != -1) return testing::AssertionSuccess();
  return testing::AssertionFailure() << call << ": " << errnoName(returned.second);
}

testing::AssertionResult failedWith(const char* call, Returned returned, int wanted) {
  if (returned.first == -1 && returned.second == wanted) return testing::AssertionSuccess();
  auto got = returned.first == -1 ? errnoName(returned.second)
                                  : "success (" + std::to_string(returned.first) + ")";
  return testing::AssertionFailure() << call << ": " << got << ", not " << errnoName(wanted);
}

}  // namespace dfs::posix
