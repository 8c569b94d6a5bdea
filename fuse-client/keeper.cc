// The keeper of an embedded cluster: see embedded.h. A process without a loop: it launches, waits and stops.

#include "common/launch.h"
#include "common/sentence.h"
#include "common/serving.h"
#include "fuse-client/embedded.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <vector>

namespace dfs {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kStartMsMax = 50'000;
constexpr uint32_t kStopMs = 15'000;
constexpr uint32_t kAgainMsLeast =
    100;  // before a daemon that died is started again; doubles up to
constexpr uint32_t kAgainMsMost = 10'000;

uint64_t nowMs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1'000'000;
}

class Keeper {
 public:
  explicit Keeper(const std::string& data) : data_(data), run_(socketDirectory(data)) {
    std::ifstream file(run_ + "/shape.json");
    shape_ = nlohmann::json::parse(file);
    creating_ = fs::exists(data_ + "/creating");
  }

  void start() {
    stopLeftOver();
    uint32_t stores = shape_["stores"];
    if (creating_) {
      // What an interrupted creation left has never been seen by anybody.
      fs::remove_all(data_ + "/name1");
      for (uint32_t i = 1; i <= stores; ++i) fs::remove_all(data_ + "/store" + std::to_string(i));
    }
    daemons_.push_back(nameServer());
    for (uint32_t i = 1; i <= stores; ++i) daemons_.push_back(store("store" + std::to_string(i)));
    for (auto& d : daemons_) startOne(d);
    awaitReady();
    if (creating_) {
      std::ofstream(data_ + "/embedded.json.new") << shape_.dump() << "\n";
      fs::rename(data_ + "/embedded.json.new", data_ + "/embedded.json");
      fs::remove(data_ + "/creating");
      sync();
      // From now on the name server is started, not made.
      daemons_[0] = [&]() {
        creating_ = false;
        auto running = nameServer();
        running.process = daemons_[0].process;
        return running;
      }();
    }
    std::ofstream(run_ + "/ready") << getpid() << "\n";
  }

  void tend() {
    // Starts again what has died.
    for (int status; waitpid(-1, &status, WNOHANG) > 0;) {
    }
    for (auto& d : daemons_) {
      if (isAlive(d.process)) {
        if (nowMs() > d.startedMs + kAgainMsMost) d.againMs = kAgainMsLeast;
        continue;
      }
      if (nowMs() < d.startedMs + d.againMs) continue;
      KJ_LOG(WARNING, "a daemon has ended and is started again", d.name.c_str());
      d.againMs = kj::min(d.againMs * 2, kAgainMsMost);
      startOne(d);
    }
  }

  void stop() {
    fs::remove(run_ + "/ready");
    // Stores first: each may still have something to tell the name server. All at once, then one after the other to be sure.
    for (size_t i = daemons_.size(); i-- > 1;) {
      if (isAlive(daemons_[i].process)) kill(daemons_[i].process.pid, SIGTERM);
    }
    for (size_t i = daemons_.size(); i-- > 0;) {
      if (!stopProcess(daemons_[i].process, kStopMs)) {
        KJ_LOG(ERROR, "a daemon does not end", daemons_[i].name.c_str(), daemons_[i].process.pid);
      }
    }
  }

  void fail(const std::string& why) {
    auto temporary = run_ + "/failed.new";
    std::ofstream(temporary) << why;
    fs::rename(temporary, run_ + "/failed");
  }

 private:
  struct Daemon {
    std::string name;
    std::vector<std::string> argv;
    ProcessId process;
    uint64_t startedMs = 0;
    uint32_t againMs = kAgainMsLeast;
  };

  std::string number(const char* key) { return shape_.contains(key) ? shape_[key].dump() : "0"; }
  std::string logOf(const std::string& name) { return data_ + "/log/" + name + ".log"; }

  Daemon nameServer() {
    Daemon d;
    d.name = "name1";
    d.argv = {programBeside("dfs-nameserver"),
              "--data",
              data_ + "/name1",
              "--id",
              "name1",
              "--listen",
              "unix:" + run_ + "/name1.sock",
              "--http",
              "unix:" + run_ + "/name1.http",
              "--nodes-expected",
              number("stores"),
              "--log-file",
              logOf("name1")};
    if (creating_) {
      for (auto& a : {std::string("--create"), std::string("--replicas"), number("replicas"),
                      std::string("--root-uid"), number("rootUid"), std::string("--root-gid"),
                      number("rootGid")}) {
        d.argv.push_back(a);
      }
    }
    return d;
  }

  Daemon store(const std::string& name) {
    Daemon d;
    d.name = name;
    d.argv = {programBeside("dfs-storaged"),
              "--data",
              data_ + "/" + name,
              "--name",
              name,
              "--nameserver",
              "unix:" + run_ + "/name1.sock",
              "--listen",
              "unix:" + run_ + "/" + name + ".sock",
              "--http",
              "unix:" + run_ + "/" + name + ".http",
              "--log-file",
              logOf(name)};
    return d;
  }

  void startOne(Daemon& d) {
    d.process = launch({d.argv, data_ + "/log/" + d.name + ".out", true});
    d.startedMs = nowMs();
    notePids();
  }

  void notePids() {
    auto pids = nlohmann::json::array();
    for (auto& d : daemons_) pids.push_back({d.process.pid, d.process.born});
    std::ofstream(run_ + "/pids.json.new") << pids.dump();
    fs::rename(run_ + "/pids.json.new", run_ + "/pids.json");
  }

  void stopLeftOver() {
    // Of a keeper that was killed: its daemons run on and hold the data.
    std::ifstream file(run_ + "/pids.json");
    auto pids = nlohmann::json::parse(file, nullptr, false);
    if (!pids.is_array()) return;
    for (auto& entry : pids) {
      ProcessId process{entry[0].get<pid_t>(), entry[1].get<uint64_t>()};
      KJ_REQUIRE(stopProcess(process, kStopMs), "a daemon of an earlier start does not end",
                 process.pid);
    }
  }

  void awaitReady() {
    auto until = nowMs() + kStartMsMax;
    for (std::string why; !(why = whyNotServing("unix:" + run_ + "/name1.http")).empty();) {
      for (auto& d : daemons_) {
        KJ_REQUIRE(isAlive(d.process), "a daemon ended at its start", d.name.c_str(),
                   (lastLines(data_ + "/log/" + d.name + ".out", 5) + lastLines(logOf(d.name), 5))
                       .c_str());
      }
      KJ_REQUIRE(nowMs() < until, "the name server does not become ready", why.c_str());
      usleep(20'000);
    }
  }

  const std::string data_;
  const std::string run_;
  nlohmann::json shape_;
  bool creating_ = false;
  std::vector<Daemon> daemons_;  // the name server first
};

bool lockWithout(int fd) {
  return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

}  // namespace

int keepEmbedded(const std::string& data, int) {
  // The inherited lock is simply kept until the end.
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGTERM);
  sigaddset(&watched, SIGCHLD);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  Keeper keeper(data);
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { keeper.start(); })) {
    KJ_LOG(ERROR, "the embedded cluster does not start", *e);
    keeper.stop();
    keeper.fail(sentenceOf(*e));
    return 1;
  }
  int users;
  KJ_SYSCALL(users = open((data + "/users.lock").c_str(), O_RDWR | O_CLOEXEC));
  kj::AutoCloseFd own(users);
  for (bool end = false; !end;) {
    timespec second{0, 200'000'000};
    end = sigtimedwait(&watched, nullptr, &second) == SIGTERM || lockWithout(users);
    if (!end) keeper.tend();
  }
  keeper.stop();
  return 0;
}

}  // namespace dfs
