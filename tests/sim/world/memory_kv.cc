#include "tests/sim/world/memory_kv.h"

#include <kj/debug.h>

namespace dfs {
namespace {

std::string text(Bytes bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}
Bytes bytesOf(const std::string& text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

class MemoryKv final : public Kv {
 public:
  MemoryKv(std::shared_ptr<MemoryKvState> state, VirtualTime& time, SimRandom& random)
      : state_(kj::mv(state)), time_(time), random_(random) {
    KJ_REQUIRE(!state_->open, "the store is open already: a process that was to be gone is not");
    state_->open = true;
    state_->crash(random_);
    table_ = state_->durable;
  }
  ~MemoryKv() noexcept(false) { state_->open = false; }

  kj::Maybe<Bytes> get(KvTable table, Bytes key) override {
    auto found = table_.find({static_cast<uint8_t>(table), text(key)});
    if (found == table_.end()) return nullptr;
    return bytesOf(found->second);
  }

  kj::Own<KvCursor> from(KvTable table, Bytes key) override {
    auto t = static_cast<uint8_t>(table);
    return kj::heap<Cursor>(*this, t, table_.lower_bound({t, text(key)}));
  }

  void put(KvTable table, Bytes key, Bytes value) override {
    KJ_REQUIRE(key.size() >= 1 && key.size() <= kKvKeyBytesMax);
    ++generation_;
    MemoryKvState::Key k{static_cast<uint8_t>(table), text(key)};
    auto v = text(value);
    bytes_ += key.size() + value.size();
    table_[k] = v;
    delta_[k] = kj::mv(v);
  }

  bool erase(KvTable table, Bytes key) override {
    ++generation_;
    MemoryKvState::Key k{static_cast<uint8_t>(table), text(key)};
    if (table_.erase(k) == 0) return false;
    bytes_ += key.size();
    delta_[k] = std::nullopt;
    return true;
  }

  kj::Promise<void> commit() override {
    ++generation_;
    state_->underWay.push_back(kj::mv(delta_));
    delta_.clear();
    bytes_ = 0;
    auto delay = random_.between(100, 5000) * kj::MICROSECONDS;
    auto before = commits_.addBranch();
    auto mine =
        before.then([this, delay]() { return time_.timer.afterDelay(delay); }).then([this]() {
          state_->apply(state_->underWay.front());
          state_->underWay.pop_front();
        });
    commits_ = mine.fork();
    return commits_.addBranch();
  }

  size_t uncommittedBytes() override { return bytes_; }

 private:
  class Cursor final : public KvCursor {
   public:
    Cursor(MemoryKv& kv, uint8_t table, MemoryKvState::Table::iterator at)
        : kv_(kv), table_(table), at_(at), generation_(kv.generation_) {}
    bool valid() override {
      KJ_ASSERT(generation_ == kv_.generation_, "a cursor was used after a write or a commit");
      return at_ != kv_.table_.end() && at_->first.first == table_;
    }
    Bytes key() override {
      KJ_REQUIRE(valid());
      return bytesOf(at_->first.second);
    }
    Bytes value() override {
      KJ_REQUIRE(valid());
      return bytesOf(at_->second);
    }
    void next() override {
      KJ_REQUIRE(valid());
      ++at_;
    }

   private:
    MemoryKv& kv_;
    const uint8_t table_;
    MemoryKvState::Table::iterator at_;
    const uint64_t generation_;
  };

  std::shared_ptr<MemoryKvState> state_;
  VirtualTime& time_;
  SimRandom& random_;
  MemoryKvState::Table table_;
  MemoryKvState::Delta delta_;
  size_t bytes_ = 0;
  uint64_t generation_ = 0;
  kj::ForkedPromise<void> commits_ = kj::Promise<void>(kj::READY_NOW).fork();
};

}  // namespace

kj::Own<Kv> newMemoryKv(std::shared_ptr<MemoryKvState> state, VirtualTime& time,
                        SimRandom& random) {
  return kj::heap<MemoryKv>(kj::mv(state), time, random);
}

}  // namespace dfs
