#pragma once
// One run of the simulator: a cluster, a workload and faults under a seed; then everything heals
// and must be healthy, whole and right.

#include <cstdint>
#include <string>
#include <vector>

namespace dfs {

struct RunResult {
  std::vector<std::string> failures;
  std::vector<std::string> lines;  // the journal
  std::string about;               // shape, workload, kinds of faults
  uint64_t trace = 0;              // of all deliveries, operations and answers
  uint64_t virtualMs = 0;
};

RunResult runSeed(uint64_t seed);

}  // namespace dfs
