@0x8e03aa2fb2434651;
# Between name server and storage daemons, and among name servers.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");
using T = import "types.capnp";
using N = import "namespace.capnp";
using A = import "admin.capnp";

interface NameDoor {
  # What a connection to a name server starts with.
  nameServer @0 () -> (nameServer :N.NameServer);
  registry @1 () -> (registry :Registry);
  admin @2 () -> (admin :A.Admin);
  raft @3 () -> (raft :RaftPeer);
}

interface Registry {
  register @0 (node :T.Node, cluster :T.Uuid, space :Space, since :UInt64, control :NodeControl)
      -> (err :T.Errno, id :UInt32, registration :Registration, cluster :T.Uuid, why :Text);
  # Each start of a daemon, and each new connection. A store that belongs to no cluster yet has a
  # zero cluster and takes the one in the answer. node.id is ignored. WRONG_CLUSTER, or NOT_LEADER.
  # The chains of a new incarnation move (C4).
  view @1 (known :UInt64) -> (err :T.Errno, view :T.View);
  # Answered when newer than `known`; at once for 0.
}

struct Space {
  total @0 :UInt64;
  free @1 :UInt64;
  reserve @2 :UInt64;    # below this much free it takes nothing that needs room
}

interface Registration {
  beat @0 (sequence :UInt64, viewInstalled :UInt64, viewSettled :UInt64, space :Space,
           synced :List(SyncedChain), broken :Text)
      -> (err :T.Errno, leaseMs :UInt32, view :UInt64);
  # Every 200 ms. The daemon counts its right to serve from when it sent the one that was answered
  # (C4). viewSettled: the newest view at which every session that had ended by then has no
  # uncommitted update here and what it wrote is synced (C3). synced: chains for which it asks to
  # serve, in that epoch. broken: why the store is out of service, or empty.
  # STALE: register anew.
  struct SyncedChain { chain @0 :UInt32; epoch @1 :UInt64; }
}

interface NodeControl {
  remove @0 (blocks :List(UInt64)) -> (removed :List(UInt64));
  # Freed by the name server; absent ones count as removed. Idempotent.
  inventory @1 (above :UInt64, blocksMax :UInt32) -> (blocks :List(UInt64), atEnd :Bool);
  # Every block that lies here, in order (R3).
}

interface RaftPeer {
  deliver @0 (from :UInt64, message :Data) -> ();
  # In order per connection. A group of one sends none.
}
