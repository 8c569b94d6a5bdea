#include "fuse-client/embedded.h"

#include "common/launch.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace dfs {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kStartMsMax = 60'000;
constexpr uint32_t kLookEveryMs = 20;

kj::AutoCloseFd openLock(const std::string& path) {
  int fd;
  KJ_SYSCALL(fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), path);
  return kj::AutoCloseFd(fd);
}

void writeWhole(const std::string& path, const std::string& text) {
  // Through another name and synced, so that after a crash it is whole or not there.
  auto temporary = path + ".new";
  {
    int fd;
    KJ_SYSCALL(fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
               temporary);
    kj::AutoCloseFd own(fd);
    kj::FdOutputStream(fd).write(text.data(), text.size());
    KJ_SYSCALL(fsync(fd));
  }
  KJ_SYSCALL(rename(temporary.c_str(), path.c_str()));
}

void layOut(const EmbeddedOptions& options) {
  // Makes the directory, or refuses: a disk that failed to mount looks like an empty directory, to which every block of the real
  // one would be garbage (N1).
  auto& data = options.data;
  if (fs::exists(data + "/embedded.json")) return;
  KJ_REQUIRE(!fs::exists(data) || fs::exists(data + "/creating"),
             "the data directory exists but holds no cluster. If a disk belongs there, mount it "
             "first; to make a new cluster "
             "there, remove the directory, or name another with --data",
             data.c_str());
  if (fs::exists(data + "/creating")) return;
  // Under another name first, so that it never exists without the mark. Of two that do this at once one renames.
  auto fresh = data + ".new";
  std::error_code ec;
  fs::create_directories(fs::path(data).parent_path(), ec);
  KJ_REQUIRE(mkdir(fresh.c_str(), 0700) == 0 || errno == EEXIST,
             "the data directory cannot be made", fresh.c_str(), strerror(errno));
  auto marked = kj::runCatchingExceptions([&]() { writeWhole(fresh + "/creating", ""); });
  int reason = rename(fresh.c_str(), data.c_str()) == 0 ? 0 : errno;
  KJ_REQUIRE(reason == 0 || fs::exists(data + "/creating") || fs::exists(data + "/embedded.json"),
             "the data directory cannot be made", data.c_str(), strerror(reason));
  KJ_REQUIRE(marked == nullptr || reason != 0, "the data directory cannot be written to",
             data.c_str());
}

nlohmann::json readShape(const EmbeddedOptions& options) {
  std::ifstream file(options.data + "/embedded.json");
  if (!file) {
    return {{"schema", 1},
            {"stores", options.stores},
            {"replicas", options.replicas},
            {"rootUid", options.rootUid},
            {"rootGid", options.rootGid}};
  }
  auto shape = nlohmann::json::parse(file, nullptr, false);
  KJ_REQUIRE(!shape.is_discarded() && shape.contains("stores") && shape.contains("replicas"),
             "embedded.json in the data directory is damaged; it should read "
             "{\"schema\":1,\"stores\":3,\"replicas\":2}",
             options.data.c_str());
  KJ_REQUIRE(
      !options.storesGiven || shape["stores"] == options.stores,
      "this cluster has another number of stores, fixed when it was made; leave --stores out",
      shape["stores"].dump().c_str());
  KJ_REQUIRE(
      !options.replicasGiven || shape["replicas"] == options.replicas,
      "this cluster keeps another number of copies, fixed when it was made; leave --replicas out",
      shape["replicas"].dump().c_str());
  return shape;
}

pid_t startKeeper(const std::string& data, kj::AutoCloseFd lock) {
  // The lock passes to the keeper: a flock belongs to the open file, and exec keeps what is not close-on-exec.
  int flags;
  KJ_SYSCALL(flags = fcntl(lock, F_GETFD));
  pid_t pid;
  auto self = programBeside("dfs-mount");
  auto fdText = std::to_string(lock.get());
  KJ_SYSCALL(pid = fork());
  if (pid == 0) {
    setsid();
    int null = open("/dev/null", O_RDWR);
    auto log = data + "/log/keeper.log";
    int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    fcntl(lock, F_SETFD, flags & ~FD_CLOEXEC);
    execl(self.c_str(), "dfs-mount", "--keep-embedded", data.c_str(), "--lock-fd", fdText.c_str(),
          nullptr);
    _exit(127);
  }
  return pid;
}

std::string textOf(const std::string& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

std::string describe(const std::string& data, const nlohmann::json& shape) {
  auto count = [&](const char* key, const char* one, const char* many) {
    return shape[key].dump() + " " + (shape[key] == 1 ? one : many);
  };
  return "embedded cluster: " + count("stores", "store", "stores") + ", " +
         count("replicas", "copy", "copies") + " of everything, data in " + data;
}

}  // namespace

EmbeddedCluster joinEmbedded(const EmbeddedOptions& options) {
  auto data = fs::absolute(options.data).lexically_normal().string();
  auto chosen = options;
  chosen.data = data;
  layOut(chosen);
  readShape(chosen);  // refuses another shape
  fs::create_directories(data + "/log");
  auto run = socketDirectory(data);
  fs::create_directories(run);
  KJ_SYSCALL(chmod(run.c_str(), 0700));

  EmbeddedCluster cluster;
  cluster.user = openLock(data + "/users.lock");
  KJ_SYSCALL(flock(cluster.user, LOCK_SH));  // waits while a keeper is stopping
  cluster.nameserver = "unix:" + run + "/name1.sock";
  auto failure = run + "/failed";
  auto ready = run + "/ready";
  pid_t keeper = 0;
  for (uint32_t waited = 0; waited < kStartMsMax; waited += kLookEveryMs) {
    {
      // One at a time looks and starts, so that what is read below is the word of a keeper that runs.
      auto turn = openLock(data + "/start.lock");
      KJ_SYSCALL(flock(turn, LOCK_EX));
      // Asked again each time: a keeper that was ending may still have held the lock.
      auto lock = openLock(data + "/keeper.lock");
      if (keeper == 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        fs::remove(failure);
        fs::remove(ready);
        writeWhole(run + "/shape.json", readShape(chosen).dump());
        keeper = startKeeper(data, kj::mv(lock));
      }
    }
    bool ended = keeper > 0 && waitpid(keeper, nullptr, WNOHANG) == keeper;
    if (fs::exists(failure)) {
      KJ_FAIL_REQUIRE("the embedded cluster does not start", textOf(failure).c_str());
    }
    if (fs::exists(ready)) {
      cluster.sentence = describe(data, readShape(chosen));
      return cluster;
    }
    KJ_REQUIRE(!ended, "the keeper of the embedded cluster has ended; its log may say why",
               (data + "/log/keeper.log").c_str());
    usleep(kLookEveryMs * 1000);
  }
  KJ_FAIL_REQUIRE("the embedded cluster did not come up within a minute; its logs say why",
                  (data + "/log").c_str());
}

}  // namespace dfs
