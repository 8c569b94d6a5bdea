#include "common/peer.h"

#include "common/retry.h"
#include "common/task.h"

#include <kj/debug.h>

#include <deque>

namespace dfs {
namespace {
constexpr uint64_t kFirstMs = 20;
constexpr uint64_t kLastMs = 1000;
constexpr uint64_t kDialMs = 3000;
constexpr size_t kSweepAtLeast = 16;

using Waiter = kj::Own<kj::PromiseFulfiller<capnp::Capability::Client>>;
}  // namespace

struct Peer::Impl {
  Impl(Env& peerEnv, kj::Array<kj::String> peerAddresses)
      : env(peerEnv), addresses(kj::mv(peerAddresses)), backoff(peerEnv, kFirstMs, kLastMs) {}

  struct Live {
    kj::Own<Connection> connection;
    capnp::Capability::Client root;
    kj::Promise<void> watch = nullptr;  // of its end; goes before the connection
  };

  Task<void> dialUntilConnected() {
    // A peer that hangs up at once is no better than one that does not answer.
    bool wasShort = env.clock.bootMs() - takenAt < kLastMs;
    if (wasShort) {
      co_await backoff.wait();
    } else {
      backoff.reset();
    }
    for (;;) {
      bool connected = false;
      try {
        auto connection = co_await dial(env, addresses, kDialMs);
        take(kj::mv(connection));
        connected = true;
      } catch (const kj::Exception& e) {
        lastError = kj::str(e.getDescription());
      }
      if (connected) break;
      co_await backoff.wait();
    }
    tell();
  }

  void take(kj::Own<Connection> connection) {
    ++number;
    takenAt = env.clock.bootMs();
    lastError = kj::str("");
    auto root = connection->bootstrap();
    auto gone = connection->onDisconnect();
    auto l = kj::heap<Live>(Live{kj::mv(connection), kj::mv(root)});
    l->watch = gone.catch_([](kj::Exception&&) {
                     // Whatever ended it: those who wait for an answer are told by their calls.
                   })
                   .then([this, mine = number]() { ended(mine); })
                   .eagerlyEvaluate(nullptr);
    live = kj::mv(l);
  }

  void ended(uint64_t which) {
    if (which != number || live == nullptr) return;
    // This runs inside the promise that `live` holds: it goes in a later turn.
    retire();
  }

  void retire() {
    KJ_IF_MAYBE(l, live) {
      auto old = kj::mv(*l);
      live = nullptr;
      retiring = kj::evalLater([]() {}).attach(kj::mv(old)).eagerlyEvaluate(nullptr);
    }
    if (!waiting.empty()) startDialing();
  }

  void startDialing() {
    if (dialing) return;
    dialing = true;
    work = kj::Promise<void>(dialUntilConnected()).eagerlyEvaluate([](kj::Exception&& e) {
      KJ_LOG(ERROR, "dialing has failed", e);
    });
  }

  void addWaiter(Waiter waiter) {
    if (waiting.size() >= sweepAt) {
      // Those who have given up are forgotten, so that the list is bounded by who waits.
      std::erase_if(waiting, [](Waiter& w) { return !w->isWaiting(); });
      sweepAt = kj::max(kSweepAtLeast, 2 * waiting.size());
    }
    waiting.push_back(kj::mv(waiter));
  }

  void tell() {
    dialing = false;
    auto all = kj::mv(waiting);
    waiting.clear();
    for (auto& w : all) {
      KJ_IF_MAYBE(l, live) w->fulfill(capnp::Capability::Client((*l)->root));
    }
  }

  Env& env;
  kj::Array<kj::String> addresses;
  Backoff backoff;
  kj::String lastError = kj::str("");
  uint64_t number = 0;
  uint64_t takenAt = 0;  // bootMs
  bool dialing = false;
  kj::Maybe<kj::Own<Live>> live;
  kj::Promise<void> retiring = nullptr;
  std::deque<Waiter> waiting;
  size_t sweepAt = kSweepAtLeast;
  kj::Promise<void> work = nullptr;
};

Peer::Peer(Env& env, kj::Array<kj::String> addresses)
    : impl_(kj::heap<Impl>(env, kj::mv(addresses))) {}
Peer::~Peer() noexcept(false) {}

kj::Promise<capnp::Capability::Client> Peer::connected() {
  KJ_IF_MAYBE(l, impl_->live) return capnp::Capability::Client((*l)->root);
  auto paf = kj::newPromiseAndFulfiller<capnp::Capability::Client>();
  impl_->addWaiter(kj::mv(paf.fulfiller));
  impl_->startDialing();
  return kj::mv(paf.promise);
}

bool Peer::isConnected() const {
  return impl_->live != nullptr;
}
uint64_t Peer::connectionNumber() const {
  return impl_->number;
}

void Peer::setAddresses(kj::Array<kj::String> addresses) {
  bool kept = false;
  KJ_IF_MAYBE(l, impl_->live) {
    for (auto& a : addresses) kept = kept || a == (*l)->connection->address();
  }
  impl_->addresses = kj::mv(addresses);
  if (!kept) impl_->retire();
}

void Peer::disconnect() {
  impl_->retire();
}
kj::StringPtr Peer::lastError() const {
  return impl_->lastError;
}

}  // namespace dfs
