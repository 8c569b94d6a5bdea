// Method: frames on a tape of bytes, changed in every way; and RPC between two simulated machines.

#include "common/wire.h"

#include "common/limits.h"
#include "rpc-schema/admin.capnp.h"
#include "tests/sim/world/world.h"

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <kj/debug.h>

#include <cstring>
#include <vector>

namespace dfs {
namespace {

class Tape final : public kj::AsyncIoStream {
  // Plays bytes and records what is written. Knows the largest read that was asked for.
 public:
  struct Side {
    std::vector<kj::byte> in;
    std::vector<kj::byte> out;
    size_t at = 0;
    size_t largestRead = 0;
    bool failWrites = false;
    bool ended = false;
  };
  explicit Tape(Side& side) : side_(side) {}

  kj::Promise<size_t> tryRead(void* buffer, size_t, size_t most) override {
    side_.largestRead = kj::max(side_.largestRead, most);
    size_t n = kj::min(most, side_.in.size() - side_.at);
    if (n > 0) memcpy(buffer, side_.in.data() + side_.at, n);
    side_.at += n;
    return n;
  }
  kj::Promise<void> write(const void* buffer, size_t size) override {
    if (side_.failWrites) return KJ_EXCEPTION(DISCONNECTED, "no");
    auto b = static_cast<const kj::byte*>(buffer);
    side_.out.insert(side_.out.end(), b, b + size);
    return kj::READY_NOW;
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    if (side_.failWrites) return KJ_EXCEPTION(DISCONNECTED, "no");
    for (auto& p : pieces) side_.out.insert(side_.out.end(), p.begin(), p.end());
    return kj::READY_NOW;
  }
  kj::Promise<void> whenWriteDisconnected() override { return kj::NEVER_DONE; }
  void shutdownWrite() override { side_.ended = true; }

 private:
  Side& side_;
};

struct Frames {
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  std::vector<kj::Array<capnp::word>> segments;

  Frames() {
    // Three segments, so that the table has padding; one of them empty.
    for (size_t words : {5u, 0u, 9u}) {
      auto s = kj::heapArray<capnp::word>(words);
      for (size_t i = 0; i < s.asBytes().size(); ++i) s.asBytes()[i] = kj::byte(i * 7 + words);
      segments.push_back(kj::mv(s));
    }
  }

  std::vector<kj::byte> written() {
    Tape::Side side;
    auto stream = newFramedStream(kj::heap<Tape>(side));
    std::vector<kj::ArrayPtr<const capnp::word>> parts(segments.begin(), segments.end());
    stream->writeMessage(nullptr, kj::arrayPtr(parts.data(), parts.size())).wait(scope);
    return side.out;
  }

  enum class Result { MESSAGE, END, REFUSED };
  Result read(std::vector<kj::byte> bytes, size_t* largestRead = nullptr) {
    Tape::Side side;
    side.in = std::move(bytes);
    auto stream = newFramedStream(kj::heap<Tape>(side));
    kj::Maybe<kj::Own<capnp::MessageReader>> message;
    auto error = kj::runCatchingExceptions(
        [&]() { message = stream->tryReadMessage(capnp::ReaderOptions(), nullptr).wait(scope); });
    EXPECT_LE(side.largestRead, kFrameBytesMax);
    if (largestRead != nullptr) *largestRead = side.largestRead;
    if (error != nullptr) return Result::REFUSED;
    KJ_IF_MAYBE(m, message) {
      for (unsigned i = 0; i < segments.size(); ++i) {
        auto got = (*m)->getSegment(i).asBytes();
        EXPECT_EQ(got.size(), segments[i].asBytes().size());
        EXPECT_TRUE(got == segments[i].asBytes());
      }
      EXPECT_EQ((*m)->getSegment(3).size(), 0u);
      return Result::MESSAGE;
    }
    return Result::END;
  }
};

template <typename T> void poke(std::vector<kj::byte>& bytes, size_t at, T value) {
  memcpy(bytes.data() + at, &value, sizeof value);
}

TEST(Wire, AFrameReadsAsItWasWritten) {
  Frames f;
  auto good = f.written();
  EXPECT_EQ(good.size(), 24u + 16u + 14u * 8u);
  EXPECT_EQ(f.read(good), Frames::Result::MESSAGE);
  EXPECT_EQ(f.read({}), Frames::Result::END);
}

TEST(Wire, OneFlippedBitAnywhereIsRefused) {
  Frames f;
  auto good = f.written();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= kj::byte(1 << bit % 8);
    ASSERT_EQ(f.read(bad), Frames::Result::REFUSED) << "bit " << bit;
  }
}

TEST(Wire, AFrameThatEndsEarlyIsRefused) {
  Frames f;
  auto good = f.written();
  for (size_t bytes = 1; bytes < good.size(); ++bytes) {
    ASSERT_EQ(f.read({good.begin(), good.begin() + bytes}), Frames::Result::REFUSED) << bytes;
  }
}

TEST(Wire, BadHeadersAreRefusedBeforeMemoryIsTaken) {
  // A stranger can compute any checksum, so the bounds must hold without it: no byte of the body is
  // asked for.
  Frames f;
  auto good = f.written();
  auto refusedAtOnce = [&](size_t at, auto value) {
    auto bad = good;
    poke(bad, at, value);
    size_t largest = 0;
    EXPECT_EQ(f.read(bad, &largest), Frames::Result::REFUSED) << at << " " << value;
    EXPECT_EQ(largest, 24u) << at << " " << value;
  };
  refusedAtOnce(0, uint32_t(0x31534645));
  refusedAtOnce(4, uint16_t(2));
  for (uint16_t segments : {0, 65, 65535}) refusedAtOnce(6, segments);
  for (uint32_t bytes : {0u, 8u, 129u, uint32_t(kFrameBytesMax + 8), ~0u, ~7u}) {
    refusedAtOnce(8, bytes);
  }
  refusedAtOnce(12, uint32_t(1));
}

TEST(Wire, LengthsThatDisagreeWithTheSegmentsAreRefused) {
  Frames f;
  auto good = f.written();
  for (uint32_t words : {4u, 6u, 15u, 0x20000000u, ~0u}) {
    auto bad = good;
    poke(bad, 24, words);
    EXPECT_EQ(f.read(bad), Frames::Result::REFUSED) << words;
  }
  for (uint32_t bytes : {120u, 136u}) {
    auto bad = good;
    bad.resize(200);
    poke(bad, 8, bytes);
    EXPECT_EQ(f.read(bad), Frames::Result::REFUSED) << bytes;
  }
}

TEST(Wire, AFailedWriteEndsTheReadSideToo) {
  // The RPC system ignores what a write says and waits for the read to fail.
  Frames f;
  Tape::Side side;
  auto stream = newFramedStream(kj::heap<Tape>(side));
  std::vector<kj::ArrayPtr<const capnp::word>> many(65, f.segments[0].asPtr());
  EXPECT_THROW(stream->writeMessage(nullptr, kj::arrayPtr(many.data(), many.size())).wait(f.scope),
               kj::Exception);
  EXPECT_TRUE(side.ended);
  side.ended = false;
  side.failWrites = true;
  EXPECT_THROW(stream->writeMessage(nullptr, kj::arrayPtr(many.data(), 1)).wait(f.scope),
               kj::Exception);
  EXPECT_TRUE(side.ended);
}

class Service final : public schema::Admin::Server {
 public:
  struct Facts {
    size_t answerBytes = 10;
    size_t calls = 0;
    kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> held;
  };
  explicit Service(Facts& facts) : facts_(facts) {}

 protected:
  kj::Promise<void> status(StatusContext context) override {
    ++facts_.calls;
    context.getResults().setJson(kj::StringPtr(std::string(facts_.answerBytes, 'j').c_str()));
    return kj::READY_NOW;
  }
  kj::Promise<void> resolve(ResolveContext context) override {
    ++facts_.calls;
    auto path = context.getParams().getPath();
    if (path.size() == 4) KJ_FAIL_REQUIRE("this path is never good");
    context.getResults().initAttr().setSize(path.size());
    return kj::READY_NOW;
  }
  kj::Promise<void> settle(SettleContext) override {
    ++facts_.calls;
    auto paf = kj::newPromiseAndFulfiller<void>();
    facts_.held = kj::mv(paf.fulfiller);
    return kj::mv(paf.promise);
  }

 private:
  Facts& facts_;
};

struct World {
  SimWorld sim{7};
  Service::Facts facts;
  kj::Own<SimProcess> serverProcess = sim.machine("server").process("/data");
  kj::Own<SimProcess> clientProcess = sim.machine("client").process("/data");
  kj::Own<RpcServer> server = start();
  kj::Own<Connection> connection = dialed();
  schema::Admin::Client admin = connection->bootstrap().castAs<schema::Admin>();

  kj::Own<RpcServer> start() {
    auto promise = serveRpc(serverProcess->env, "server:1", [this]() -> capnp::Capability::Client {
      return kj::heap<Service>(facts);
    });
    return promise.wait(sim.scope);
  }
  kj::Own<Connection> dialed() {
    kj::String addresses[] = {kj::str("server:9"), kj::str("server:1")};
    return dial(clientProcess->env, addresses, 1000).wait(sim.scope);
  }
  uint64_t resolve(size_t bytes) {
    auto request = admin.resolveRequest();
    memset(request.initPath(unsigned(bytes)).begin(), 'p', bytes);
    auto answer = request.send().wait(sim.scope);
    return answer.getAttr().getSize();
  }
};

TEST(Wire, CallsOfAMebibyteGoBothWays) {
  World w;
  EXPECT_STREQ(w.connection->address().cStr(), "server:1");
  for (size_t bytes : {size_t(0), size_t(1), size_t(1) << 20, (size_t(2) << 20) - 4096}) {
    EXPECT_EQ(w.resolve(bytes), bytes);
    w.facts.answerBytes = bytes;
    EXPECT_EQ(w.admin.statusRequest().send().wait(w.sim.scope).getJson().size(), bytes);
  }
}

TEST(Wire, WhatIsTooLargeForAFrameFailsItsCallAndNothingElse) {
  World w;
  EXPECT_THROW(w.resolve(2 << 20), kj::Exception);
  EXPECT_EQ(w.resolve(1), 1u);
  w.facts.answerBytes = 3 << 20;
  EXPECT_THROW(w.admin.statusRequest().send().wait(w.sim.scope), kj::Exception);
  EXPECT_EQ(w.resolve(1), 1u);
}

TEST(Wire, AServerThatThrowsAnswersAndLives) {
  World w;
  EXPECT_THROW(w.resolve(4), kj::Exception);
  EXPECT_EQ(w.resolve(5), 5u);
  EXPECT_EQ(w.server->connectionCount(), 1u);
}

TEST(Wire, TheEndOfAConnectionFailsItsCallsAndIsForgotten) {
  World w;
  auto hanging = w.admin.settleRequest().send();
  w.resolve(1);
  ASSERT_TRUE(w.facts.held != nullptr);
  w.server = nullptr;
  auto error = kj::runCatchingExceptions([&]() { hanging.wait(w.sim.scope); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(error).getType(), kj::Exception::Type::DISCONNECTED);
  w.connection->onDisconnect().wait(w.sim.scope);

  w.server = w.start();
  for (int i = 0; i < 20; ++i) {
    auto other = w.dialed();
    auto call = other->bootstrap().castAs<schema::Admin>().settleRequest().send();
    w.sim.pass(10);
    EXPECT_EQ(w.server->connectionCount(), 1u);
    other = nullptr;
    error = kj::runCatchingExceptions([&]() { call.wait(w.sim.scope); });
    EXPECT_EQ(KJ_ASSERT_NONNULL(error).getType(), kj::Exception::Type::DISCONNECTED);
    w.sim.pass(10);
    EXPECT_EQ(w.server->connectionCount(), 0u);
  }
}

TEST(Wire, AStrangerLosesItsConnectionAndOthersKeepTheirs) {
  World w;
  auto stranger = w.clientProcess->env.network.connect("server:1").wait(w.sim.scope);
  w.sim.pass(1);
  EXPECT_EQ(w.server->connectionCount(), 2u);
  auto text = kj::StringPtr("GET / HTTP/1.1\r\nHost: dfs\r\n\r\n");
  stranger->write(text.begin(), text.size()).wait(w.sim.scope);
  w.sim.pass(100);
  EXPECT_EQ(w.server->connectionCount(), 1u);
  EXPECT_EQ(w.resolve(3), 3u);
}

TEST(Wire, DialingTakesItsTimeForEachAddressAndSaysAllReasons) {
  // A cut machine answers nothing; the next address is tried after the given time.
  World w;
  w.sim.network.cut("client", "silent");
  kj::String addresses[] = {kj::str("silent:1"), kj::str("server:1")};
  uint64_t before = w.clientProcess->env.clock.bootMs();
  auto connection = dial(w.clientProcess->env, addresses, 300).wait(w.sim.scope);
  uint64_t took = w.clientProcess->env.clock.bootMs() - before;
  EXPECT_GE(took, 300u);
  EXPECT_LT(took, 320u);
  addresses[1] = kj::str("server:2");
  auto error = kj::runCatchingExceptions(
      [&]() { dial(w.clientProcess->env, addresses, 300).wait(w.sim.scope); });
  auto& e = KJ_ASSERT_NONNULL(error);
  EXPECT_EQ(e.getType(), kj::Exception::Type::DISCONNECTED);
  std::string said = e.getDescription().cStr();
  EXPECT_NE(said.find("silent:1: "), std::string::npos) << said;
  EXPECT_NE(said.find("server:2: "), std::string::npos) << said;
}

// A listener that fails as one does that has run out of descriptors.
class Scarce final : public Network {
 public:
  explicit Scarce(Network& real) : real_(real) {}
  kj::Promise<kj::Own<kj::AsyncIoStream>> connect(kj::StringPtr a) override {
    return real_.connect(a);
  }
  kj::Promise<kj::Own<Listener>> listen(kj::StringPtr a) override {
    return real_.listen(a).then([this](kj::Own<Listener> l) -> kj::Own<Listener> {
      return kj::heap<Failing>(kj::mv(l), failures, calls);
    });
  }
  int failures = 5;
  int calls = 0;

 private:
  struct Failing final : public Listener {
    Failing(kj::Own<Listener> listener, int& failuresLeft, int& callCount)
        : inner(kj::mv(listener)), failures(failuresLeft), calls(callCount) {}
    kj::Promise<kj::Own<kj::AsyncIoStream>> accept() override {
      ++calls;
      if (failures > 0) {
        --failures;
        return KJ_EXCEPTION(FAILED, "accept: Too many open files");
      }
      return inner->accept();
    }
    kj::StringPtr address() override { return inner->address(); }
    kj::Own<Listener> inner;
    int& failures;
    int& calls;
  };
  Network& real_;
};

TEST(Wire, AServerThatIsOutOfDescriptorsAcceptsAgainLaterWithoutSpinning) {
  World w;
  w.server = nullptr;
  Scarce scarce(w.serverProcess->env.network);
  auto& e = w.serverProcess->env;
  Env env{e.clock, e.random, scarce, e.disk};
  w.server = serveRpc(env, "server:1", [&w]() -> capnp::Capability::Client {
               return kj::heap<Service>(w.facts);
             }).wait(w.sim.scope);
  w.sim.pass(1);
  EXPECT_EQ(scarce.calls, 1);
  w.connection = w.dialed();
  w.admin = w.connection->bootstrap().castAs<schema::Admin>();
  EXPECT_EQ(w.resolve(2), 2u);
  EXPECT_EQ(scarce.calls, 7);
  w.server = nullptr;
}

}  // namespace
}  // namespace dfs
