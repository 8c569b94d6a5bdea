#include "common/overlay_kv.h"

#include "common/checksum.h"

#include <kj/debug.h>

#include <deque>
#include <string_view>
#include <vector>

namespace dfs {
namespace {

constexpr size_t kSealBytes = 8;

std::string_view viewOf(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}
Bytes bytesOf(std::string_view text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

uint64_t sealOf(uint8_t table, Bytes key, Bytes value) {
  return checksum(value, checksum(key, table));
}

std::string sealed(uint8_t table, Bytes key, Bytes value) {
  std::string stored;
  stored.reserve(value.size() + kSealBytes);
  stored.append(viewOf(value));
  uint64_t seal = sealOf(table, key, value);
  for (size_t i = 0; i < kSealBytes; ++i) stored.push_back(static_cast<char>(seal >> (8 * i)));
  return stored;
}

kj::Maybe<Bytes> unsealed(const std::optional<std::string>& stored) {
  // Of a layer in memory: null where the key is erased.
  if (!stored) return nullptr;
  return bytesOf(std::string_view(*stored).substr(0, stored->size() - kSealBytes));
}

Bytes verified(uint8_t table, Bytes key, Bytes stored) {
  KJ_REQUIRE(stored.size() >= kSealBytes, "a stored value is too short to have a checksum", table,
             key, stored.size());
  auto value = stored.slice(0, stored.size() - kSealBytes);
  uint64_t seal = 0;
  for (size_t i = 0; i < kSealBytes; ++i) seal |= uint64_t(stored[value.size() + i]) << (8 * i);
  KJ_REQUIRE(seal == sealOf(table, key, value), "a stored value has a wrong checksum", table, key);
  return value;
}

class OverlayKv final : public Kv {
 public:
  explicit OverlayKv(kj::Own<KvBacking> backing) : backing_(kj::mv(backing)) {}

  kj::Maybe<Bytes> get(KvTable table, Bytes key) override {
    auto t = index(table);
    auto k = viewOf(key);
    auto& active = active_.tables[t];
    auto at = active.find(k);
    if (at != active.end()) return unsealed(at->second);
    for (size_t i = frozen_.size(); i-- > 0;) {
      auto& layer = frozen_[i]->delta.tables[t];
      at = layer.find(k);
      if (at != layer.end()) return unsealed(at->second);
    }
    KJ_IF_MAYBE(stored, backing_->get(t, key)) {
      return verified(t, key, *stored);
    }
    return nullptr;
  }

  kj::Own<KvCursor> from(KvTable table, Bytes key) override {
    return kj::heap<Cursor>(*this, index(table), key);
  }

  void put(KvTable table, Bytes key, Bytes value) override {
    auto t = index(table);
    KJ_REQUIRE(key.size() >= 1 && key.size() <= kKvKeyBytesMax, "a key of a bad length",
               key.size());
    // Copied first: they may be bytes that get() gave, which end here.
    std::string k(viewOf(key));
    std::optional<std::string> stored = sealed(t, key, value);
    beginWrite();
    set(t, kj::mv(k), kj::mv(stored));
  }

  bool erase(KvTable table, Bytes key) override {
    auto t = index(table);
    bool present = get(table, key) != nullptr;
    std::string k(viewOf(key));
    beginWrite();
    if (present) set(t, kj::mv(k), std::nullopt);
    return present;
  }

  kj::Promise<void> commit() override {
    beginWrite();
    KJ_IF_MAYBE(e, failure_) {
      return kj::cp(*e);
    }
    if (!active_.empty()) {
      if (!frozen_.empty() && frozen_.back()->state == State::WAITING) {
        mergeInto(frozen_.back()->delta);
      } else {
        frozen_.push_back(kj::heap<Frozen>(kj::mv(active_)));
      }
      active_ = KvDelta();
    }
    if (frozen_.empty()) return kj::READY_NOW;
    auto result = frozen_.back()->done.addBranch();
    startNext();
    return result;
  }

  size_t uncommittedBytes() override {
    size_t bytes = active_.bytes;
    for (auto& frozen : frozen_) {
      if (frozen->state != State::DURABLE) bytes += frozen->delta.bytes;
    }
    return bytes;
  }

 private:
  enum class State : uint8_t { WAITING, UNDER_WAY, DURABLE };
  struct Frozen {
    KvDelta delta;
    State state = State::WAITING;
    kj::Own<kj::PromiseFulfiller<void>> fulfiller;
    kj::ForkedPromise<void> done = nullptr;

    explicit Frozen(KvDelta frozenDelta) : delta(kj::mv(frozenDelta)) {
      auto paf = kj::newPromiseAndFulfiller<void>();
      fulfiller = kj::mv(paf.fulfiller);
      done = paf.promise.fork();
    }
  };

  class Cursor final : public KvCursor {
   public:
    Cursor(OverlayKv& kv, uint8_t table, Bytes key)
        : kv_(kv),
          table_(table),
          generation_(kv.generation_),
          below_(kv.backing_->from(table, key)) {
      addLayer(kv.active_.tables[table], key);
      for (size_t i = kv.frozen_.size(); i-- > 0;) {
        addLayer(kv.frozen_[i]->delta.tables[table], key);
      }
      settle();
    }

    bool valid() override {
      KJ_ASSERT(generation_ == kv_.generation_, "a cursor was used after a write or a commit");
      return valid_;
    }
    Bytes key() override {
      KJ_REQUIRE(valid());
      return bytesOf(key_);
    }
    Bytes value() override {
      KJ_REQUIRE(valid());
      if (top_ == nullptr) return verified(table_, bytesOf(key_), below_->value());
      return KJ_ASSERT_NONNULL(unsealed(*top_));
    }
    void next() override {
      KJ_REQUIRE(valid());
      skip();
      settle();
    }

   private:
    struct Layer {
      KvDelta::Table::const_iterator at;
      KvDelta::Table::const_iterator end;
    };

    void addLayer(const KvDelta::Table& layer, Bytes key) {
      auto at = layer.lower_bound(viewOf(key));
      if (at != layer.end()) above_.push_back({at, layer.end()});
    }

    void settle() {
      // Stands on the least key of all layers, if the topmost layer that has it does not erase it.
      for (;;) {
        valid_ = below_->valid();
        top_ = nullptr;
        if (valid_) key_ = viewOf(below_->key());
        for (size_t i = above_.size(); i-- > 0;) {
          auto& layer = above_[i];
          if (layer.at == layer.end) continue;
          if (valid_ && key_ < std::string_view(layer.at->first)) continue;
          valid_ = true;
          key_ = layer.at->first;
          top_ = &layer.at->second;
        }
        if (!valid_ || top_ == nullptr || *top_) return;
        skip();
      }
    }

    void skip() {
      // Past key_, which may point into what is left here: so the comparisons come first.
      bool stepBelow = below_->valid() && viewOf(below_->key()) == key_;
      for (auto& layer : above_) {
        if (layer.at != layer.end && layer.at->first == key_) ++layer.at;
      }
      if (stepBelow) below_->next();
    }

    OverlayKv& kv_;
    const uint8_t table_;
    const uint64_t generation_;
    kj::Own<KvCursor> below_;
    std::vector<Layer> above_;  // newest first
    bool valid_ = false;
    std::string_view key_;
    const std::optional<std::string>* top_ = nullptr;  // null: the value is in the backing
  };

  static uint8_t index(KvTable table) {
    auto t = static_cast<uint8_t>(table);
    KJ_REQUIRE(t < kKvTablesMax, "no such table", t);
    return t;
  }
  static size_t bytesOfEntry(const KvDelta::Table::value_type& entry) {
    return entry.first.size() + (entry.second ? entry.second->size() - kSealBytes : 0);
  }

  void set(uint8_t table, std::string key, std::optional<std::string> stored) {
    auto [at, isNew] = active_.tables[table].try_emplace(kj::mv(key));
    if (!isNew) active_.bytes -= bytesOfEntry(*at);
    at->second = kj::mv(stored);
    active_.bytes += bytesOfEntry(*at);
  }

  void mergeInto(KvDelta& older) {
    for (size_t t = 0; t < kKvTablesMax; ++t) {
      active_.tables[t].merge(older.tables[t]);  // takes what it has no newer entry for
      for (auto& superseded : older.tables[t]) older.bytes -= bytesOfEntry(superseded);
      std::swap(active_.tables[t], older.tables[t]);
    }
    older.bytes += active_.bytes;
  }

  void beginWrite() {
    // What was given out ends here, so the layers may change.
    ++generation_;
    if (frozen_.empty() || frozen_.front()->state != State::DURABLE) return;
    backing_->renew();
    while (!frozen_.empty() && frozen_.front()->state == State::DURABLE) frozen_.pop_front();
  }

  void startNext() {
    // After a durable one, if there is any, comes the one that is under way or waits.
    for (auto& frozen : frozen_) {
      if (frozen->state == State::UNDER_WAY) return;
      if (frozen->state != State::WAITING) continue;
      frozen->state = State::UNDER_WAY;
      committing_ = kj::evalNow([&]() { return backing_->commit(frozen->delta); })
                        .then([this]() { return finished(); },
                              [this](kj::Exception&& e) { failed(kj::mv(e)); })
                        .eagerlyEvaluate(nullptr);
      return;
    }
  }

  void finished() {
    for (auto& frozen : frozen_) {
      if (frozen->state != State::UNDER_WAY) continue;
      frozen->state = State::DURABLE;
      frozen->fulfiller->fulfill();
    }
    // Not here: committing_, which this runs in, would be replaced.
    if (frozen_.back()->state == State::WAITING) {
      following_ = kj::evalLater([this]() { startNext(); }).eagerlyEvaluate(nullptr);
    }
  }

  void failed(kj::Exception&& e) {
    KJ_LOG(ERROR, "a commit failed; nothing more is committed", e);
    for (auto& frozen : frozen_) {
      if (frozen->state != State::DURABLE) frozen->fulfiller->reject(kj::cp(e));
    }
    failure_ = kj::mv(e);
  }

  kj::Own<KvBacking> backing_;
  KvDelta active_;
  std::deque<kj::Own<Frozen>> frozen_;  // oldest first: durable, then one under way, then waiting
  kj::Maybe<kj::Exception> failure_;
  uint64_t generation_ = 0;  // of what was given out
  kj::Promise<void> following_ = nullptr;
  kj::Promise<void> committing_ = nullptr;  // goes first: it reads a delta
};

}  // namespace

bool KvDelta::empty() const {
  for (auto& table : tables) {
    if (!table.empty()) return false;
  }
  return true;
}

kj::Own<Kv> newOverlayKv(kj::Own<KvBacking> backing) {
  return kj::heap<OverlayKv>(kj::mv(backing));
}

}  // namespace dfs
