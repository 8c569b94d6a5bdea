#pragma once
// What is not as it should be, in sentences. Pure.

#include "nameserver/cluster/chain_maker.h"
#include "nameserver/cluster/cluster.h"
#include "nameserver/cluster/node_book.h"

namespace dfs {

std::vector<HealthSentence> clusterHealth(const View& view, const NodeBook& book,
                                          const ChainPlan& plan, const ClusterOptions& options);
// STORE_DOWN, STORE_BROKEN, STORE_UNHEARD, STORE_SYNCING, STORE_FULL, CHAINS_WAITING, FEW_STORES.

}  // namespace dfs
