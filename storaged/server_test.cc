// Chains of whole daemons on memory stores, over real RPC on a simulated network in virtual time,
// under a fake name server whose view the test writes.

#include "storaged/server.h"

#include "common/checksum.h"
#include "common/limits.h"
#include "common/peer.h"
#include "common/view.h"
#include "common/waiting.h"
#include "common/wire.h"
#include "storaged/chain/memory_block_store.h"
#include "tests/sim/world/world.h"

#include "common/task.h"

#include <rpc-schema/cluster.capnp.h>
#include <rpc-schema/storage.capnp.h>

#include <gtest/gtest.h>

namespace dfs {
namespace {

struct FakeNames {
  View view;
  Signal changed;
  std::map<std::string, NodeId> ids;
  std::map<NodeId, uint64_t> settled;
  std::map<NodeId, uint64_t> askedEpoch;
  std::set<NodeId> mute;  // their beats are not answered

  FakeNames() {
    view.version = 1;
    view.cluster = Uuid{7, 9};
    view.sessions.insert(SessionId(100));
    view.sessions.insert(SessionId(200));
  }
  void publish() {
    ++view.version;
    changed.wake();
  }
};

class FakeRegistration final : public schema::Registration::Server {
 public:
  FakeRegistration(FakeNames& names, NodeId id) : names_(names), id_(id) {}
  kj::Promise<void> beat(BeatContext context) override {
    if (names_.mute.count(id_) != 0) return kj::NEVER_DONE;
    auto p = context.getParams();
    names_.settled[id_] = p.getViewSettled();
    for (auto s : p.getSynced()) names_.askedEpoch[id_] = s.getEpoch();
    context.getResults().setLeaseMs(kNodeLeaseMs);
    context.getResults().setView(names_.view.version);
    return kj::READY_NOW;
  }

 private:
  FakeNames& names_;
  NodeId id_;
};

class FakeRegistry final : public schema::Registry::Server {
 public:
  explicit FakeRegistry(FakeNames& names) : names_(names) {}
  kj::Promise<void> register_(RegisterContext context) override {
    auto node = fromWire(context.getParams().getNode());
    node.since = context.getParams().getSince();
    auto& id = names_.ids[node.name];
    if (!id) id = NodeId(names_.ids.size());
    node.id = id;
    node.online = true;
    names_.view.nodes[id] = node;
    names_.publish();
    auto r = context.getResults();
    r.setId(static_cast<uint32_t>(id.value));
    toWire(names_.view.cluster, r.initCluster());
    r.setRegistration(kj::heap<FakeRegistration>(names_, id));
    return kj::READY_NOW;
  }
  kj::Promise<void> view(ViewContext context) override { return answer(&names_, context); }

 private:
  static Task<void> answer(FakeNames* names, ViewContext context) {
    while (names->view.version <= context.getParams().getKnown()) co_await names->changed.next();
    toWire(names->view, context.getResults().initView());
  }
  FakeNames& names_;
};

class FakeDoor final : public schema::NameDoor::Server {
 public:
  explicit FakeDoor(FakeNames& names) : names_(names) {}
  kj::Promise<void> registry(RegistryContext context) override {
    context.getResults().setRegistry(kj::heap<FakeRegistry>(names_));
    return kj::READY_NOW;
  }

 private:
  FakeNames& names_;
};

struct Store {
  std::shared_ptr<MemoryBlocks> disk = std::make_shared<MemoryBlocks>();
  kj::Maybe<StoreIdentity> identity;
  kj::Own<SimProcess> process;
  kj::Own<StorageServer> server;
};

struct World {
  explicit World(uint32_t count, uint64_t seed = 1) : sim(seed) {
    nameProcess = sim.machine("names").process("/n");
    clientProcess = sim.machine("client").process("/c");
    auto bootstrap = Bootstrap([this]() -> capnp::Capability::Client {
      return schema::NameDoor::Client(kj::heap<FakeDoor>(names));
    });
    nameServer = sim.wait(serveRpc(nameProcess->env, "names:70", kj::mv(bootstrap)));
    for (uint32_t i = 1; i <= count; ++i) {
      start(i);
      auto addresses = kj::heapArrayBuilder<kj::String>(1);
      addresses.add(kj::str("s", i, ":71"));
      peers[i] = kj::heap<Peer>(clientProcess->env, addresses.finish());
    }
    std::vector<MemberState> all(count, MemberState::SERVING);
    setChain(all);
    sim.pass(1000);
  }

  void start(uint32_t i) {
    auto& s = stores[i];
    auto name = "s" + std::to_string(i);
    s.process = sim.machine(name).process("/data");
    StorageOptions o;
    o.name = name;
    o.host = name;
    o.listen = {name + ":71"};
    o.nameserver = {"names:70"};
    StoreSeam seam{[&s](Env& env) -> kj::Promise<kj::Own<BlockStore>> {
                     kj::Own<BlockStore> own = kj::heap<MemoryBlockStore>(env, s.disk);
                     return kj::mv(own);
                   },
                   [&s](Env&) -> kj::Promise<kj::Maybe<StoreIdentity>> {
                     kj::Maybe<StoreIdentity> copy;
                     KJ_IF_MAYBE(id, s.identity) copy = *id;
                     return kj::mv(copy);
                   },
                   [&s](Env&, StoreIdentity id) -> kj::Promise<void> {
                     s.identity = id;
                     return kj::READY_NOW;
                   }};
    s.server = kj::heap<StorageServer>(s.process->env, o, kj::mv(seam));
    sim.wait(s.server->start());
    for (int n = 0; names.ids[name].value == 0 && n < 100; ++n) sim.pass(20);
    EXPECT_EQ(names.ids[name].value, i);
  }
  void kill(uint32_t i) {
    stores[i].server = nullptr;
    stores[i].process = nullptr;
  }
  void setChain(std::vector<MemberState> states) {
    // Serving members in front, as the schema says.
    auto& c = names.view.chains[ChainId(1)];
    c.id = ChainId(1);
    ++c.epoch;
    c.members.clear();
    auto put = [&](MemberState wanted) {
      for (uint32_t i = 0; i < states.size(); ++i) {
        if (states[i] == wanted) c.members.push_back({NodeId(i + 1), wanted, 1});
      }
    };
    put(MemberState::SERVING);
    put(MemberState::SYNCING);
    put(MemberState::WAITING);
    put(MemberState::OFFLINE);
    names.publish();
  }
  uint64_t epoch() { return names.view.chains[ChainId(1)].epoch; }

  schema::StorageDaemon::Client daemon(uint32_t i) {
    return sim.wait(peers[i]->connected())
        .castAs<schema::StoreDoor>()
        .storageRequest()
        .send()
        .getStorage();
  }
  void fillAt(schema::At::Builder at, uint64_t session) {
    at.setView(names.view.version);
    at.setSession(session);
    at.setEpoch(epoch());
    at.setCluster(9);
  }
  kj::Promise<Errno> write(uint32_t i, uint64_t sequence, uint64_t block, std::string text,
                           uint64_t session = 100) {
    auto req = daemon(i).writeRequest();
    fillAt(req.initAt(), session);
    auto u = req.initUpdate();
    u.setBlock(BlockId(ChainId(1), block).value);
    Bytes data(reinterpret_cast<const kj::byte*>(text.data()), text.size());
    u.setData(data);
    auto sums = unitSums(0, data);
    auto list = u.initSums(static_cast<uint32_t>(sums.size()));
    for (uint32_t n = 0; n < sums.size(); ++n) list.set(n, sums[n]);
    u.initRequest().setClient(session);
    u.getRequest().setSequence(sequence);
    u.setWindowFrom(1);
    u.setClearFrom(kBlockBytes);
    return req.send().then([](auto answer) { return answer.getErr(); }).eagerlyEvaluate(nullptr);
  }
  kj::Promise<std::string> read(uint32_t i, uint64_t block, uint64_t session = 100) {
    auto req = daemon(i).readRequest();
    fillAt(req.initAt(), session);
    req.setBlock(BlockId(ChainId(1), block).value);
    req.setBytes(100);
    return req.send()
        .then([](auto answer) -> std::string {
          if (answer.getErr() != Errno::OK) return nameOf(answer.getErr()).cStr();
          auto d = answer.getData();
          return std::string(reinterpret_cast<const char*>(d.begin()), d.size());
        })
        .eagerlyEvaluate(nullptr);
  }
  std::string bytes(uint32_t i, uint64_t block) {
    auto it = stores[i].disk->blocks.find(BlockId(ChainId(1), block));
    return it == stores[i].disk->blocks.end() ? "" : it->second.bytes;
  }
  bool committed(uint32_t i, uint64_t block) {
    return stores[i].disk->blocks[BlockId(ChainId(1), block)].state.committed;
  }

  SimWorld sim;
  FakeNames names;
  kj::Own<SimProcess> nameProcess, clientProcess;
  kj::Own<RpcServer> nameServer;
  std::map<uint32_t, Store> stores;
  std::map<uint32_t, kj::Own<Peer>> peers;
};

constexpr auto SERVING = MemberState::SERVING;
constexpr auto SYNCING = MemberState::SYNCING;
constexpr auto OFFLINE = MemberState::OFFLINE;

TEST(Chain, AWriteThatIsAnsweredIsCommittedOnEveryMember) {
  for (uint32_t members = 1; members <= 3; ++members) {
    World w(members);
    EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "hello")), Errno::OK);
    for (uint32_t i = 1; i <= members; ++i) {
      EXPECT_EQ(w.bytes(i, 5), "hello");
      EXPECT_TRUE(w.committed(i, 5));
      EXPECT_EQ(w.sim.wait(w.read(i, 5)), "hello");
    }
    if (members > 1) EXPECT_EQ(w.sim.wait(w.write(2, 2, 5, "no")), Errno::WRONG_EPOCH);
    EXPECT_EQ(w.sim.wait(w.read(1, 6)), "noBlock");
  }
}

TEST(Chain, ARepeatIsDoneOnceAlsoAfterTheChainHasMoved) {
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "one")), Errno::OK);
  auto applies = w.stores[2].disk->applies;
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "one")), Errno::OK);
  w.kill(1);
  w.setChain({OFFLINE, SERVING});
  EXPECT_EQ(w.sim.wait(w.write(2, 1, 5, "one")), Errno::OK);
  EXPECT_EQ(w.stores[2].disk->applies, applies);
}

TEST(Chain, AnUpdateWhoseSuccessorDiedIsFinishedByTheNewChainAndReadsWaitForIt) {
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 9, 9, "the chain is known to be roomy")), Errno::OK);
  w.sim.network.cut("s1", "s2");
  auto write = w.write(1, 1, 5, "late");
  w.sim.pass(100);
  auto read = w.read(1, 5);
  w.sim.pass(500);
  EXPECT_EQ(w.bytes(1, 5), "late");
  EXPECT_FALSE(write.poll(w.sim.scope));
  EXPECT_FALSE(read.poll(w.sim.scope));
  w.setChain({SERVING, OFFLINE});
  EXPECT_EQ(w.sim.wait(kj::mv(write)), Errno::OK);
  EXPECT_EQ(w.sim.wait(kj::mv(read)), "wrongEpoch");
  EXPECT_EQ(w.sim.wait(w.read(1, 5)), "late");
}

TEST(Chain, NoSpaceAtTheTailIsAppliedNowhere) {
  World w(3);
  w.stores[3].disk->capacity = 0;
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "x")), Errno::NO_SPACE);
  for (uint32_t i = 1; i <= 3; ++i) EXPECT_EQ(w.stores[i].disk->applies, 0u);
  w.stores[3].disk->capacity = uint64_t(1) << 40;
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "x")), Errno::OK);
}

TEST(Chain, ADaemonWhoseRightLapsedGivesNoSuccess) {
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 9, 9, "the chain is known to be roomy")), Errno::OK);
  w.sim.network.cut("s1", "s2");
  auto write = w.write(1, 1, 5, "x");
  w.names.mute.insert(NodeId(1));
  w.sim.pass(kNodeLeaseMs + 500);
  w.sim.network.healAll();  // now it commits, with nobody to vouch for it
  auto failed = kj::runCatchingExceptions([&]() { w.sim.wait(kj::mv(write)); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(failed).getType(), kj::Exception::Type::DISCONNECTED);
  EXPECT_EQ(w.sim.wait(w.read(1, 5)), "wrongEpoch");
}

TEST(Chain, ADeadSessionIsRefusedAndTheFenceWaitsForItsUpdates) {
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 9, 9, "the chain is known to be roomy")), Errno::OK);
  w.sim.network.cut("s1", "s2");
  auto write = w.write(1, 1, 5, "x", 200);
  w.sim.pass(100);
  w.names.view.sessions.erase(SessionId(200));
  w.names.publish();
  auto fence = w.names.view.version;
  w.sim.pass(1000);
  EXPECT_LT(w.names.settled[NodeId(1)], fence);
  EXPECT_EQ(w.sim.wait(w.write(1, 2, 6, "y", 200)), Errno::NOT_LIVE);
  w.sim.network.healAll();
  EXPECT_EQ(w.sim.wait(kj::mv(write)), Errno::OK);
  w.sim.pass(1000);
  EXPECT_GE(w.names.settled[NodeId(1)], fence);
  EXPECT_FALSE(w.stores[1].server->store().unsynced(BlockId(ChainId(1), 5)));
}

TEST(Chain, AReturningMemberGetsWhatDiffersAndLosesWhatTheChainNeverHad) {
  // Method: the head applies v2 alone and is cut off; the other goes on with its own v2. The head
  // returns: its bytes, good sums and equal version count for nothing (C1).
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "first")), Errno::OK);
  EXPECT_EQ(w.sim.wait(w.write(1, 2, 6, "equal")), Errno::OK);
  w.sim.network.cut("s1", "s2");
  auto lost =
      w.write(1, 3, 5, "WRONG").then([](Errno) {}, [](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
  auto extra =
      w.write(1, 4, 7, "EXTRA").then([](Errno) {}, [](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
  w.sim.pass(100);
  EXPECT_EQ(w.bytes(1, 5), "WRONG");
  w.kill(1);
  w.sim.network.healAll();
  w.setChain({OFFLINE, SERVING});
  EXPECT_EQ(w.sim.wait(w.write(2, 5, 5, "right")), Errno::OK);
  w.start(1);
  auto appliesBefore = w.stores[1].disk->applies;
  w.setChain({SYNCING, SERVING});
  EXPECT_EQ(w.sim.wait(w.write(2, 6, 8, "live!")), Errno::OK);
  w.sim.pass(2000);
  EXPECT_EQ(w.names.askedEpoch[NodeId(1)], w.epoch());
  w.setChain({SERVING, SERVING});
  w.sim.pass(500);
  EXPECT_EQ(w.sim.wait(w.read(1, 5)), "right");
  EXPECT_EQ(w.sim.wait(w.read(1, 8)), "live!");
  EXPECT_EQ(w.bytes(1, 7), "");
  EXPECT_EQ(w.stores[1].disk->applies - appliesBefore, 2u);  // block 6 was skipped
}

TEST(Chain, ABadCopyIsNeverServedAndIsReplaced) {
  World w(2);
  EXPECT_EQ(w.sim.wait(w.write(1, 1, 5, "good")), Errno::OK);
  w.stores[2].disk->blocks[BlockId(ChainId(1), 5)].bad = true;
  EXPECT_EQ(w.sim.wait(w.read(2, 5)), "corrupt");
  w.sim.pass(500);
  EXPECT_EQ(w.sim.wait(w.read(2, 5)), "good");
}

TEST(Chain, RandomHistoriesEndWithEqualCopiesAndEveryAnsweredWrite) {
  // Method: writes to a few blocks while one member after another is killed, taken out, restarted
  // and brought up by the transitions of the view; a client repeats until it is answered.
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    World w(3, seed);
    std::map<uint64_t, std::string> answered;
    uint64_t sequence = 0;
    for (uint32_t round = 0; round < 8; ++round) {
      uint32_t victim = 1 + static_cast<uint32_t>(w.sim.random.below(3));
      uint64_t block = 1 + w.sim.random.below(4);
      auto text = "r" + std::to_string(round) + "-" + std::to_string(seed);
      ++sequence;
      auto first = w.write(1, sequence, block, text)
                       .then([](Errno) {}, [](kj::Exception&&) {})
                       .eagerlyEvaluate(nullptr);
      w.sim.pass(w.sim.random.below(3));
      w.kill(victim);
      std::vector<MemberState> states(3, SERVING);
      states[victim - 1] = OFFLINE;
      w.setChain(states);
      w.sim.pass(300);
      uint32_t head = victim == 1 ? 2 : 1;
      EXPECT_EQ(w.sim.wait(w.write(head, sequence, block, text)), Errno::OK);
      answered[block] = text;
      w.start(victim);
      states[victim - 1] = SYNCING;
      w.setChain(states);
      ++sequence;
      uint64_t live = 1 + w.sim.random.below(4);
      auto err = Errno::WRONG_EPOCH;
      for (int n = 0; n < 50 && err == Errno::WRONG_EPOCH; ++n) {
        err = w.sim.wait(w.write(head, sequence, live, text + "-live"));
        w.sim.pass(20);
      }
      EXPECT_EQ(err, Errno::OK);
      answered[live] = text + "-live";
      w.sim.pass(3000);
      EXPECT_EQ(w.names.askedEpoch[NodeId(victim)], w.epoch()) << "seed " << seed;
      w.setChain({SERVING, SERVING, SERVING});
      w.sim.pass(300);
    }
    for (auto& a : answered) {
      for (uint32_t i = 1; i <= 3; ++i) {
        EXPECT_EQ(w.sim.wait(w.read(i, a.first)).substr(0, a.second.size()), a.second)
            << "seed " << seed << " store " << i;
        EXPECT_EQ(w.bytes(i, a.first), w.bytes(1, a.first));
      }
    }
  }
}

}  // namespace
}  // namespace dfs
