#include "nameserver/cluster/chain_maker.h"

#include "common/limits.h"

#include <kj/debug.h>
#include <algorithm>

namespace dfs {
namespace {

constexpr uint64_t kChainIdMax = (1u << 24) - 1;

uint64_t mixed(uint64_t x) {
  // The finalizer of splitmix64 (Steele, Lea, Flood 2014).
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

class Maker {
 public:
  Maker(const View& view, const std::vector<NodeId>& usable, const ChainPlan& plan, uint64_t seed)
      : view_(view), plan_(plan), seed_(seed), nodes_(usable) {
    std::set<std::string> hosts;
    for (auto node : nodes_) {
      used_[node] = 0;
      hosts.insert(hostOf(node));
    }
    spreadHosts_ = hosts.size() >= plan.members;
    for (auto& [id, chain] : view.chains) {
      lastId_ = std::max(lastId_, id.value);
      if (inPlan(chain, plan)) count(chain);
    }
  }

  bool needed() const {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [&](NodeId n) { return used_.at(n) < kChainsPerNode / 2; });
  }

  std::vector<ChainInfo> make() {
    std::vector<ChainInfo> chains;
    while (lastId_ < kChainIdMax) {
      auto first = *std::min_element(nodes_.begin(), nodes_.end(), [&](NodeId a, NodeId b) {
        return std::pair(used_.at(a), tie(a)) < std::pair(used_.at(b), tie(b));
      });
      if (used_.at(first) >= kChainsPerNode) break;
      chains.push_back(chainFrom(first));
    }
    return chains;
  }

 private:
  std::string hostOf(NodeId node) const {
    auto info = view_.node(node);
    return info == nullptr ? std::string() : info->host;
  }
  uint64_t tie(NodeId node) const { return mixed(seed_ ^ mixed(lastId_ << 32 ^ node.value)); }
  uint64_t pairs(NodeId a, NodeId b) const {
    auto found = pairs_.find(std::minmax(a, b));
    return found == pairs_.end() ? 0 : found->second;
  }

  void count(const ChainInfo& chain) {
    for (auto& m : chain.members) {
      if (used_.count(m.node) != 0) used_[m.node] += 1;
      for (auto& other : chain.members) {
        if (m.node < other.node) pairs_[{m.node, other.node}] += 1;
      }
    }
    if (!chain.members.empty()) heads_[chain.members[0].node] += 1;
  }

  kj::Maybe<NodeId> partner(const std::vector<NodeId>& chosen) const {
    kj::Maybe<NodeId> best;
    std::tuple<uint64_t, uint64_t, uint64_t> bestScore;
    for (auto node : nodes_) {
      uint64_t together = 0;
      bool fits = true;
      for (auto c : chosen) {
        fits = fits && c != node && (!spreadHosts_ || hostOf(c) != hostOf(node));
        together += pairs(c, node);
      }
      if (!fits) continue;
      auto score = std::tuple(together, used_.at(node), tie(node));
      if (best == nullptr || score < bestScore) {
        best = node;
        bestScore = score;
      }
    }
    return best;
  }

  ChainInfo chainFrom(NodeId first) {
    std::vector<NodeId> chosen{first};
    while (chosen.size() < plan_.members) {
      chosen.push_back(KJ_ASSERT_NONNULL(partner(chosen), "too few daemons for a chain"));
    }
    std::sort(chosen.begin(), chosen.end(), [&](NodeId a, NodeId b) {
      auto headsOf = [&](NodeId n) { return heads_.count(n) == 0 ? 0 : heads_.at(n); };
      return std::pair(headsOf(a), tie(a)) < std::pair(headsOf(b), tie(b));
    });
    ChainInfo chain{ChainId(++lastId_), 1, plan_.replicas, {}};
    for (auto node : chosen) chain.members.push_back({node, MemberState::SERVING, 1});
    count(chain);
    return chain;
  }

  const View& view_;
  const ChainPlan plan_;
  const uint64_t seed_;
  const std::vector<NodeId> nodes_;
  std::map<NodeId, uint64_t> used_;
  std::map<NodeId, uint64_t> heads_;
  std::map<std::pair<NodeId, NodeId>, uint64_t> pairs_;
  bool spreadHosts_;
  uint64_t lastId_ = 0;
};

}  // namespace

ChainPlan planFor(const View& view, uint8_t wantedReplicas) {
  uint32_t wanted = wantedReplicas != 0 ? wantedReplicas : view.nodes.size() >= 2 ? 2 : 1;
  wanted = std::min(wanted, kReplicasMax);
  auto members = std::min<size_t>(wanted, std::max<size_t>(1, view.nodes.size()));
  for (auto& [id, chain] : view.chains) {
    if (chain.replicas == wanted) members = std::max(members, chain.members.size());
  }
  return {static_cast<uint8_t>(wanted), static_cast<uint32_t>(members)};
}

bool inPlan(const ChainInfo& chain, const ChainPlan& plan) {
  return chain.replicas == plan.replicas && chain.members.size() >= plan.members;
}

std::vector<ChainInfo> missingChains(const View& view, const std::vector<NodeId>& usable,
                                     const ChainPlan& plan, uint64_t seed) {
  if (usable.empty() || usable.size() < plan.members) return {};
  Maker maker(view, usable, plan, seed);
  if (!maker.needed()) return {};
  return maker.make();
}

}  // namespace dfs
