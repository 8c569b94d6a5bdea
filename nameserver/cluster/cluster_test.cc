// The whole of the cluster against daemons that speak its RPC, in virtual time, over a stand-in for
// the replicated state.

#include "nameserver/cluster/cluster_parts.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>

namespace dfs {
namespace {

struct FakeState final : public ClusterState, public Replicator {
  // Applies at once what the module proposes.
  View now;
  uint8_t replicas = 0;
  bool leads = true;
  uint32_t confirms = 0;
  bool confirmsHang = false;
  std::vector<SessionId> ended;
  std::set<BlockId> freed;
  std::set<BlockId> lost;  // what may be an orphan
  std::vector<uint64_t> orphansDeleted;
  std::vector<uint64_t> forgotten;
  uint64_t trimsLeft = 0;
  uint32_t putNodes = 0;
  uint32_t putChains = 0;

  FakeState() {
    now.version = 1;
    now.cluster = {1, 2};
  }
  kj::Maybe<ClusterInfo> cluster() override { return ClusterInfo{now.cluster, replicas, 4 << 20}; }
  uint64_t viewVersion() override { return now.version; }
  View view() override { return now; }
  std::vector<SessionId> endedSessions() override { return ended; }
  std::vector<InodeId> trims(InodeId, uint32_t) override {
    if (trimsLeft == 0) return {};
    return {InodeId(9)};
  }
  std::vector<Queries::ReclaimBlock> reclaims(BlockId above, uint32_t blocksMax) override {
    std::vector<Queries::ReclaimBlock> some;
    for (auto b = freed.upper_bound(above); b != freed.end() && some.size() < blocksMax; ++b) {
      some.push_back({*b, 0});
    }
    return some;
  }
  bool mayBeOrphan(BlockId block) override { return lost.count(block) != 0; }

  kj::Promise<OutcomeMessage> propose(CommandMessage message) override {
    auto out = kj::heap<capnp::MallocMessageBuilder>();
    apply(message->getRoot<schema::Command>().asReader().getDo(), out->initRoot<schema::Outcome>());
    OutcomeMessage result = kj::mv(out);
    return kj::mv(result);
  }
  void apply(schema::Command::Do::Reader c, schema::Outcome::Builder out) {
    if (c.isPutNode()) {
      auto node = fromWire(c.getPutNode());
      if (!node.id) node.id = NodeId(now.nodes.size() + 1);
      now.nodes[node.id] = node;
      now.version += 1;
      putNodes += 1;
    } else if (c.isPutChains()) {
      for (auto r : c.getPutChains().getChains()) {
        auto chain = fromWire(r);
        KJ_REQUIRE(chain.epoch > now.chains[chain.id].epoch);
        now.chains[chain.id] = chain;
      }
      now.version += 1;
      putChains += 1;
    } else if (c.isReclaimed()) {
      for (auto b : c.getReclaimed().getBlocks()) freed.erase(BlockId(b));
    } else if (c.isTrim()) {
      out.setCount(--trimsLeft);
    } else if (c.isForgetSession()) {
      forgotten.push_back(c.getForgetSession());
      ended.clear();
    } else if (c.isDeleteOrphans()) {
      for (auto b : c.getDeleteOrphans()) orphansDeleted.push_back(b);
    } else {
      KJ_FAIL_REQUIRE("a command that this module does not propose");
    }
  }
  kj::Promise<void> confirm() override {
    confirms += 1;
    if (confirmsHang) return kj::NEVER_DONE;
    return kj::evalLater([]() {});
  }
  bool leading() override { return leads; }
  uint64_t term() override { return 1; }
  kj::Promise<void> nextTerm() override { return kj::NEVER_DONE; }
  LogStatus status() override { return {}; }
  kj::Promise<void> failed() override { return kj::NEVER_DONE; }
  kj::Promise<void> stop() override { return kj::READY_NOW; }
};

struct BorrowedState final : public ClusterState {
  explicit BorrowedState(FakeState& state) : s(state) {}
  kj::Maybe<ClusterInfo> cluster() override { return s.cluster(); }
  uint64_t viewVersion() override { return s.viewVersion(); }
  View view() override { return s.view(); }
  std::vector<SessionId> endedSessions() override { return s.endedSessions(); }
  std::vector<InodeId> trims(InodeId a, uint32_t n) override { return s.trims(a, n); }
  std::vector<Queries::ReclaimBlock> reclaims(BlockId a, uint32_t n) override {
    return s.reclaims(a, n);
  }
  bool mayBeOrphan(BlockId b) override { return s.mayBeOrphan(b); }
  FakeState& s;
};

struct Control final : public schema::NodeControl::Server {
  explicit Control(std::set<uint64_t>& stored) : blocks(stored) {}
  kj::Promise<void> remove(RemoveContext context) override {
    auto asked = context.getParams().getBlocks();
    auto removed = context.getResults().initRemoved(asked.size());
    for (uint32_t i = 0; i < asked.size(); ++i) {
      blocks.erase(asked[i]);
      removed.set(i, asked[i]);
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> inventory(InventoryContext context) override {
    auto results = context.getResults();
    std::vector<uint64_t> above(blocks.upper_bound(context.getParams().getAbove()), blocks.end());
    auto list = results.initBlocks(static_cast<uint32_t>(above.size()));
    for (uint32_t i = 0; i < above.size(); ++i) list.set(i, above[i]);
    results.setAtEnd(true);
    return kj::READY_NOW;
  }
  std::set<uint64_t>& blocks;
};

struct Daemon {
  uint64_t uuid;
  uint64_t incarnation = 1;
  uint64_t since = 77;
  uint64_t clusterHigh = 0;
  std::string address;
  uint64_t free = 1000;
  std::string broken;
  bool running = true;
  bool settles = true;
  bool installs = true;
  std::set<uint64_t> blocks;
  uint32_t id = 0;
  kj::Maybe<schema::Registration::Client> registration;
  Errno lastBeat = Errno::OK;
};

struct TestCluster {
  SimWorld world{1};
  kj::Own<SimProcess> process = world.machine("ns").process("/data");
  FakeState state;
  kj::Own<ClusterParts> cluster;
  std::map<uint64_t, Daemon> daemons;

  explicit TestCluster(uint32_t expected = 1) { start(expected); }
  void start(uint32_t expected = 1) {
    cluster = nullptr;
    for (auto& [n, d] : daemons) d.registration = nullptr;
    cluster = kj::heap<ClusterParts>(process->env, kj::heap<BorrowedState>(state), state,
                                     ClusterOptions{expected});
  }

  Errno enroll(uint64_t n) {
    auto& d = daemons[n];
    if (d.uuid == 0) d.uuid = n;
    if (d.address.empty()) d.address = "host" + std::to_string(n) + ":1";
    auto request = cluster->registry().registerRequest();
    auto node = request.initNode();
    node.initUuid().setLow(d.uuid);
    node.setHost("host" + std::to_string(n));
    node.initAddresses(1).set(0, d.address.c_str());
    node.setIncarnation(d.incarnation);
    request.initCluster().setHigh(d.clusterHigh);
    request.setSince(d.since);
    fill(request.initSpace(), d);
    request.setControl(kj::heap<Control>(d.blocks));
    auto answer = request.send().wait(world.scope);
    if (answer.getErr() == Errno::OK) {
      d.id = answer.getId();
      d.registration = answer.getRegistration();
      d.running = true;
    }
    return answer.getErr();
  }
  void fill(schema::Space::Builder space, const Daemon& d) {
    space.setTotal(2000);
    space.setFree(d.free);
    space.setReserve(10);
  }
  void restart(uint64_t n, bool memoryLost = false) {
    auto& d = daemons[n];
    d.incarnation += 1;
    if (memoryLost) d.since += 1;
    ASSERT_EQ(enroll(n), Errno::OK);
  }

  void beatAll() {
    // Each asks to serve whatever it syncs, and settles every view at once.
    for (auto& [n, d] : daemons) {
      if (!d.running) continue;
      KJ_IF_MAYBE(registration, d.registration) {
        auto request = registration->beatRequest();
        request.setViewInstalled(d.installs ? state.now.version : 0);
        request.setViewSettled(d.settles ? state.now.version : 0);
        request.setBroken(d.broken.c_str());
        fill(request.initSpace(), d);
        std::vector<const ChainInfo*> syncing;
        for (auto& [id, chain] : state.now.chains) {
          KJ_IF_MAYBE(s, chain.stateOf(NodeId(d.id))) {
            if (*s == MemberState::SYNCING) syncing.push_back(&chain);
          }
        }
        auto asks = request.initSynced(static_cast<uint32_t>(syncing.size()));
        for (uint32_t i = 0; i < asks.size(); ++i) {
          asks[i].setChain(static_cast<uint32_t>(syncing[i]->id.value));
          asks[i].setEpoch(syncing[i]->epoch);
        }
        auto answer = request.send().wait(world.scope);
        d.lastBeat = answer.getErr();
        if (d.lastBeat == Errno::OK) EXPECT_EQ(answer.getLeaseMs(), kNodeLeaseMs);
      }
    }
  }
  void run(uint64_t ms) {
    for (uint64_t passed = 0; passed < ms; passed += kBeatMs) {
      beatAll();
      world.pass(kBeatMs);
    }
  }
  size_t count(uint64_t n, MemberState wanted) {
    size_t found = 0;
    for (auto& [id, chain] : state.now.chains) {
      KJ_IF_MAYBE(s, chain.stateOf(NodeId(daemons[n].id))) {
        found += *s == wanted;
      }
    }
    return found;
  }
  bool allServing() {
    for (auto& [id, chain] : state.now.chains) {
      if (chain.servingCount() != chain.members.size()) return false;
    }
    return !state.now.chains.empty();
  }
  bool says(std::string code) {
    for (auto& s : cluster->health()) {
      if (s.code == code) return true;
    }
    return false;
  }
};

TEST(Cluster, ServesOnlyWhenTheExpectedDaemonsAreIn) {
  TestCluster t(2);
  EXPECT_EQ(t.enroll(1), Errno::OK);
  t.run(1000);
  EXPECT_FALSE(t.cluster->ready());
  EXPECT_EQ(t.cluster->place(4).err(), Errno::AGAIN);
  EXPECT_TRUE(t.says("FEW_STORES"));
  EXPECT_EQ(t.enroll(2), Errno::OK);
  t.cluster->whenReady().wait(t.world.scope);
  EXPECT_EQ(t.state.now.chains.size(), kChainsPerNode);
  auto places = t.cluster->place(1000);
  uint32_t sum = 0;
  for (auto& [chain, blocks] : *places) sum += blocks;
  EXPECT_EQ(sum, 1000u);
  EXPECT_GT((*places).size(), 50u);
  EXPECT_TRUE(t.cluster->health().empty());
}

TEST(Cluster, RefusesStrangersAndASecondDaemonOnTheSameStore) {
  TestCluster t;
  t.daemons[1].clusterHigh = 99;
  EXPECT_EQ(t.enroll(1), Errno::WRONG_CLUSTER);
  t.daemons[1].clusterHigh = 0;
  t.daemons[1].incarnation = 5;
  EXPECT_EQ(t.enroll(1), Errno::OK);
  t.daemons[2].uuid = 1;
  t.daemons[2].incarnation = 4;
  EXPECT_EQ(t.enroll(2), Errno::REFUSED);
  t.daemons[2].incarnation = 5;
  EXPECT_EQ(t.enroll(2), Errno::REFUSED);
}

TEST(Cluster, ASilentDaemonLeavesItsChainsAndComesBackThroughSyncing) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  auto puts = t.state.putChains;
  t.daemons[1].running = false;
  t.run(kNodeSilentMs - 400);
  EXPECT_EQ(t.count(1, MemberState::SERVING), kChainsPerNode);
  t.run(800);
  EXPECT_EQ(t.count(1, MemberState::OFFLINE), kChainsPerNode);
  EXPECT_EQ(t.state.putChains, puts + 1);  // one command for all
  EXPECT_TRUE(t.says("STORE_DOWN"));
  t.daemons[1].running = true;
  t.beatAll();
  EXPECT_EQ(t.daemons[1].lastBeat, Errno::STALE);
  EXPECT_EQ(t.enroll(1), Errno::OK);
  t.run(2000);
  EXPECT_TRUE(t.allServing());
  EXPECT_TRUE(t.cluster->health().empty());
}

TEST(Cluster, AfterAStartNobodySaysThatAllIsWellBeforeEachStoreHasSpoken) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.start();
  EXPECT_TRUE(t.says("STORE_UNHEARD"));
  t.enroll(1);
  t.run(500);
  EXPECT_TRUE(t.says("STORE_UNHEARD"));
  t.enroll(2);
  t.run(2000);
  EXPECT_TRUE(t.cluster->health().empty());
}

TEST(Cluster, ABrokenStoreLeavesAtOnce) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.daemons[1].broken = "EIO";
  t.run(400);
  EXPECT_EQ(t.count(1, MemberState::OFFLINE), kChainsPerNode);
  EXPECT_TRUE(t.says("STORE_BROKEN"));
}

TEST(Cluster, ARestartMovesEveryEpochBeforeItIsAnswered) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  auto before = t.state.now;
  t.restart(1);
  for (auto& [id, chain] : before.chains) EXPECT_GT(t.state.now.chains[id].epoch, chain.epoch);
  t.run(1000);
  EXPECT_TRUE(t.allServing());
}

TEST(Cluster, ANewLeaderChangesNothingForDaemonsThatSimplyComeBack) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.start();
  auto version = t.state.now.version;
  t.enroll(1);
  t.run(3000);
  t.enroll(2);
  t.run(kNodesSettleMs + 1000);
  EXPECT_EQ(t.state.now.version, version);
  EXPECT_TRUE(t.allServing());
}

TEST(Cluster, AfterAStartRoomIsToldWhenAllHaveRegisteredOrAfterAWhile) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  EXPECT_TRUE(t.cluster->space().settled);
  t.daemons[2].running = false;
  t.start();
  t.restart(1);
  EXPECT_FALSE(t.cluster->space().settled);
  t.run(kSpaceSettleMs + 100);
  EXPECT_TRUE(t.cluster->space().settled);
  EXPECT_GT(t.cluster->space().bytes, 0u);
}

TEST(Cluster, AfterAStartSilenceCountsOnlyAfterTheSettleTime) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.daemons[2].running = false;
  t.start();
  t.restart(1);
  t.run(kNodesSettleMs - 1000);
  EXPECT_EQ(t.count(1, MemberState::LAST_SERVING), kChainsPerNode);  // 2 may hold more
  EXPECT_TRUE(t.says("CHAINS_WAITING"));
  t.run(2000);
  EXPECT_EQ(t.count(1, MemberState::SERVING), kChainsPerNode);
  EXPECT_EQ(t.count(2, MemberState::OFFLINE), kChainsPerNode);
}

TEST(Cluster, WhenAllRestartTheStoreThatKeptItsMemoryServesUnbroken) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.start();
  t.restart(1, true);
  t.restart(2, false);
  t.run(200);
  for (auto& [id, chain] : t.state.now.chains) {
    EXPECT_EQ(chain.members[0], (ChainMember{NodeId(2), MemberState::SERVING, 1}));
  }
  t.run(2000);
  EXPECT_TRUE(t.allServing());
}

TEST(Cluster, AFenceWaitsForEveryDaemonOrUntilItsChainsHaveMovedOn) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.daemons[1].settles = false;
  t.state.now.version += 1;
  t.cluster->viewMayHaveChanged();
  auto version = t.state.now.version;
  bool done = false;
  auto fence = t.cluster->settled(version).then([&]() { done = true; }).eagerlyEvaluate(nullptr);
  t.run(2000);
  EXPECT_FALSE(done);
  EXPECT_NE(t.cluster->unsettledBecause(version), "");
  t.daemons[1].running = false;
  t.run(2000);
  EXPECT_FALSE(done);
  t.run(2000);
  EXPECT_TRUE(done);
}

TEST(Cluster, AFenceOverASilentDaemonWaitsUntilTheOthersInstalledThatItLeft) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  t.daemons[1].running = false;
  t.daemons[2].installs = false;
  t.run(kNodeSilentMs + 2000);
  EXPECT_EQ(t.count(1, MemberState::OFFLINE), kChainsPerNode);
  EXPECT_NE(t.cluster->unsettledBecause(t.state.now.version), "");
  t.daemons[2].installs = true;
  t.run(400);
  EXPECT_EQ(t.cluster->unsettledBecause(t.state.now.version), "");
}

TEST(Cluster, ABeatIsAnsweredOnlyUnderAConfirmedLead) {
  TestCluster t;
  t.enroll(1);
  t.run(400);
  t.state.confirmsHang = true;
  auto request = KJ_ASSERT_NONNULL(t.daemons[1].registration).beatRequest();
  auto answer = request.send();
  t.world.pass(1000);
  EXPECT_FALSE(answer.poll(t.world.scope));
}

TEST(Cluster, FreedBlocksGoAfterTheGraceWhenEveryMemberIsThere) {
  TestCluster t(2);
  t.enroll(1);
  t.enroll(2);
  t.run(1000);
  BlockId block(ChainId(1), 5);
  t.daemons[1].blocks = t.daemons[2].blocks = {block.value};
  t.state.freed = {block};
  t.state.trimsLeft = 3;
  t.cluster->pauseReclaim(true);
  t.run(kReclaimGraceMs + 3000);
  EXPECT_EQ(t.state.freed.size(), 1u);
  EXPECT_EQ(t.state.trimsLeft, 3u);
  t.cluster->pauseReclaim(false);
  t.run(kReclaimGraceMs - 1000);
  EXPECT_EQ(t.state.trimsLeft, 0u);
  EXPECT_EQ(t.daemons[1].blocks.size(), 1u);
  t.daemons[2].running = false;
  t.run(10000);
  EXPECT_EQ(t.state.freed.size(), 1u);
  t.enroll(2);
  t.run(5000);
  EXPECT_TRUE(t.state.freed.empty());
  EXPECT_TRUE(t.daemons[1].blocks.empty());
  EXPECT_TRUE(t.daemons[2].blocks.empty());
}

TEST(Cluster, AnOrphanIsNamedOnlyWhenTwoRoundsSawIt) {
  TestCluster t;
  t.enroll(1);
  BlockId block(ChainId(1), 5);
  t.daemons[1].blocks = {block.value, BlockId(ChainId(1), 6).value};
  t.state.lost = {block};
  t.run(kNodesSettleMs + 2000);
  EXPECT_TRUE(t.state.orphansDeleted.empty());
  t.run(600'000);
  EXPECT_EQ(t.state.orphansDeleted, std::vector<uint64_t>{block.value});
}

TEST(Cluster, AFullStoreTakesNoNewBlocks) {
  TestCluster t;
  t.enroll(1);
  t.run(400);
  t.daemons[1].free = 5;
  t.run(400);
  EXPECT_EQ(t.cluster->place(1).err(), Errno::NO_SPACE);
  EXPECT_TRUE(t.says("STORE_FULL"));
}

TEST(Cluster, ACutOffRegistryRefusesAndHarmsNobody) {
  TestCluster t;
  t.enroll(1);
  auto registry = t.cluster->registry();
  t.cluster = nullptr;
  t.beatAll();
  EXPECT_EQ(t.daemons[1].lastBeat, Errno::NOT_LEADER);
  EXPECT_EQ(registry.viewRequest().send().wait(t.world.scope).getErr(), Errno::NOT_LEADER);
}

}  // namespace
}  // namespace dfs
