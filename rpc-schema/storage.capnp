@0xb0f6ea4030321a75;
# Block I/O. `StorageDaemon` faces clients, `BlockReplica` faces the other members of a chain.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");
using T = import "types.capnp";

struct At {
  # What the sender takes the world to be. A daemon whose view is older than `view` fetches first.
  view @0 :UInt64;
  session @1 :UInt64;    # must be live there (S7); 0 between daemons and for tools
  epoch @2 :UInt64;      # of the block's chain; another one is WRONG_EPOCH
  cluster @3 :UInt64;    # low half of the cluster's uuid: WRONG_CLUSTER
}

struct Stamp {
  # What lets a client judge whether a write is covered by a sync (Y3).
  node @0 :UInt32;
  since @1 :UInt64;          # an unbroken stretch of this store's memory (Y8)
  servedFrom @2 :UInt64;     # as in Member
}

struct Update {
  # A write to one block: [offset, offset + size of data). sums: xxh3-64 of each 4 KiB-aligned unit
  # that it touches, of the touched part alone (B1).
  block @0 :UInt64;
  offset @1 :UInt32;
  data @2 :Data;             # 1..kWriteBytesMax, within the block
  sums @3 :List(UInt64);
  request @4 :T.RequestId;   # of its own numbering per session, not the name server's
  windowFrom @5 :UInt64;     # the client has answers to all its block requests below this (C6)
  clearFrom @6 :UInt32;      # bytes at or past this mean nothing until written (R1); block size: no clearing
}

interface StorageDaemon {
  read @0 (at :At, block :UInt64, offset :UInt32, bytes :UInt32)
      -> (err :T.Errno, data :Data, sums :List(UInt64));
  # At most kReadBytesMax. Shorter data than asked for: the rest of the block was never written; the
  # caller's row says whether zeros are right (R1). sums as in Update, of what is sent. CORRUPT: this
  # copy is bad, ask another; NO_BLOCK (C9).

  write @1 (at :At, update :Update) -> (err :T.Errno, version :UInt64, stamps :List(Stamp), roomy :Bool);
  # To the head of the chain; REFUSED elsewhere never happens: WRONG_EPOCH. Answered when every
  # serving member has it in memory (Y2). NO_SPACE: nothing was done. roomy: every member has so much
  # free that a client may tell its programs of a success before it has the answer.

  sync @2 (at :At, chains :List(ChainAt)) -> (err :T.Errno, since :UInt64, servedFrom :List(UInt64));
  # To each serving member: all that was applied here before is on the disk. At.epoch is unused;
  # servedFrom goes with `chains`. WRONG_EPOCH if one of the chains has moved.
  struct ChainAt { chain @0 :UInt32; epoch @1 :UInt64; }
}

struct BlockState {
  block @0 :UInt64;
  epoch @1 :UInt64;      # of its last update
  version @2 :UInt64;    # counts its updates
  committed @3 :Bool;
  length @4 :UInt32;
  digest @5 :UInt64;     # of its unit sums, for comparing copies
}

interface BlockReplica {
  apply @0 (at :At, update :Update, version :UInt64, baseEpoch :UInt64, epoch :UInt64)
      -> (err :T.Errno, stamps :List(Stamp), roomy :Bool);
  # From the predecessor of the same epoch. The block here must stand at (baseEpoch, version - 1),
  # or at `version` by the same request (a repeat, C2); NO_BLOCK or STALE otherwise: the predecessor
  # sends the whole block (C7). Answered when this member and all after it have applied it.
  # epoch: in which the head took the update, and so the block's from now on; at.epoch is a later one
  # when it is forwarded again after the chain has moved (C2). roomy: as in reserve.

  install @1 (at :At, state :BlockState, offset :UInt32, data :Data, sums :List(UInt64), last :Bool,
              request :T.RequestId, requestVersion :UInt64)
      -> (err :T.Errno, stamps :List(Stamp));
  # A whole block in pieces, in order; it replaces what is here with `last`. request: the update that
  # is part of these bytes, if any, so that its repeat is known.

  inventory @2 (at :At, chain :UInt32, above :UInt64, blocksMax :UInt32)
      -> (err :T.Errno, blocks :List(BlockState), atEnd :Bool);
  # Blocks of a chain with ids above `above`, in order.

  remove @3 (at :At, blocks :List(UInt64)) -> (err :T.Errno);
  # The predecessor has found that these are not in the chain.

  fetch @4 (at :At, block :UInt64, offset :UInt32, bytes :UInt32)
      -> (err :T.Errno, state :BlockState, data :Data, sums :List(UInt64));
  # A piece of a copy, for repair of a bad one: install only if `state` still stands (C7).

  synced @5 (at :At, chain :UInt32) -> (err :T.Errno);
  # All of the chain has been sent in this epoch: make it durable (Y6) and tell the name server that
  # this member can serve.

  reserve @6 (at :At, block :UInt64, offset :UInt32, bytes :UInt32, clearFrom :UInt32)
      -> (err :T.Errno, roomy :Bool);
  # Makes room for an update here and at all members after this one, before any applies it (C8).
  # NO_SPACE: nowhere. roomy: this member and all after it have so much free that the head may leave
  # this step out for a while in this epoch.
}

interface StoreDoor {
  # What a connection to a storage daemon starts with.
  storage @0 () -> (storage :StorageDaemon);
  replica @1 () -> (replica :BlockReplica);
  admin @2 () -> (admin :StoreAdmin);
}

interface StoreAdmin {
  status @0 () -> (json :Text);
  blocks @1 (above :UInt64, blocksMax :UInt32) -> (blocks :List(BlockState), atEnd :Bool);
  # All blocks of the store, in order, for `dfs fsck`.
  verify @2 (block :UInt64) -> (err :T.Errno);
  # Reads it from the disk and compares it with its sums.
}
