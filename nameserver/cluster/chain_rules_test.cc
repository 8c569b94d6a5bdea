#include "nameserver/cluster/chain_rules.h"

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <random>

namespace dfs {
namespace {

constexpr auto S = MemberState::SERVING;
constexpr auto Y = MemberState::SYNCING;
constexpr auto W = MemberState::WAITING;
constexpr auto O = MemberState::OFFLINE;
constexpr auto L = MemberState::LAST_SERVING;

ChainInfo chainOf(std::vector<ChainMember> members, uint64_t epoch = 5) {
  return {ChainId(1), epoch, 2, kj::mv(members)};
}
ChainMember member(uint64_t id, MemberState state, uint64_t servedFrom = 0) {
  return {NodeId(id), state, servedFrom};
}
ChainReports reports(std::vector<Presence> presences) {
  ChainReports all;
  for (size_t i = 0; i < presences.size(); ++i) all[NodeId(i + 1)] = {presences[i], false, false};
  return all;
}
const auto A = Presence::ALIVE;
const auto R = Presence::RESTARTED;
const auto U = Presence::UNKNOWN;
const auto G = Presence::GONE;

TEST(ChainRules, NothingChangesWhileAllAreAliveOrInDoubt) {
  auto chain = chainOf({member(1, S, 1), member(2, S, 1)});
  EXPECT_EQ(nextChain(chain, reports({A, U})), chain);
  EXPECT_EQ(nextChain(chain, reports({U, U})), chain);
}

TEST(ChainRules, ASilentMemberGoesOfflineAndReturnsOnlyThroughSyncing) {
  auto chain = chainOf({member(1, S, 1), member(2, S, 1)});
  chain = nextChain(chain, reports({G, A}));
  EXPECT_EQ(chain, chainOf({member(2, S, 1), member(1, O)}, 6));
  auto back = reports({A, A});
  back[NodeId(1)].asksToServe = true;  // too early: it is not syncing
  chain = nextChain(chain, back);
  EXPECT_EQ(chain, chainOf({member(2, S, 1), member(1, Y)}, 7));
  chain = nextChain(chain, back);
  EXPECT_EQ(chain, chainOf({member(2, S, 1), member(1, S, 1)}, 8));
}

TEST(ChainRules, TheLastServingMemberIsWaitedForAndNothingOlderIsPromoted) {
  auto chain = chainOf({member(2, S, 1), member(1, Y)});
  chain = nextChain(chain, reports({A, G}));
  EXPECT_EQ(chain, chainOf({member(2, L, 1), member(1, W)}, 6));
  EXPECT_EQ(nextChain(chain, reports({A, G})), chain);
  chain = nextChain(chain, reports({A, A}));
  EXPECT_EQ(chain, chainOf({member(2, S, 1), member(1, Y)}, 7));
}

TEST(ChainRules, ARestartMovesTheEpochAndTheOtherServesOn) {
  auto chain = chainOf({member(1, S, 1), member(2, S, 1)});
  EXPECT_EQ(nextChain(chain, reports({R, A})), chainOf({member(2, S, 1), member(1, Y)}, 6));
  auto waiting = chainOf({member(2, S, 1), member(3, Y), member(1, W)});
  EXPECT_EQ(nextChain(waiting, reports({R, A, A})).epoch, 6u);
}

TEST(ChainRules, ALoneMemberThatRestartsServesAtOnceAndIsUnbrokenOnlyWithItsMemory) {
  auto chain = chainOf({member(1, S, 2)});
  auto report = reports({R});
  EXPECT_EQ(nextChain(chain, report), chainOf({member(1, S, 2)}, 6));
  report[NodeId(1)].sinceChanged = true;
  EXPECT_EQ(nextChain(chain, report), chainOf({member(1, S, 6)}, 6));
}

TEST(ChainRules, WhenAllRestartedTheOneThatKeptItsMemoryIsChosenHoweverTheyComeBack) {
  auto chain = chainOf({member(1, S, 1), member(2, S, 1)});
  auto report = reports({R, U});
  report[NodeId(1)].sinceChanged = true;
  chain = nextChain(chain, report);
  EXPECT_EQ(chain, chainOf({member(1, L, 0), member(2, L, 1)}, 6));  // nobody serves in doubt
  EXPECT_EQ(nextChain(chain, reports({A, U})), chain);
  // The other kept its memory: it is the one, though its number is higher.
  EXPECT_EQ(nextChain(chain, reports({A, R})), chainOf({member(2, S, 1), member(1, Y)}, 7));
  // The other never comes: what was published had been synced on this one too.
  EXPECT_EQ(nextChain(chain, reports({A, G})), chainOf({member(1, S, 7), member(2, O)}, 7));
}

TEST(ChainRules, OfSeveralWholeMembersTheUnbrokenAndThenTheLowestNumberServes) {
  auto chain = chainOf({member(1, L, 1), member(2, L, 0)});
  EXPECT_EQ(nextChain(chain, reports({A, A})), chainOf({member(1, S, 1), member(2, Y)}, 6));
  chain = chainOf({member(2, L, 1), member(1, L, 1), member(3, L, 1)});
  EXPECT_EQ(nextChain(chain, reports({A, A, G})),
            chainOf({member(1, S, 1), member(2, Y), member(3, O)}, 6));
}

TEST(ChainRules, WhatIsSyncedInAnEpochThatJustEndedIsNotTaken) {
  auto chain = chainOf({member(1, S, 1), member(2, S, 1), member(3, Y)});
  auto report = reports({G, A, A});
  report[NodeId(3)].asksToServe = true;
  EXPECT_EQ(nextChain(chain, report), chainOf({member(2, S, 1), member(3, Y), member(1, O)}, 6));
}

struct Machine {
  // A world beside the rules: who truly holds every acknowledged write. `writes` of a member counts
  // what it has; an acknowledged write is one more on each serving member, and needs all of them
  // running and none of them restarted since the chain last moved.
  explicit Machine(uint64_t seed) : random(seed) {
    size_t count = 1 + random() % 4;
    chain = {ChainId(1), 1, static_cast<uint8_t>(count), {}};
    for (size_t i = 1; i <= count; ++i) {
      chain.members.push_back({NodeId(i), MemberState::SERVING, 1});
      nodes[NodeId(i)] = {};
    }
  }

  struct Node {
    bool up = true;
    Presence presence = Presence::ALIVE;
    bool restarted = false;  // and not yet registered
    bool memoryLost = false;
    uint64_t writes = 0;
  };

  void write() {
    bool possible = chain.servingCount() != 0;
    for (auto& m : chain.members) {
      auto& n = nodes[m.node];
      if (m.state == S) possible = possible && n.up && !n.restarted;
    }
    if (!possible) return;
    acknowledged += 1;
    for (auto& m : chain.members) {
      if (m.state == S) nodes[m.node].writes = acknowledged;
    }
  }

  void event() {
    auto pick = nodes.begin();
    std::advance(pick, random() % nodes.size());
    auto& n = pick->second;
    switch (random() % 6) {
      case 0:
        n.up = false;
        if (n.presence == Presence::ALIVE) n.presence = Presence::UNKNOWN;
        break;
      case 1:
        if (!n.up) n.presence = Presence::GONE;
        break;
      case 2:
        if (n.up) break;
        n.up = n.restarted = true;
        n.memoryLost |= random() % 2 == 0;
        break;
      case 3:
        for (auto& [id, any] : nodes) any.presence = Presence::UNKNOWN;  // a new leader
        break;
      case 4:
        if (n.up && !n.restarted) n.presence = Presence::ALIVE;
        break;
      default:
        write();
        break;
    }
  }

  void step(bool syncs) {
    ChainReports all;
    for (auto& [id, n] : nodes) {
      bool registers = n.up && n.restarted && random() % 2 == 0;
      MemberReport report{n.presence, false, false};
      if (registers) {
        report = {Presence::RESTARTED, n.memoryLost, false};
        n.restarted = n.memoryLost = false;
        n.presence = Presence::ALIVE;
      } else if (n.up && syncs && chain.stateOf(id) != nullptr) {
        report.asksToServe = KJ_ASSERT_NONNULL(chain.stateOf(id)) == Y;
      }
      all[id] = report;
    }
    auto before = chain;
    chain = nextChain(before, all);
    check(before, all);
    for (auto& m : chain.members) {
      if (m.state == S && KJ_ASSERT_NONNULL(before.stateOf(m.node)) == Y) {
        nodes[m.node].writes = acknowledged;  // synced
      }
    }
  }

  void check(const ChainInfo& before, const ChainReports& all) {
    ASSERT_TRUE(chain == before || chain.epoch == before.epoch + 1);
    size_t syncing = 0;
    size_t last = 0;
    int rank = 0;
    for (auto& m : chain.members) {
      syncing += m.state == Y;
      last += m.state == L;
      int own = m.state == S ? 0 : m.state == Y ? 1 : 2;
      ASSERT_GE(own, rank);
      rank = own;
      auto was = KJ_ASSERT_NONNULL(before.stateOf(m.node));
      if (m.state == S) {
        ASSERT_TRUE(was == S || was == L || was == Y);
        ASSERT_NE(m.servedFrom, 0u);
        ASSERT_LE(m.servedFrom, chain.epoch);
        if (was != Y) {
          ASSERT_EQ(nodes[m.node].writes, acknowledged) << "an older one serves";
        }
        if (all.at(m.node).sinceChanged) ASSERT_EQ(m.servedFrom, chain.epoch);
      }
    }
    ASSERT_LE(syncing, 1u);
    ASSERT_TRUE((chain.servingCount() != 0) != (last != 0));
    bool doubt = false;
    bool here = false;
    for (auto& m : chain.members) {
      if (m.state != L) continue;
      doubt |= all.at(m.node).presence == Presence::UNKNOWN;
      here |= all.at(m.node).presence == Presence::ALIVE;
    }
    ASSERT_FALSE(here && !doubt) << "a whole member is there and the chain waits";
  }

  std::mt19937_64 random;
  ChainInfo chain;
  std::map<NodeId, Node> nodes;
  uint64_t acknowledged = 0;
};

TEST(ChainRules, AnyHistoryKeepsWhatWasAcknowledgedAndEndsWithAllServing) {
  // Method: random deaths, restarts, silences and new leaders against a model that knows which
  // member has every acknowledged write; then all are started and sync.
  for (uint64_t seed = 1; seed <= 3000 && !testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Machine machine(seed);
    for (int i = 0; i < 120 && !testing::Test::HasFatalFailure(); ++i) {
      machine.event();
      if (machine.random() % 2 == 0) machine.step(machine.random() % 2 == 0);
    }
    for (int i = 0; i < 60; ++i) {
      for (auto& [id, n] : machine.nodes) {
        if (!n.up) n.up = n.restarted = true;
        if (!n.restarted) n.presence = Presence::ALIVE;
      }
      machine.step(true);
    }
    ASSERT_EQ(machine.chain.servingCount(), machine.nodes.size());
  }
}

}  // namespace
}  // namespace dfs
