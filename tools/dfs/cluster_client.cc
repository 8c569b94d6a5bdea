// A command's connection to its cluster: declared in verb.h.
//
// Thread: main's. Owner: the verb's action.

#include "common/real_env.h"
#include "common/sentence.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>

#include <map>

namespace dfs {
namespace {

constexpr uint64_t kConnectMs = 8'000;

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

  kj::Own<Connection> connect(const std::vector<std::string>& to, const std::string& who) {
    auto addresses = copyOf(to);
    kj::Maybe<kj::Own<Connection>> made;
    auto failed = kj::runCatchingExceptions(
        [&]() { made = dial(real.env, addresses, kConnectMs).wait(io.waitScope); });
    KJ_IF_MAYBE(e, failed) {
      // Whatever the reason: for a command they all mean that the cluster is not there for it.
      kj::throwFatalException(KJ_EXCEPTION(
          DISCONNECTED, kj::str(who.c_str(), " cannot be reached; ", sentenceOf(*e).c_str())));
    }
    return kj::mv(KJ_ASSERT_NONNULL(made));
  }
};

ClusterClient::ClusterClient(const Where& where) : impl_(kj::heap<Impl>()) {
  auto addresses = findNameservers(where);
  KJ_REQUIRE(!addresses.empty(), "no name server is named for this cluster");
  impl_->nameServer = impl_->connect(addresses, "the cluster's name server");
  auto door = impl_->nameServer->bootstrap().castAs<schema::NameDoor>();
  impl_->admin = door.adminRequest().send().getAdmin();
}

ClusterClient::~ClusterClient() noexcept(false) {}

schema::Admin::Client& ClusterClient::admin() {
  return KJ_ASSERT_NONNULL(impl_->admin);
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
