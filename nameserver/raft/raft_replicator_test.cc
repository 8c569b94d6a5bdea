// The replicator of a group of one on a simulated disk. Methods: power cuts and kills at random
// moments under many seeds against a list of what was acknowledged; counts of syncs; full disks.

#include "nameserver/raft/raft_test_world.h"

#include <set>

namespace dfs {
namespace {

TEST(RaftReplicator, RefusesADirectoryWithoutACluster) {
  SimWorld world(1);
  auto process = world.machine("ns").process("/data");
  auto kv = world.wait(process->env.disk.openKv("store"));
  FakeMachine machine(*kv);
  auto said = sentenceOf([&]() {
    world.wait(kj::Promise<kj::Own<RaftReplicator>>(
        RaftReplicator::open(process->env, *kv, machine, {}, nullptr)));
  });
  EXPECT_NE(said.find("no cluster here"), std::string::npos) << said;
}

TEST(RaftReplicator, RefusesToCreateAClusterTwice) {
  ReplicatorWorld w(1);
  auto process = w.machine.process("/data");
  auto said =
      sentenceOf([&]() { w.world.wait(kj::Promise<void>(createLog(process->env, w.options))); });
  EXPECT_NE(said.find("a cluster here already"), std::string::npos) << said;
}

TEST(RaftReplicator, ALonelyCommandCostsOneSyncAndAHundredCostFew) {
  ReplicatorWorld w(2);
  auto ns = w.start();
  uint64_t before = w.machine.disk.syncCount();
  w.world.wait(ns->propose(1));
  EXPECT_EQ(w.machine.disk.syncCount() - before, 1u);

  before = w.machine.disk.syncCount();
  kj::Vector<kj::Promise<OutcomeMessage>> all;
  for (uint64_t n = 2; n < 102; ++n) all.add(ns->propose(n));
  uint64_t expected = 2;
  for (auto& p : all) {
    auto outcome = w.world.wait(kj::mv(p));
    EXPECT_EQ(outcome->getRoot<schema::Outcome>().getCount(), expected++);
  }
  EXPECT_LE(w.machine.disk.syncCount() - before, 3u);
}

TEST(RaftReplicator, PowerCutsLoseNothingAcknowledgedAndApplyNothingTwice) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    ReplicatorWorld w(seed);
    SimRandom random(seed * 7919);
    std::set<uint64_t> proposed, acked;
    uint64_t next = 1;
    for (int round = 0; round < 4; ++round) {
      {
        auto ns = w.start();
        auto now = ns->machine->numbers();
        std::set<uint64_t> have(now.begin(), now.end());
        ASSERT_EQ(have.size(), now.size()) << "applied twice, seed " << seed;
        for (uint64_t n : acked) ASSERT_TRUE(have.count(n)) << "lost " << n << ", seed " << seed;
        for (uint64_t n : have) ASSERT_TRUE(proposed.count(n)) << "invented, seed " << seed;
        kj::Vector<kj::Promise<void>> asked;
        uint64_t steps = random.below(30);
        for (uint64_t i = 0; i < steps; ++i) {
          uint64_t number = next++;
          proposed.insert(number);
          asked.add(ns->propose(number)
                        .then([&acked, number](OutcomeMessage m) {
                          EXPECT_EQ(m->getRoot<schema::Outcome>().getCount(), number);
                          acked.insert(number);
                        })
                        .eagerlyEvaluate([](kj::Exception&&) {}));
          w.world.time.timer
              .afterDelay(random.below(random.chance(10) ? 2'000'000 : 1500) * kj::MICROSECONDS)
              .wait(w.world.scope);
        }
      }
      if (random.chance(70)) w.machine.disk.powerCut();
    }
  }
}

TEST(RaftReplicator, TwoHundredRestartsKeepTheLogBounded) {
  ReplicatorWorld w(3);
  for (int i = 0; i < 200; ++i) {
    auto ns = w.start();
    w.world.wait(ns->propose(i + 1));
    if (i % 2 == 0) w.world.wait(ns->replicator->stop());
    EXPECT_LE(ns->replicator->status().logBytes, 3 * w.options.log.segmentBytes) << i;
  }
  auto ns = w.start();
  EXPECT_EQ(ns->machine->numbers().size(), 200u);
}

TEST(RaftReplicator, TheLogIsCutBelowWhatTheStoreHasCommitted) {
  ReplicatorWorld w(4);
  auto ns = w.start();
  for (uint64_t n = 1; n <= 600; ++n) w.world.wait(ns->propose(n));
  w.world.pass(2500);
  auto status = ns->replicator->status();
  EXPECT_EQ(status.durableAppliedIndex, status.appliedIndex);
  EXPECT_LE(status.logBytes, 2 * w.options.log.segmentBytes);
  ns = nullptr;
  w.machine.disk.powerCut();
  ns = w.start();  // from a log whose beginning is gone
  EXPECT_EQ(ns->machine->numbers().size(), 600u);
  w.world.wait(ns->propose(601));
}

TEST(RaftReplicator, APowerCutDuringCommitsAndCutsLosesNothing) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    ReplicatorWorld w(seed);
    w.options.log.segmentBytes = 16 << 10;
    w.options.entryBytesMax = 4 << 10;
    w.options.commitMs = 3;
    uint64_t acked = 0;
    for (int round = 0; round < 3; ++round) {
      {
        auto ns = w.start();
        ASSERT_GE(ns->machine->numbers().size(), acked) << seed;
        acked = ns->machine->numbers().size();
        for (uint64_t n = 80 + w.world.random.below(80); n > 0; --n) {
          uint64_t before = ns->replicator->status().logBytes;
          w.world.wait(ns->propose(n));
          ++acked;
          // The dangerous moment: a segment has just gone.
          if (ns->replicator->status().logBytes < before && w.world.random.chance(50)) break;
        }
      }
      w.machine.disk.powerCut();
    }
  }
}

TEST(RaftReplicator, AfterACleanStopTheNextStartReplaysNothing) {
  ReplicatorWorld w(5);
  uint64_t applied;
  {
    auto ns = w.start();
    for (uint64_t n = 1; n <= 10; ++n) w.world.wait(ns->propose(n));
    auto last = ns->propose(11);
    w.world.wait(ns->replicator->stop());
    w.world.wait(kj::mv(last));
    applied = ns->replicator->status().appliedIndex;
    EXPECT_THROW(w.world.wait(ns->propose(12)), kj::Exception);
  }
  w.machine.disk.powerCut();
  auto process = w.machine.process("/data");
  auto kv = w.world.wait(process->env.disk.openKv("store"));
  EXPECT_EQ(FakeMachine(*kv).appliedIndex(), applied);
}

TEST(RaftReplicator, BelowTheReserveOnlyRemovalsAreAdmitted) {
  ReplicatorWorld w(6);
  auto ns = w.start();
  w.machine.disk.setCapacity(w.machine.disk.usedBytes() + (1 << 20));
  w.world.pass(200);
  auto refused = w.world.wait(ns->propose(1));
  EXPECT_EQ(refused->getRoot<schema::Outcome>().getErr(), Errno::NO_SPACE);
  auto done = w.world.wait(ns->propose(2, true));
  EXPECT_EQ(done->getRoot<schema::Outcome>().getErr(), Errno::OK);
  EXPECT_EQ(ns->machine->numbers(), std::vector<uint64_t>{2});
  w.machine.disk.setCapacity(uint64_t(1) << 40);
  w.world.pass(200);
  done = w.world.wait(ns->propose(3));
  EXPECT_EQ(done->getRoot<schema::Outcome>().getErr(), Errno::OK);
}

TEST(RaftReplicator, AFullDiskEndsInRefusalsNotInAFailure) {
  ReplicatorWorld w(7);
  w.options.reserveBytes = 0;
  w.options.commitMs = 1'000'000;  // so that the log is not cut
  auto ns = w.start();
  w.machine.disk.setCapacity(w.machine.disk.usedBytes());
  uint64_t number = 1, applied = 0;
  while (number < 2000) {
    auto outcome = w.world.wait(ns->propose(number++));
    if (outcome->getRoot<schema::Outcome>().getErr() == Errno::NO_SPACE) break;
    ++applied;
  }
  ASSERT_LT(number, 2000u);
  auto removal = w.world.wait(ns->propose(5000, true));  // the reserve is for these
  EXPECT_EQ(removal->getRoot<schema::Outcome>().getErr(), Errno::OK);
  while (number < 4000) {
    auto outcome = w.world.wait(ns->propose(number++, true));
    if (outcome->getRoot<schema::Outcome>().getErr() == Errno::NO_SPACE) break;
    ++applied;
  }
  ASSERT_LT(number, 4000u);
  EXPECT_EQ(ns->machine->numbers().size(), applied + 1);
  ns = nullptr;
  w.machine.disk.setCapacity(uint64_t(1) << 40);
  ns = w.start();
  EXPECT_EQ(ns->machine->numbers().size(), applied + 1);
}

TEST(RaftReplicator, AFailedSyncEndsItForGood) {
  ReplicatorWorld w(8);
  auto ns = w.start();
  w.machine.disk.failSyncs(true);
  EXPECT_THROW(w.world.wait(ns->propose(1)), kj::Exception);
  w.machine.disk.failSyncs(false);
  EXPECT_THROW(w.world.wait(ns->replicator->failed()), kj::Exception);
  EXPECT_FALSE(ns->replicator->leading());
  EXPECT_THROW(w.world.wait(ns->propose(2)), kj::Exception);
  EXPECT_THROW(w.world.wait(ns->replicator->confirm()), kj::Exception);
  EXPECT_TRUE(ns->machine->numbers().empty());
}

TEST(RaftReplicator, TooManyCommandsAreRefusedAtOnce) {
  ReplicatorWorld w(9);
  w.options.waitingMax = 5;
  auto ns = w.start();
  kj::Vector<kj::Promise<OutcomeMessage>> all;
  for (uint64_t n = 1; n <= 5; ++n) all.add(ns->propose(n));
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { w.world.wait(ns->propose(6)); })) {
    EXPECT_EQ(e->getType(), kj::Exception::Type::OVERLOADED);
  } else {
    ADD_FAILURE() << "admitted";
  }
  for (auto& p : all) w.world.wait(kj::mv(p));
}

}  // namespace
}  // namespace dfs
