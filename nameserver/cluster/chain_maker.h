#pragma once
// Which chains there should be (N5): a pure function of who is there.
//
// Invariant: deterministic; ties are broken by a hash of the seed.

#include "common/view.h"

namespace dfs {

struct ChainPlan {
  uint8_t replicas = 1;  // wanted copies, kept in each chain
  uint32_t members = 1;  // how many a new chain gets: fewer while there are fewer daemons
};

ChainPlan planFor(const View& view, uint8_t wantedReplicas);
// wantedReplicas 0 is auto: 2 once two daemons are registered.

bool inPlan(const ChainInfo& chain, const ChainPlan& plan);
// Whether new blocks go there: its wanted count is the plan's, and it has as many members as the
// largest chain with that count.

std::vector<ChainInfo> missingChains(const View& view, const std::vector<NodeId>& usable,
                                     const ChainPlan& plan, uint64_t seed);
// Made when one of the `usable` daemons is in fewer than half of kChainsPerNode chains of the plan:
// so many that each of them is in kChainsPerNode. Members on distinct hosts if there are enough
// hosts; pairs and heads spread evenly. Empty: nothing is missing, or too few daemons.

}  // namespace dfs
