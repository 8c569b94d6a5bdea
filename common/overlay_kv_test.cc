// Method: the contract over a backing in memory and over LMDB; and each step of a commit by hand.

#include "common/overlay_kv.h"

#include "common/kv_contract.h"
#include "common/lmdb_kv.h"
#include "common/test_folder.h"

#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <kj/debug.h>
#include <stdlib.h>

#include <deque>
#include <filesystem>

namespace dfs {
namespace {

class ByHand final : public KvBacking {
  // Commits when the test says so; a snapshot is a copy.
 public:
  struct Disk {
    std::array<std::map<std::string, std::string>, kKvTablesMax> tables;
    std::deque<kj::Own<kj::PromiseFulfiller<void>>> waiting;
    bool atOnce = false;
    int renewals = 0;
  };
  explicit ByHand(Disk& disk) : disk_(disk), snapshot_(disk.tables) {}

  kj::Maybe<Bytes> get(uint8_t table, Bytes key) override {
    auto found = snapshot_[table].find(KvModel::text(key));
    if (found == snapshot_[table].end()) return nullptr;
    return KvModel::bytes(found->second);
  }
  kj::Own<KvCursor> from(uint8_t table, Bytes key) override {
    return kj::heap<Cursor>(snapshot_[table], KvModel::text(key));
  }
  kj::Promise<void> commit(const KvDelta& delta) override {
    auto paf = kj::newPromiseAndFulfiller<void>();
    if (disk_.atOnce) {
      paf.fulfiller->fulfill();
    } else {
      disk_.waiting.push_back(kj::mv(paf.fulfiller));
    }
    return paf.promise.then([this, &delta]() {
      for (size_t t = 0; t < kKvTablesMax; ++t) {
        for (auto& [key, value] : delta.tables[t]) {
          if (value) {
            disk_.tables[t][key] = *value;
          } else {
            disk_.tables[t].erase(key);
          }
        }
      }
    });
  }
  void renew() override {
    ++disk_.renewals;
    snapshot_ = disk_.tables;
  }

 private:
  class Cursor final : public KvCursor {
   public:
    Cursor(std::map<std::string, std::string>& table, std::string key)
        : table_(table), at_(table.lower_bound(key)) {}
    bool valid() override { return at_ != table_.end(); }
    Bytes key() override { return KvModel::bytes(at_->first); }
    Bytes value() override { return KvModel::bytes(at_->second); }
    void next() override { ++at_; }

   private:
    std::map<std::string, std::string>& table_;
    std::map<std::string, std::string>::iterator at_;
  };

  Disk& disk_;
  std::array<std::map<std::string, std::string>, kKvTablesMax> snapshot_;
};

struct World {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  ByHand::Disk disk;
  TestFolder folder;

  kj::Own<Kv> byHand() { return newOverlayKv(kj::heap<ByHand>(disk)); }
  kj::Own<Kv> lmdb() { return openLmdbKv((folder.path + "/kv").c_str()).wait(io.waitScope); }
  void turn() {
    for (int i = 0; i < 8; ++i) kj::evalLater([]() {}).wait(io.waitScope);
  }
};

void put(Kv& kv, const std::string& key, const std::string& value) {
  kv.put(KvTable(0), KvModel::bytes(key), KvModel::bytes(value));
}
std::string get(Kv& kv, const std::string& key) {
  KJ_IF_MAYBE(v, kv.get(KvTable(0), KvModel::bytes(key))) {
    return KvModel::text(*v);
  }
  return "-";
}

TEST(OverlayKv, DoesAsAMapOverABackingInMemory) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    World world;
    world.disk.atOnce = true;
    kvDoesAsAMap([&]() { return world.byHand(); }, world.io.waitScope, seed, 2000);
  }
}

TEST(OverlayKv, DoesAsAMapOverLmdb) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    World world;
    kvDoesAsAMap([&]() { return world.lmdb(); }, world.io.waitScope, seed, 1500);
  }
}

TEST(OverlayKv, OneCommitIsUnderWayAndTheWaitingOnesBecomeOne) {
  World world;
  auto kv = world.byHand();
  put(*kv, "a", "1");
  auto first = kv->commit();
  put(*kv, "a", "2");
  auto second = kv->commit();
  put(*kv, "a", "3");
  auto third = kv->commit();
  ASSERT_EQ(world.disk.waiting.size(), 1u);
  EXPECT_EQ(kv->uncommittedBytes(), 4u);  // the second's value has given way to the third's
  world.disk.waiting[0]->fulfill();
  first.wait(world.io.waitScope);
  EXPECT_FALSE(second.poll(world.io.waitScope));
  ASSERT_EQ(world.disk.waiting.size(), 2u);  // begun without a further write
  EXPECT_EQ(kv->uncommittedBytes(), 2u);
  world.disk.waiting[1]->fulfill();
  second.wait(world.io.waitScope);
  third.wait(world.io.waitScope);
  EXPECT_EQ(get(*kv, "a"), "3");
  EXPECT_EQ(kv->uncommittedBytes(), 0u);
}

TEST(OverlayKv, BytesAndCursorsOutliveCommitsThatResolveMeanwhile) {
  World world;
  auto kv = world.byHand();
  put(*kv, "a", "1");
  put(*kv, "b", "2");
  auto first = kv->commit();
  put(*kv, "c", "3");
  auto second = kv->commit();
  auto value = KJ_ASSERT_NONNULL(kv->get(KvTable(0), KvModel::bytes("a")));
  auto cursor = kv->from(KvTable(0), nullptr);
  world.disk.waiting[0]->fulfill();
  first.wait(world.io.waitScope);
  world.turn();
  world.disk.waiting[1]->fulfill();
  second.wait(world.io.waitScope);
  EXPECT_EQ(world.disk.renewals, 0);
  EXPECT_EQ(KvModel::text(value), "1");
  std::string seen;
  for (; cursor->valid(); cursor->next()) seen += KvModel::text(cursor->value());
  EXPECT_EQ(seen, "123");
  put(*kv, "d", "4");
  EXPECT_EQ(world.disk.renewals, 1);
  EXPECT_THROW(cursor->valid(), kj::Exception);
}

TEST(OverlayKv, AfterAFailedCommitNothingIsCommitted) {
  World world;
  auto kv = world.byHand();
  put(*kv, "a", "1");
  auto first = kv->commit();
  put(*kv, "b", "2");
  auto second = kv->commit();
  world.disk.waiting[0]->reject(KJ_EXCEPTION(FAILED, "the disk is full"));
  EXPECT_THROW(first.wait(world.io.waitScope), kj::Exception);
  EXPECT_THROW(second.wait(world.io.waitScope), kj::Exception);
  put(*kv, "c", "3");
  EXPECT_THROW(kv->commit().wait(world.io.waitScope), kj::Exception);
  EXPECT_EQ(world.disk.waiting.size(), 1u);
  EXPECT_EQ(get(*kv, "a") + get(*kv, "b") + get(*kv, "c"), "123");
}

TEST(OverlayKv, ADamagedOrMisplacedValueThrows) {
  World world;
  world.disk.atOnce = true;
  auto kv = world.byHand();
  put(*kv, "a", "value");
  put(*kv, "b", "other");
  kv->commit().wait(world.io.waitScope);
  auto good = world.disk.tables;
  auto& table = world.disk.tables[0];
  auto refuses = [&]() {
    auto damaged = world.byHand();
    EXPECT_THROW(get(*damaged, "a"), kj::Exception);
    EXPECT_THROW(KvModel::contents(*damaged, 1), kj::Exception);
    world.disk.tables = good;
  };
  for (size_t i = 0; i < good[0]["a"].size(); ++i) {
    table["a"][i] ^= 1;
    refuses();
  }
  table["a"] = table["b"];
  refuses();
  table["a"] = "short";
  refuses();
}

TEST(OverlayKv, KeysOfABadLengthAreRefused) {
  World world;
  auto kv = world.byHand();
  EXPECT_THROW(put(*kv, "", "x"), kj::Exception);
  EXPECT_THROW(put(*kv, std::string(kKvKeyBytesMax + 1, 'k'), "x"), kj::Exception);
  put(*kv, std::string(kKvKeyBytesMax, 'k'), "x");
}

}  // namespace
}  // namespace dfs
