#pragma once
// A Kv in memory that keeps across a crash what a disk may keep: the state of some commit() that
// had been called, and no older one than the last that had resolved. Stricter than OverlayKv where
// callers go wrong: a cursor that is used after a write or commit is an assertion.
//
// Thread: the simulator's. Owner: the process that opened it; its MemoryKvState lives on the
// simulated disk.

#include "common/kv.h"
#include "tests/sim/world/sim_random.h"
#include "tests/sim/world/virtual_time.h"

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace dfs {

struct MemoryKvState {
  using Key = std::pair<uint8_t, std::string>;
  using Table = std::map<Key, std::string>;
  using Delta = std::map<Key, std::optional<std::string>>;

  Table durable;
  std::deque<Delta> underWay;  // commits that were called and have not resolved, oldest first
  bool open = false;

  void powerCut(SimRandom& random) { crash(random); }
  void crash(SimRandom& random) {
    // Also after a killed process: some of the commits under way have reached the disk, in order.
    size_t kept = random.below(underWay.size() + 1);
    for (size_t i = 0; i < kept; ++i) apply(underWay[i]);
    underWay.clear();
  }
  void apply(const Delta& delta) {
    for (auto& [key, value] : delta) {
      if (value) {
        durable[key] = *value;
      } else {
        durable.erase(key);
      }
    }
  }
};

kj::Own<Kv> newMemoryKv(std::shared_ptr<MemoryKvState> state, VirtualTime& time, SimRandom& random);
// Only one at a time for one state.

}  // namespace dfs
