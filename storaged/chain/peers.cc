#include "storaged/chain/peers.h"

namespace dfs {
namespace {

kj::Array<kj::String> copyOf(const std::vector<std::string>& addresses) {
  auto all = kj::heapArrayBuilder<kj::String>(addresses.size());
  for (auto& a : addresses) all.add(kj::heapString(a.data(), a.size()));
  return all.finish();
}

}  // namespace

Task<schema::BlockReplica::Client> Peers::replica(NodeId node) {
  auto info = keeper_.view().node(node);
  if (info == nullptr) {
    kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "no such node in the view", node));
  }
  auto& e = entries_[node];  // entries stay, so the reference is good across the wait
  if (e.peer.get() == nullptr) {
    e.addresses = info->addresses;
    e.peer = kj::heap<Peer>(env_, copyOf(info->addresses));
  } else if (e.addresses != info->addresses) {
    e.addresses = info->addresses;
    e.peer->setAddresses(copyOf(info->addresses));
  }
  auto door = co_await e.peer->connected();
  auto number = e.peer->connectionNumber();
  if (e.replica == nullptr || e.connection != number) {
    e.connection = number;
    e.replica = door.castAs<schema::StoreDoor>().replicaRequest().send().getReplica();
  }
  co_return KJ_ASSERT_NONNULL(e.replica);
}

void Peers::silent(NodeId node) {
  auto it = entries_.find(node);
  if (it != entries_.end() && it->second.peer.get() != nullptr) it->second.peer->disconnect();
}

}  // namespace dfs
