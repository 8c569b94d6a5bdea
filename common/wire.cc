#include "common/wire.h"

#include "common/checksum.h"
#include "common/retry.h"
#include "common/task.h"

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize.h>
#include <kj/debug.h>
#include <kj/vector.h>

#include <cstring>
#include <deque>
#include <map>

namespace dfs {
namespace {

constexpr uint32_t kMagic = 0x31534644;  // "DFS1"
constexpr uint16_t kProtocol = 1;
constexpr size_t kSpareBuffersMax = 4;         // of one connection, for the frames to come
constexpr size_t kSmallFrameBytes = 16 << 10;  // smaller ones get memory of their own

struct Header {
  // Little-endian, as on every machine that we run on.
  uint32_t magic;
  uint16_t protocol;
  uint16_t segments;
  uint32_t bytes;     // of all that follows
  uint32_t reserved;  // 0
  uint64_t sum;
};
static_assert(sizeof(Header) == 24);

size_t tableBytes(size_t segments) {
  return (segments * sizeof(uint32_t) + 7) / 8 * 8;
}

uint64_t headerSum(const Header& h) {
  return checksum(Bytes(reinterpret_cast<const kj::byte*>(&h), offsetof(Header, sum)));
}

capnp::ReaderOptions readerOptions() {
  capnp::ReaderOptions options;
  // Each getter counts, so this is a multiple of what a frame can hold.
  options.traversalLimitInWords = 4 * kFrameBytesMax / sizeof(capnp::word);
  options.nestingLimit = 64;
  return options;
}

capnp::ReaderOptions sendOptions() {
  // What the network asks of this is only how large a message it may send: then the call that made
  // a larger one fails. Past that point an error could only end the connection.
  capnp::ReaderOptions options;
  options.traversalLimitInWords =
      (kFrameBytesMax - tableBytes(kFrameSegmentsMax)) / sizeof(capnp::word);
  return options;
}

class BufferPool final : public kj::Refcounted {
  // Memory of large frames, used again: fresh memory is faulted in page by page, which costs more
  // than the copy. Small frames get none of it: a small request may wait for long, and would hold
  // the memory of a large one.
 public:
  kj::Array<capnp::word> take(size_t words) {
    if (words * sizeof(capnp::word) < kSmallFrameBytes) return kj::heapArray<capnp::word>(words);
    for (auto& spare : spares_) {
      if (spare.size() >= words && spare.size() / 4 <= words) {
        auto taken = kj::mv(spare);
        if (&spare != &spares_.back()) spare = kj::mv(spares_.back());
        spares_.removeLast();
        return taken;
      }
    }
    return kj::heapArray<capnp::word>(words);
  }
  void give(kj::Array<capnp::word> buffer) {
    if (spares_.size() < kSpareBuffersMax) spares_.add(kj::mv(buffer));
  }

 private:
  kj::Vector<kj::Array<capnp::word>> spares_;
};

class FrameReader final : public capnp::MessageReader {
  // A message that lies in one buffer.
 public:
  FrameReader(kj::Own<BufferPool> pool, kj::Array<capnp::word> buffer,
              kj::Array<kj::ArrayPtr<const capnp::word>> segments)
      : MessageReader(readerOptions()),
        pool_(kj::mv(pool)),
        buffer_(kj::mv(buffer)),
        segments_(kj::mv(segments)) {}
  ~FrameReader() noexcept(false) {
    if (buffer_.size() * sizeof(capnp::word) >= kSmallFrameBytes) pool_->give(kj::mv(buffer_));
  }
  kj::ArrayPtr<const capnp::word> getSegment(unsigned id) override {
    return id < segments_.size() ? segments_[id] : kj::ArrayPtr<const capnp::word>();
  }

 private:
  kj::Own<BufferPool> pool_;
  kj::Array<capnp::word> buffer_;
  kj::Array<kj::ArrayPtr<const capnp::word>> segments_;
};

class FramedStream final : public capnp::MessageStream {
 public:
  explicit FramedStream(kj::Own<kj::AsyncIoStream> stream)
      : stream_(kj::mv(stream)), pool_(kj::refcounted<BufferPool>()) {}

  using MessageStream::tryReadMessage;
  using MessageStream::writeMessage;
  using MessageStream::writeMessages;

  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd>, capnp::ReaderOptions, kj::ArrayPtr<capnp::word>) override {
    return readFrame();
  }

  kj::Promise<void> writeMessage(
      kj::ArrayPtr<const int> fds,
      kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override {
    KJ_REQUIRE(fds.size() == 0, "descriptors do not cross connections");
    return send(kj::arrayPtr(&segments, 1));
  }

  kj::Promise<void> writeMessages(
      kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override {
    return send(messages);
  }

  kj::Maybe<int> getSendBufferSize() override { return nullptr; }

  kj::Promise<void> end() override {
    stream_->shutdownWrite();
    return kj::READY_NOW;
  }

 private:
  struct Frame {
    // Headers of some messages, and where the bytes of all lie: nothing is copied.
    std::deque<kj::Array<kj::byte>> headers;
    kj::Vector<kj::ArrayPtr<const kj::byte>> pieces;

    void add(kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) {
      KJ_REQUIRE(segments.size() >= 1 && segments.size() <= kFrameSegmentsMax,
                 "a message in too many segments", segments.size());
      size_t table = tableBytes(segments.size());
      auto head = kj::heapArray<kj::byte>(sizeof(Header) + table);
      memset(head.begin(), 0, head.size());
      size_t bytes = table;
      auto sizes = head.begin() + sizeof(Header);
      for (auto& s : segments) {
        auto words = static_cast<uint32_t>(s.size());
        memcpy(sizes, &words, sizeof words);
        sizes += sizeof words;
        bytes += s.asBytes().size();
      }
      KJ_REQUIRE(bytes <= kFrameBytesMax, "a message is larger than a frame may be", bytes);
      Header h{
          kMagic, kProtocol, static_cast<uint16_t>(segments.size()), static_cast<uint32_t>(bytes),
          0,      0};
      h.sum = checksum(head.slice(sizeof(Header), head.size()), headerSum(h));
      for (auto& s : segments) h.sum = checksum(s.asBytes(), h.sum);
      memcpy(head.begin(), &h, sizeof h);
      pieces.add(head.asPtr());
      headers.push_back(kj::mv(head));
      for (auto& s : segments) {
        if (s.size() > 0) pieces.add(s.asBytes());
      }
    }
  };

  kj::Promise<void> send(
      kj::ArrayPtr<const kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) {
    auto frame = kj::heap<Frame>();
    auto written = kj::evalNow([&]() {
      for (auto& segments : messages) frame->add(segments);
      return stream_->write(frame->pieces.asPtr());
    });
    return written.attach(kj::mv(frame)).catch_([this](kj::Exception&& e) {
      // The RPC system skips all later writes and waits for the read end to fail: it shall.
      kj::runCatchingExceptions([this]() { stream_->shutdownWrite(); });
      kj::runCatchingExceptions([this]() { stream_->abortRead(); });
      kj::throwFatalException(kj::mv(e));
    });
  }

  Task<kj::Maybe<capnp::MessageReaderAndFds>> readFrame() {
    Header h;
    size_t n = co_await stream_->tryRead(&h, sizeof h, sizeof h);
    if (n == 0) co_return nullptr;
    KJ_REQUIRE(n == sizeof h, "a frame ends in its header");
    KJ_REQUIRE(h.magic == kMagic, "what arrives is not DFS", h.magic);
    KJ_REQUIRE(h.protocol == kProtocol, "the peer speaks another version of the protocol",
               h.protocol);
    KJ_REQUIRE(h.segments >= 1 && h.segments <= kFrameSegmentsMax, "a frame of too many segments",
               h.segments);
    size_t table = tableBytes(h.segments);
    KJ_REQUIRE(h.bytes >= table && h.bytes <= kFrameBytesMax &&
                   h.bytes % sizeof(capnp::word) == 0 && h.reserved == 0,
               "a frame of a wrong length", h.bytes);
    auto buffer = pool_->take(h.bytes / sizeof(capnp::word));
    auto bytes = buffer.asBytes().slice(0, h.bytes);
    n = co_await stream_->tryRead(bytes.begin(), bytes.size(), bytes.size());
    KJ_REQUIRE(n == bytes.size(), "a frame ends in its body");
    auto segments = kj::heapArrayBuilder<kj::ArrayPtr<const capnp::word>>(h.segments);
    uint64_t sum = checksum(bytes.slice(0, table), headerSum(h));
    size_t at = table;
    for (uint32_t i = 0; i < h.segments; ++i) {
      uint32_t words;
      memcpy(&words, bytes.begin() + i * sizeof words, sizeof words);
      size_t size = size_t(words) * sizeof(capnp::word);
      KJ_REQUIRE(size <= bytes.size() - at, "a frame whose segments are longer than itself");
      sum = checksum(bytes.slice(at, at + size), sum);
      segments.add(buffer.begin() + at / sizeof(capnp::word), words);
      at += size;
    }
    KJ_REQUIRE(at == bytes.size(), "a frame that is longer than its segments");
    KJ_REQUIRE(sum == h.sum, "a frame was damaged on its way");
    auto reader = kj::heap<FrameReader>(kj::addRef(*pool_), kj::mv(buffer), segments.finish());
    co_return capnp::MessageReaderAndFds{kj::mv(reader), nullptr};
  }

  kj::Own<kj::AsyncIoStream> stream_;
  kj::Own<BufferPool> pool_;
};

using VatNetwork = capnp::TwoPartyVatNetwork;
using Rpc = capnp::RpcSystem<capnp::rpc::twoparty::VatId>;

class DialedConnection final : public Connection {
 public:
  DialedConnection(kj::Own<kj::AsyncIoStream> stream, kj::String address)
      : address_(kj::mv(address)),
        stream_(newFramedStream(kj::mv(stream))),
        network_(*stream_, capnp::rpc::twoparty::Side::CLIENT, sendOptions()),
        rpc_(capnp::makeRpcClient(network_)) {}

  capnp::Capability::Client bootstrap() override {
    capnp::MallocMessageBuilder message(4);
    auto id = message.initRoot<capnp::rpc::twoparty::VatId>();
    id.setSide(capnp::rpc::twoparty::Side::SERVER);
    return rpc_.bootstrap(id);
  }
  kj::Promise<void> onDisconnect() override { return network_.onDisconnect(); }
  kj::StringPtr address() override { return address_; }

 private:
  // Destroyed from the bottom: RPC before network before stream.
  kj::String address_;
  kj::Own<capnp::MessageStream> stream_;
  VatNetwork network_;
  Rpc rpc_;
};

class Server final : public RpcServer, private kj::TaskSet::ErrorHandler {
 public:
  Server(Env& env, kj::Own<Listener> listener, Bootstrap bootstrap)
      : env_(env), listener_(kj::mv(listener)), bootstrap_(kj::mv(bootstrap)), tasks_(*this) {
    accepting_ = kj::Promise<void>(acceptAll()).eagerlyEvaluate([](kj::Exception&& e) {
      KJ_LOG(ERROR, "no connections are accepted any more", e);
    });
  }

  kj::StringPtr address() override { return listener_->address(); }
  size_t connectionCount() override { return connections_.size(); }

 private:
  struct Accepted {
    Accepted(kj::Own<kj::AsyncIoStream> io, capnp::Capability::Client root)
        : stream(newFramedStream(kj::mv(io))),
          network(*stream, capnp::rpc::twoparty::Side::SERVER, sendOptions()),
          rpc(capnp::makeRpcServer(network, kj::mv(root))) {}
    kj::Own<capnp::MessageStream> stream;
    VatNetwork network;
    Rpc rpc;
  };

  Task<void> acceptAll() {
    Backoff backoff(env_, 10, 1000);
    for (;;) {
      bool failed = false;
      try {
        auto stream = co_await listener_->accept();
        take(kj::mv(stream));
        backoff.reset();
      } catch (const kj::Exception& e) {
        // Too many open files, or a connection that broke while it was accepted: others may do better.
        KJ_LOG(WARNING, "a connection could not be accepted", e);
        failed = true;
      }
      if (failed) {
        co_await backoff.wait();
      }
    }
  }

  void take(kj::Own<kj::AsyncIoStream> stream) {
    uint64_t number = ++accepted_;
    auto connection = kj::heap<Accepted>(kj::mv(stream), bootstrap_());
    auto gone = connection->network.onDisconnect();
    connections_.emplace(number, kj::mv(connection));
    // Removed in a later turn: an RPC system must not go inside its own promise.
    auto removed = gone.catch_([](kj::Exception&& e) {
                         if (e.getType() != kj::Exception::Type::DISCONNECTED) {
                           KJ_LOG(WARNING, "a connection has ended", e);
                         }
                       })
                       .then([]() { return kj::evalLater([]() {}); })
                       .then([this, number]() { connections_.erase(number); });
    tasks_.add(kj::mv(removed));
  }

  void taskFailed(kj::Exception&& e) override {
    KJ_LOG(ERROR, "while a connection was taken down", e);
  }

  Env& env_;
  kj::Own<Listener> listener_;
  Bootstrap bootstrap_;
  uint64_t accepted_ = 0;
  std::map<uint64_t, kj::Own<Accepted>> connections_;
  kj::TaskSet tasks_;
  kj::Promise<void> accepting_ = nullptr;
};

Task<kj::Own<Connection>> dialAny(Env& env, kj::Array<kj::String> addresses, uint64_t timeoutMs) {
  kj::String reasons = kj::str("");
  for (auto& address : addresses) {
    try {
      auto dialed = withTimeout(env, timeoutMs, env.network.connect(address));
      auto stream = co_await kj::mv(dialed);
      co_return kj::heap<DialedConnection>(kj::mv(stream), kj::str(address));
    } catch (const kj::Exception& e) {
      reasons =
          kj::str(reasons, reasons.size() == 0 ? "" : "; ", address, ": ", e.getDescription());
    }
  }
  kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "no address of the peer answers", reasons));
}

}  // namespace

kj::Own<capnp::MessageStream> newFramedStream(kj::Own<kj::AsyncIoStream> stream) {
  return kj::heap<FramedStream>(kj::mv(stream));
}

kj::Promise<kj::Own<Connection>> dial(Env& env, kj::ArrayPtr<const kj::String> addresses,
                                      uint64_t timeoutMs) {
  auto copies = kj::heapArrayBuilder<kj::String>(addresses.size());
  for (auto& a : addresses) copies.add(kj::str(a));
  return dialAny(env, copies.finish(), timeoutMs);
}

kj::Promise<kj::Own<RpcServer>> serveRpc(Env& env, kj::StringPtr address, Bootstrap bootstrap) {
  return env.network.listen(address).then(
      [&env,
       bootstrap = kj::mv(bootstrap)](kj::Own<Listener> listener) mutable -> kj::Own<RpcServer> {
        return kj::heap<Server>(env, kj::mv(listener), kj::mv(bootstrap));
      });
}

}  // namespace dfs
