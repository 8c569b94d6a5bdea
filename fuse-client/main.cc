// dfs-mount: mounts a DFS cluster. Returns 0 only when the mount answers.

#include "common/config.h"
#include "common/launch.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/process.h"
#include "common/sentence.h"
#include "fuse-client/embedded.h"
#include "fuse-client/mount.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>

namespace dfs {
namespace {

constexpr uint64_t kStoresMax = 64;    // of an embedded cluster
constexpr int kAnswerMs = 30'000;      // within which the mount must answer its first question
constexpr uint64_t kUsersMs = 10'000;  // how long programs may use a mount that was asked to end
constexpr uint64_t kSoftMs = 30'000;   // of -o soft without timeo

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

void quiet(int fd) {
  kj::AutoCloseFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  dup2(null, fd);
}

class Report {
  // From the process that mounts to the one that the person started: empty text is success.
 public:
  Report() = default;
  explicit Report(kj::AutoCloseFd pipe) : pipe_(kj::mv(pipe)) {}
  void send(const std::string& text) {
    if (sent_) return;
    sent_ = true;
    if (pipe_.get() < 0) {
      if (!text.empty()) std::cerr << "dfs-mount: " << text << "\n";
      return;
    }
    auto message = text + '\0';
    // Nobody listens any more: the person has gone, the mount stays.
    (void)!write(pipe_, message.data(), message.size());
    pipe_ = nullptr;
    // Until now libfuse and fusermount3 could say there what they do not like.
    if (text.empty()) quiet(2);
  }

 private:
  kj::AutoCloseFd pipe_;
  bool sent_ = false;
};

Task<void> serveUntilEnd(kj::AsyncIoContext& io, kj::Timer& timer, Mount& mount) {
  // Until somebody unmounts it, or asks this process to end. Then programs that still use it get some time.
  auto served = kj::Promise<void>(mount.serve()).fork();
  auto first = endSignal(io.unixEventPort).then([](int) { return true; });
  auto gone = served.addBranch().then([]() { return false; });
  auto asked = co_await first.exclusiveJoin(kj::mv(gone));
  if (!asked) co_return;
  KJ_LOG(INFO, "asked to end: unmounting");
  mount.unmount();
  auto late = timer.afterDelay(kUsersMs * kj::MILLISECONDS).then([]() { return true; });
  auto again = endSignal(io.unixEventPort).then([](int) { return true; });
  auto free = served.addBranch().then([]() { return false; });
  auto used = co_await free.exclusiveJoin(kj::mv(late)).exclusiveJoin(kj::mv(again));
  if (used) KJ_LOG(WARNING, "programs still use the mount: from now on they get errors");
}

int serveMount(const Arguments& a, Report report) {
  auto io = kj::setupAsyncIo();
  RealEnv real(io, {"", "", 1});
  auto failed = kj::runCatchingExceptions([&]() {
    Mount mount(io, real.env, a.mount);
    auto cancelled = endSignal(io.unixEventPort).then([](int) { return false; });
    auto started = kj::Promise<void>(mount.start()).then([]() { return true; });
    KJ_REQUIRE(started.exclusiveJoin(kj::mv(cancelled)).wait(io.waitScope),
               "interrupted before it was mounted");
    report.send("");
    serveUntilEnd(io, real.env.clock.timer(), mount).wait(io.waitScope);
    KJ_LOG(INFO, "unmounted: saving what is left");
    auto givenUp = endSignal(io.unixEventPort).then([](int) { return false; });
    auto saved = kj::Promise<void>(mount.finish()).then([]() { return true; });
    KJ_REQUIRE(saved.exclusiveJoin(kj::mv(givenUp)).wait(io.waitScope),
               "asked once more to end while data was being saved: what was not synced is lost");
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
    // If it hangs it must hold nothing: neither a lock nor the report's pipe.
    close_range(3, ~0u, 0);
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

int awaitReport(int pipe, pid_t child, const std::string& mountpoint) {
  // SIGINT and SIGTERM are blocked (prepareProcess), so they wait in a descriptor: the person may give up.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  kj::AutoCloseFd signals(signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  std::string text;
  bool heard = false;
  for (bool end = false; !end;) {
    pollfd both[2] = {{pipe, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(both, 2, -1) < 0) continue;
    signalfd_siginfo info;
    if (both[1].revents != 0 && read(signals, &info, sizeof info) == sizeof info) {
      kill(child, SIGTERM);
    }
    char byte;
    if (both[0].revents == 0) continue;
    end = read(pipe, &byte, 1) != 1;
    heard = heard || (!end && byte == 0);
    end = end || heard;
    if (!end) text += byte;
  }
  if (!heard) text = "the mount's process has ended without a word; its log may say more";
  if (text.empty() && !answers(mountpoint)) text = "mounted, but it does not answer";
  if (text.empty()) return kExitOk;
  std::cerr << "dfs-mount: " << text << "\n";
  return kExitFailed;
}

EmbeddedCluster join(const EmbeddedOptions& options) {
  // It blocks and there is no loop yet, so a signal simply ends us; what was started then ends by itself.
  sigset_t ends, before;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  sigprocmask(SIG_UNBLOCK, &ends, &before);
  auto cluster = joinEmbedded(options);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  kj::UnixEventPort::captureSignal(SIGTERM);
  kj::UnixEventPort::captureSignal(SIGINT);
  return cluster;
}

int runMount(Arguments& a) {
  takeOptions(a);
  a.mount.mountpoint = mountPath(a.mount.mountpoint);
  if (!a.log.file.empty()) a.log.file = std::filesystem::absolute(a.log.file).string();
  cleanDeadMount(a.mount.mountpoint);
  if (geteuid() == 0) {
    a.mount.allowOther = true;
    a.mount.fuseOptions.insert(a.mount.fuseOptions.begin(), {"suid", "dev"});
  }
  EmbeddedCluster cluster;
  if (a.mount.nameservers.empty()) {
    cluster = join(a.embedded);
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
    return awaitReport(readEnd, pid, a.mount.mountpoint);
  }
  readEnd = nullptr;
  setsid();
  quiet(0);
  quiet(1);
  Report report(kj::mv(writeEnd));
  int code = kExitFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() {
                KJ_SYSCALL(chdir("/"));
                Log log(a.log);
                code = serveMount(a, kj::mv(report));
              })) {
    report.send(sentenceOf(*e));
  }
  return code;
}

kj::Maybe<kj::String> wrongShape(uint64_t stores, uint64_t replicas) {
  if (stores < 1 || stores > kStoresMax) {
    return kj::str("--stores is from 1 to ", kStoresMax, ", not ", stores);
  }
  bool byDefault = replicas == EmbeddedOptions().replicas;
  if (replicas < 1 || (replicas > stores && !byDefault)) {
    return kj::str("--replicas is from 1 to the number of stores (", stores, "), not ", replicas);
  }
  return nullptr;
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
  KJ_IF_MAYBE(why, wrongShape(stores, replicas)) {
    std::cerr << "dfs-mount: " << why->cStr() << "\n";
    return kExitUsage;
  }
  EmbeddedOptions defaults;
  // With one store there can be one copy.
  if (replicas == defaults.replicas) replicas = std::min(replicas, stores);
  a.embedded.stores = static_cast<uint32_t>(stores);
  a.embedded.replicas = static_cast<uint32_t>(replicas);
  a.embedded.storesGiven = stores != defaults.stores;
  a.embedded.replicasGiven = replicas != std::min<uint64_t>(defaults.replicas, stores);
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
