#include "storaged/block/block_store.h"

#include "common/checksum.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <cstring>
#include <map>
#include <set>
#include <string>

namespace dfs {
namespace {

struct World {
  // One store on one simulated machine, opened and ended in every way.
  explicit World(uint64_t seed, uint64_t capacity = uint64_t(1) << 29) : sim(seed) {
    machine().disk.setCapacity(capacity);
    process = machine().process("/store");
    writeIdentity(process->env, {{1, 2}, {3, 4}}).wait(sim.scope);
    process->env.disk.syncDirectory("").wait(sim.scope);
    open();
  }

  SimMachine& machine() { return sim.machine("m"); }
  void open() {
    if (process.get() == nullptr) process = machine().process("/store");
    store = openBlockStore(process->env).wait(sim.scope);
  }
  void kill() {
    store = nullptr;
    process = nullptr;
  }
  void powerCut() {
    kill();
    machine().disk.powerCut();
  }

  kj::Promise<Errno> applyLater(BlockId block, uint64_t version, uint32_t offset,
                                const std::string& text, uint32_t clearFrom = kBlockBytes,
                                uint64_t sequence = 0) {
    auto data =
        kj::heapArray<kj::byte>(reinterpret_cast<const kj::byte*>(text.data()), text.size());
    auto sums = unitSums(offset, data);
    BlockWrite write;
    write.block = block;
    write.at = {1, version};
    write.offset = offset;
    write.data = data;
    write.sums = sums;
    write.request = {77, sequence == 0 ? version : sequence};
    write.clearFrom = clearFrom;
    auto applied = store->apply(write);
    return applied.attach(kj::mv(data), kj::mv(sums));
  }
  Errno apply(BlockId block, uint64_t version, uint32_t offset, const std::string& text,
              uint32_t clearFrom = kBlockBytes) {
    return applyLater(block, version, offset, text, clearFrom).wait(sim.scope);
  }
  Errno sync() { return store->sync().wait(sim.scope); }

  Outcome<std::string> read(BlockId block, uint32_t offset, uint32_t bytes) {
    auto piece = store->read(block, offset, bytes).wait(sim.scope);
    if (!piece.ok()) return piece.err();
    if (piece->data.size() > 0) {
      EXPECT_TRUE(sumsMatch(offset, piece->data, piece->sums.asPtr()));
    }
    return std::string(reinterpret_cast<char*>(piece->data.begin()), piece->data.size());
  }
  std::string all(BlockId block) {
    std::string text;
    for (uint32_t at = 0; at < kBlockBytes; at += kReadBytesMax) {
      auto part = read(block, at, kReadBytesMax);
      if (!part.ok()) return kj::str("error ", nameOf(part.err())).cStr();
      text += *part;
    }
    return text;
  }

  SimWorld sim;
  kj::Own<SimProcess> process;
  kj::Own<BlockStore> store;
};

const BlockId kBlock(ChainId(5), 9);

TEST(BlockStore, ReadsBackWhatWasWrittenAtEveryAlignment) {
  World w(1);
  std::string model;
  uint64_t version = 0;
  auto put = [&](uint32_t offset, const std::string& text) {
    ASSERT_EQ(w.apply(kBlock, ++version, offset, text), Errno::OK);
    if (model.size() < offset + text.size()) model.resize(offset + text.size(), 0);
    model.replace(offset, text.size(), text);
    ASSERT_EQ(w.all(kBlock), model);
  };
  put(0, "start");
  put(4090, std::string(20, 'b'));
  put(100000, std::string(70000, 'c'));
  put(4095, std::string(4098, 'd'));
  put(kBlockBytes - 3, "end");
  put(1, std::string(300000, 'e'));
  auto part = w.read(kBlock, 4000, 200);
  EXPECT_EQ(*part, model.substr(4000, 200));
  EXPECT_EQ(w.read(kBlock, 0, 0)->size(), 0u);
  EXPECT_EQ(w.read(BlockId(ChainId(5), 10), 0, 10).err(), Errno::NO_BLOCK);
  EXPECT_EQ(w.store->verify(kBlock).wait(w.sim.scope), Errno::OK);
  EXPECT_EQ(w.store->blockCount(), 1u);
}

TEST(BlockStore, BytesPastClearFromMeanNothing) {
  World w(2);
  ASSERT_EQ(w.apply(kBlock, 1, 0, std::string(50000, 'x')), Errno::OK);
  // Cut to 10000 in the row alone, then written at 30000: what lies between are zeros, and so is what lay behind.
  ASSERT_EQ(w.apply(kBlock, 2, 30000, "new", 10000), Errno::OK);
  auto text = w.all(kBlock);
  ASSERT_EQ(text.size(), 30003u);
  EXPECT_EQ(text, std::string(10000, 'x') + std::string(20000, 0) + "new");
  // In the same unit.
  ASSERT_EQ(w.apply(kBlock, 3, 30010, "z", 30001), Errno::OK);
  EXPECT_EQ(w.all(kBlock).substr(30000), std::string("n") + std::string(9, 0) + "z");
}

TEST(BlockStore, AKilledProcessLosesNothingAndKeepsItsSince) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    World w(seed);
    auto since = w.store->since();
    EXPECT_NE(since, 0u);
    std::string text(10000, 'a');
    ASSERT_EQ(w.apply(kBlock, 1, 0, text), Errno::OK);
    ASSERT_EQ(w.apply(kBlock, 2, 500, std::string(5000, 'b')), Errno::OK);
    w.store->commit(kBlock, {1, 2});
    text.replace(500, 5000, 5000, 'b');
    // One more is on its way.
    auto torn = w.applyLater(kBlock, 3, 3000, std::string(9000, 'c'));
    w.sim.time.timer.afterDelay(w.sim.random.below(200) * kj::MICROSECONDS).wait(w.sim.scope);
    bool done = torn.poll(w.sim.scope);
    torn = nullptr;
    w.kill();
    w.open();
    EXPECT_EQ(w.store->since(), since);
    auto found = KJ_ASSERT_NONNULL(w.store->find(kBlock));
    auto with = text;
    with.resize(12000, 0);
    with.replace(3000, 9000, 9000, 'c');
    if (done) {
      EXPECT_EQ(w.all(kBlock), with);
      EXPECT_EQ(found.at.version, 3u);
    } else if (!found.doubtful) {
      auto now = w.all(kBlock);
      EXPECT_TRUE(now == text || now == with) << now.size();
      EXPECT_EQ(found.at.version, now == text ? 2u : 3u);
    } else {
      EXPECT_EQ(found.request.client, 0u)
          << "a repeat of a write that did not happen would be answered";
    }
  }
}

TEST(BlockStore, APowerCutMakesANewSinceAndKeepsWhatWasSynced) {
  World w(3);
  auto since = w.store->since();
  ASSERT_EQ(w.apply(kBlock, 1, 0, "synced"), Errno::OK);
  ASSERT_EQ(w.sync(), Errno::OK);
  EXPECT_FALSE(w.store->unsynced(kBlock));
  ASSERT_EQ(w.apply(BlockId(ChainId(5), 10), 1, 0, "not synced"), Errno::OK);
  EXPECT_TRUE(w.store->unsynced(BlockId(ChainId(5), 10)));
  w.powerCut();
  w.open();
  EXPECT_NE(w.store->since(), since);
  EXPECT_EQ(w.all(kBlock), "synced");
}

TEST(BlockStore, SyncedBytesSurviveAPowerCutUnderLaterUnsyncedWrites) {
  // Method: units of 'a' are synced; some are overwritten with 'b' and not synced; the power goes at a random moment. Each sector is
  // 'a' or 'b'; a unit that is a mixture makes the block doubtful; nothing is CORRUPT once it has been accepted, and what was not
  // touched is 'a'.
  int doubtful = 0, kept = 0, lost = 0;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    World w(seed);
    ASSERT_EQ(w.apply(kBlock, 1, 0, std::string(64 << 10, 'a')), Errno::OK);
    w.store->commit(kBlock, {1, 1});
    ASSERT_EQ(w.sync(), Errno::OK);
    uint64_t version = 1;
    std::string touched(16, 0);
    int count = 1 + static_cast<int>(w.sim.random.below(4));
    for (int i = 0; i < count; ++i) {
      uint32_t unit = static_cast<uint32_t>(w.sim.random.below(15));
      bool part = w.sim.random.below(2) == 0;
      uint32_t offset = unit * kUnitBytes + (part ? 700 : 0);
      uint32_t bytes = part ? 2000 : kUnitBytes;
      auto applied = w.applyLater(kBlock, ++version, offset, std::string(bytes, 'b'));
      if (i + 1 < count) {
        ASSERT_EQ(applied.wait(w.sim.scope), Errno::OK);
      } else {
        w.sim.time.timer.afterDelay(w.sim.random.below(6000) * kj::MICROSECONDS).wait(w.sim.scope);
      }
      touched[unit] = 1;
    }
    w.powerCut();
    w.open();
    auto found = KJ_ASSERT_NONNULL(w.store->find(kBlock));
    if (found.doubtful) {
      ++doubtful;
      w.store->accept(kBlock);
      w.sim.pass(50);
      EXPECT_FALSE(KJ_ASSERT_NONNULL(w.store->find(kBlock)).doubtful);
    }
    auto text = w.all(kBlock);
    ASSERT_EQ(text.size(), size_t(64 << 10)) << seed << " " << text.substr(0, 40);
    bool anyB = false;
    for (size_t i = 0; i < text.size(); ++i) {
      ASSERT_TRUE(text[i] == 'a' || (text[i] == 'b' && touched[i / kUnitBytes] == 1))
          << seed << " at " << i;
      anyB = anyB || text[i] == 'b';
    }
    (anyB ? kept : lost) += 1;
  }
  // The rules were needed: all three happened.
  EXPECT_GT(doubtful, 0);
  EXPECT_GT(kept, 0);
  EXPECT_GT(lost, 0);
}

TEST(BlockStore, RandomWorkSurvivesKillsAndPowerCuts) {
  // Method: a model of what was applied and what of it was synced. After a kill everything applied is there. After a power cut every
  // block that was not touched since the sync is as it was; a touched one has only bytes that some write since then, or the sync,
  // has put there (or is doubtful until accepted).
  for (uint64_t seed = 1000; seed < 1040; ++seed) {
    World w(seed);
    std::map<uint64_t, std::string> now, synced;
    std::map<uint64_t, std::set<std::string>> since;  // states of a block after the sync
    std::map<uint64_t, uint64_t> versions;
    auto& random = w.sim.random;
    for (int step = 0; step < 60; ++step) {
      uint64_t number = 1 + random.below(5);
      BlockId block(ChainId(1), number);
      switch (random.below(12)) {
        case 0:
          ASSERT_EQ(w.sync(), Errno::OK);
          synced = now;
          since.clear();
          break;
        case 1:
          ASSERT_EQ(w.store->erase(block).wait(w.sim.scope), Errno::OK);
          now.erase(number);
          since[number].insert("");
          break;
        case 2: {
          w.kill();
          w.open();
          for (auto& [n, text] : now)
            ASSERT_EQ(w.all(BlockId(ChainId(1), n)), text) << seed << " step " << step;
          break;
        }
        case 3: {
          w.powerCut();
          w.open();
          std::map<uint64_t, std::string> after;
          for (uint64_t n = 1; n <= 5; ++n) {
            BlockId b(ChainId(1), n);
            auto found = w.store->find(b);
            KJ_IF_MAYBE(f, found) {
              if (f->doubtful) {
                w.store->accept(b);
                w.sim.pass(50);
              }
              after[n] = w.all(b);
              ASSERT_EQ(after[n].find("error"), std::string::npos)
                  << seed << " block " << n << " " << after[n];
            }
            bool untouched = since.count(n) == 0;
            if (untouched) {
              ASSERT_EQ(after.count(n), synced.count(n))
                  << seed << " step " << step << " block " << n;
              if (after.count(n) != 0) {
                ASSERT_EQ(after[n], synced[n]) << seed << " block " << n;
              }
            }
            for (size_t i = 0; !untouched && i < after[n].size(); ++i) {
              bool known = after[n][i] == 0 || (synced.count(n) != 0 && i < synced[n].size() &&
                                                synced[n][i] == after[n][i]);
              for (auto& state : since[n])
                known = known || (i < state.size() && state[i] == after[n][i]);
              ASSERT_TRUE(known) << seed << " block " << n << " byte " << i;
            }
            if (after.count(n) != 0 && after[n].empty() && w.store->find(b) == nullptr)
              after.erase(n);
            KJ_IF_MAYBE(f, w.store->find(b)) {
              versions[n] = f->at.version;
            }
          }
          now.clear();
          for (auto& [n, text] : after) {
            if (w.store->find(BlockId(ChainId(1), n)) != nullptr) now[n] = text;
          }
          ASSERT_EQ(w.sync(), Errno::OK);
          synced = now;
          since.clear();
          break;
        }
        case 4: {
          // A whole block that arrives in pieces.
          std::string text(1 + random.below(200000), static_cast<char>('A' + step % 26));
          auto install =
              w.store->install(block, static_cast<uint32_t>(text.size())).wait(w.sim.scope);
          ASSERT_TRUE(install.ok());
          auto data = kj::StringPtr(text.c_str(), text.size()).asBytes();
          for (uint32_t at = 0; at < text.size(); at += 65536) {
            auto piece = data.slice(at, kj::min(at + 65536, text.size()));
            auto sums = unitSums(at, piece);
            ASSERT_EQ((*install)->write(at, piece, sums).wait(w.sim.scope), Errno::OK);
          }
          if (random.below(4) == 0) break;  // dropped: it never was
          auto version = ++versions[number];
          ASSERT_EQ((*install)
                        ->finish({1, version}, true, static_cast<uint32_t>(text.size()), {})
                        .wait(w.sim.scope),
                    Errno::OK);
          now[number] = text;
          since[number].insert(text);
          break;
        }
        case 5:
          w.sim.pass(random.below(40000));  // checkpoints come in between
          break;
        default: {
          uint32_t offset = static_cast<uint32_t>(
              random.below(3) == 0 ? random.below(100000) : random.below(20) * kUnitBytes);
          std::string text(1 + random.below(30000), static_cast<char>('a' + step % 26));
          auto version = ++versions[number];
          ASSERT_EQ(w.apply(block, version, offset, text), Errno::OK);
          auto& model = now[number];
          if (model.size() < offset + text.size()) model.resize(offset + text.size(), 0);
          model.replace(offset, text.size(), text);
          since[number].insert(model);
          if (random.below(2) == 0) w.store->commit(block, {1, version});
          break;
        }
      }
    }
    for (auto& [n, text] : now) ASSERT_EQ(w.all(BlockId(ChainId(1), n)), text) << seed;
  }
}

TEST(BlockStore, FlippedBitsAreCorruptAndNeverServed) {
  World w(5);
  ASSERT_EQ(w.apply(kBlock, 1, 0, std::string(20000, 'x')), Errno::OK);
  ASSERT_EQ(w.sync(), Errno::OK);
  ASSERT_TRUE(w.machine().disk.flipBit("/store/segments/000000", 9000, 3));
  EXPECT_EQ(w.read(kBlock, 0, 4096)->size(), 4096u);
  EXPECT_EQ(w.read(kBlock, 8192, 100).err(), Errno::CORRUPT);
  EXPECT_EQ(w.store->verify(kBlock).wait(w.sim.scope), Errno::CORRUPT);
  EXPECT_EQ(w.apply(kBlock, 2, 8200, "part"), Errno::CORRUPT)
      << "a write must not seal bad bytes with a new sum";
  EXPECT_EQ(w.apply(kBlock, 2, 8192, std::string(4096, 'y')), Errno::OK);
  EXPECT_EQ(w.store->verify(kBlock).wait(w.sim.scope), Errno::OK);
}

TEST(BlockStore, DamageInTheSyncedLogIsRefusedWithASentence) {
  World w(6);
  for (uint64_t v = 1; v <= 5; ++v) {
    ASSERT_EQ(w.apply(kBlock, v, 0, "text"), Errno::OK);
    ASSERT_EQ(w.sync(), Errno::OK);
  }
  w.kill();
  std::string log;
  for (auto& name : w.machine().disk.files()) {
    if (name.find("/intents/") != std::string::npos) log = name;
  }
  ASSERT_TRUE(w.machine().disk.flipBit(log, 300, 2));
  auto failed = kj::runCatchingExceptions([&]() { w.open(); });
  auto reason = KJ_ASSERT_NONNULL(failed).getDescription();
  EXPECT_NE(std::string(reason.cStr()).find("intent log is damaged"), std::string::npos)
      << reason.cStr();
}

TEST(BlockStore, AFullDiskRefusesWritesServesReadsAndComesBackAfterErase) {
  World w(7, 200 << 20);
  std::string mib(1 << 20, 'm');
  uint64_t n = 0;
  Errno err = Errno::OK;
  while (err == Errno::OK) {
    ++n;
    err = w.apply(BlockId(ChainId(1), n), 1, 0, mib);
  }
  EXPECT_EQ(err, Errno::NO_SPACE);
  EXPECT_GT(n, 100u);
  EXPECT_EQ(w.all(BlockId(ChainId(1), 1)), mib);
  EXPECT_EQ(w.apply(BlockId(ChainId(1), 1), 2, 0, std::string(4096, 'o')), Errno::OK)
      << "overwriting needs no room";
  EXPECT_EQ(w.sync(), Errno::OK);
  for (uint64_t i = 2; i < 40; ++i)
    ASSERT_EQ(w.store->erase(BlockId(ChainId(1), i)).wait(w.sim.scope), Errno::OK);
  w.sim.pass(5000);
  EXPECT_EQ(w.apply(BlockId(ChainId(1), n), 1, 0, mib), Errno::OK);
  w.kill();
  w.open();
  EXPECT_EQ(w.all(BlockId(ChainId(1), n)), mib);
}

TEST(BlockStore, AFailedSyncTakesTheStoreOutOfServiceAndForgetsItsSince) {
  World w(8);
  ASSERT_EQ(w.apply(kBlock, 1, 0, "text"), Errno::OK);
  auto since = w.store->since();
  w.machine().disk.failSyncs(true);
  EXPECT_EQ(w.sync(), Errno::IO);
  w.machine().disk.failSyncs(false);
  EXPECT_EQ(w.sync(), Errno::IO) << "the second fsync would lie";
  EXPECT_EQ(w.read(kBlock, 0, 4).err(), Errno::IO);
  EXPECT_EQ(w.apply(kBlock, 2, 0, "more"), Errno::IO);
  EXPECT_NE(kj::runCatchingExceptions([&]() { w.store->broken().wait(w.sim.scope); }), nullptr);
  w.kill();
  w.open();
  EXPECT_NE(w.store->since(), since);
}

TEST(BlockStore, CommittedIsRememberedAndUncommittedIsListed) {
  World w(9);
  BlockId other(ChainId(5), 10);
  ASSERT_EQ(w.apply(kBlock, 1, 0, "text"), Errno::OK);
  ASSERT_EQ(w.apply(other, 1, 0, "text"), Errno::OK);
  EXPECT_EQ(w.store->uncertain().size(), 2u);
  w.store->commit(kBlock, {1, 1});
  w.store->commit(other, {1, 2});  // another version: nothing
  EXPECT_EQ(w.store->uncertain(), std::vector<BlockId>{other});
  ASSERT_EQ(w.sync(), Errno::OK);
  w.powerCut();
  w.open();
  EXPECT_EQ(w.store->uncertain(), std::vector<BlockId>{other});
  EXPECT_TRUE(KJ_ASSERT_NONNULL(w.store->find(kBlock)).committed);
}

TEST(BlockStore, EqualBytesHaveEqualDigestsHoweverTheyCame) {
  World w(10);
  BlockId a(ChainId(1), 1), b(ChainId(1), 2), c(ChainId(1), 3);
  ASSERT_EQ(w.apply(a, 1, 0, std::string(4096, 'x')), Errno::OK);
  ASSERT_EQ(w.apply(a, 2, 12288, "y"), Errno::OK);
  std::string whole = std::string(4096, 'x') + std::string(8192, 0) + "y";
  ASSERT_EQ(w.apply(b, 1, 0, whole), Errno::OK);
  ASSERT_EQ(w.apply(c, 1, 0, std::string(12289, 'x')), Errno::OK);
  EXPECT_EQ(w.all(a), w.all(b));
  EXPECT_EQ(w.store->digest(a), w.store->digest(b));
  EXPECT_NE(w.store->digest(a), w.store->digest(c));
}

TEST(StoreIdentity, AnEmptyDirectoryHasNoneAndADamagedOneIsRefused) {
  SimWorld sim(1);
  auto process = sim.machine("m").process("/s");
  auto& env = process->env;
  EXPECT_TRUE(readIdentity(env).wait(sim.scope) == nullptr);
  writeIdentity(env, {{1, 2}, {3, 4}}).wait(sim.scope);
  auto read = KJ_ASSERT_NONNULL(readIdentity(env).wait(sim.scope));
  EXPECT_EQ(read.store, (Uuid{1, 2}));
  EXPECT_EQ(read.cluster, (Uuid{3, 4}));
  sim.machine("m").disk.flipBit("/s/identity", 20, 1);
  EXPECT_NE(kj::runCatchingExceptions([&]() { readIdentity(env).wait(sim.scope); }), nullptr);
  env.disk.remove("identity").wait(sim.scope);
  env.disk.makeDirectory("segments").wait(sim.scope);
  EXPECT_NE(kj::runCatchingExceptions([&]() { readIdentity(env).wait(sim.scope); }), nullptr)
      << "a store that has lost its identity is no empty directory";
}

TEST(BlockStore, AcceptingATornUnitMakesNoOtherBadOneGood) {
  // B4: what lies under no unsynced intent and does not match its sum is corrupt, and stays so.
  int tried = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    World w(seed);
    ASSERT_EQ(w.apply(kBlock, 1, 0, std::string(64 << 10, 'a')), Errno::OK);
    w.store->commit(kBlock, {1, 1});
    ASSERT_EQ(w.sync(), Errno::OK);
    ASSERT_TRUE(w.machine().disk.flipBit("/store/segments/000000", 10 * kUnitBytes + 5, 3));
    {
      auto applied = w.applyLater(kBlock, 2, 0, std::string(kUnitBytes, 'b'));
      w.sim.time.timer.afterDelay(w.sim.random.below(6000) * kj::MICROSECONDS).wait(w.sim.scope);
    }
    w.powerCut();
    w.open();
    if (!KJ_ASSERT_NONNULL(w.store->find(kBlock)).doubtful) continue;
    if (w.read(kBlock, 10 * kUnitBytes, 100).ok()) continue;  // the power cut undid it
    w.store->accept(kBlock).wait(w.sim.scope);
    EXPECT_TRUE(w.read(kBlock, 0, 100).ok());
    EXPECT_EQ(w.read(kBlock, 10 * kUnitBytes, 100).err(), Errno::CORRUPT);
    ++tried;
  }
  EXPECT_GT(tried, 5);
}

TEST(BlockStore, UnitsThatWereClearedAndWrittenAnewAreSoundAfterAPowerCut) {
  // B2: the synced index still names the old bytes while new ones lie there.
  for (uint64_t seed = 0; seed < 60; ++seed) {
    World w(seed);
    ASSERT_EQ(w.apply(kBlock, 1, 0, std::string(11 * kUnitBytes, 'a')), Errno::OK);
    w.store->commit(kBlock, {1, 1});
    ASSERT_EQ(w.sync(), Errno::OK);
    w.sim.pass(40000);  // a checkpoint
    auto cut = 9 * kUnitBytes;
    ASSERT_EQ(w.apply(kBlock, 2, 12 * kUnitBytes, std::string(kUnitBytes, 'b'), cut), Errno::OK);
    ASSERT_EQ(w.apply(kBlock, 3, cut, std::string(kUnitBytes, 'c')), Errno::OK);
    w.powerCut();
    w.open();
    if (KJ_ASSERT_NONNULL(w.store->find(kBlock)).doubtful) continue;
    EXPECT_EQ(w.store->verify(kBlock).wait(w.sim.scope), Errno::OK) << seed;
  }
}

}  // namespace
}  // namespace dfs
