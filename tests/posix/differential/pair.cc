#include "tests/posix/differential/pair.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

namespace dfs::posix {
namespace {

constexpr int64_t kNearSec = 7200;
constexpr size_t kShownBytesMax = 4 << 20;  // of a file's contents, in its sum

void must(int result, const char* what) {
  if (result == 0) return;
  perror(what);
  exit(2);
}

std::string sumOf(const std::string& path) {
  // FNV-1a is enough: nobody forges these.
  int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return strerrorname_np(errno);
  uint64_t sum = 14695981039346656037u;
  static char piece[65536];
  size_t total = 0;
  ssize_t n;
  while (total < kShownBytesMax && (n = read(fd, piece, sizeof piece)) > 0) {
    for (ssize_t i = 0; i < n; ++i) {
      sum = (sum ^ static_cast<unsigned char>(piece[i])) * 1099511628211u;
    }
    total += n;
  }
  std::string text = n < 0 ? strerrorname_np(errno) : std::to_string(sum);
  close(fd);
  return text;
}

std::string attributesOf(const std::string& path) {
  if (!scope.attributes) return "";
  char names[4096];
  ssize_t bytes = llistxattr(path.c_str(), names, sizeof names);
  std::map<std::string, std::string> all;
  for (ssize_t at = 0; at < bytes; at += strlen(names + at) + 1) {
    char value[4096];
    ssize_t size = lgetxattr(path.c_str(), names + at, value, sizeof value);
    all[names + at] = size < 0 ? strerrorname_np(errno) : std::string(value, size);
  }
  std::string text;
  for (auto& [name, value] : all) text += " " + name + "=" + value;
  return text;
}

std::string timeText(const timespec& t, int64_t nowSec) {
  if (std::abs(t.tv_sec - nowSec) < kNearSec) return "now";
  return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec);
}

}  // namespace

Scope scope;

const std::vector<User>& users() {
  static const std::vector<User> all = [] {
    if (getuid() != 0) return std::vector<User>{{getuid(), getgid(), {}}};
    return std::vector<User>{
        {0, 0, {}}, {12345, 12345, {}}, {12346, 12346, {12345, 777}}, {12347, 777, {}}};
  }();
  return all;
}

void become(const User& user) {
  if (users().size() == 1) return;
  must(setresuid(0, 0, 0), "setresuid");
  must(setresgid(0, 0, 0), "setresgid");
  must(setgroups(user.groups.size(), user.groups.data()), "setgroups");
  must(setresgid(user.gid, user.gid, 0), "setresgid");
  must(setresuid(user.uid, user.uid, 0), "setresuid");
}

std::string outcome(long result) {
  if (result == -1) return strerrorname_np(errno);
  return "ok " + std::to_string(result);
}

std::string describeAttributes(const struct stat& s, int64_t nowSec) {
  char text[256];
  bool sized = S_ISREG(s.st_mode) || S_ISLNK(s.st_mode);
  bool timed = sized || S_ISDIR(s.st_mode);  // what goes through a pipe moves no times on FUSE
  bool device = S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode);
  snprintf(text, sizeof text, "%o %u:%u links %lu size %ld rdev %lu a %s m %s", s.st_mode, s.st_uid,
           s.st_gid, static_cast<unsigned long>(s.st_nlink),
           sized ? static_cast<long>(s.st_size) : 0,
           device ? static_cast<unsigned long>(s.st_rdev) : 0,
           timed && scope.accessTimes ? timeText(s.st_atim, nowSec).c_str() : "",
           timed ? timeText(s.st_mtim, nowSec).c_str() : "");
  return text;
}

std::string describeTree(const std::string& root) {
  // Attributes before contents: reading moves the times of access.
  become(users().front());
  auto now = time(nullptr);
  std::map<std::string, std::string> lines;
  std::vector<std::string> paths{root};
  for (auto& entry : std::filesystem::recursive_directory_iterator(
           root, std::filesystem::directory_options::skip_permission_denied)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // directories have orders of their own
  std::map<std::pair<dev_t, ino_t>, std::string> first;
  for (auto& path : paths) {
    struct stat s;
    auto& line = lines[path.substr(root.size())];
    if (lstat(path.c_str(), &s) != 0) {
      line = strerrorname_np(errno);
      continue;
    }
    if (S_ISDIR(s.st_mode)) s.st_atim = {now, 0};  // the walk itself has moved them
    line = describeAttributes(s, now) + attributesOf(path);
    if (S_ISREG(s.st_mode)) line += " contents " + sumOf(path);
    if (S_ISLNK(s.st_mode)) line += " -> " + std::filesystem::read_symlink(path).string();
    auto [same, isNew] =
        first.emplace(std::make_pair(s.st_dev, s.st_ino), path.substr(root.size()));
    if (!isNew) line += " same as " + same->second;
  }
  std::string text;
  for (auto& [path, line] : lines) text += path + ": " + line + "\n";
  return text;
}

}  // namespace dfs::posix
