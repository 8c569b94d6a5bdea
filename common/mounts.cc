#include "common/mounts.h"

#include "common/split.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace dfs {
namespace {

constexpr int kSymlinksMax = 40;  // as the kernel

std::string unescaped(const std::string& text) {
  // mountinfo writes blank, tab, newline and backslash as \ooo.
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<MountLine> allMounts() {
  std::vector<MountLine> all;
  std::ifstream file("/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string id, parent, device, root, point, word, source, options;
    MountLine m;
    words >> id >> parent >> device >> root >> point >> m.options;
    if (sscanf(device.c_str(), "%u:%u", &m.major, &m.minor) != 2) continue;
    while (words >> word && word != "-") {
    }
    words >> m.type >> source >> options;
    m.readOnly = ("," + options + ",").find(",ro,") != std::string::npos;
    auto owner = ("," + options).find(",user_id=");
    if (owner != std::string::npos) {
      m.owner = static_cast<uint32_t>(strtoul(options.c_str() + owner + 8, nullptr, 10));
    }
    m.point = unescaped(point);
    all.push_back(m);
  }
  return all;
}

bool isAtOrBelow(const std::string& path, const std::string& point) {
  if (point == "/") return true;
  return path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
}

kj::Maybe<MountLine> topmostAt(const std::vector<MountLine>& all, const std::string& path) {
  // The last line for a path is the one on top.
  for (auto m = all.rbegin(); m != all.rend(); ++m) {
    if (m->point == path) return *m;
  }
  return nullptr;
}

kj::Maybe<MountLine> dfsHolding(const std::vector<MountLine>& all, const std::string& path) {
  kj::Maybe<MountLine> found;
  size_t longest = 0;
  for (auto& m : all) {
    if (!isAtOrBelow(path, m.point) || m.point.size() < longest) continue;
    longest = m.point.size();
    if (m.isDfs()) {
      found = m;
    } else {
      // Another file system lies over it, or below it and nearer to the path.
      found = nullptr;
    }
  }
  return found;
}

bool leadsThroughDfs(const std::vector<MountLine>& all, const std::string& path) {
  for (auto& m : all) {
    if (m.isDfs() && isAtOrBelow(path, m.point)) return true;
  }
  return false;
}

}  // namespace

std::string mountPath(const std::string& given) {
  // As the kernel walks a path, but that it stops to look where a mount of DFS begins. (The mount's root itself is safe: that it
  // is no link the kernel knows without asking.)
  std::error_code ec;
  auto whole = given;
  if (!given.starts_with("/")) whole = std::filesystem::current_path(ec).string() + "/" + given;
  auto all = allMounts();
  auto words = split(whole, '/');
  std::deque<std::string> parts(words.begin(), words.end());
  std::string path;  // empty: the root
  int links = 0;
  while (!parts.empty()) {
    auto part = parts.front();
    parts.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      path.erase(path.empty() ? 0 : path.rfind('/'));
      continue;
    }
    auto next = path + "/" + part;
    char target[PATH_MAX];
    ssize_t n = -1;
    if (!leadsThroughDfs(all, next) && links < kSymlinksMax) {
      n = readlink(next.c_str(), target, sizeof target);
    }
    if (n <= 0) {
      path = next;
      continue;
    }
    ++links;
    std::string link(target, static_cast<size_t>(n));
    if (link.starts_with("/")) path.clear();
    auto more = split(link, '/');
    parts.insert(parts.begin(), more.begin(), more.end());
  }
  return path.empty() ? "/" : path;
}

kj::Maybe<MountLine> mountedAt(const std::string& path) {
  return topmostAt(allMounts(), path);
}

kj::Maybe<MountLine> dfsMountHolding(const std::string& path) {
  return dfsHolding(allMounts(), path);
}

int detachMount(const std::string& path, bool lazy) {
  if (geteuid() == 0) {
    return umount2(path.c_str(), (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
  }
  KJ_IF_MAYBE(mount, mountedAt(path)) {
    if (mount->owner != geteuid()) return EPERM;
  }
  pid_t pid = fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execlp("fusermount3", "fusermount3", "-u", lazy ? "-zq" : "-q", "--", path.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return ENOPKG;
  // It says no number; when it is not in use the reason is that it is somebody else's.
  return lazy ? EPERM : EBUSY;
}

}  // namespace dfs
