#include "tools/dev/dev_cluster.h"

#include "common/config.h"
#include "common/mounts.h"
#include "common/serving.h"
#include "tools/dev/command_failure.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace dfs {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kServeMsMax = 60'000;
constexpr uint32_t kStopMs = 20'000;
constexpr uint32_t kStoresMax = 64;
// Below those that the kernel gives to connections (ip_local_port_range), which come and go.
constexpr uint16_t kPortFirst = 12'000;
constexpr uint16_t kPortLast = 32'000;
constexpr uint32_t kPortTries = 10'000;

bool isFree(const std::string& address) {
  auto colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  kj::AutoCloseFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // As the daemons do: connections that have ended do not count.
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_port = htons(static_cast<uint16_t>(atoi(address.c_str() + colon + 1)));
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr) == 0;
}

void emptyOut(const std::string& directory) {
  // Nobody has seen what an interrupted creation left. The directory itself stays: it may be a disk that a person has mounted.
  std::error_code none;  // where there is no directory there is nothing to remove
  for (auto& entry : fs::directory_iterator(directory, none)) {
    if (entry.path().filename() != "lost+found") fs::remove_all(entry.path());
  }
}

ProcessId processOf(const nlohmann::json& member) {
  return {member.value("pid", 0), member.value("born", uint64_t(0))};
}

void checkShape(const DevShape& shape) {
  if (shape.nameservers != 1) {
    failCommand(kExitUsage,
                "a cluster has one name server for now: groups of three and five come later; use "
                "--nameservers 1, not " +
                    std::to_string(shape.nameservers));
  }
  if (shape.stores < 1 || shape.stores > kStoresMax) {
    failCommand(kExitUsage, "--stores is from 1 to " + std::to_string(kStoresMax) + ", not " +
                                std::to_string(shape.stores));
  }
  if (shape.replicas < 1 || shape.replicas > shape.stores) {
    failCommand(kExitUsage, "--replicas is from 1 to the number of stores (" +
                                std::to_string(shape.stores) + "), not " +
                                std::to_string(shape.replicas));
  }
}

}  // namespace

bool isMountPoint(const std::string& path) {
  return mountedAt(path) != nullptr;
}

bool mountAnswers(const std::string& path, uint32_t timeoutMs) {
  pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) {
    // If it hangs, it must not keep the lock.
    close_range(3, ~0u, 0);
    struct stat st {};
    _exit(stat(path.c_str(), &st) == 0 ? 0 : 1);
  }
  for (uint32_t waited = 0; waited < timeoutMs; waited += 5) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    usleep(5000);
  }
  // Not waited for: until the mount answers it may not even die.
  kill(pid, SIGKILL);
  return false;
}

DevCluster::DevCluster(const std::string& root) {
  // As the kernel names it: mount points are compared with what it says.
  root_ = fs::weakly_canonical(fs::absolute(root)).string();
  while (root_.size() > 1 && root_.back() == '/') root_.pop_back();
  if (!fs::exists(root_)) return;
  int fd = open((root_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) failCommand(exitCodeOf(errno), root_ + ": " + strerror(errno));
  lock_ = kj::AutoCloseFd(fd);
  KJ_SYSCALL(flock(lock_, LOCK_EX));
  run_ = socketDirectory(root_);
  std::ifstream file(root_ + "/cluster.json");
  if (!file) return;
  cluster_ = Json::parse(file, nullptr, false);
  KJ_REQUIRE(cluster_.is_object() && cluster_.contains("nameservers") &&
                 cluster_.contains("stores") && cluster_.contains("mounts"),
             "cluster.json is damaged", root_.c_str());
  exists_ = true;
  creating_ = interrupted_ = cluster_.value("creating", false);
}

void DevCluster::save() {
  auto path = root_ + "/cluster.json";
  std::ofstream(path + ".new") << cluster_.dump(2) << "\n";
  fs::rename(path + ".new", path);
}

void DevCluster::make(const DevShape& shape) {
  std::error_code ec;
  fs::create_directories(root_, ec);
  if (ec) {
    failCommand(exitCodeOf(ec.value()),
                "the directory cannot be made: " + root_ + ": " + ec.message());
  }
  if (lock_.get() < 0) *this = DevCluster(root_);
  // Another command may have made it while this one waited for the lock.
  if (exists_) return;
  KJ_REQUIRE(!fs::exists(root_ + "/name1"),
             "there is a name server's data but no cluster.json; remove the directory",
             root_.c_str());
  cluster_ = {{"schema", 1},
              {"replicas", shape.replicas},
              {"creating", true},
              {"nameservers", Json::array()},
              {"stores", Json::array()},
              {"mounts", Json::array()}};
  auto daemon = [&](const std::string& id) {
    return Json{{"id", id},
                {"pid", 0},
                {"born", 0},
                {"address", freeAddress()},
                {"http", freeAddress()},
                {"data", root_ + "/" + id}};
  };
  cluster_["nameservers"].push_back(daemon("name1"));
  for (uint32_t i = 1; i <= shape.stores; ++i)
    cluster_["stores"].push_back(daemon("store" + std::to_string(i)));
  for (uint32_t i = 1; i <= shape.mounts; ++i) {
    auto id = "mount" + std::to_string(i);
    cluster_["mounts"].push_back({{"id", id}, {"pid", 0}, {"born", 0}, {"path", root_ + "/" + id}});
  }
  exists_ = creating_ = true;
}

void DevCluster::up(const DevShape& shape, bool shapeGiven) {
  checkShape(shape);
  if (!exists_) make(shape);
  if (shapeGiven) {
    KJ_REQUIRE(
        cluster_["stores"].size() == shape.stores && cluster_["mounts"].size() == shape.mounts &&
            cluster_["replicas"] == shape.replicas,
        "the cluster in this directory has another shape, fixed when it was made; leave the "
        "numbers out",
        cluster_["stores"].size(), cluster_["mounts"].size(), cluster_["replicas"].dump().c_str());
  }
  fs::create_directories(root_ + "/log");
  fs::create_directories(run_);
  chmod(run_.c_str(), 0700);
  save();
  for (auto list : {"nameservers", "stores"}) {
    for (auto& m : cluster_[list]) {
      if (!runs(m)) launchAny(m);
    }
  }
  awaitServing();
  cluster_.erase("creating");
  creating_ = false;
  save();
  for (auto& m : cluster_["mounts"]) {
    if (!runs(m)) launchAny(m);
  }
  for (auto& m : cluster_["mounts"]) awaitMount(m);
}

bool DevCluster::runs(const Json& member) const {
  return isAlive(processOf(member));
}

DevCluster::Json& DevCluster::member(const std::string& id) {
  std::string known;
  for (auto list : {"nameservers", "stores", "mounts"}) {
    for (auto& m : cluster_[list]) {
      if (m["id"] == id) return m;
      known += (known.empty() ? "" : ", ") + m["id"].get<std::string>();
    }
  }
  failCommand(kExitNotFound, "this cluster has no \"" + id + "\"; it has " + known);
}

std::string DevCluster::freeAddress() {
  std::random_device chance;
  std::uniform_int_distribution<uint32_t> ports(kPortFirst, kPortLast);
  for (uint32_t tries = 0; tries < kPortTries; ++tries) {
    auto address = "127.0.0.1:" + std::to_string(ports(chance));
    if (isFree(address) && given_.insert(address).second) return address;
  }
  failCommand(kExitFailed, "no free port on 127.0.0.1 from " + std::to_string(kPortFirst) + " to " +
                               std::to_string(kPortLast));
}

void DevCluster::launchAny(Json& member) {
  std::string id = member["id"];
  for (auto key : {"address", "http"}) {
    // Somebody else has taken the port meanwhile: nothing depends on it but who reads cluster.json.
    if (member.contains(key) && !isFree(member[key])) member[key] = freeAddress();
  }
  if (id.starts_with("name")) {
    launchNameServer(member);
  } else if (id.starts_with("store")) {
    launchStore(member);
  } else {
    launchMount(member);
  }
}

void DevCluster::launchNameServer(Json& m) {
  std::string id = m["id"];
  if (interrupted_) emptyOut(m["data"]);
  std::vector<std::string> argv = {programBeside("dfs-nameserver"),
                                   "--data",
                                   m["data"],
                                   "--id",
                                   id,
                                   "--listen",
                                   unixAddress(id),
                                   "--listen",
                                   m["address"],
                                   "--http",
                                   m["http"],
                                   "--nodes-expected",
                                   std::to_string(cluster_["stores"].size()),
                                   "--log-file",
                                   log(id)};
  if (creating_) {
    argv.insert(argv.end(), {"--create", "--replicas", cluster_["replicas"].dump(), "--root-uid",
                             std::to_string(getuid()), "--root-gid", std::to_string(getgid())});
  }
  auto process = launch({argv, root_ + "/log/" + id + ".out", true});
  m["pid"] = process.pid;
  m["born"] = process.born;
  save();
}

void DevCluster::launchStore(Json& m) {
  std::string id = m["id"];
  if (interrupted_) emptyOut(m["data"]);
  auto process = launch({{programBeside("dfs-storaged"), "--data", m["data"], "--name", id,
                          "--nameserver", unixAddress("name1"), "--listen", unixAddress(id),
                          "--listen", m["address"], "--http", m["http"], "--log-file", log(id)},
                         root_ + "/log/" + id + ".out",
                         true});
  m["pid"] = process.pid;
  m["born"] = process.born;
  save();
}

void DevCluster::launchMount(Json& m) {
  std::string id = m["id"];
  std::string path = m["path"];
  std::error_code ec;
  fs::create_directories(path,
                         ec);  // a dead mount cannot even be looked at: dfs-mount cleans it up
  auto process = launch({{programBeside("dfs-mount"), path, "-f", "--nameserver",
                          unixAddress("name1"), "--log-file", log(id)},
                         root_ + "/log/" + id + ".out",
                         true});
  m["pid"] = process.pid;
  m["born"] = process.born;
  save();
}

void DevCluster::awaitServing() {
  std::string http = cluster_["nameservers"][0]["http"];
  std::string why;
  for (uint32_t waited = 0; !(why = whyNotServing(http)).empty(); waited += 20) {
    for (auto list : {"nameservers", "stores"}) {
      for (auto& m : cluster_[list]) {
        std::string id = m["id"];
        KJ_REQUIRE(runs(m), "a daemon ended at its start", id.c_str(),
                   (lastLines(root_ + "/log/" + id + ".out", 5) + lastLines(log(id), 5)).c_str());
      }
    }
    KJ_REQUIRE(waited < kServeMsMax, "the cluster does not serve yet", why.c_str());
    usleep(20'000);
  }
}

void DevCluster::awaitMount(const Json& m) {
  std::string id = m["id"], path = m["path"];
  for (uint32_t waited = 0; !(isMountPoint(path) && mountAnswers(path, 5000)); waited += 20) {
    KJ_REQUIRE(runs(m), "a mount ended at its start", id.c_str(),
               (lastLines(root_ + "/log/" + id + ".out", 5) + lastLines(log(id), 5)).c_str());
    KJ_REQUIRE(waited < kServeMsMax, "a mount does not answer", path.c_str());
    usleep(20'000);
  }
}

void DevCluster::down() {
  // What is stopped must go on: mounts save to it before they end.
  for (auto list : {"nameservers", "stores"}) {
    for (auto& m : cluster_[list]) {
      if (runs(m)) ::kill(m["pid"].get<pid_t>(), SIGCONT);
    }
  }
  for (auto& m : cluster_["mounts"]) {
    std::string path = m["path"];
    // SIGTERM makes dfs-mount unmount, publish and end its session; what is stopped must go on to hear it.
    if (runs(m)) ::kill(m["pid"].get<pid_t>(), SIGCONT);
    stopProcess(processOf(m), kStopMs);
    if (isMountPoint(path)) detachMount(path, true);
    m["pid"] = 0;
  }
  for (auto list : {"stores", "nameservers"}) {
    for (auto& m : cluster_[list]) {
      if (runs(m)) ::kill(m["pid"].get<pid_t>(), SIGTERM);
    }
    for (auto& m : cluster_[list]) {
      std::string id = m["id"];
      KJ_REQUIRE(stopProcess(processOf(m), kStopMs), "a process does not end", id.c_str());
      m["pid"] = 0;
    }
  }
  save();
}

void DevCluster::signal(const std::string& id, int number, const char* what) {
  auto& m = member(id);
  KJ_REQUIRE(runs(m), "it does not run", id.c_str());
  if (::kill(m["pid"].get<pid_t>(), number) != 0) {
    failCommand(exitCodeOf(errno), std::string(what) + " to " + id + ": " + strerror(errno));
  }
}

void DevCluster::kill(const std::string& id) {
  signal(id, SIGKILL, "SIGKILL");
  while (runs(member(id))) usleep(1000);
  member(id)["pid"] = 0;
  save();
}
void DevCluster::stop(const std::string& id) {
  signal(id, SIGSTOP, "SIGSTOP");
}
void DevCluster::resume(const std::string& id) {
  signal(id, SIGCONT, "SIGCONT");
}

void DevCluster::start(const std::string& id) {
  auto& m = member(id);
  KJ_REQUIRE(!runs(m), "it runs already", id.c_str(), m["pid"].dump().c_str());
  launchAny(m);
  if (m.contains("path")) awaitMount(m);
}

std::string DevCluster::table() {
  std::ostringstream out;
  for (auto list : {"nameservers", "stores", "mounts"}) {
    for (auto& m : cluster_[list]) {
      std::string state = "down";
      if (runs(m)) {
        std::ifstream file("/proc/" + m["pid"].dump() + "/stat");
        std::string line;
        std::getline(file, line);
        auto close = line.rfind(')');
        bool stopped =
            close != std::string::npos && line.size() > close + 2 && line[close + 2] == 'T';
        state = (stopped ? "stopped" : "up") + std::string(", pid ") + m["pid"].dump();
      }
      std::string id = m["id"];
      std::string where =
          m.contains("path") ? m["path"].get<std::string>() : m["address"].get<std::string>();
      out << id << std::string(id.size() < 10 ? 10 - id.size() : 1, ' ') << where << "  " << state
          << "\n";
    }
  }
  return out.str();
}

}  // namespace dfs
