// dfs-mount: mounts a DFS cluster. Returns 0 only when the mount answers. By the name mount.dfs it is what
// mount(8) calls.

#include "common/config.h"
#include "common/launch.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/process.h"
#include "common/sentence.h"
#include "fuse-client/arguments.h"
#include "fuse-client/mount_helper.h"
#include "fuse-client/mount_words.h"
#include "fuse-client/permission.h"
#include "fuse-client/serve.h"

#include <kj/debug.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>

namespace dfs {
namespace {

constexpr uint64_t kStoresMax = 64;  // of an embedded cluster
constexpr int kUsedMs = 5'000;       // within which what is mounted already must answer

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

void refuseLiveMount(const std::string& mountpoint) {
  // Whether it answers or its servers are away: only a dead one may be cleaned up, and only that says so at once.
  auto found = mountedAt(mountpoint);
  KJ_IF_MAYBE(m, found) {
    KJ_REQUIRE(!m->isDfs() || answerOf(mountpoint, kUsedMs) == Answer::NO,
               "DFS is mounted there already; `dfs umount` ends that", mountpoint.c_str());
  }
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

int runMount(Arguments& a, const std::string& program) {
  if (a.remount) {
    if (!a.checkOnly) remount(a);
    return kExitOk;
  }
  a.mount.mountpoint = mountPath(a.mount.mountpoint);
  if (!a.log.file.empty()) a.log.file = std::filesystem::absolute(a.log.file).string();
  refuseLiveMount(a.mount.mountpoint);
  cleanDeadMount(a.mount.mountpoint);
  refuseIfNotAllowed(a.mount);
  if (a.checkOnly) return kExitOk;
  if (geteuid() == 0) a.mount.allowOther = true;
  EmbeddedCluster cluster;
  if (a.mount.nameservers.empty()) {
    cluster = join(a.embedded);
    a.mount.nameservers = {cluster.nameserver};
    std::cout << cluster.sentence << std::endl;
  }
  if (a.foreground) {
    Log log(a.log);
    return serveMount(a.mount, Report(program));
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
    auto why = awaitReport(readEnd, pid, a.mount.mountpoint);
    if (!why.empty()) std::cerr << program << ": " << why << "\n";
    if (why.empty() && a.verbose) {
      std::cout << program << ": " << a.mount.source << " mounted on " << a.mount.mountpoint
                << "\n";
    }
    return why.empty() ? kExitOk : kMountFailed;
  }
  readEnd = nullptr;
  setsid();
  quiet(0);
  quiet(1);
  Report report(program, kj::mv(writeEnd));
  int code = kMountFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() {
                KJ_SYSCALL(chdir("/"));
                Log log(a.log);
                code = serveMount(a.mount, kj::mv(report));
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

std::string defaultData() {
  // Of an embedded cluster: an ordinary user's lies where such data of his does.
  if (geteuid() == 0) return EmbeddedOptions().data;
  const char* data = getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::string(data) + "/dfs";
  const char* home = getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.local/share/dfs";
  return "/tmp/dfs-data-" + std::to_string(geteuid());
}

struct Shape {
  uint64_t stores = EmbeddedOptions().stores;
  uint64_t replicas = EmbeddedOptions().replicas;
  uint64_t rootUid = getuid();
  uint64_t rootGid = getgid();
};

kj::Maybe<int> readSettings(Arguments& a, Shape& shape, int argc, char** argv) {
  Settings settings("dfs-mount", "Mounts a DFS cluster as a directory", "/etc/dfs/client.toml");
  settings.positional(a.mount.mountpoint, "MOUNTPOINT", "A directory", true);
  settings.list(a.mount.nameservers, "nameserver", "HOST:PORT",
                "A name server of the cluster. None: an embedded cluster on this machine");
  settings.text(a.mount.subdir, "subdir", "PATH",
                "Mount this directory of the cluster; nothing above it can be reached");
  settings.text(a.embedded.data, "data", "DIR", "Embedded cluster: where its data lies");
  settings.number(shape.stores, "stores", "N", "Embedded cluster: storage daemons of a new one");
  settings.number(shape.replicas, "replicas", "N",
                  "Embedded cluster: copies of everything of a new one");
  settings.number(shape.rootUid, "root-uid", "UID",
                  "Embedded cluster: who owns the root of a new one");
  settings.number(shape.rootGid, "root-gid", "GID", "Embedded cluster: its group");
  settings.list(a.options, "option", "OPTION[,...]",
                "ro, noatime, strictatime, nodev, nosuid, noexec, allow_other (default for root), "
                "soft, timeo=SECONDS, subdir=PATH, nameserver=ADDR, data=DIR, log_file=FILE ...; "
                "what stands in fstab for mount(8) and systemd is taken. mount.dfs(8) lists all");
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
      "                                                 (an ordinary user's: "
      "~/.local/share/dfs)\n"
      "  dfs-mount /mnt/dfs --nameserver host1:7400     an existing cluster\n"
      "  mount -t dfs host1:7400:/home /mnt/home        a directory of it; fstab takes the same\n"
      "  dfs umount /mnt/dfs                            unmount and wait until all is saved\n"
      "It returns 0 when the mount answers; otherwise it says why and leaves nothing behind.\n"
      "Exit codes: 0 mounted, 2 usage, 32 not mounted (as mount(8) has it).");
  return settings.parse(argc, argv);
}

kj::Maybe<kj::String> complete(Arguments& a, Shape shape) {
  // What follows from the settings. A sentence if they are wrong.
  auto wrong = wrongShape(shape.stores, shape.replicas);
  if (wrong == nullptr) wrong = takeWords(a);
  for (auto& address : a.mount.nameservers) {
    if (wrong == nullptr) wrong = wrongAddress(address.c_str());
  }
  if (wrong != nullptr) return kj::mv(wrong);
  EmbeddedOptions defaults;
  auto& e = a.embedded;
  // With one store there can be one copy.
  if (shape.replicas == defaults.replicas) shape.replicas = std::min(shape.replicas, shape.stores);
  e.stores = static_cast<uint32_t>(shape.stores);
  e.replicas = static_cast<uint32_t>(shape.replicas);
  e.storesGiven = shape.stores != defaults.stores;
  e.replicasGiven = shape.replicas != std::min<uint64_t>(defaults.replicas, shape.stores);
  e.rootUid = static_cast<uint32_t>(shape.rootUid);
  e.rootGid = static_cast<uint32_t>(shape.rootGid);
  return nullptr;
}

int run(Arguments& a, const std::string& program, int argc, char** argv) {
  int usage = program == "dfs-mount" ? kExitUsage : kMountUsage;
  a.log.who = "mount";
  a.embedded.data = defaultData();
  Shape shape;
  auto ended = readSettings(a, shape, argc, argv);
  KJ_IF_MAYBE(code, ended) return *code == kExitUsage ? usage : *code;
  auto wrong = complete(a, shape);
  KJ_IF_MAYBE(why, wrong) {
    std::cerr << program << ": " << why->cStr() << "\n";
    return usage;
  }
  int code = kMountFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = runMount(a, program); })) {
    std::cerr << program << ": " << sentenceOf(*e) << "\n";
    return kMountFailed;
  }
  return code;
}

int runHelper(const std::vector<std::string>& args) {
  auto call = readHelperCall(args);
  if (!call.wrong.empty()) {
    std::cerr << "mount.dfs: " << call.wrong << "\n";
    return kMountUsage;
  }
  Arguments a;
  a.mount.source = call.source;
  a.sloppy = call.sloppy;
  a.checkOnly = call.checkOnly;
  a.verbose = call.verbose;
  std::vector<std::string> all = {"mount.dfs"};
  all.insert(all.end(), call.args.begin(), call.args.end());
  std::vector<char*> argv;
  for (auto& word : all) argv.push_back(word.data());
  return run(a, "mount.dfs", static_cast<int>(argv.size()), argv.data());
}

int runProgram(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--keep-embedded") == 0) return keep(argc, argv);
  if (argc > 0 && isHelperName(argv[0])) return runHelper({argv + 1, argv + argc});
  Arguments a;
  return run(a, "dfs-mount", argc, argv);
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareProcess();
  return dfs::runProgram(argc, argv);
}
