#include "nameserver/cluster/chain_maker.h"

#include "common/limits.h"

#include <gtest/gtest.h>

namespace dfs {
namespace {

View viewOf(std::vector<std::string> hosts) {
  View view;
  for (size_t i = 0; i < hosts.size(); ++i) {
    NodeInfo node;
    node.id = NodeId(i + 1);
    node.host = hosts[i];
    view.nodes[node.id] = node;
  }
  return view;
}
std::vector<NodeId> all(const View& view) {
  std::vector<NodeId> ids;
  for (auto& [id, node] : view.nodes) ids.push_back(id);
  return ids;
}
std::map<NodeId, uint32_t> uses(const std::vector<ChainInfo>& chains) {
  std::map<NodeId, uint32_t> count;
  for (auto& c : chains) {
    for (auto& m : c.members) count[m.node] += 1;
  }
  return count;
}

TEST(ChainMaker, SpreadsChainsHeadsAndPairsEvenlyOverDistinctHosts) {
  auto view = viewOf({"a", "a", "b", "b", "c", "c"});
  auto plan = planFor(view, 2);
  auto chains = missingChains(view, all(view), plan, 7);
  EXPECT_EQ(chains, missingChains(view, all(view), plan, 7));
  std::map<NodeId, uint32_t> heads;
  std::map<std::pair<NodeId, NodeId>, uint32_t> pairs;
  for (auto& c : chains) {
    ASSERT_EQ(c.members.size(), 2u);
    auto x = c.members[0].node, y = c.members[1].node;
    ASSERT_NE(view.nodes[x].host, view.nodes[y].host);
    heads[x] += 1;
    pairs[std::minmax(x, y)] += 1;
  }
  for (auto& [node, count] : uses(chains)) {
    EXPECT_GE(count, kChainsPerNode);
    EXPECT_LE(count, kChainsPerNode + 4);
    EXPECT_NEAR(heads[node], count / 2.0, 6);
  }
  EXPECT_EQ(pairs.size(), 12u);
  for (auto& [pair, count] : pairs) EXPECT_NEAR(count, 25, 4);
}

TEST(ChainMaker, FewerDaemonsThanCopiesGetShortChainsAndFullOnesWhenMoreCome) {
  auto view = viewOf({"a"});
  auto chains = missingChains(view, all(view), planFor(view, 2), 7);
  ASSERT_EQ(chains.size(), kChainsPerNode);
  EXPECT_EQ(chains[0].members.size(), 1u);
  EXPECT_EQ(chains[0].replicas, 2);
  for (auto& c : chains) view.chains[c.id] = c;
  EXPECT_TRUE(missingChains(view, all(view), planFor(view, 2), 7).empty());

  view.nodes[NodeId(2)] = viewOf({"a", "b"}).nodes[NodeId(2)];
  auto plan = planFor(view, 2);
  auto full = missingChains(view, all(view), plan, 7);
  ASSERT_EQ(full.size(), kChainsPerNode);
  EXPECT_EQ(full[0].members.size(), 2u);
  EXPECT_EQ(full[0].id, ChainId(kChainsPerNode + 1));
  EXPECT_FALSE(inPlan(chains[0], plan));
  EXPECT_TRUE(inPlan(full[0], plan));
}

TEST(ChainMaker, ANewDaemonGetsItsShareAndTheOthersAreNotFilledAgain) {
  auto view = viewOf({"a", "b", "c"});
  for (auto& c : missingChains(view, all(view), planFor(view, 0), 7)) view.chains[c.id] = c;
  view.nodes[NodeId(4)] = viewOf({"a", "b", "c", "d"}).nodes[NodeId(4)];
  auto added = missingChains(view, all(view), planFor(view, 0), 7);
  EXPECT_EQ(added.size(), kChainsPerNode);
  for (auto& c : added) EXPECT_NE(c.stateOf(NodeId(4)), nullptr);
}

TEST(ChainMaker, AutoMeansOneCopyForOneDaemonAndTwoFromTwoOn) {
  EXPECT_EQ(planFor(viewOf({"a"}), 0).replicas, 1);
  EXPECT_EQ(planFor(viewOf({"a", "b"}), 0).replicas, 2);
  EXPECT_EQ(planFor(viewOf({"a", "b", "c"}), 0).replicas, 2);
  EXPECT_EQ(planFor(viewOf({"a", "b", "c"}), 3).members, 3u);
}

}  // namespace
}  // namespace dfs
