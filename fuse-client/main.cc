// dfs-mount: mounts a DFS cluster. Returns 0 only when the mount answers.

#include "common/config.h"
#include "common/launch.h"
#include "common/log.h"
#include "common/process.h"
#include "fuse-client/embedded.h"
#include "fuse-client/mount.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iostream>

namespace dfs {
namespace {

constexpr int kAnswerMs = 30'000;     // within which the mount must answer its first question
constexpr uint64_t kSoftMs = 30'000;  // of -o soft without timeo

struct Arguments {
  MountOptions mount;
  EmbeddedOptions embedded;
  LogOptions log;
  std::vector<std::string> options;  // -o
  bool foreground = false;
};

uint64_t seconds(const std::string& text) {
  // "30" or "30s".
  char* end = nullptr;
  uint64_t value = strtoull(text.c_str(), &end, 10);
  KJ_REQUIRE(end != text.c_str() && (*end == 0 || strcmp(end, "s") == 0),
             "timeo is a number of seconds, like timeo=30s", text.c_str());
  return value;
}

void takeOptions(Arguments& a) {
  bool soft = false;
  uint64_t timeoMs = kSoftMs;
  for (auto& o : a.options) {
    if (o == "ro") {
      a.mount.readOnly = true;
    } else if (o == "rw" || o == "hard" || o == "_netdev" || o == "nofail" || o == "auto" ||
               o == "noauto" || o.starts_with("x-systemd.")) {
      // Defaults, or words for those who mount.
    } else if (o == "allow_other") {
      a.mount.allowOther = true;
    } else if (o == "soft") {
      soft = true;
    } else if (o.starts_with("timeo=")) {
      timeoMs = seconds(o.substr(6)) * 1000;
    } else if (o.starts_with("nameserver=")) {
      a.mount.nameservers.push_back(o.substr(11));
    } else {
      a.mount.fuseOptions.push_back(o);
    }
  }
  if (soft) a.mount.softTimeoutMs = timeoMs;
}

std::string defaultLogFile(const std::string& mountpoint) {
  auto name = mountpoint.substr(1);
  for (auto& c : name) {
    if (c == '/') c = '-';
  }
  std::string directory = "/var/log/dfs";
  if (geteuid() != 0) {
    const char* home = getenv("HOME");
    directory = std::string(home == nullptr ? "/tmp" : home) + "/.local/state/dfs";
  }
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  return directory + "/mount-" + name + ".log";
}

class Report {
  // From the process that mounts to the one that the person started: empty text is success.
 public:
  Report() = default;
  explicit Report(kj::AutoCloseFd pipe) : pipe_(kj::mv(pipe)) {}
  void send(const std::string& text) {
    if (pipe_.get() < 0) {
      if (!text.empty()) std::cerr << "dfs-mount: " << text << "\n";
      return;
    }
    auto message = text + '\0';
    // Nobody listens any more: the person has gone, the mount stays.
    (void)!write(pipe_, message.data(), message.size());
    pipe_ = nullptr;
  }

 private:
  kj::AutoCloseFd pipe_;
};

std::string sentenceOf(const kj::Exception& e) {
  std::string text = e.getDescription().cStr();
  // KJ puts the failed condition before the sentence.
  auto at = text.find("; ");
  if (text.starts_with("expected ") && at != std::string::npos) text = text.substr(at + 2);
  return text;
}

int serveMount(const Arguments& a, Report report) {
  auto io = kj::setupAsyncIo();
  RealEnv real(io, {"", "/run/dfs", 1});
  auto failed = kj::runCatchingExceptions([&]() {
    Mount mount(io, real.env, a.mount);
    auto end = endSignal(io.unixEventPort);
    auto started = kj::Promise<void>(mount.start()).then([]() { return true; });
    auto cancelled = end.then([](int) { return false; });
    if (!started.exclusiveJoin(kj::mv(cancelled)).wait(io.waitScope)) return;
    report.send("");
    auto served = kj::Promise<void>(mount.serve());
    auto asked = endSignal(io.unixEventPort).then([&mount](int) {
      KJ_LOG(INFO, "asked to end: unmounting");
      mount.unmount();
      return kj::Promise<void>(kj::NEVER_DONE);
    });
    served.exclusiveJoin(kj::mv(asked)).wait(io.waitScope);
    KJ_LOG(INFO, "unmounted: saving what is left");
    mount.finish().wait(io.waitScope);
  });
  KJ_IF_MAYBE(e, failed) {
    KJ_LOG(ERROR, "the mount has ended", *e);
    report.send(sentenceOf(*e));
    return kExitFailed;
  }
  return kExitOk;
}

bool answers(const std::string& mountpoint) {
  // By a process of its own, which can be killed if it waits for ever.
  pid_t pid = fork();
  if (pid == 0) {
    struct stat st {};
    _exit(stat(mountpoint.c_str(), &st) == 0 ? 0 : 1);
  }
  for (int waited = 0; pid > 0 && waited < kAnswerMs; waited += 5) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    usleep(5000);
  }
  if (pid > 0) kill(pid, SIGKILL);
  return false;
}

int awaitReport(int pipe, const std::string& mountpoint) {
  std::string text;
  char byte;
  ssize_t n;
  while ((n = read(pipe, &byte, 1)) == 1 && byte != 0) text += byte;
  if (n <= 0) text = "the mount's process has ended without a word; its log may say more";
  if (text.empty() && !answers(mountpoint)) text = "mounted, but it does not answer";
  if (text.empty()) return kExitOk;
  std::cerr << "dfs-mount: " << text << "\n";
  return kExitFailed;
}

int runMount(Arguments& a) {
  takeOptions(a);
  a.mount.mountpoint = std::filesystem::absolute(a.mount.mountpoint).lexically_normal().string();
  while (a.mount.mountpoint.size() > 1 && a.mount.mountpoint.back() == '/')
    a.mount.mountpoint.pop_back();
  cleanDeadMount(a.mount.mountpoint);
  if (geteuid() == 0) {
    a.mount.allowOther = true;
    a.mount.fuseOptions.insert(a.mount.fuseOptions.begin(), {"suid", "dev"});
  }
  EmbeddedCluster cluster;
  if (a.mount.nameservers.empty()) {
    cluster = joinEmbedded(a.embedded);
    a.mount.nameservers = {cluster.nameserver};
    std::cout << cluster.sentence << std::endl;
  }
  if (a.foreground) {
    Log log(a.log);
    return serveMount(a, Report());
  }
  if (a.log.file.empty()) a.log.file = defaultLogFile(a.mount.mountpoint);
  int ends[2];
  KJ_SYSCALL(pipe2(ends, O_CLOEXEC));
  kj::AutoCloseFd readEnd(ends[0]), writeEnd(ends[1]);
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid != 0) {
    writeEnd = nullptr;
    cluster.user = nullptr;
    return awaitReport(readEnd, a.mount.mountpoint);
  }
  readEnd = nullptr;
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd : {0, 1, 2}) dup2(null, fd);
  if (chdir("/") != 0) return kExitFailed;
  Log log(a.log);
  return serveMount(a, Report(kj::mv(writeEnd)));
}

int keep(int argc, char** argv) {
  // dfs-mount --keep-embedded DATA --lock-fd N: started by joinEmbedded() only.
  KJ_REQUIRE(argc == 5 && strcmp(argv[3], "--lock-fd") == 0);
  Log log({"info", std::string(argv[2]) + "/log/keeper.log", "keeper"});
  return keepEmbedded(argv[2], atoi(argv[4]));
}

int run(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--keep-embedded") == 0) return keep(argc, argv);
  Arguments a;
  a.log.who = "mount";
  Settings settings("dfs-mount", "Mounts a DFS cluster as a directory", "/etc/dfs/client.toml");
  uint64_t stores = a.embedded.stores, replicas = a.embedded.replicas, rootUid = getuid(),
           rootGid = getgid();
  settings.positional(a.mount.mountpoint, "MOUNTPOINT", "An empty directory", true);
  settings.list(a.mount.nameservers, "nameserver", "HOST:PORT",
                "A name server of the cluster. None: an embedded cluster on this machine");
  settings.text(a.embedded.data, "data", "DIR", "Embedded cluster: where its data lies");
  settings.number(stores, "stores", "N", "Embedded cluster: storage daemons of a new one");
  settings.number(replicas, "replicas", "N", "Embedded cluster: copies of everything of a new one");
  settings.number(rootUid, "root-uid", "UID", "Embedded cluster: who owns the root of a new one");
  settings.number(rootGid, "root-gid", "GID", "Embedded cluster: its group");
  settings.list(a.options, "option", "OPTION[,...]",
                "ro, allow_other (default for root), soft, timeo=SECONDS, nameserver=ADDR; others "
                "go to FUSE");
  settings.shortName("option", 'o');
  settings.flag(a.foreground, "foreground", "Stay in the foreground and log to stderr");
  settings.shortName("foreground", 'f');
  settings.text(a.log.level, "log-level", "LEVEL", "info, warning or error");
  settings.text(a.log.file, "log-file", "FILE",
                "Default: /var/log/dfs/mount-....log (in the foreground: stderr)");
  settings.examples(
      "Examples:\n"
      "  dfs-mount /mnt/dfs                             a cluster of its own on this machine, in "
      "/var/lib/dfs\n"
      "  dfs-mount /mnt/dfs --nameserver host1:7400     an existing cluster\n"
      "  dfs umount /mnt/dfs                            unmount and wait until all is saved\n"
      "It returns 0 when the mount answers; otherwise it says why and leaves nothing behind.");
  auto ended = settings.parse(argc, argv);
  KJ_IF_MAYBE(code, ended) return *code;
  EmbeddedOptions defaults;
  a.embedded.stores = static_cast<uint32_t>(stores);
  a.embedded.replicas = static_cast<uint32_t>(replicas);
  a.embedded.storesGiven = stores != defaults.stores;
  a.embedded.replicasGiven = replicas != defaults.replicas;
  a.embedded.rootUid = static_cast<uint32_t>(rootUid);
  a.embedded.rootGid = static_cast<uint32_t>(rootGid);
  int code = kExitFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = runMount(a); })) {
    std::cerr << "dfs-mount: " << sentenceOf(*e) << "\n";
    return kExitFailed;
  }
  return code;
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareProcess();
  return dfs::run(argc, argv);
}
