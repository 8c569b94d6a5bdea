@0xd6f1c0a5e3b94701;
# Words that every other schema uses.
#
# Rules for changing any schema here:
#   - Numbers of fields, methods, enumerants and union members are added at the end, never reused
#     and never given another meaning; a field that is no longer used keeps its number and is
#     renamed `obsolete...`.
#   - What lies on disk (command.capnp, and the records of meta) is read for ever: a new member gets
#     a golden-bytes test.
#   - A receiver maps an enumerant that it does not know to something safe (`default:`).
#   - The first result of a method is `err`; what has no POSIX name is an exception.
#   - A number names what must survive a failover (inode, block, chain, node, session); a capability
#     stands for what is held (a session, a registration) and dropping it ends nothing by itself
#     unless its comment says so.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");

enum Errno {
  # Our own numbering: a host's errno never crosses the wire. common/outcome.cc holds the table to
  # the host's; a number from a newer peer is treated as `io`.
  ok @0;
  perm @1;
  noEnt @2;
  io @3;
  noMem @4;
  access @5;
  exist @6;
  xDev @7;
  notDir @8;
  isDir @9;
  inval @10;
  tooLarge @11;      # EFBIG
  noSpace @12;
  roFs @13;
  manyLinks @14;     # EMLINK
  nameTooLong @15;
  notEmpty @16;
  loop @17;
  notSup @18;        # EOPNOTSUPP
  stale @19;         # the inode is gone (to users), or an epoch or a view is (between our processes)
  intr @20;
  again @21;
  noSys @22;
  range @23;
  noData @24;
  busy @25;
  overflow @26;
  deadLock @27;
  noTty @28;
  timedOut @29;
  quota @30;
  # From here on never shown to a user as they are.
  corrupt @31;       # the bytes do not match their sums
  wrongEpoch @32;    # the chain has moved on, or the daemon does not serve it: fetch the view
  notLive @33;       # the session is not in the daemon's list of live ones: ask the name server
  noBlock @34;       # no such block here
  overloaded @35;    # a bound is reached: back off and repeat
  wrongCluster @36;  # the uuid is another cluster's
  notLeader @37;
  refused @38;       # a sentence in the log of the refuser says why
}

enum Kind { none @0; file @1; directory @2; symlink @3; fifo @4; socket @5; charDevice @6; blockDevice @7; }

struct Time {
  sec @0 :Int64;     # since 1970, UTC
  nsec @1 :UInt32;   # below 10^9
}

struct Uuid { high @0 :UInt64; low @1 :UInt64; }

struct RequestId {
  # Names one mutation for ever. Zero `client`: made by the name server itself, never repeated.
  client @0 :UInt64;     # the session's id: random, never 0, never used twice
  sequence @1 :UInt64;   # from 1, without gaps per session
}

struct Credentials {
  uid @0 :UInt32;
  gid @1 :UInt32;
  groups @2 :List(UInt32);   # supplementary groups; at most kGroupsMax
}

struct DataVersion {
  # Of a file's contents (V7): differs whenever bytes may differ from those read before. Compare for
  # equality only.
  term @0 :UInt64;
  count @1 :UInt64;
}

struct Attr {
  ino @0 :UInt64;
  kind @1 :Kind;
  mode @2 :UInt32;       # permission bits with set-id and sticky, 0..07777
  uid @3 :UInt32;
  gid @4 :UInt32;
  nlink @5 :UInt32;
  rdev @6 :UInt64;
  size @7 :UInt64;
  allocated @8 :UInt64;  # bytes that rows stand for; st_blocks is this / 512, rounded up
  atime @9 :Time;
  mtime @10 :Time;
  ctime @11 :Time;
  btime @12 :Time;
  dataVersion @13 :DataVersion;
  blockBytes @14 :UInt32;  # of this file
  xattrs @15 :Bool;        # it has extended attributes; lists of access rights (ACLs) are such too
}

struct Row {
  # One entry of a file's block list (R1). An absent row, and bytes at or past `end`, are zeros.
  index @0 :UInt64;      # block number in the file
  block @1 :UInt64;      # BlockId: chain in the upper 24 bits, sequence in the lower 40
  end @2 :UInt32;        # bytes of the block that mean anything, 1..blockBytes
  shared @3 :Bool;       # another file has it too: never written in place (G7)
}

struct BlockRange {
  # Block ids chain<<40 | [first, first + count), handed to one session, for new blocks.
  chain @0 :UInt32;
  first @1 :UInt64;
  count @2 :UInt32;
}

# --- the view ---

enum MemberState {
  serving @0;      # has every committed byte; takes writes and answers reads
  syncing @1;      # is being brought up by the last serving member; takes live writes, serves nobody
  waiting @2;      # is registered and waits for its turn to sync
  offline @3;      # silent, or not yet registered again
  lastServing @4;  # offline, but was the last that served: the chain waits for it
}

struct Member {
  node @0 :UInt32;
  state @1 :MemberState;
  servedFrom @2 :UInt64;
  # The epoch since which it has every acknowledged write of the chain (Y3): its own, where it has served
  # without a break (a restart of the last serving member with an unchanged `since` is none); that of
  # the member it was brought up from, where it joined later (Y6).
}

struct Chain {
  id @0 :UInt32;         # 24 bits, from 1
  epoch @1 :UInt64;      # from 1; moves with every change of the members or their states
  replicas @2 :UInt8;    # wanted
  members @3 :List(Member);
  # Order: serving ones first, head first; then at most one syncing; then the others.
}

struct Node {
  id @0 :UInt32;         # from 1
  uuid @1 :Uuid;         # of its store
  host @2 :Text;         # failure domain
  addresses @3 :List(Text);  # "unix:/path" and "HOST:PORT"; best first
  incarnation @4 :UInt64;    # grows with each start of the daemon
  online @5 :Bool;
  name @6 :Text;         # as people call it: store2
  http @7 :Text;         # HOST:PORT of its endpoints, or empty
  since @8 :UInt64;      # of the store's memory at its last registration (Y8)
}

struct View {
  version @0 :UInt64;
  cluster @1 :Uuid;
  nodes @2 :List(Node);
  chains @3 :List(Chain);       # sorted by id
  sessions @4 :List(UInt64);    # the live ones, sorted: a daemon serves no other (S7)
}
