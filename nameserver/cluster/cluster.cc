#include "nameserver/cluster/cluster.h"

#include "nameserver/cluster/cluster_parts.h"

namespace dfs {

ClusterParts::ClusterParts(Env& env, kj::Own<ClusterState> state, Replicator& replicator,
                           ClusterOptions options)
    : env_(env),
      options_(options),
      state_(kj::mv(state)),
      book_(env.clock),
      proposer_(env, replicator),
      confirm_(replicator),
      membership_(env, *state_, proposer_, book_, options),
      reclaim_(env, *state_, proposer_, book_, membership_),
      leash_(kj::refcounted<Leash>(Leash::Ends{membership_, book_, confirm_})),
      registry_(newRegistry(kj::addRef(*leash_))) {}

ClusterParts::~ClusterParts() noexcept(false) {
  leash_->cut();
}

Outcome<Places> ClusterParts::place(uint32_t blocks) {
  return placeBlocks(view(), book_, membership_.plan(), env_.random, blocks);
}

Space ClusterParts::space() {
  return totalSpace(view(), book_, membership_.plan());
}

std::vector<HealthSentence> ClusterParts::health() {
  return clusterHealth(view(), book_, membership_.plan(), options_);
}

std::vector<NodeStatus> ClusterParts::nodes() {
  std::vector<NodeStatus> all;
  for (auto& [id, node] : view().nodes) {
    NodeStatus status{};
    status.id = id;
    status.beating = book_.usable(node);
    status.silentMs = book_.silentMs(id);
    auto heard = book_.find(id);
    if (heard != nullptr) {
      status.totalBytes = heard->space.total;
      status.freeBytes = heard->space.free;
      status.viewInstalled = heard->viewInstalled;
      status.viewSettled = heard->viewSettled;
      status.broken = heard->broken;
    }
    all.push_back(kj::mv(status));
  }
  return all;
}

kj::Own<Cluster> newCluster(Env& env, Queries& queries, Replicator& replicator,
                            ClusterOptions options) {
  return kj::heap<ClusterParts>(env, kj::heap<QueriesState>(queries), replicator, options);
}

}  // namespace dfs
