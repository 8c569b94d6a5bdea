// dfs-mount: mounts a DFS cluster. Returns 0 only when the mount answers.

#include "common/config.h"
#include "common/launch.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/process.h"
#include "common/sentence.h"
#include "common/wire.h"
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
#include <set>

namespace dfs {
namespace {

constexpr uint64_t kStoresMax = 64;    // of an embedded cluster
constexpr int kAnswerMs = 30'000;      // within which the mount must answer its first question
constexpr uint64_t kUsersMs = 10'000;  // how long programs may use a mount that was asked to end
constexpr int kUsedMs = 5'000;         // within which what is mounted already must answer
constexpr uint64_t kLateMs = 2'000;    // more than a name server's time, to say which one is silent
constexpr uint64_t kSoftMs = 30'000;   // of -o soft without timeo

constexpr int kMountFailed = 32;  // as mount(8) has it

struct Arguments {
  MountOptions mount;
  EmbeddedOptions embedded;
  LogOptions log;
  std::vector<std::string> options;  // -o
  bool foreground = false;
};

kj::Maybe<uint64_t> seconds(const std::string& text) {
  // "30" or "30s".
  auto digits = text.ends_with("s") ? text.substr(0, text.size() - 1) : text;
  if (digits.empty() || digits.size() > 9) return nullptr;
  if (digits.find_first_not_of("0123456789") != std::string::npos) return nullptr;
  auto value = std::stoull(digits);
  if (value == 0) return nullptr;
  return value;
}

bool isForOthers(const std::string& option) {
  // What stands in fstab for mount(8), systemd and people, and what says no more than the default.
  static const std::set<std::string> words = {
      "defaults", "hard",       "_netdev",       "nofail",     "auto",     "noauto", "user",
      "nouser",   "users",      "owner",         "group",      "rw",       "silent", "loud",
      "relatime", "norelatime", "nostrictatime", "nolazytime", "diratime", "nomand", "noiversion"};
  if (words.count(option) != 0) return true;
  for (auto start : {"x-", "X-", "user=", "comment=", "uhelper=", "helper="}) {
    if (option.starts_with(start)) return true;
  }
  return false;
}

kj::Maybe<kj::String> takeOptions(Arguments& a) {
  // A sentence if they are wrong.
  bool soft = false;
  uint64_t timeoMs = kSoftMs;
  for (auto& o : a.options) {
    if (o == "ro" || o == "rw") {
      a.mount.readOnly = o == "ro";
    } else if (isForOthers(o)) {
      continue;
    } else if (o == "allow_other") {
      a.mount.allowOther = true;
    } else if (o == "soft") {
      soft = true;
    } else if (o.starts_with("timeo=")) {
      auto given = seconds(o.substr(6));
      KJ_IF_MAYBE(value, given) {
        timeoMs = *value * 1000;
      } else {
        return kj::str("timeo is a number of seconds, one or more, like timeo=30s, not \"",
                       o.substr(6).c_str(), "\"");
      }
    } else if (o.starts_with("nameserver=")) {
      a.mount.nameservers.push_back(o.substr(11));
    } else {
      a.mount.fuseOptions.push_back(o);
    }
  }
  if (soft) a.mount.softTimeoutMs = timeoMs;
  for (auto& address : a.mount.nameservers) {
    auto wrong = wrongAddress(address.c_str());
    KJ_IF_MAYBE(why, wrong) return kj::mv(*why);
  }
  return nullptr;
}

bool isUsable(const std::string& directory) {
  // Anybody may make a directory below /tmp: what is somebody else's is none for our log.
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  struct stat st {};
  return lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
         (st.st_mode & 022) == 0 && access(directory.c_str(), W_OK | X_OK) == 0;
}

std::string defaultLogFile(const std::string& mountpoint) {
  auto name = mountpoint.substr(1);
  for (auto& c : name) {
    if (c == '/') c = '-';
  }
  std::vector<std::string> directories = {"/var/log/dfs"};
  if (geteuid() != 0) {
    // Who has no home that can be written to (a service's user) has one below /tmp.
    directories = {"/tmp/dfs-log-" + std::to_string(geteuid())};
    const char* home = getenv("HOME");
    if (home != nullptr && home[0] == '/') {
      directories.insert(directories.begin(), std::string(home) + "/.local/state/dfs");
    }
  }
  for (auto& directory : directories) {
    if (isUsable(directory)) return directory + "/mount-" + name + ".log";
  }
  KJ_FAIL_REQUIRE(
      "there is no directory for the log that can be written to; name a file with "
      "--log-file",
      directories.front().c_str());
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

std::string whySilent(Env& env, kj::WaitScope& scope, const MountOptions& options) {
  // For a person who has waited in vain: which address, and what is wrong with it.
  std::string names;
  for (auto& n : options.nameservers) names += (names.empty() ? "" : ", ") + n;
  auto addresses = KJ_MAP(n, options.nameservers) {
    return kj::str(n.c_str());
  };
  std::string why = "it takes connections and answers nothing: is it stopped, or no name server?";
  auto refused = kj::runCatchingExceptions([&]() {
    auto dialed = dial(env, addresses, kLateMs);
    kj::mv(dialed).wait(scope);
  });
  KJ_IF_MAYBE(e, refused) why = sentenceOf(*e);
  return "the name server has not answered within " + std::to_string(options.attachMsMax / 1000) +
         " seconds: " + names + " (" + why +
         "). Check the address, and that dfs-nameserver runs there; `dfs status --nameserver " +
         options.nameservers.front() + "` asks it";
}

int serveMount(const Arguments& a, Report report) {
  auto io = kj::setupAsyncIo();
  RealEnv real(io, {"", "", 1});
  bool late = false, mounted = false;
  auto failed = kj::runCatchingExceptions([&]() {
    auto options = a.mount;
    options.attachMsMax += kLateMs;
    Mount mount(io, real.env, options);
    auto cancelled = endSignal(io.unixEventPort).then([](int) { return false; });
    // The mount's own limit comes later: its sentence names no address.
    auto silent =
        real.env.clock.timer().afterDelay(a.mount.attachMsMax * kj::MILLISECONDS).then([&late]() {
          late = true;
          return false;
        });
    cancelled = cancelled.exclusiveJoin(kj::mv(silent));
    auto started = kj::Promise<void>(mount.start()).then([]() { return true; });
    auto done = started.exclusiveJoin(kj::mv(cancelled)).wait(io.waitScope);
    KJ_REQUIRE(done || late, "interrupted before it was mounted");
    if (!done) return;
    mounted = true;
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
    return mounted ? kExitFailed : kMountFailed;
  }
  if (late) {
    auto why = whySilent(real.env, io.waitScope, a.mount);
    KJ_LOG(ERROR, "not mounted", why.c_str());
    report.send(why);
    return kMountFailed;
  }
  return kExitOk;
}

enum class Answer { YES, NO, NONE };

Answer answerOf(const std::string& mountpoint, int limitMs) {
  // By a process of its own, which can be killed if it waits for ever.
  pid_t pid = fork();
  if (pid == 0) {
    // If it hangs it must hold nothing: neither a lock nor the report's pipe.
    close_range(3, ~0u, 0);
    struct stat st {};
    _exit(stat(mountpoint.c_str(), &st) == 0 ? 0 : 1);
  }
  for (int waited = 0; pid > 0 && waited < limitMs; waited += 5) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Answer::YES : Answer::NO;
    }
    usleep(5000);
  }
  if (pid > 0) kill(pid, SIGKILL);
  return Answer::NONE;
}

void refuseLiveMount(const std::string& mountpoint) {
  // Whether it answers or its servers are away: only a dead one may be cleaned up, and only that says so at once.
  auto found = mountedAt(mountpoint);
  KJ_IF_MAYBE(m, found) {
    KJ_REQUIRE(!m->isDfs() || answerOf(mountpoint, kUsedMs) == Answer::NO,
               "DFS is mounted there already; `dfs umount` ends that", mountpoint.c_str());
  }
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
  if (text.empty() && answerOf(mountpoint, kAnswerMs) != Answer::YES)
    text = "mounted, but it does not answer";
  if (text.empty()) return kExitOk;
  std::cerr << "dfs-mount: " << text << "\n";
  return kMountFailed;
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
  a.mount.mountpoint = mountPath(a.mount.mountpoint);
  if (!a.log.file.empty()) a.log.file = std::filesystem::absolute(a.log.file).string();
  refuseLiveMount(a.mount.mountpoint);
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
  int code = kMountFailed;
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
  settings.list(
      a.options, "option", "OPTION[,...]",
      "ro, allow_other (default for root), soft, timeo=SECONDS, nameserver=ADDR; words of "
      "fstab (defaults, _netdev, nofail, user, x-...) are heeded by mount(8); others go "
      "to FUSE");
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
      "It returns 0 when the mount answers; otherwise it says why and leaves nothing behind.\n"
      "Exit codes: 0 mounted, 2 usage, 32 not mounted (as mount(8) has it).");
  auto ended = settings.parse(argc, argv);
  KJ_IF_MAYBE(code, ended) return *code;
  KJ_IF_MAYBE(why, wrongShape(stores, replicas)) {
    std::cerr << "dfs-mount: " << why->cStr() << "\n";
    return kExitUsage;
  }
  auto wrong = takeOptions(a);
  KJ_IF_MAYBE(why, wrong) {
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
  int code = kMountFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = runMount(a); })) {
    std::cerr << "dfs-mount: " << sentenceOf(*e) << "\n";
    return kMountFailed;
  }
  return code;
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareProcess();
  return dfs::run(argc, argv);
}
