#pragma once
// A simulated world: machines with disks, clocks and a network between them, in virtual time and
// under one seed. The same seed gives the same history to the last byte.
//
//   SimWorld world(seed);
//   auto process = world.machine("store1").process("/data");   // what a daemon gets as its Env
//   auto server = kj::heap<StorageServer>(process->env, options);
//   server = nullptr; process = nullptr;                        // kill -9: the page cache stays
//   world.machine("store1").disk.powerCut();                    // and this takes what was not
//   synced
//
// Thread: the only one. Owner: the test. Everything that lives in the world goes before it.

#include "common/env.h"
#include "tests/sim/world/sim_disk.h"
#include "tests/sim/world/sim_network.h"
#include "tests/sim/world/sim_random.h"
#include "tests/sim/world/virtual_time.h"

#include <map>
#include <memory>
#include <string>

namespace dfs {

class SimClock final : public Clock {
  // A machine's: offset and rate of its own. Rate in parts per million off.
 public:
  explicit SimClock(VirtualTime& time) : time_(time) {}

  kj::Timer& timer() override { return time_.timer; }
  uint64_t bootMs() override {
    int64_t us = static_cast<int64_t>(time_.nowNs() / 1000);
    return offsetMs + static_cast<uint64_t>(us + us * ratePpm / 1'000'000) / 1000;
  }
  Time wallTime() override {
    uint64_t ns = time_.nowNs();
    int64_t sec = 1'700'000'000 + wallOffsetSec + static_cast<int64_t>(ns / 1'000'000'000);
    return {sec, static_cast<uint32_t>(ns % 1'000'000'000)};
  }

  uint64_t offsetMs = 1'000'000;
  int64_t ratePpm = 0;
  int64_t wallOffsetSec = 0;

 private:
  VirtualTime& time_;
};

class SimProcess {
  // The host as one process sees it. To be dropped after everything that was made with it.
 public:
  SimProcess(SimClock& processClock, uint64_t seed, kj::Own<Network> network, kj::Own<Disk> disk)
      : random_(seed),
        network_(kj::mv(network)),
        disk_(kj::mv(disk)),
        env{processClock, random_, *network_, *disk_} {}

 private:
  SimRandom random_;
  kj::Own<Network> network_;
  kj::Own<Disk> disk_;

 public:
  Env env;
};

class SimMachine {
 public:
  SimMachine(std::string machineName, VirtualTime& time, SimRandom& random, SimNetwork& network)
      : name(kj::mv(machineName)),
        disk(time, random),
        clock(time),
        random_(random),
        network_(network) {}
  KJ_DISALLOW_COPY(SimMachine);

  kj::Own<SimProcess> process(std::string directory) {
    return kj::heap<SimProcess>(clock, random_.next(), network_.on(name),
                                disk.open(kj::mv(directory)));
  }

  const std::string name;
  SimDisk disk;
  SimClock clock;

 private:
  SimRandom& random_;
  SimNetwork& network_;
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed) : random(seed) {}
  KJ_DISALLOW_COPY(SimWorld);

  SimMachine& machine(const std::string& name) {
    auto& m = machines_[name];
    if (!m) m = std::make_unique<SimMachine>(name, time, random, network);
    return *m;
  }

  template <typename T> T wait(kj::Promise<T> promise) { return promise.wait(scope); }
  void pass(uint64_t ms) { time.timer.afterDelay(ms * kj::MILLISECONDS).wait(scope); }

  VirtualTime time;
  kj::EventLoop loop{time};
  kj::WaitScope scope{loop};
  SimRandom random;
  SimNetwork network{time, random};

 private:
  std::map<std::string, std::unique_ptr<SimMachine>> machines_;
};

}  // namespace dfs
