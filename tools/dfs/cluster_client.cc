// A command's connection to its cluster: declared in verb.h.
//
// Thread: main's. Owner: the verb's action.

#include "common/real_env.h"
#include "common/sentence.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>

#include <algorithm>
#include <map>

namespace dfs {
namespace {

constexpr uint64_t kConnectMs = 8'000;
constexpr uint64_t kMarginMs = 1'000;

kj::Array<kj::String> copyOf(const std::vector<std::string>& addresses) {
  return KJ_MAP(a, addresses) {
    return kj::str(a.c_str());
  };
}

}  // namespace

struct ClusterClient::Impl {
  // Goes from the last to the first: connections before the loop.
  kj::AsyncIoContext io = kj::setupAsyncIo();
  RealEnv real{io, {"", "", 1}};
  kj::Own<Connection> nameServer;
  kj::Maybe<schema::Admin::Client> admin;
  std::map<NodeId, kj::Own<Connection>> stores;
  std::string names;  // the name servers' addresses, for a person
  const uint64_t wholeMs_;
  const kj::TimePoint began = real.env.clock.timer().now();

  explicit Impl(uint64_t whole) : wholeMs_(whole) {}

  uint64_t patienceMs(uint64_t usualMs) {
    if (wholeMs_ == 0) return usualMs;
    auto spent = static_cast<uint64_t>((real.env.clock.timer().now() - began) / kj::MILLISECONDS);
    return std::min(usualMs, spent < wholeMs_ ? wholeMs_ - spent : 1);
  }

  kj::Promise<void> silence(uint64_t limitMs) {
    // Throws when the time is over.
    auto seconds = ((wholeMs_ == 0 ? limitMs : wholeMs_) + 999) / 1000;
    auto sentence = kj::str("no answer within ", seconds, " seconds from the name server at ",
                            names.c_str(), "; it is stopped, or cut off");
    return real.env.clock.timer()
        .afterDelay(limitMs * kj::MILLISECONDS)
        .then([sentence = kj::mv(sentence)]() mutable -> kj::Promise<void> {
          return kj::Exception(kj::Exception::Type::DISCONNECTED, __FILE__, __LINE__,
                               kj::mv(sentence));
        });
  }

  kj::Own<Connection> connect(const std::vector<std::string>& to, const std::string& who) {
    auto addresses = copyOf(to);
    kj::Maybe<kj::Own<Connection>> made;
    auto wholeMs = patienceMs(kConnectMs);
    // One address that is silent must not take the time of the others.
    auto eachMs = addresses.size() < 2 ? wholeMs + kMarginMs : wholeMs / addresses.size();
    auto failed = kj::runCatchingExceptions([&]() {
      auto dialed = dial(real.env, addresses, eachMs);
      made =
          dialed
              .exclusiveJoin(silence(wholeMs).then([]() -> kj::Own<Connection> { KJ_UNREACHABLE; }))
              .wait(io.waitScope);
    });
    KJ_IF_MAYBE(e, failed) {
      // Whatever the reason: for a command they all mean that the cluster is not there for it.
      kj::throwFatalException(KJ_EXCEPTION(
          DISCONNECTED, kj::str(who.c_str(), " cannot be reached; ", sentenceOf(*e).c_str())));
    }
    return kj::mv(KJ_ASSERT_NONNULL(made));
  }
};

ClusterClient::ClusterClient(const Where& where, uint64_t wholeMs)
    : impl_(kj::heap<Impl>(wholeMs)) {
  auto addresses = findNameservers(where);
  KJ_REQUIRE(!addresses.empty(), "no name server is named for this cluster");
  for (auto& a : addresses) impl_->names += (impl_->names.empty() ? "" : ", ") + a;
  impl_->nameServer = impl_->connect(addresses, "the cluster's name server");
  auto door = impl_->nameServer->bootstrap().castAs<schema::NameDoor>();
  impl_->admin = door.adminRequest().send().getAdmin();
}

ClusterClient::~ClusterClient() noexcept(false) {}

schema::Admin::Client& ClusterClient::admin() {
  return KJ_ASSERT_NONNULL(impl_->admin);
}

kj::Promise<void> ClusterClient::late() {
  return impl_->silence(impl_->patienceMs(kAnswerMs));
}

kj::WaitScope& ClusterClient::scope() {
  return impl_->io.waitScope;
}

Env& ClusterClient::env() {
  return impl_->real.env;
}

View ClusterClient::view() {
  auto answer = ask(admin().viewRequest().send());
  return fromWire(answer.getView());
}

schema::StoreDoor::Client ClusterClient::store(const NodeInfo& node) {
  auto found = impl_->stores.find(node.id);
  if (found == impl_->stores.end()) {
    auto connection = impl_->connect(node.addresses, "store " + node.name);
    found = impl_->stores.emplace(node.id, kj::mv(connection)).first;
  }
  return found->second->bootstrap().castAs<schema::StoreDoor>();
}

}  // namespace dfs
