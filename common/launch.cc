#include "common/launch.h"

#include "common/checksum.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <fstream>
#include <sstream>

namespace dfs {
namespace {

constexpr size_t kSocketNameBytes =
    24;  // room that a socket's file name may take below its directory

constexpr size_t kAnswerBytesMax = 64 << 20;  // of a status page

void pauseMs(uint32_t ms) {
  timespec t{ms / 1000, static_cast<long>(ms % 1000) * 1'000'000};
  nanosleep(&t, nullptr);
}

void limitTime(int fd, uint32_t timeoutMs) {
  // Of connecting too (socket(7)). A system that refuses it only waits longer.
  timeval t{timeoutMs / 1000, static_cast<suseconds_t>(timeoutMs % 1000) * 1000};
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

kj::AutoCloseFd connectTo(const std::string& address, uint32_t timeoutMs) {
  if (address.starts_with("unix:")) {
    sockaddr_un addr{};
    auto path = address.substr(5);
    if (path.size() >= sizeof addr.sun_path) return kj::AutoCloseFd();
    addr.sun_family = AF_UNIX;
    memcpy(addr.sun_path, path.c_str(), path.size() + 1);
    kj::AutoCloseFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    limitTime(fd, timeoutMs);
    if (connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr) != 0) return kj::AutoCloseFd();
    return fd;
  }
  auto colon = address.rfind(':');
  if (colon == std::string::npos) return kj::AutoCloseFd();
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_port = htons(static_cast<uint16_t>(atoi(address.c_str() + colon + 1)));
  if (inet_pton(AF_INET, address.substr(0, colon).c_str(), &addr.sin_addr) != 1)
    return kj::AutoCloseFd();
  kj::AutoCloseFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  limitTime(fd, timeoutMs);
  if (connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr) != 0) return kj::AutoCloseFd();
  return fd;
}

}  // namespace

uint64_t bornAt(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return 0;
  // The second field is the program's name in parentheses and may hold anything.
  auto close = line.rfind(')');
  if (close == std::string::npos) return 0;
  std::istringstream rest(line.substr(close + 2));
  std::string word;
  rest >> word;
  if (word == "Z" || word == "X") return 0;
  for (int field = 4; field <= 22; ++field) rest >> word;
  return strtoull(word.c_str(), nullptr, 10);
}

bool isAlive(const ProcessId& process) {
  return process.pid > 0 && process.born != 0 && bornAt(process.pid) == process.born;
}

ProcessId launch(const Launch& what) {
  int ends[2];
  KJ_SYSCALL(pipe2(ends, O_CLOEXEC));
  kj::AutoCloseFd readEnd(ends[0]), writeEnd(ends[1]);
  std::vector<char*> argv;
  for (auto& a : what.argv) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid == 0) {
    // Only what is safe between fork and exec.
    if (what.ownSession) setsid();
    int in = open("/dev/null", O_RDONLY);
    int out = open(what.output.empty() ? "/dev/null" : what.output.c_str(),
                   O_WRONLY | O_CREAT | O_APPEND, 0640);
    bool ok = in >= 0 && out >= 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (ok) {
      close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
      execv(argv[0], argv.data());
    }
    int reason = errno;
    // Nothing can be done about a parent that does not listen.
    (void)!write(ends[1], &reason, sizeof reason);
    _exit(127);
  }
  writeEnd = nullptr;
  int reason = 0;
  ssize_t n;
  do {
    n = read(readEnd, &reason, sizeof reason);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof reason)) {
    waitpid(pid, nullptr, 0);
    KJ_FAIL_REQUIRE("a program cannot be started", what.argv[0], strerror(reason));
  }
  return {pid, bornAt(pid)};
}

bool stopProcess(const ProcessId& process, uint32_t graceMs) {
  if (process.pid <= 0) return true;  // to waitpid() and kill() such a number means many
  auto gone = [&]() {
    waitpid(process.pid, nullptr, WNOHANG);  // not our child: nothing to reap
    return !isAlive(process);
  };
  if (gone()) return true;
  kill(process.pid, SIGTERM);
  for (uint32_t waited = 0; waited < graceMs; waited += 10) {
    if (gone()) return true;
    pauseMs(10);
  }
  kill(process.pid, SIGKILL);
  for (int i = 0; i < 500; ++i) {
    if (gone()) return true;
    pauseMs(10);
  }
  return false;
}

std::string programBeside(const std::string& name) {
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n > 0) {
    std::string path(self, static_cast<size_t>(n));
    auto directory = path.substr(0, path.rfind('/'));
    // In the build tree each program has a folder of its own.
    for (auto& candidate :
         {directory + "/" + name, directory + "/../" + "nameserver/" + name,
          directory + "/../" + "storaged/" + name, directory + "/../" + "fuse-client/" + name,
          directory + "/../" + "tools/" + name}) {
      if (access(candidate.c_str(), X_OK) == 0) return candidate;
    }
  }
  std::istringstream path(getenv("PATH") == nullptr ? "/usr/local/bin:/usr/bin" : getenv("PATH"));
  std::string directory;
  while (std::getline(path, directory, ':')) {
    if (access((directory + "/" + name).c_str(), X_OK) == 0) return directory + "/" + name;
  }
  KJ_FAIL_REQUIRE("a program of DFS is not installed beside this one, nor in PATH", name);
}

std::string lastLines(const std::string& file, size_t lines) {
  std::ifstream in(file);
  std::deque<std::string> last;
  std::string line;
  while (std::getline(in, line)) {
    last.push_back(line);
    if (last.size() > lines) last.pop_front();
  }
  std::string text;
  for (auto& l : last) text += "  " + l + "\n";
  return text;
}

std::string quickGet(const std::string& address, const std::string& path, uint32_t timeoutMs) {
  auto fd = connectTo(address, timeoutMs);
  if (fd.get() < 0) return "";
  auto request = "GET " + path + " HTTP/1.0\r\nHost: dfs\r\nConnection: close\r\n\r\n";
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return "";
  std::string answer;
  char buffer[4096];
  for (;;) {
    pollfd p{fd, POLLIN, 0};
    if (poll(&p, 1, static_cast<int>(timeoutMs)) <= 0) return "";
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0) return "";
    if (n == 0) break;
    if (answer.size() > kAnswerBytesMax) return "";
    answer.append(buffer, static_cast<size_t>(n));
  }
  auto body = answer.find("\r\n\r\n");
  bool ok = answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200");
  return ok && body != std::string::npos ? answer.substr(body + 4) : "";
}

std::string socketDirectory(const std::string& data) {
  auto below = data + "/run";
  if (below.size() + kSocketNameBytes < sizeof(sockaddr_un::sun_path)) return below;
  char name[32];
  std::snprintf(name, sizeof name, "%016llx",
                static_cast<unsigned long long>(checksum(kj::StringPtr(data.c_str()).asBytes())));
  return std::string(geteuid() == 0 ? "/run/dfs/" : "/tmp/dfs-") + name;
}

}  // namespace dfs
