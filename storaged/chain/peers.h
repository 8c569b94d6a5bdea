#pragma once
// Connections to the other storage daemons, by node.
//
// Thread: the loop's. Owner: Server. Invariant: addresses are those of the newest view at each use.

#include "common/peer.h"
#include "common/task.h"
#include "storaged/chain/view_keeper.h"

#include <map>

namespace dfs {

class Peers {
 public:
  Peers(Env& env, ViewKeeper& keeper) : env_(env), keeper_(keeper) {}
  KJ_DISALLOW_COPY(Peers);

  Task<schema::BlockReplica::Client> replica(NodeId node);
  // Waits for the connection as long as it takes: the caller bounds it. DISCONNECTED: the view has
  // no such node.
  void silent(NodeId node);
  // It did not answer in time: the next use dials anew.

 private:
  struct Entry {
    kj::Own<Peer> peer;
    std::vector<std::string> addresses;
    uint64_t connection = 0;
    kj::Maybe<schema::BlockReplica::Client> replica;  // of that connection
  };

  Env& env_;
  ViewKeeper& keeper_;
  std::map<NodeId, Entry> entries_;
};

}  // namespace dfs
