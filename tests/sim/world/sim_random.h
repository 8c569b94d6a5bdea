#pragma once
// The one source of chance of a simulated world: splitmix64 (Steele, Lea, Flood 2014) under the
// seed.

#include "common/env.h"

namespace dfs {

class SimRandom final : public Random {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}

  uint64_t next() override {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t between(uint64_t low, uint64_t high) { return low + next() % (high - low + 1); }
  bool chance(uint32_t percent) { return next() % 100 < percent; }

 private:
  uint64_t state_;
};

}  // namespace dfs
