#include "tests/sim/faults.h"

namespace dfs {
namespace {

enum FaultKind : uint8_t {
  kKillNames,
  kCutNamesPower,
  kKillStore,
  kCutStorePower,
  kKillAll,
  kCutAllPower,
  kCutLink,
  kKillClient,
  kIsolateClient,
  kSlowDisk,
  kFullDisk,
  kLoseAnswers,
  kFaultKinds
};
constexpr const char* kNames[] = {"kill-names", "power-names", "kill-store", "power-store",
                                  "kill-all",   "power-all",   "cut-link",   "kill-client",
                                  "cut-client", "slow-disk",   "full-disk",  "lose-answers"};
constexpr uint64_t kSettledNs = 30'000'000'000;

}  // namespace

Faults::Faults(SimCluster& cluster, Workload& workload, Journal& journal)
    : cluster_(cluster),
      workload_(workload),
      journal_(journal),
      random_(cluster.world.random.next()) {
  for (int i = 0; i < kFaultKinds; ++i) on_.push_back(random_.chance(50));
  // A disk that fills was never so roomy that writes were answered early.
  on_[kFullDisk] = cluster_.shape().storeDiskBytes < kRoomyBytes;
}

std::string Faults::kinds() const {
  std::string all;
  for (size_t i = 0; i < on_.size(); ++i) {
    if (on_[i]) all += std::string(all.empty() ? "" : " ") + kNames[i];
  }
  return all;
}

void Faults::later(uint64_t ms, Step step) {
  due_.emplace(cluster_.world.time.nowNs() + ms * 1'000'000, kj::mv(step));
}

void Faults::passing(uint64_t ms) {
  auto end = cluster_.world.time.nowNs() + ms * 1'000'000;
  while (cluster_.world.time.nowNs() < end && !journal_.failed()) {
    cluster_.pass(20);
    while (!due_.empty() && due_.begin()->first <= cluster_.world.time.nowNs()) {
      auto step = kj::mv(due_.begin()->second);
      due_.erase(due_.begin());
      step();
    }
  }
}

bool Faults::quiet(kj::Promise<void> promise) {
  // Pending heals go on meanwhile: what the workload waits for may wait for them.
  bool is = false;
  auto running = promise
                     .then([&is]() { is = true; },
                           [&](kj::Exception&& e) {
                             journal_.note("not quiet: " + std::string(e.getDescription().cStr()));
                           })
                     .eagerlyEvaluate(nullptr);
  for (int i = 0; i < 6000 && !is && !journal_.failed(); ++i) passing(20);
  return is;
}

void Faults::rage(uint64_t ms) {
  auto end = cluster_.world.time.nowNs() + ms * 1'000'000;
  while (cluster_.world.time.nowNs() < end && !journal_.failed()) {
    passing(random_.chance(50) ? random_.between(20, 900) : random_.between(900, 8000));
    if (!journal_.failed()) one();
  }
}

void Faults::heal() {
  journal_.note("heal");
  while (!due_.empty()) {
    auto step = kj::mv(due_.begin()->second);
    due_.erase(due_.begin());
    step();
  }
  cluster_.world.network.healAll();
  cluster_.startAll();
}

void Faults::one() {
  std::vector<uint64_t> kinds;
  for (uint64_t kind = 0; kind < kFaultKinds; ++kind) {
    if (on_[kind]) kinds.push_back(kind);
  }
  if (kinds.empty() || random_.chance(40)) return;
  auto kind = kinds[random_.below(kinds.size())];
  switch (kind) {
    case kKillNames:
    case kCutNamesPower: {
      if (!cluster_.namesRun()) return;
      bool power = kind == kCutNamesPower;
      journal_.note(power ? "power cut of the name server" : "kill of the name server");
      power ? cluster_.powerCutNames() : cluster_.killNames();
      later(random_.between(0, 4000), [this]() { cluster_.startNames(); });
      return;
    }
    case kKillStore:
    case kCutStorePower:
      return killStore(kind == kCutStorePower);
    case kKillAll:
    case kCutAllPower:
      return killAll(kind == kCutAllPower);
    case kCutLink:
      return cutLink();
    case kKillClient:
    case kIsolateClient:
      return loseClient(kind == kKillClient);
    case kSlowDisk:
      return slowDisk();
    case kFullDisk:
      return fullDisk();
    case kLoseAnswers:
      return loseAnswers();
  }
}

bool Faults::lossPossible(uint32_t cutStore) {
  // Only where no other store has been there all the time may a power cut cost unsynced data.
  auto now = cluster_.world.time.nowNs();
  for (uint32_t i = 0; i < cluster_.stores(); ++i) {
    if (i == cutStore) continue;
    auto found = troubledNs_.find(i);
    if (!cluster_.storeRuns(i)) return true;
    if (found != troubledNs_.end() && now < found->second + kSettledNs) return true;
  }
  return cluster_.shape().replicas == 1;
}

void Faults::killStore(bool power) {
  auto i = static_cast<uint32_t>(random_.below(cluster_.stores()));
  if (!cluster_.storeRuns(i)) return;
  bool loss = power && lossPossible(i);
  if (loss && !quiet(workload_.beforeStoreLoss())) return;
  if (!cluster_.storeRuns(i)) return;
  journal_.note((power ? "power cut of " : "kill of ") + cluster_.storeName(i) +
                (loss ? ", which may cost data" : ""));
  noteStore(i);
  power ? cluster_.powerCutStore(i) : cluster_.killStore(i);
  if (loss) workload_.storeLoss();
  later(random_.chance(50) ? random_.between(0, 1500) : random_.between(1500, 9000), [this, i]() {
    noteStore(i);
    cluster_.startStore(i);
  });
}

void Faults::killAll(bool power) {
  if (power && !quiet(workload_.beforeStoreLoss())) return;
  journal_.note(power ? "power cut of all servers" : "kill of all servers");
  power ? cluster_.powerCutNames() : cluster_.killNames();
  later(random_.between(0, 3000), [this]() { cluster_.startNames(); });
  for (uint32_t i = 0; i < cluster_.stores(); ++i) {
    noteStore(i);
    power ? cluster_.powerCutStore(i) : cluster_.killStore(i);
    later(random_.between(0, 6000), [this, i]() {
      noteStore(i);
      cluster_.startStore(i);
    });
  }
  if (power) workload_.storeLoss();
}

void Faults::cutLink() {
  // Short where a client is at one end: what cuts a client off is a fault of its own.
  auto machines = cluster_.servers();
  size_t serverCount = machines.size();
  for (uint32_t i = 0; i < cluster_.clients(); ++i) machines.push_back(cluster_.clientName(i));
  auto a = random_.below(machines.size()), b = random_.below(machines.size());
  if (a == b || (a >= serverCount && b >= serverCount)) return;
  bool client = a >= serverCount || b >= serverCount;
  auto from = machines[a], to = machines[b];
  bool both = random_.chance(50);
  auto ms = client ? random_.between(50, 2500) : random_.between(50, 9000);
  journal_.note("cut " + from + (both ? " <-> " : " -> ") + to + " for " + std::to_string(ms));
  for (uint32_t i = 0; i < cluster_.stores(); ++i) {
    if (cluster_.storeName(i) == from || cluster_.storeName(i) == to) noteStore(i);
  }
  cluster_.world.network.cut(from, to);
  if (both) cluster_.world.network.cut(to, from);
  later(ms, [this, from, to, both]() {
    for (uint32_t i = 0; i < cluster_.stores(); ++i) {
      if (cluster_.storeName(i) == from || cluster_.storeName(i) == to) noteStore(i);
    }
    cluster_.world.network.heal(from, to);
    if (both) cluster_.world.network.heal(to, from);
  });
}

void Faults::loseAnswers() {
  // What a server does for clients, or a store for another one, is done, and nobody hears of it: who
  // asked gives the silent connection up and asks again, mostly a server that was killed meanwhile.
  // Shorter than a session's period: nobody's session ends of it.
  auto machines = cluster_.servers();
  bool names = random_.chance(50);
  auto store = static_cast<uint32_t>(random_.below(cluster_.stores()));
  auto other = static_cast<uint32_t>(random_.below(cluster_.stores()));
  bool chain = !names && other != store && random_.chance(30);
  auto from = names ? machines[0] : cluster_.storeName(store);
  std::vector<std::string> deaf;
  if (chain) deaf.push_back(cluster_.storeName(other));
  for (uint32_t i = 0; i < cluster_.clients() && !chain; ++i)
    deaf.push_back(cluster_.clientName(i));
  bool kill = random_.chance(70);
  auto ms = chain ? random_.between(8000, 12'000) : random_.between(6000, 9000);
  auto downMs = random_.between(0, 3000);
  journal_.note("answers of " + from + (chain ? " to " + deaf[0] : std::string()) +
                " are lost for " + std::to_string(ms) + (kill ? ", then it is killed" : ""));
  auto troubled = [this, names, chain, store, other]() {
    if (!names) noteStore(store);
    if (chain) noteStore(other);
  };
  troubled();
  for (auto& to : deaf) cluster_.world.network.cut(from, to);
  later(ms, [this, from, deaf, names, store, kill, troubled, downMs]() {
    troubled();
    if (kill) names ? cluster_.killNames() : cluster_.killStore(store);
    for (auto& to : deaf) cluster_.world.network.heal(from, to);
    if (!kill) return;
    later(downMs, [this, names, store, troubled]() {
      troubled();
      names ? cluster_.startNames() : cluster_.startStore(store);
    });
  });
}

void Faults::loseClient(bool killed) {
  auto i = static_cast<uint32_t>(random_.below(cluster_.clients()));
  if (away_.count(i) != 0 || !cluster_.client(i).attached) return;
  away_[i] = 1;
  if (!quiet(workload_.beforeClientLoss(i))) {
    away_.erase(i);
    return;
  }
  auto ms = killed ? random_.between(0, 5000) : random_.between(5000, 20'000);
  journal_.note((killed ? "kill of " : "cut from everybody: ") + cluster_.clientName(i) + " for " +
                std::to_string(ms));
  workload_.clientLossBegins(i);
  if (killed) {
    cluster_.killClient(i);
    later(ms, [this, i]() {
      cluster_.startClient(i);
      workload_.clientLossEnds(i);
      away_.erase(i);
    });
  } else {
    cluster_.isolate(cluster_.clientName(i));
    later(ms, [this, i]() { cluster_.unisolate(cluster_.clientName(i)); });
    later(ms + 16'000, [this, i]() {
      workload_.clientLossEnds(i);
      away_.erase(i);
    });
  }
}

void Faults::slowDisk() {
  auto i = static_cast<uint32_t>(random_.below(cluster_.stores()));
  auto& disk = cluster_.machineOf(cluster_.storeName(i)).disk;
  journal_.note("slow disk of " + cluster_.storeName(i));
  disk.setDelayUs(1000, 20'000, 20'000, 500'000);
  later(random_.between(500, 8000), [&disk]() { disk.setDelayUs(5, 60, 100, 3000); });
}

void Faults::fullDisk() {
  auto i = static_cast<uint32_t>(random_.below(cluster_.stores()));
  auto& disk = cluster_.machineOf(cluster_.storeName(i)).disk;
  if (!quiet(workload_.beforeFullDisk())) return;
  journal_.note("full disk of " + cluster_.storeName(i));
  cluster_.expectEnds(true);  // a daemon cannot start on it
  disk.setCapacity(disk.usedBytes() + random_.below(200'000));
  auto ms = random_.between(500, 6000);
  later(ms, [this, &disk]() { disk.setCapacity(cluster_.shape().storeDiskBytes); });
  later(ms + 2000, [this]() { workload_.fullDiskEnds(); });  // the name server has heard of it
}

}  // namespace dfs
