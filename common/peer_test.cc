// Method: a peer between two simulated machines.

#include "common/peer.h"

#include "rpc-schema/admin.capnp.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <vector>

namespace dfs {
namespace {

class Service final : public schema::Admin::Server {
 protected:
  kj::Promise<void> status(StatusContext) override { return kj::READY_NOW; }
  kj::Promise<void> settle(SettleContext) override { return kj::NEVER_DONE; }
};

class CountingNetwork final : public Network {
 public:
  explicit CountingNetwork(Network& real) : real_(real) {}
  kj::Promise<kj::Own<kj::AsyncIoStream>> connect(kj::StringPtr address) override {
    ++dials;
    return real_.connect(address);
  }
  kj::Promise<kj::Own<Listener>> listen(kj::StringPtr address) override {
    return real_.listen(address);
  }
  int dials = 0;

 private:
  Network& real_;
};

kj::Promise<void> hangUpOnAll(Listener& listener) {
  return listener.accept().then([&listener](kj::Own<kj::AsyncIoStream> stream) {
    stream = nullptr;
    return hangUpOnAll(listener);
  });
}

kj::Promise<void> callForEver(Peer& peer) {
  return peer.connected()
      .then([](capnp::Capability::Client root) {
        return root.castAs<schema::Admin>().statusRequest().send().ignoreResult();
      })
      .catch_([](kj::Exception&&) {})
      .then([&peer]() { return callForEver(peer); });
}

struct PeerWorld {
  SimWorld sim{11};
  kj::Own<SimProcess> serverProcess = sim.machine("server").process("/data");
  kj::Own<SimProcess> clientProcess = sim.machine("client").process("/data");
  kj::Own<RpcServer> server;
  CountingNetwork network{clientProcess->env.network};
  Env env{clientProcess->env.clock, clientProcess->env.random, network, clientProcess->env.disk};
  Peer peer{env, addresses("server:1")};

  static kj::Array<kj::String> addresses(kj::StringPtr one) {
    auto all = kj::heapArrayBuilder<kj::String>(1);
    all.add(kj::str(one));
    return all.finish();
  }
  void start(kj::StringPtr address = "server:1") {
    server = serveRpc(serverProcess->env, address, []() -> capnp::Capability::Client {
               return kj::heap<Service>();
             }).wait(sim.scope);
  }
  void call() {
    auto root = peer.connected().wait(sim.scope);
    root.castAs<schema::Admin>().statusRequest().send().wait(sim.scope);
  }
};

TEST(Peer, ManyWaitersAreAllToldOnceTheServerIsThere) {
  PeerWorld w;
  std::vector<kj::Promise<capnp::Capability::Client>> waiters;
  for (int i = 0; i < 100; ++i) waiters.push_back(w.peer.connected());
  for (int i = 0; i < 100; i += 2) waiters[i] = nullptr;  // have given up
  w.sim.pass(5000);
  EXPECT_FALSE(w.peer.isConnected());
  EXPECT_NE(std::string(w.peer.lastError().cStr()).find("server:1"), std::string::npos);
  w.start();
  for (int i = 1; i < 100; i += 2) waiters[i].wait(w.sim.scope);
  EXPECT_EQ(w.peer.connectionNumber(), 1u);
  EXPECT_EQ(w.peer.lastError().size(), 0u);
  EXPECT_EQ(w.server->connectionCount(), 1u);
}

TEST(Peer, DialsAgainAfterTheEndAndOnlyIfAsked) {
  PeerWorld w;
  w.start();
  for (uint64_t number = 1; number <= 5; ++number) {
    w.call();
    EXPECT_EQ(w.peer.connectionNumber(), number);
    w.server = nullptr;
    w.sim.pass(10);
    EXPECT_FALSE(w.peer.isConnected());
    w.start();
    w.sim.pass(3000);
    EXPECT_EQ(w.server->connectionCount(), 0u);
  }
}

TEST(Peer, BacksOffWhileNobodyAnswers) {
  PeerWorld w;
  auto waiter = w.peer.connected();
  w.sim.pass(60'000);
  // At most one try each 500 ms once the delay is at its longest, and never less than one each second.
  EXPECT_LE(w.network.dials, 60 * 2 + 12);
  EXPECT_GE(w.network.dials, 59);
  w.start();
  uint64_t before = w.clientProcess->env.clock.bootMs();
  waiter.wait(w.sim.scope);
  EXPECT_LE(w.clientProcess->env.clock.bootMs() - before, 1010u);
}

TEST(Peer, APeerThatHangsUpAtOnceIsNotDialedWithoutPause) {
  // Whoever asks for the connection in a loop meets the same delays.
  PeerWorld w;
  auto listener = w.serverProcess->env.network.listen("server:1").wait(w.sim.scope);
  auto hangUp = hangUpOnAll(*listener).eagerlyEvaluate(nullptr);
  auto loop = callForEver(w.peer).eagerlyEvaluate(nullptr);
  w.sim.pass(10'000);
  EXPECT_LE(w.network.dials, 40);
  EXPECT_GE(w.network.dials, 8);
}

TEST(Peer, DisconnectMakesTheNextConnectionANewOne) {
  PeerWorld w;
  w.start();
  w.call();
  auto root = w.peer.connected().wait(w.sim.scope);
  auto hanging = root.castAs<schema::Admin>().settleRequest().send();
  w.sim.pass(5);
  w.peer.disconnect();
  EXPECT_FALSE(w.peer.isConnected());
  auto error = kj::runCatchingExceptions([&]() { hanging.wait(w.sim.scope); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(error).getType(), kj::Exception::Type::DISCONNECTED);
  w.call();
  EXPECT_EQ(w.peer.connectionNumber(), 2u);
  w.sim.pass(10);
  EXPECT_EQ(w.server->connectionCount(), 1u);
}

TEST(Peer, NewAddressesEndAConnectionToAnotherAndKeepOneThatStays) {
  PeerWorld w;
  w.start();
  w.call();
  w.peer.setAddresses(PeerWorld::addresses("server:1"));
  EXPECT_TRUE(w.peer.isConnected());
  w.peer.setAddresses(PeerWorld::addresses("server:2"));
  EXPECT_FALSE(w.peer.isConnected());
  auto waiter = w.peer.connected();
  w.sim.pass(100);
  w.start("server:2");
  waiter.wait(w.sim.scope);
  w.call();
  EXPECT_EQ(w.peer.connectionNumber(), 2u);
}

TEST(Peer, GoesWhileItDialsAndWhileItIsConnected) {
  for (uint64_t ms : {0, 1, 30, 500}) {
    PeerWorld w;
    if (ms >= 30) w.start();
    auto other = kj::heap<Peer>(w.clientProcess->env, PeerWorld::addresses("server:1"));
    auto waiter = other->connected();
    w.sim.pass(ms);
    other = nullptr;
    if (ms < 30) EXPECT_THROW(waiter.wait(w.sim.scope), kj::Exception);
    w.sim.pass(100);
  }
}

}  // namespace
}  // namespace dfs
