// The log and the file of term and vote by themselves. Methods: golden bytes; every synced sector
// damaged in turn; crashes under many seeds against a model.

#include "nameserver/raft/raft_log.h"

#include "nameserver/raft/raft_test_world.h"

namespace dfs {
namespace {

constexpr RaftLogOptions kSmall{16 << 10, 2};

struct LogWorld {
  explicit LogWorld(uint64_t seed) : world(seed), machine(world.machine("ns")) {}

  void create() {
    auto maker = machine.process("/d");
    LogEntry first{1, RecordType::CHANGE, bytes(40, 'c')};
    world.wait(kj::Promise<void>(RaftLog::create(maker->env.disk, kSmall, kj::mv(first))));
  }
  void open(uint64_t applied) {
    process = machine.process("/d");
    auto found = world.wait(kj::Promise<kj::Maybe<kj::Own<RaftLog>>>(
        RaftLog::open(process->env.disk, kSmall, applied)));
    log = kj::mv(KJ_ASSERT_NONNULL(found));
  }
  void close() {
    log = nullptr;
    process = nullptr;
  }
  static kj::Array<kj::byte> bytes(size_t n, int fill) {
    auto b = kj::heapArray<kj::byte>(n);
    memset(b.begin(), fill, n);
    return b;
  }
  kj::Promise<Errno> append(uint64_t term, size_t n, int fill) {
    auto list = kj::heapArrayBuilder<LogEntry>(1);
    list.add(LogEntry{term, RecordType::COMMAND, bytes(n, fill)});
    return log->append(list.finish());
  }
  LogEntry read(uint64_t index) { return world.wait(kj::Promise<LogEntry>(log->read(index))); }

  SimWorld world;
  SimMachine& machine;
  kj::Own<SimProcess> process;
  kj::Own<RaftLog> log;
};

TEST(LogRecord, HasTheseBytes) {
  RecordHeader h{};
  h.type = RecordType::COMMAND;
  h.sequence = 3;
  h.index = 2;
  h.term = 7;
  h.synced = 1;
  h.previous = 0x1122334455667788;
  auto out = encodeRecord(h, Bytes(reinterpret_cast<const kj::byte*>("hello"), 5), 9, 1024);
  ASSERT_EQ(out.size(), 512u);
  kj::String hex = kj::str();
  for (size_t i = 0; i < 80; ++i)
    hex = kj::str(hex, kj::hex(out[i]).size() < 2 ? "0" : "", kj::hex(out[i]));
  for (size_t i = 80; i < 504; ++i) EXPECT_EQ(out[i], 0) << i;
  hex = kj::str(hex, " ");
  for (size_t i = 504; i < 512; ++i)
    hex = kj::str(hex, kj::hex(out[i]).size() < 2 ? "0" : "", kj::hex(out[i]));
  EXPECT_STREQ(hex.cStr(),
               "4446534c05000000010000000100000003000000000000000200000000000000"
               "070000000000000001000000000000008877665544332211fddc625c55e85595"
               "2234fb4697f10ee768656c6c6f000000 54e2deb41e7a47cc");
}

TEST(RaftLog, KeepsWhatItPromisedOverManySegments) {
  LogWorld w(1);
  w.create();
  w.open(0);
  for (uint64_t i = 2; i <= 60; ++i) {
    ASSERT_EQ(w.world.wait(w.append(2, 100 * i, int(i))), Errno::OK);
  }
  w.close();
  w.machine.disk.powerCut();
  w.open(60);
  EXPECT_EQ(w.log->lastIndex(), 60u);
  EXPECT_EQ(w.log->firstIndex(), 1u);
  for (uint64_t i = 2; i <= 60; ++i) {
    auto e = w.read(i);
    EXPECT_EQ(e.body.size(), 100 * i);
    EXPECT_EQ(e.body[i], kj::byte(i));
    EXPECT_EQ(e.term, 2u);
  }
  w.world.wait(kj::Promise<void>(w.log->cut(45)));
  uint64_t first = w.log->firstIndex();
  EXPECT_GT(first, 1u);
  EXPECT_LE(first, 46u);
  w.close();
  w.machine.disk.powerCut();
  w.open(45);
  EXPECT_EQ(w.log->firstIndex(), first);
  EXPECT_EQ(w.log->lastIndex(), 60u);
  EXPECT_EQ(w.log->configurationIndex(), 1u);
  EXPECT_EQ(w.log->configuration().size(), 40u);
  EXPECT_EQ(w.log->termBefore(), 2u);
}

TEST(RaftLog, AFlippedBitInAnySyncedSectorIsRefusedAndNothingChanges) {
  LogWorld w(2);
  w.create();
  w.open(0);
  for (uint64_t i = 2; i <= 20; ++i) ASSERT_EQ(w.world.wait(w.append(2, 1500, 7)), Errno::OK);
  w.close();
  auto& disk = w.machine.disk;
  size_t tried = 0;
  SimRandom random(99);
  for (auto& path : disk.files()) {
    if (path.find("next-") != std::string::npos) continue;
    auto before = disk.contents(path);
    for (uint64_t at = 0; at < before.size(); at += 512) {
      bool written = false;
      for (size_t i = 0; i < 512; ++i) written = written || before[at + i] != 0;
      if (!written) continue;
      for (uint64_t in : {random.below(504), 504 + random.below(8)}) {
        uint8_t bit = static_cast<uint8_t>(random.below(8));
        ASSERT_TRUE(disk.flipBit(path, at + in, bit));
        auto said = sentenceOf([&]() { w.open(0); });
        w.close();
        EXPECT_NE(said.find("the log is damaged: log/"), std::string::npos)
            << path << " " << at + in << ": " << said;
        EXPECT_NE(said.find("at offset"), std::string::npos);
        EXPECT_NE(said.find("from index"), std::string::npos);
        disk.flipBit(path, at + in, bit);
        ASSERT_EQ(disk.contents(path), before);
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 100u);
  w.open(20);
  EXPECT_EQ(w.log->lastIndex(), 20u);
}

TEST(RaftLog, ATornTailIsAcceptedButNotWhatTheStoreOrALaterRecordHasSeen) {
  LogWorld w(3);
  w.create();
  w.open(0);
  for (uint64_t i = 2; i <= 4; ++i) ASSERT_EQ(w.world.wait(w.append(2, 100, 7)), Errno::OK);
  w.close();
  auto zero = [&](uint64_t sector) {
    auto process = w.machine.process("/d");
    auto file = w.world.wait(process->env.disk.open("log/0000000000000001", OpenMode::MUST_EXIST));
    auto zeros = LogWorld::bytes(512, 0);
    ASSERT_EQ(w.world.wait((*file)->write(sector * 512, zeros)), Errno::OK);
  };
  zero(4);  // entry 4: behind the segment's record and the entries 1 to 3
  auto said = sentenceOf([&]() { w.open(4); });
  EXPECT_NE(said.find("that the store has applied are missing"), std::string::npos) << said;
  w.close();
  w.open(3);
  EXPECT_EQ(w.log->lastIndex(), 3u);
  ASSERT_EQ(w.world.wait(w.append(3, 100, 8)), Errno::OK);
  w.close();
  zero(3);  // entry 3, and entry 4 says that 3 had been synced
  said = sentenceOf([&]() { w.open(0); });
  EXPECT_NE(said.find("a record that had been synced is missing"), std::string::npos) << said;
}

TEST(RaftLog, AMissingSegmentIsRefused) {
  LogWorld w(4);
  w.create();
  w.open(0);
  for (uint64_t i = 2; i <= 30; ++i) ASSERT_EQ(w.world.wait(w.append(2, 3000, 7)), Errno::OK);
  w.close();
  auto process = w.machine.process("/d");
  auto& disk = process->env.disk;
  ASSERT_EQ(w.world.wait(disk.rename("log/0000000000000002", "kept")), Errno::OK);
  auto said = sentenceOf([&]() { w.open(0); });
  EXPECT_NE(said.find("log/0000000000000002 at offset 0: the file is missing"), std::string::npos)
      << said;
  ASSERT_EQ(w.world.wait(disk.rename("kept", "log/0000000000000002")), Errno::OK);
  ASSERT_EQ(w.world.wait(disk.rename("log/0000000000000001", "kept")), Errno::OK);
  said = sentenceOf([&]() { w.open(0); });
  EXPECT_NE(said.find("the store lacks entries"), std::string::npos) << said;
}

TEST(RaftLog, CrashesKeepAPrefixThatHoldsAllThatWasPromised) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    LogWorld w(seed);
    SimRandom random(seed * 31);
    w.create();
    std::vector<uint64_t> model{1};  // terms of the entries, from index 1
    uint64_t promised = 1, term = 1;
    for (int round = 0; round < 4; ++round) {
      w.open(0);
      uint64_t last = w.log->lastIndex();
      ASSERT_GE(last, promised) << "lost, seed " << seed;
      ASSERT_LE(last, model.size()) << "invented, seed " << seed;
      for (uint64_t i = 1; i <= last; ++i) {
        ASSERT_EQ(w.log->termOf(i), model[i - 1]) << "index " << i << ", seed " << seed;
        if (i > 1) ASSERT_EQ(w.read(i).body[0], kj::byte(model[i - 1] * 3 + i)) << seed;
      }
      model.resize(last);
      promised = last;
      ++term;
      bool truncating = random.chance(30) && last > 3;
      if (truncating) {
        // Synced before it counts: what was above may be promised no longer.
        uint64_t from = 2 + random.below(last - 2);
        ASSERT_EQ(w.log->truncate(from), Errno::OK);
        model.resize(from - 1);
        model.push_back(term);
        promised = from - 1;
        ASSERT_EQ(w.world.wait(w.append(term, 900, int(term * 3 + from))), Errno::OK);
        promised = from;
      }
      kj::Vector<kj::Promise<void>> under;
      for (uint64_t i = random.below(25); i > 0; --i) {
        uint64_t index = model.size() + 1;
        model.push_back(term);
        under.add(w.append(term, 1 + random.below(4000), int(term * 3 + index))
                      .then([&promised, index](Errno err) {
                        EXPECT_EQ(err, Errno::OK);
                        promised = index;
                      })
                      .eagerlyEvaluate(
                          [](kj::Exception&& e) { ADD_FAILURE() << e.getDescription().cStr(); }));
        w.world.time.timer.afterDelay(random.below(2500) * kj::MICROSECONDS).wait(w.world.scope);
        w.world.wait(kj::Promise<void>(w.log->makeRoom()));
      }
      under.clear();
      w.close();
      if (random.chance(75)) w.machine.disk.powerCut();
    }
  }
}

TEST(RaftLog, WithoutSpaceAnAppendIsRefusedAndTheLogIsAsItWas) {
  LogWorld w(5);
  w.create();
  w.open(0);
  w.machine.disk.setCapacity(w.machine.disk.usedBytes());
  uint64_t accepted = 1;
  Errno err;
  while ((err = w.world.wait(w.append(2, 4000, 7))) == Errno::OK) ++accepted;
  EXPECT_EQ(err, Errno::NO_SPACE);
  EXPECT_GT(accepted, 6u);
  EXPECT_EQ(w.log->lastIndex(), accepted);
  w.machine.disk.setCapacity(uint64_t(1) << 40);
  w.world.wait(kj::Promise<void>(w.log->makeRoom()));
  EXPECT_EQ(w.world.wait(w.append(2, 4000, 7)), Errno::OK);
  w.close();
  w.open(accepted + 1);
  EXPECT_EQ(w.log->lastIndex(), accepted + 1);
}

TEST(RaftLog, AfterAFailedSyncNothingIsAppendedAnyMore) {
  LogWorld w(7);
  w.create();
  w.open(0);
  w.machine.disk.failSyncs(true);
  EXPECT_THROW(w.world.wait(w.append(2, 10, 7)), kj::Exception);
  w.machine.disk.failSyncs(false);
  EXPECT_THROW(w.world.wait(w.append(2, 10, 7)), kj::Exception);
}

TEST(RaftLog, AppendsDuringASyncShareTheNextOne) {
  LogWorld w(6);
  w.create();
  w.open(0);
  uint64_t before = w.log->syncCount();
  kj::Vector<kj::Promise<Errno>> all;
  for (int i = 0; i < 20; ++i) all.add(w.append(2, 10, 7));
  for (auto& p : all) EXPECT_EQ(w.world.wait(kj::mv(p)), Errno::OK);
  EXPECT_LE(w.log->syncCount() - before, 2u);
}

TEST(VoteFile, SurvivesCrashesAndRefusesDamage) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SimWorld world(seed);
    auto& machine = world.machine("ns");
    SimRandom random(seed);
    uint64_t promised = 1, asked = 1;
    {
      auto process = machine.process("/d");
      world.wait(kj::Promise<void>(VoteFile::create(process->env.disk, {5, 1, 0})));
      world.wait(process->env.disk.syncDirectory(""));
    }
    auto open = [&](SimProcess& process) {
      auto found =
          world.wait(kj::Promise<kj::Maybe<kj::Own<VoteFile>>>(VoteFile::open(process.env.disk)));
      auto votes = kj::mv(KJ_ASSERT_NONNULL(found));
      world.wait(kj::Promise<void>(votes->settle()));
      return votes;
    };
    for (int round = 0; round < 6; ++round) {
      auto process = machine.process("/d");
      auto votes = open(*process);
      ASSERT_GE(votes->vote().term, promised) << seed;
      ASSERT_LE(votes->vote().term, asked) << seed;
      ASSERT_EQ(votes->vote().votedFor, votes->vote().term == 1 ? 0 : votes->vote().term + 100);
      promised = asked = votes->vote().term;
      for (int i = 0; i < 3; ++i) {
        ++asked;
        auto write =
            kj::Promise<void>(votes->write(asked, asked + 100)).then([&]() { promised = asked; });
        auto cut = world.time.timer.afterDelay(random.below(6000) * kj::MICROSECONDS);
        world.wait(write.exclusiveJoin(kj::mv(cut)));
        if (promised != asked) break;
      }
      votes = nullptr;
      process = nullptr;
      if (random.chance(70)) machine.disk.powerCut();
    }
    // One flipped bit is healed by the other copy; both copies gone is refused.
    auto process = machine.process("/d");
    uint64_t term = open(*process)->vote().term;
    for (uint64_t at : {20, 4096 + 20}) ASSERT_TRUE(machine.disk.flipBit("/d/vote", at, 1));
    EXPECT_EQ(open(*process)->vote().term, term) << seed;
    for (uint64_t at : {20, 512 + 20}) ASSERT_TRUE(machine.disk.flipBit("/d/vote", at, 1));
    for (uint64_t at : {4096 + 20, 4608 + 20}) ASSERT_TRUE(machine.disk.flipBit("/d/vote", at, 1));
    auto said = sentenceOf([&]() { open(*process); });
    EXPECT_NE(said.find("neither copy of a slot is whole"), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace dfs
