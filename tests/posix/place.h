#pragma once
// Where a test of POSIX works: a fresh directory on the file system under test, seen through one mount or through two.
//
// The environment names it: DFS_POSIX_DIR, and DFS_POSIX_OTHER for the same directory through another mount (the same path if
// unset). The expectations are those of a local disk: every test but those that say DFS_ONLY() passes on plain ext4 too.
//
// Thread: one test is one thread unless it says otherwise. The table in README.md has a row for each test (TEST only, no TEST_P:
// tests/check-sources.py reads the names).

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace dfs::posix {

constexpr uid_t kUser = 12345;
// Who asUser() is, group too; no user of a usual machine.
constexpr uid_t kOtherUser = 12346;

struct Who {
  // For asWho(): what a process is known by.
  uid_t uid = kUser;
  gid_t gid = kUser;
  std::vector<gid_t> groups = {};
};

class Place {
  // Owns a directory of mode 0777 (umask is 022 from then on) and removes it with all that is in it.
 public:
  Place();
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::string here(const std::string& name = "") const;
  // The path of `name` on the first mount; the directory itself without one.
  std::string there(const std::string& name = "") const;
  // What the other mount shows as the same.
  bool twoMounts() const { return here_ != there_; }

  void asUser(const std::function<void()>& work) const { asWho({}, work); }
  void asWho(const Who& who, const std::function<void()>& work) const;
  // Runs `work` in a forked child as that user and fails the test if it failed there. What the child does to variables is lost.
  // If the program does not run as root, the child stays who it is.

 private:
  std::string here_, there_;
};

bool isRoot();
bool onDfs();
// Whether the place is on a FUSE file system.

void inChild(const std::function<void()>& work);
// In a forked child; fails the test if `work` fails or dies of a signal.

void atOnce(const std::vector<std::function<void()>>& works);
// Each in a child of its own, until all have ended; fails the test if one fails.

// Helpers that fail the test when the call fails.
void makeFile(const std::string& path, const std::string& contents = "", mode_t mode = 0644);
// O_CREAT | O_EXCL; the mode is set whatever the umask.
void makeDirectory(const std::string& path, mode_t mode = 0755);
std::string contentsOf(const std::string& path);
struct stat statOf(const std::string& path);
// Of the link itself, if it is one.
struct stat statOf(int fd);
std::vector<std::string> namesIn(const std::string& path);
// Sorted, without `.` and `..`.
std::string errnoName(int code);

class Fd {
  // A descriptor that is closed at the end.
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  operator int() const { return fd_; }
  void close() {
    if (fd_ >= 0) (void)::close(fd_);  // what close reports is tested where it matters
    fd_ = -1;
  }

 private:
  int fd_;
};

using Returned = std::pair<long long, int>;  // result and errno of a call
testing::AssertionResult succeeded(const char* call, Returned returned);
testing::AssertionResult failedWith(const char* call, Returned returned, int wanted);

#define DFS_TRY_CALL(call)           \
  [&]() {                            \
    errno = 0;                       \
    auto result = (long long)(call); \
    return std::pair(result, errno); \
  }()
// The call succeeds (any result but -1), or it fails with that errno.
#define EXPECT_OK(call) EXPECT_TRUE(::dfs::posix::succeeded(#call, DFS_TRY_CALL(call)))
#define ASSERT_OK(call) ASSERT_TRUE(::dfs::posix::succeeded(#call, DFS_TRY_CALL(call)))
#define EXPECT_ERRNO(wanted, call) \
  EXPECT_TRUE(::dfs::posix::failedWith(#call, DFS_TRY_CALL(call), wanted))

#define REQUIRE_ROOT() \
  if (!::dfs::posix::isRoot()) GTEST_SKIP() << "needs root"
#define DFS_ONLY() \
  if (!::dfs::posix::onDfs()) GTEST_SKIP() << "a local disk does not promise this"

}  // namespace dfs::posix
