#include "common/mounts.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace dfs {
namespace {

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

}  // namespace

std::string mountPath(const std::string& given) {
  namespace fs = std::filesystem;
  auto path = fs::absolute(given).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  std::error_code ec;
  auto whole = fs::canonical(path, ec);
  if (!ec) return whole.string();
  auto parent = fs::canonical(path.parent_path(), ec);
  return ec ? path.string() : (parent / path.filename()).string();
}

kj::Maybe<MountLine> mountedAt(const std::string& path) {
  // The last line for a path is the one on top.
  kj::Maybe<MountLine> found;
  std::ifstream file("/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string id, parent, device, root, point, word;
    words >> id >> parent >> device >> root >> point;
    if (unescaped(point) != path) continue;
    MountLine m;
    if (sscanf(device.c_str(), "%u:%u", &m.major, &m.minor) != 2) continue;
    while (words >> word && word != "-") {
    }
    words >> m.type;
    found = m;
  }
  return found;
}

int detachMount(const std::string& path, bool lazy) {
  if (geteuid() == 0) return umount2(path.c_str(), lazy ? MNT_DETACH : 0) == 0 ? 0 : errno;
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
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return ENOENT;
  // It says no number; when it is not in use the reason is that it is somebody else's.
  return lazy ? EPERM : EBUSY;
}

}  // namespace dfs
