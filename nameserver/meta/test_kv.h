#pragma once
// For tests: a Kv that is a map, and a digest of all that is in it.
//
// Thread: the test's. commit() resolves at once.

#include "common/checksum.h"
#include "common/kv.h"
#include "nameserver/meta/keys.h"

#include <map>
#include <string>

namespace dfs {

class TestKv final : public Kv {
 public:
  using Map = std::map<std::string, std::string>;

  kj::Maybe<Bytes> get(KvTable table, Bytes key) override {
    auto& map = maps_[static_cast<uint8_t>(table)];
    auto found = map.find(text(key));
    if (found == map.end()) return nullptr;
    return bytes(found->second);
  }
  kj::Own<KvCursor> from(KvTable table, Bytes key) override {
    auto& map = maps_[static_cast<uint8_t>(table)];
    return kj::heap<Cursor>(*this, map, map.lower_bound(text(key)));
  }
  void put(KvTable table, Bytes key, Bytes value) override {
    KJ_REQUIRE(key.size() >= 1 && key.size() <= kKvKeyBytesMax);
    writes += 1;
    maps_[static_cast<uint8_t>(table)][text(key)] = text(value);
  }
  bool erase(KvTable table, Bytes key) override {
    writes += 1;
    return maps_[static_cast<uint8_t>(table)].erase(text(key)) != 0;
  }
  kj::Promise<void> commit() override { return kj::READY_NOW; }
  size_t uncommittedBytes() override { return 0; }

  uint64_t digest(bool answersToo = true) {
    // Of everything but the applied index; perhaps without answers and sessions.
    uint64_t sum = 0;
    for (uint8_t t = 0; t < kKvTablesMax; ++t) {
      if (!answersToo && (t == static_cast<uint8_t>(meta::Table::ANSWER) ||
                          t == static_cast<uint8_t>(meta::Table::SESSION))) {
        continue;
      }
      for (auto& [k, v] : maps_[t]) {
        bool applied =
            t == static_cast<uint8_t>(meta::Table::META) &&
            meta::keyNumber(bytes(k), 0) == static_cast<uint64_t>(meta::MetaKey::APPLIED);
        if (applied) continue;
        sum = checksum(bytes(k), sum * 31 + t);
        sum = checksum(bytes(v), sum);
      }
    }
    return sum;
  }
  size_t size(meta::Table table) { return maps_[static_cast<uint8_t>(table)].size(); }

  uint64_t writes = 0;

 private:
  class Cursor final : public KvCursor {
   public:
    Cursor(TestKv& kv, Map& map, Map::iterator at)
        : kv_(kv), map_(map), at_(at), writes_(kv.writes) {}
    bool valid() override {
      KJ_REQUIRE(kv_.writes == writes_, "a cursor was used after a write");
      return at_ != map_.end();
    }
    Bytes key() override { return valid() ? bytes(at_->first) : Bytes(); }
    Bytes value() override { return valid() ? bytes(at_->second) : Bytes(); }
    void next() override {
      if (valid()) ++at_;
    }

   private:
    TestKv& kv_;
    Map& map_;
    Map::iterator at_;
    uint64_t writes_;
  };

  static std::string text(Bytes b) {
    return std::string(reinterpret_cast<const char*>(b.begin()), b.size());
  }
  static Bytes bytes(const std::string& s) {
    return Bytes(reinterpret_cast<const kj::byte*>(s.data()), s.size());
  }

  Map maps_[kKvTablesMax];
};

}  // namespace dfs
