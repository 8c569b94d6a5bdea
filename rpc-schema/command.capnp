@0xb21f7a3c90de4f12;
# Commands: one mutation of the replicated state each, complete in itself. They lie in logs for ever:
# see the rules in types.capnp. Applying one is a pure function of the store and the command.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");
using T = import "types.capnp";

struct Entry {
  # What one entry of the replicated log holds: many commands, applied in order, in one transaction.
  commands @0 :List(Command);
}

struct Command {
  request @0 :T.RequestId;
  ackedUpTo @1 :UInt64;      # the client has the answers up to this sequence: they may be dropped
  credentials @2 :T.Credentials;
  time @3 :T.Time;           # stamped by the leader, or by the holder of an exclusive lease (O4)
  do :union {
    nothing @4 :Void;
    createCluster @5 :CreateCluster;
    # the namespace
    create @6 :Create;
    link @7 :Link;
    unlink @8 :Unlink;
    rename @9 :Rename;
    setattr @10 :Setattr;
    publish @11 :Publish;
    # what follows a removal
    reap @12 :Reap;
    trim @13 :Trim;
    reclaimed @14 :Reclaimed;
    # sessions
    startSession @15 :StartSession;
    endSession @16 :EndSession;
    allot @17 :Allot;
    # the cluster
    putNode @18 :T.Node;         # new, or changed; the view's version moves
    putChains @19 :PutChains;
    forgetSession @20 :UInt64;   # an ended session's ranges are no longer anybody's (R3)
    deleteOrphans @21 :List(UInt64);  # blocks that a daemon has and perhaps nobody names (R3)
    # the namespace, continued
    setxattr @22 :Setxattr;
    punch @23 :Punch;
    clone @24 :Clone;
  }
}

struct CreateCluster {
  uuid @0 :T.Uuid;
  rootUid @1 :UInt32;
  rootGid @2 :UInt32;
  rootMode @3 :UInt32;
  replicas @4 :UInt8;        # wanted copies; 0 means auto: 2 once two daemons are registered
  blockBytes @5 :UInt32;
}

struct Create {
  # EEXIST if the name is there. Owner, group (set-gid directories) and permission to write the
  # parent are decided at apply from the credentials.
  parent @0 :UInt64;
  name @1 :Data;
  ino @2 :UInt64;            # stamped; 0: apply takes the next number and says so in the outcome
  kind @3 :T.Kind;
  mode @4 :UInt32;           # as the program gave it
  rdev @5 :UInt64;
  target @6 :Data;           # of a symlink, 1..4095 bytes
  umask @7 :UInt32;          # taken off `mode`, unless the parent has a default ACL
  unnamed @8 :Bool;          # O_TMPFILE: an orphan from the start; `name` is empty
}

struct Link { ino @0 :UInt64; parent @1 :UInt64; name @2 :Data; }

struct Unlink {
  parent @0 :UInt64;
  name @1 :Data;
  directory @2 :Bool;        # rmdir
}

struct Rename {
  fromParent @0 :UInt64;
  fromName @1 :Data;
  toParent @2 :UInt64;
  toName @3 :Data;
  noReplace @4 :Bool;
  exchange @5 :Bool;
  whiteout @6 :Bool;         # leaves a character device 0:0 at the old name
}

struct Setattr {
  ino @0 :UInt64;
  set :group {
    mode @1 :Bool;
    uid @2 :Bool;
    gid @3 :Bool;
    size @4 :Bool;
    atime @5 :Bool;
    mtime @6 :Bool;
    atimeNow @7 :Bool;       # the command's time
    mtimeNow @8 :Bool;
  }
  mode @9 :UInt32;
  uid @10 :UInt32;
  gid @11 :UInt32;
  size @12 :UInt64;          # sender holds the file exclusively
  atime @13 :T.Time;
  mtime @14 :T.Time;
  openForWrite @15 :Bool;    # ftruncate: the descriptor is the permission
  killSetId @16 :Bool;       # a write or truncation by somebody who may not keep set-id bits
  access @17 :Bool;          # with atimeNow: as reading does it; needs no right, leaves ctime alone
}

struct Publish {
  # The holder of `exclusive` makes known what it has written and synced (Y1).
  ino @0 :UInt64;
  size @1 :UInt64;
  rows @2 :List(T.Row);      # new or changed ones, sorted by index; at most kRowsPerPublishMax.
                             # A row whose block differs from the one that stands there replaces it,
                             # and the old block is reclaimed.
  mtime @3 :T.Time;          # of the last write
  setMtime @4 :Bool;         # false if `utimes` came after the last write
  obsoleteKillSetId @5 :Bool;
}

struct Setxattr {
  # Sets or removes one extended attribute. Rights as Linux has them: user.* by who may write,
  # trusted.* and security.* by root, system.posix_acl_* by the owner; other names are NOT_SUP.
  # system.posix_acl_access changes the mode's permission bits with it. TOO_LARGE never: a value
  # that is too long is INVAL at the sender; NO_SPACE: more than kXattrBytesMax of one inode.
  ino @0 :UInt64;
  name @1 :Data;             # with its prefix, 1..255 bytes
  value @2 :Data;            # at most 64 KiB
  create @3 :Bool;           # EXIST if it is there
  replace @4 :Bool;          # NO_DATA if it is not there
  remove @5 :Bool;           # likewise
}

struct Punch {
  # Takes rows [first, end) of a file away: they read as zeros. The sender holds it exclusively and
  # has published. At most kRowsPerTrim rows at a time; outcome.count is not 0 if there are more.
  ino @0 :UInt64;
  first @1 :UInt64;
  end @2 :UInt64;
  mtime @3 :T.Time;
  killSetId @4 :Bool;
}

struct Clone {
  # Rows [fromFirst, fromFirst + count) of one file become rows of another (or of the same one,
  # elsewhere) by reference, in place of those that stand there; absent ones become holes (G7). Both
  # have equal blockBytes. The sender has published both and holds `to` exclusively; no other session
  # holds `from`. At most kRowsPerTrim rows.
  from @0 :UInt64;
  fromFirst @1 :UInt64;
  count @2 :UInt64;
  to @3 :UInt64;
  toFirst @4 :UInt64;
  size @5 :UInt64;           # of `to` afterwards, if it is not larger already; rows past it are cut to it
  mtime @6 :T.Time;
  killSetId @7 :Bool;
}

struct Reap { inos @0 :List(UInt64); }
# Frees orphans that nobody holds: each leaves `orphan` for `trim`, or goes at once if it has few rows.

struct Trim { ino @0 :UInt64; rowsMax @1 :UInt32; }
# Gives back up to rowsMax rows of a removed inode, or past the end of a truncated one (R4).

struct Reclaimed { blocks @0 :List(UInt64); }
# Every member of these blocks' chains has deleted them.

struct StartSession { id @0 :UInt64; host @1 :Text; what @2 :Text; }
struct EndSession { id @0 :UInt64; clean @1 :Bool; }

struct Allot {
  # Ids for a session's use; the answer holds them. Inode ids: [next, next + inodes).
  session @0 :UInt64;
  inodes @1 :UInt32;
  blocks @2 :List(Want);
  struct Want { chain @0 :UInt32; count @1 :UInt32; }
}

struct PutChains {
  chains @0 :List(T.Chain);  # new, or changed: each with an epoch above the one that stands
}

struct Outcome {
  # The answer to a command: stored until acknowledged (S6: never attributes, never a lease).
  err @0 :T.Errno;
  ino @1 :UInt64;            # create: the new inode; unlink, rename over: the victim
  firstInode @2 :UInt64;     # allot
  ranges @3 :List(T.BlockRange);
  links @4 :UInt32;          # of the victim after unlink or rename over
  count @5 :UInt64;
  # trim, forgetSession: not 0 if there is more to do: send it again. reclaimed, deleteOrphans: blocks
  # that it concerned. create of an unnamed file: 1.
}
