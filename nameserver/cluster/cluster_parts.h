#pragma once
// The Cluster, put together.
//
// Thread: the loop's. Owner: Server, through newCluster(); tests, with a state of their own.

#include "nameserver/cluster/health.h"
#include "nameserver/cluster/placement.h"
#include "nameserver/cluster/reclaim.h"
#include "nameserver/cluster/registry.h"

namespace dfs {

class ClusterParts final : public Cluster {
 public:
  ClusterParts(Env& env, kj::Own<ClusterState> state, Replicator& replicator,
               ClusterOptions options);
  ~ClusterParts() noexcept(false);
  KJ_DISALLOW_COPY(ClusterParts);

  schema::Registry::Client registry() override { return registry_; }
  const View& view() override {
    membership_.viewMayHaveChanged();
    return membership_.view();
  }
  kj::Promise<void> viewAfter(uint64_t version) override { return membership_.viewAfter(version); }
  void viewMayHaveChanged() override { membership_.viewMayHaveChanged(); }
  kj::Promise<void> settled(uint64_t version) override { return membership_.settled(version); }
  std::string unsettledBecause(uint64_t version) override {
    return membership_.unsettledBecause(version);
  }
  bool ready() override { return membership_.ready(); }
  kj::Promise<void> whenReady() override { return membership_.whenReady(); }
  Outcome<Places> place(uint32_t blocks) override;
  Space space() override;
  std::vector<HealthSentence> health() override;
  std::vector<NodeStatus> nodes() override;
  void pauseReclaim(bool pause) override { reclaim_.pause(pause); }

 private:
  Env& env_;
  const ClusterOptions options_;
  kj::Own<ClusterState> state_;
  NodeBook book_;
  Proposer proposer_;
  SharedConfirm confirm_;
  Membership membership_;
  Reclaim reclaim_;
  kj::Own<Leash> leash_;
  schema::Registry::Client registry_;
};

}  // namespace dfs
