#pragma once
// What every Kv must hold, as functions for tests: one suite for all implementations. Method: random
// operations against std::map, under a seed.

#include "common/kv.h"

#include <gtest/gtest.h>
#include <kj/function.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace dfs {

struct KvModel {
  using Tables = std::map<std::pair<uint8_t, std::string>, std::string>;

  static Bytes bytes(const std::string& text) {
    return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
  }
  static std::string text(Bytes b) {
    return std::string(reinterpret_cast<const char*>(b.begin()), b.size());
  }
  static Tables contents(KvReader& kv, uint8_t tables) {
    Tables all;
    for (uint8_t t = 0; t < tables; ++t) {
      for (auto c = kv.from(KvTable(t), nullptr); c->valid(); c->next()) {
        EXPECT_TRUE(all.emplace(std::make_pair(t, text(c->key())), text(c->value())).second);
      }
    }
    return all;
  }
};

inline void kvDoesAsAMap(kj::Function<kj::Own<Kv>()> open, kj::WaitScope& scope, uint32_t seed,
                         uint32_t operations) {
  // Also over reopening with commits under way: then the store holds what some commit() was called
  // on, and nothing older than the last that had resolved.
  constexpr uint8_t kTables = 3;
  std::mt19937 random(seed);
  KvModel::Tables model;
  std::vector<KvModel::Tables> mayBeKept{model};
  std::vector<kj::Promise<void>> commits;
  auto kv = open();
  auto pick = [&]() {
    return std::string(1 + random() % 3, char(random() % 2 ? 0xff : 'a')) +
           std::to_string(random() % 40);
  };
  auto settle = [&]() {
    for (auto& c : commits) c.wait(scope);
    commits.clear();
    mayBeKept.erase(mayBeKept.begin(), mayBeKept.end() - 1);
  };
  for (uint32_t i = 0; i < operations; ++i) {
    uint8_t t = uint8_t(random() % kTables);
    auto key = pick();
    uint32_t what = random() % 100;
    if (what < 40) {
      std::string value(random() % 8 == 0 ? random() % 9000 : random() % 30, char(random()));
      kv->put(KvTable(t), KvModel::bytes(key), KvModel::bytes(value));
      model[{t, key}] = value;
    } else if (what < 60) {
      ASSERT_EQ(kv->erase(KvTable(t), KvModel::bytes(key)), model.erase({t, key}) == 1);
    } else if (what < 80) {
      auto found = model.find({t, key});
      KJ_IF_MAYBE(v, kv->get(KvTable(t), KvModel::bytes(key))) {
        ASSERT_NE(found, model.end());
        ASSERT_EQ(KvModel::text(*v), found->second);
      } else {
        ASSERT_EQ(found, model.end());
      }
    } else if (what < 88) {
      auto at = model.lower_bound({t, key});
      auto c = kv->from(KvTable(t), KvModel::bytes(key));
      for (; at != model.end() && at->first.first == t; ++at, c->next()) {
        ASSERT_TRUE(c->valid());
        ASSERT_EQ(KvModel::text(c->key()), at->first.second);
        ASSERT_EQ(KvModel::text(c->value()), at->second);
        if (random() % 16 == 0) kj::evalLater([]() {}).wait(scope);  // a commit may resolve here
      }
      ASSERT_FALSE(c->valid());
    } else if (what < 95) {
      commits.push_back(kv->commit().eagerlyEvaluate(nullptr));
      mayBeKept.push_back(model);
    } else if (what < 98) {
      settle();
    } else {
      if (random() % 2) {
        commits.push_back(kv->commit());
        mayBeKept.push_back(model);
        settle();
      }
      commits.clear();
      kv = nullptr;
      kv = open();
      model = KvModel::contents(*kv, kTables);
      bool known = false;
      for (auto& state : mayBeKept) known = known || state == model;
      ASSERT_TRUE(known) << "the store holds what no commit was called on; operation " << i;
      mayBeKept = {model};
    }
  }
  ASSERT_EQ(KvModel::contents(*kv, kTables), model);
}

}  // namespace dfs
