#include "tests/sim/workload.h"
namespace dfs {
kj::Own<Workload> newSharedWorkload(SimCluster& cluster, Journal& journal) {
  return newModelWorkload(cluster, journal);
}
}  // namespace dfs
