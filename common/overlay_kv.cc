#include "common/overlay_kv.h"

#include "common/checksum.h"

#include <kj/debug.h>

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

Bytes unsealed(std::string_view stored) {
  return bytesOf(stored.substr(0, stored.size() - kSealBytes));
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
    for (auto* layer : layers()) {
      if (layer == nullptr) continue;
      auto found = layer->tables[t].find(viewOf(key));
      if (found == layer->tables[t].end()) continue;
      if (!found->second) return nullptr;
      return unsealed(*found->second);
    }
    KJ_IF_MAYBE(stored, backing_->get(t, key)) {
      return verified(t, key, *stored);
    }
    return nullptr;
  }

  kj::Own<KvCursor> from(KvTable table, Bytes key) override { return newCursor(index(table), key); }

  void put(KvTable table, Bytes key, Bytes value) override {
    auto t = index(table);
    KJ_REQUIRE(key.size() >= 1 && key.size() <= kKvKeyBytesMax, "a key of a bad length",
               key.size());
    // Copied first: they may be bytes that get() gave, which end here.
    std::string k(viewOf(key));
    auto stored = sealed(t, key, value);
    beginWrite();
    auto [at, isNew] = active_.tables[t].try_emplace(kj::mv(k));
    active_.bytes -= isNew ? 0 : at->first.size() + sizeOf(at->second);
    at->second = kj::mv(stored);
    active_.bytes += at->first.size() + sizeOf(at->second);
  }

  bool erase(KvTable table, Bytes key) override {
    auto t = index(table);
    if (get(table, key) == nullptr) {
      beginWrite();
      return false;
    }
    std::string k(viewOf(key));
    beginWrite();
    auto [at, isNew] = active_.tables[t].try_emplace(kj::mv(k));
    if (!isNew) active_.bytes -= at->first.size() + sizeOf(at->second);
    at->second = std::nullopt;
    active_.bytes += at->first.size();
    return true;
  }

  kj::Promise<void> commit() override {
    beginWrite();
    KJ_IF_MAYBE(e, failure_) {
      return kj::cp(*e);
    }
    if (active_.empty()) {
      KJ_IF_MAYBE(w, waiting_) {
        return w->done.addBranch();
      }
      KJ_IF_MAYBE(u, underWay_) {
        return u->durable ? kj::READY_NOW : u->done.addBranch();
      }
      return kj::READY_NOW;
    }
    KJ_IF_MAYBE(w, waiting_) {
      // Two that wait become one: its state is that of the later call.
      for (size_t t = 0; t < kKvTablesMax; ++t) {
        auto& newer = active_.tables[t];
        newer.merge(w->delta.tables[t]);  // keeps what is newer
        std::swap(newer, w->delta.tables[t]);
        newer.clear();
      }
      w->delta.bytes += active_.bytes;  // at most: what both have counts twice
      active_.bytes = 0;
      return w->done.addBranch();
    }
    auto& frozen = waiting_.emplace(kj::mv(active_));
    active_ = KvDelta();
    auto result = frozen.done.addBranch();
    if (underWay_ == nullptr) startNext();
    return result;
  }

  size_t uncommittedBytes() override {
    size_t bytes = active_.bytes;
    KJ_IF_MAYBE(w, waiting_) {
      bytes += w->delta.bytes;
    }
    KJ_IF_MAYBE(u, underWay_) {
      if (!u->durable) bytes += u->delta.bytes;
    }
    return bytes;
  }

 private:
  struct Frozen {
    KvDelta delta;
    kj::Own<kj::PromiseFulfiller<void>> fulfiller;
    kj::ForkedPromise<void> done = nullptr;
    bool durable = false;  // the backing holds it; dropped at the next write

    explicit Frozen(KvDelta d) : delta(kj::mv(d)) {
      auto paf = kj::newPromiseAndFulfiller<void>();
      fulfiller = kj::mv(paf.fulfiller);
      done = paf.promise.fork();
    }
  };

  class Cursor;
  kj::Own<KvCursor> newCursor(uint8_t table, Bytes key);

  static uint8_t index(KvTable table) {
    auto t = static_cast<uint8_t>(table);
    KJ_REQUIRE(t < kKvTablesMax, "no such table", t);
    return t;
  }
  static size_t sizeOf(const std::optional<std::string>& stored) {
    return stored ? stored->size() - kSealBytes : 0;
  }

  std::array<KvDelta*, 3> layers() {
    std::array<KvDelta*, 3> result{&active_, nullptr, nullptr};
    KJ_IF_MAYBE(w, waiting_) {
      result[1] = &w->delta;
    }
    KJ_IF_MAYBE(u, underWay_) {
      result[2] = &u->delta;
    }
    return result;
  }

  void beginWrite() {
    // Ends what was given out, and so may change the layers.
    ++generation_;
    KJ_IF_MAYBE(u, underWay_) {
      if (u->durable) {
        backing_->renew();
        underWay_ = nullptr;
      }
    }
    if (underWay_ == nullptr && waiting_ != nullptr && failure_ == nullptr) startNext();
  }

  void startNext() {
    auto& next = underWay_.emplace(kj::mv(KJ_ASSERT_NONNULL(waiting_)));
    waiting_ = nullptr;
    committing_ =
        backing_->commit(next.delta)
            .then([this]() { finished(); }, [this](kj::Exception&& e) { failed(kj::mv(e)); })
            .eagerlyEvaluate(nullptr);
  }

  void finished() {
    auto& frozen = KJ_ASSERT_NONNULL(underWay_);
    frozen.durable = true;
    frozen.fulfiller->fulfill();
    if (waiting_ != nullptr) {
      // It must not wait for somebody's next write.
      following_ = kj::evalLater([this]() { follow(); }).eagerlyEvaluate(nullptr);
    }
  }

  void follow() {
    if (underWay_ == nullptr || !KJ_ASSERT_NONNULL(underWay_).durable) return;
    beginWrite();
  }

  void failed(kj::Exception&& e) {
    KJ_LOG(ERROR, "a commit failed: nothing more is committed", e);
    KJ_IF_MAYBE(u, underWay_) {
      u->fulfiller->reject(kj::cp(e));
    }
    KJ_IF_MAYBE(w, waiting_) {
      w->fulfiller->reject(kj::cp(e));
    }
    failure_ = kj::mv(e);
  }

  kj::Own<KvBacking> backing_;
  KvDelta active_;
  kj::Maybe<Frozen> waiting_;
  kj::Maybe<Frozen> underWay_;
  kj::Maybe<kj::Exception> failure_;
  uint64_t generation_ = 0;
  kj::Promise<void> following_ = nullptr;
  kj::Promise<void> committing_ = nullptr;  // goes first: it reads underWay_
};

class OverlayKv::Cursor final : public KvCursor {
  // A merge of the layers, newest first, and the backing's cursor: of equal keys the newest layer's counts.
 public:
  Cursor(OverlayKv& kv, uint8_t table, Bytes key)
      : kv_(kv),
        table_(table),
        generation_(kv.generation_),
        stored_(kv.backing_->from(table, key)) {
    for (auto* layer : kv.layers()) {
      if (layer == nullptr) continue;
      auto& entries = layer->tables[table];
      places_.push_back({entries.lower_bound(viewOf(key)), entries.end()});
    }
    settle();
  }

  bool valid() override {
    KJ_ASSERT(generation_ == kv_.generation_, "a cursor was used after a write or a commit");
    return valid_;
  }
  Bytes key() override {
    KJ_REQUIRE(valid());
    return key_;
  }
  Bytes value() override {
    KJ_REQUIRE(valid());
    KJ_IF_MAYBE(value, overlaid_) {
      return unsealed(**value);
    }
    return verified(table_, key_, stored_->value());
  }
  void next() override {
    KJ_REQUIRE(valid());
    pass();
    settle();
  }

 private:
  using Entries = KvDelta::Table;
  struct Place {
    Entries::const_iterator at, end;
  };

  void pass() {
    // Every source that stands on the current key goes on.
    auto current = viewOf(key_);
    for (auto& p : places_) {
      if (p.at != p.end && p.at->first == current) ++p.at;
    }
    if (stored_->valid() && viewOf(stored_->key()) == current) stored_->next();
  }

  void settle() {
    // Stands on the smallest key that is not erased.
    for (;;) {
      bool found = stored_->valid();
      if (found) key_ = stored_->key();
      overlaid_ = nullptr;
      const std::optional<std::string>* newest = nullptr;
      for (auto& p : places_) {
        if (p.at == p.end) continue;
        auto k = bytesOf(p.at->first);
        bool smaller = !found || viewOf(k) < viewOf(key_);
        bool same = found && viewOf(k) == viewOf(key_);
        if (smaller || (same && newest == nullptr)) {
          key_ = k;
          newest = &p.at->second;
          found = true;
        }
      }
      valid_ = found;
      if (!found) return;
      if (newest == nullptr) return;
      if (*newest) {
        overlaid_ = &**newest;
        return;
      }
      // Erased: the sources may stand on memory that goes with them, so the key is passed by value.
      pass();
    }
  }

  OverlayKv& kv_;
  const uint8_t table_;
  const uint64_t generation_;
  kj::Own<KvCursor> stored_;
  std::vector<Place> places_;
  bool valid_ = false;
  Bytes key_;
  kj::Maybe<const std::string*> overlaid_;
};

kj::Own<KvCursor> OverlayKv::newCursor(uint8_t table, Bytes key) {
  return kj::heap<Cursor>(*this, table, key);
}

}  // namespace

kj::Own<Kv> newOverlayKv(kj::Own<KvBacking> backing) {
  return kj::heap<OverlayKv>(kj::mv(backing));
}

}  // namespace dfs
