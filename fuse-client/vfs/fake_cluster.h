#pragma once
// A name server and storage daemons in a few lines, for tests of the client: real RPC over the
// simulated network. Its state and switches: fake_state.h.
//
// Thread: the test's. Owner: the test; before the world, after the clients.

#include "fuse-client/vfs/fake_names.h"
#include "fuse-client/vfs/fake_stores.h"

namespace dfs::fake {

inline Cluster::Cluster(SimWorld& simWorld)
    : world(simWorld), process(simWorld.machine("servers").process("/data")), stores(2) {
  view.version = 1;
  view.cluster = {7, 9};
  inodes[1].kind = schema::Kind::DIRECTORY;
  for (size_t n = 0; n < stores.size(); ++n) {
    stores[n].since = 100 + n;
    NodeInfo node;
    node.id = NodeId(n + 1);
    node.addresses = {"servers:" + std::to_string(7001 + n)};
    node.online = true;
    view.nodes[node.id] = node;
    storeServers_.push_back(
        world.wait(serveRpc(process->env, node.addresses[0].c_str(), [this, n]() {
          return capnp::Capability::Client(
              schema::StoreDoor::Client(kj::heap<StoreDoorServer>(*this, n)));
        })));
  }
  for (uint64_t id = 1; id <= 2; ++id) {
    ChainInfo chain;
    chain.id = ChainId(id);
    chain.epoch = 1;
    chain.replicas = 2;
    chain.members = {{NodeId(1), MemberState::SERVING, 1}, {NodeId(2), MemberState::SERVING, 1}};
    view.chains[chain.id] = chain;
  }
  serve();
}

inline void Cluster::serve() {
  nameServer_ = world.wait(serveRpc(process->env, "servers:7000", [this]() {
    return capnp::Capability::Client(schema::NameDoor::Client(kj::heap<NameDoorServer>(*this)));
  }));
}

inline void Cluster::endSession(uint64_t id) {
  sessions.erase(id);
  locks.ended.insert(id);
  locks.drop(id);
  view.sessions.erase(SessionId(id));
  ++view.version;
  for (auto& [ino, inode] : inodes) {
    if (inode.holder == id) inode.holder = 0;
  }
  changed.wake();
}

inline void Cluster::powerCut(size_t store) {
  stores[store].blocks = stores[store].synced;
  stores[store].since += 1000;
  stores[store].servedFrom = 1000;
}

inline kj::Promise<void> Cluster::others(uint64_t ino, uint64_t session) {
  auto& inode = inodes[ino];
  if (inode.holder == 0 || inode.holder == session) return kj::READY_NOW;
  auto found = sessions.find(inode.holder);
  KJ_ASSERT(found != sessions.end());
  auto request = KJ_ASSERT_NONNULL(found->second.callback).recallRequest();
  request.setIno(ino);
  request.setSequence(inode.sequence);
  auto moved = changed.next();  // before the recall: its release may come first
  auto sent = request.send().ignoreResult().catch_([](kj::Exception&&) {});
  return sent.then([moved = kj::mv(moved)]() mutable { return kj::mv(moved); })
      .then([this, ino, session]() { return others(ino, session); });
}

}  // namespace dfs::fake
