#include "tests/sim/world/sim_network.h"

#include <kj/debug.h>

namespace dfs {
namespace {
constexpr size_t kWindowBytes = 4 << 20;  // what a socket takes before the writer waits
}

class SimHalf final : public kj::Refcounted {
  // One direction of a connection.
 public:
  SimHalf(SimNetwork& net, std::string from, std::string to)
      : net_(net), from_(kj::mv(from)), to_(kj::mv(to)), number_(++net.halfCount_) {
    net_.halves_.insert({number_, this});
  }
  ~SimHalf() noexcept(false) { net_.halves_.erase({number_, this}); }

  bool between(const std::string& from, const std::string& to) const {
    return from_ == from && to_ == to;
  }

  kj::Promise<void> write(kj::Array<kj::byte> bytes) {
    if (readerGone_) return KJ_EXCEPTION(DISCONNECTED, "the peer has closed the connection");
    buffered_ += bytes.size();
    uint64_t due = kj::max(lastDue_, net_.time_.nowNs() + net_.delayNs());
    lastDue_ = due;
    chunks_.push_back({kj::mv(bytes), due, 0});
    wakeReader();
    if (buffered_ <= kWindowBytes) return kj::READY_NOW;
    auto paf = kj::newPromiseAndFulfiller<void>();
    writers_.push_back(kj::mv(paf.fulfiller));
    return kj::mv(paf.promise);
  }

  void closeWriter() {
    if (closed_) return;
    closed_ = true;
    closeDue_ = kj::max(lastDue_, net_.time_.nowNs() + net_.delayNs());
    wakeReader();
  }

  void closeReader() {
    if (readerGone_) return;
    readerGone_ = true;
    for (auto& w : writers_) w->reject(KJ_EXCEPTION(DISCONNECTED, "the peer has closed"));
    writers_.clear();
    for (auto& g : goneWaiters_) g->fulfill();
    goneWaiters_.clear();
  }

  kj::Promise<void> whenReaderGone() {
    if (readerGone_) return kj::READY_NOW;
    auto paf = kj::newPromiseAndFulfiller<void>();
    goneWaiters_.push_back(kj::mv(paf.fulfiller));
    return kj::mv(paf.promise);
  }

  kj::Promise<size_t> read(kj::byte* into, size_t least, size_t most, size_t done) {
    bool stalled = net_.isCut(from_, to_);
    uint64_t now = net_.time_.nowNs();
    while (!stalled && done < most && !chunks_.empty() && chunks_.front().due <= now) {
      auto& c = chunks_.front();
      size_t n = kj::min(most - done, c.bytes.size() - c.used);
      memcpy(into + done, c.bytes.begin() + c.used, n);
      c.used += n;
      done += n;
      buffered_ -= n;
      net_.note(now ^ n << 40 ^ number_);
      if (c.used == c.bytes.size()) chunks_.pop_front();
    }
    if (buffered_ <= kWindowBytes) {
      for (auto& w : writers_) w->fulfill();
      writers_.clear();
    }
    if (done >= least) return done;
    kj::Promise<void> next = nullptr;
    if (!stalled && !chunks_.empty()) {
      next = at(chunks_.front().due);
    } else if (!stalled && closed_) {
      if (closeDue_ <= now) return done;
      next = at(closeDue_);
    } else {
      auto paf = kj::newPromiseAndFulfiller<void>();
      reader_ = kj::mv(paf.fulfiller);
      next = kj::mv(paf.promise);
    }
    return next.then([this, into, least, most, done]() { return read(into, least, most, done); });
  }

  void wakeReader() {
    KJ_IF_MAYBE(r, reader_) {
      auto fulfiller = kj::mv(*r);
      reader_ = nullptr;
      fulfiller->fulfill();
    }
  }

  void healed() {
    uint64_t now = net_.time_.nowNs();
    for (auto& c : chunks_) c.due = lastDue_ = kj::max(lastDue_, now + net_.delayNs());
    closeDue_ = kj::max(closeDue_, lastDue_);
    wakeReader();
  }

 private:
  struct Chunk {
    kj::Array<kj::byte> bytes;
    uint64_t due;
    size_t used;
  };
  kj::Promise<void> at(uint64_t ns) {
    return net_.time_.timer.atTime(kj::origin<kj::TimePoint>() + ns * kj::NANOSECONDS);
  }

  SimNetwork& net_;
  const std::string from_;
  const std::string to_;
  const uint64_t number_;
  std::deque<Chunk> chunks_;
  size_t buffered_ = 0;
  uint64_t lastDue_ = 0;
  bool closed_ = false;
  uint64_t closeDue_ = 0;
  bool readerGone_ = false;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> reader_;
  std::deque<kj::Own<kj::PromiseFulfiller<void>>> writers_;
  std::deque<kj::Own<kj::PromiseFulfiller<void>>> goneWaiters_;
};

class SimStream final : public kj::AsyncIoStream {
 public:
  SimStream(kj::Own<SimHalf> in, kj::Own<SimHalf> out) : in_(kj::mv(in)), out_(kj::mv(out)) {}
  ~SimStream() noexcept(false) {
    out_->closeWriter();
    in_->closeReader();
  }

  kj::Promise<size_t> tryRead(void* buffer, size_t minBytes, size_t maxBytes) override {
    return in_->read(static_cast<kj::byte*>(buffer), minBytes, maxBytes, 0);
  }
  kj::Promise<void> write(const void* buffer, size_t size) override {
    return out_->write(kj::heapArray(static_cast<const kj::byte*>(buffer), size));
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    size_t size = 0;
    for (auto& p : pieces) size += p.size();
    auto all = kj::heapArray<kj::byte>(size);
    size_t at = 0;
    for (auto& p : pieces) {
      memcpy(all.begin() + at, p.begin(), p.size());
      at += p.size();
    }
    return out_->write(kj::mv(all));
  }
  kj::Promise<void> whenWriteDisconnected() override { return out_->whenReaderGone(); }
  void shutdownWrite() override { out_->closeWriter(); }
  void abortRead() override { in_->closeReader(); }

 private:
  kj::Own<SimHalf> in_;
  kj::Own<SimHalf> out_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimNetwork& net, std::string key, kj::String address)
      : net_(net), key_(kj::mv(key)), address_(kj::mv(address)) {
    net_.listeners_[key_] = this;
  }
  ~SimListener() noexcept(false) {
    auto found = net_.listeners_.find(key_);
    if (found != net_.listeners_.end() && found->second == this) net_.listeners_.erase(found);
  }

  kj::Promise<kj::Own<kj::AsyncIoStream>> accept() override {
    if (!waiting_.empty()) {
      auto first = kj::mv(waiting_.front());
      waiting_.pop_front();
      return kj::mv(first);
    }
    auto paf = kj::newPromiseAndFulfiller<kj::Own<kj::AsyncIoStream>>();
    acceptor_ = kj::mv(paf.fulfiller);
    return kj::mv(paf.promise);
  }
  kj::StringPtr address() override { return address_; }

  void arrive(kj::Own<kj::AsyncIoStream> stream) {
    KJ_IF_MAYBE(a, acceptor_) {
      if ((*a)->isWaiting()) {
        auto fulfiller = kj::mv(*a);
        acceptor_ = nullptr;
        fulfiller->fulfill(kj::mv(stream));
        return;
      }
    }
    waiting_.push_back(kj::mv(stream));
  }

 private:
  SimNetwork& net_;
  const std::string key_;
  kj::String address_;
  std::deque<kj::Own<kj::AsyncIoStream>> waiting_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<kj::Own<kj::AsyncIoStream>>>> acceptor_;
};

class SimMachineNetwork final : public Network {
 public:
  SimMachineNetwork(SimNetwork& net, std::string machine) : net_(net), machine_(kj::mv(machine)) {}

  kj::Promise<kj::Own<kj::AsyncIoStream>> connect(kj::StringPtr address) override {
    std::string to = address.cStr();
    std::string host = hostOf(to);
    auto delay = net_.time_.timer.afterDelay(net_.delayNs() * kj::NANOSECONDS);
    auto& net = net_;
    auto from = machine_;
    return delay.then([&net, from, to, host]() -> kj::Promise<kj::Own<kj::AsyncIoStream>> {
      auto found = net.listeners_.find(keyOf(host.empty() ? from : host, to));
      std::string peer = host.empty() ? from : host;
      if (net.isCut(from, peer) || net.isCut(peer, from)) {
        return net.time_.timer.afterDelay(1 * kj::SECONDS).then([]() -> kj::Own<kj::AsyncIoStream> {
          kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "no route"));
        });
      }
      if (found == net.listeners_.end()) {
        return KJ_EXCEPTION(DISCONNECTED, "connection refused", to);
      }
      auto up = kj::refcounted<SimHalf>(net, from, peer);
      auto down = kj::refcounted<SimHalf>(net, peer, from);
      auto ours = kj::heap<SimStream>(kj::addRef(*down), kj::addRef(*up));
      found->second->arrive(kj::heap<SimStream>(kj::mv(up), kj::mv(down)));
      return kj::Own<kj::AsyncIoStream>(kj::mv(ours));
    });
  }

  kj::Promise<kj::Own<Listener>> listen(kj::StringPtr address) override {
    std::string text = address.cStr();
    if (hostOf(text).empty() == false && text.ends_with(":0")) {
      text = text.substr(0, text.size() - 1) + std::to_string(net_.nextPort_++);
    }
    auto key = keyOf(machine_, text);
    if (net_.listeners_.count(key) != 0) {
      return KJ_EXCEPTION(FAILED, "address in use", text);
    }
    return kj::Own<Listener>(kj::heap<SimListener>(net_, key, kj::str(text)));
  }

 private:
  static std::string hostOf(const std::string& address) {
    if (address.starts_with("unix:")) return "";
    return address.substr(0, address.rfind(':'));
  }
  static std::string keyOf(const std::string& machine, const std::string& address) {
    if (address.starts_with("unix:")) return machine + "|" + address;
    return machine + "|" + address.substr(address.rfind(':'));
  }

  SimNetwork& net_;
  const std::string machine_;
};

void SimNetwork::cut(const std::string& from, const std::string& to) {
  cuts_.insert({from, to});
}

void SimNetwork::heal(const std::string& from, const std::string& to) {
  if (cuts_.erase({from, to}) == 0) return;
  auto halves = halves_;  // a healed one may make others go
  for (auto& [number, half] : halves) {
    if (halves_.count({number, half}) != 0 && half->between(from, to)) half->healed();
  }
}

void SimNetwork::healAll() {
  auto cuts = cuts_;
  for (auto& [from, to] : cuts) heal(from, to);
}

bool SimNetwork::isCut(const std::string& from, const std::string& to) const {
  return cuts_.count({from, to}) != 0;
}

void SimNetwork::setDelayUs(uint64_t low, uint64_t high) {
  delayLowUs_ = low;
  delayHighUs_ = high;
}

kj::Own<Network> SimNetwork::on(std::string machine) {
  return kj::heap<SimMachineNetwork>(*this, kj::mv(machine));
}

}  // namespace dfs
