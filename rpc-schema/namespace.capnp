@0xf95ad503f4cfc2da;
# What a mount asks of the name server. Reads are linearizable. protocols.md's rule names (S, G, C, R)
# stand where a field exists because of one; ARCHITECTURE.md repeats the rules.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");
using T = import "types.capnp";
using C = import "command.capnp";

enum Lease { none @0; shared @1; exclusive @2; }

struct Grant {
  # G1: (attach, sequence) names this grant. Zero sequence: no lease came with the answer.
  sequence @0 :UInt64;   # grows for each inode; a recall and a release name what they end
  lease @1 :Lease;
  view @2 :UInt64;       # under this lease no older view is used for blocks (G3)
}

interface NameServer {
  attach @0 (session :UInt64, fresh :Bool, callback :Callback, host :Text, what :Text)
      -> (err :T.Errno, attach :UInt64, session :Session, leaseMs :UInt32, claimsWanted :Bool,
          lastSequence :UInt64, cluster :T.Uuid, leader :Text, view :UInt64);
  # fresh: the id was never used; it is put into the log before the answer. Otherwise the session is
  # continued; STALE: it has ended, attach anew with another id (S3). NOT_LEADER: `leader` is a hint.
  # `attach` numbers this connection of the session: calls through older ones are dropped (G1).
  # claimsWanted is always followed by claim(): what is not claimed is not held afterwards, except in
  # a fresh session, which holds nothing. lastSequence: the highest request sequence that has a
  # stored answer or was acknowledged; sequences go on above what the client has used.
}

interface Session {
  claim @0 (leases :List(Claim), last :Bool, locks :List(FileLock)) -> (err :T.Errno);
  # After attach, in pieces of at most kClaimsPerCallMax; nothing else but renew is accepted before
  # `last`. A lease that was given to somebody else meanwhile is answered by a recall. locks: those
  # that it holds; STALE if one of them is another's meanwhile, and then none is held any more.
  struct Claim { ino @0 :UInt64; sequence @1 :UInt64; lease @2 :Lease; pinned @3 :Bool; }

  renew @1 () -> (err :T.Errno, leaseMs :UInt32, view :UInt64);
  # The client counts its lease from when it sent this. STALE: the session has ended.

  lookup @2 (parent :UInt64, name :Data) -> (err :T.Errno, attr :T.Attr);
  getattr @3 (ino :UInt64) -> (err :T.Errno, attr :T.Attr);
  # STALE: freed, or this session said in `stillUsed` that it does not use it (G4). A file that
  # another session holds exclusively is recalled first, so size and times are the last ones.
  readdir @4 (ino :UInt64, cookie :UInt64, entriesMax :UInt32, attrs :Bool)
      -> (err :T.Errno, entries :List(DirEntry), atEnd :Bool, parent :UInt64);
  # Entries with keys above `cookie` (0: from the start). `.` and `..` are the client's work.
  struct DirEntry {
    name @0 :Data;
    ino @1 :UInt64;
    kind @2 :T.Kind;
    cookie @3 :UInt64;
    attr @4 :T.Attr;     # absent if not asked for, or if another session holds the inode (G10)
  }
  readlink @5 (ino :UInt64) -> (err :T.Errno, target :Data);
  rows @6 (ino :UInt64, first :UInt64, count :UInt32)
      -> (err :T.Errno, size :UInt64, rows :List(T.Row), dataVersion :T.DataVersion, view :UInt64);
  # One answer holds all that a read without a lease needs (C9). Rows with first <= index <
  # first + count, at most kRowsPerAnswerMax. Recalls another session's `exclusive` first.

  apply @7 (command :C.Command) -> (err :T.Errno, outcome :C.Outcome, attr :T.Attr, parent :T.Attr,
                                    grant :Grant);
  # One mutation. Recalls what it conflicts with, goes through the log, and is answered when it is
  # durable. The request id makes it happen once (repeat it after a reattach until it is answered).
  # attr: of the inode that the command concerns (created, linked, set), made fresh; parent: of its
  # directory. grant: `exclusive` on a file that this created. err is about the session (STALE);
  # outcome.err is about the command.

  acquire @8 (ino :UInt64) -> (err :T.Errno, grant :Grant, attr :T.Attr, rows :List(T.Row),
                               rowsComplete :Bool);
  # `exclusive` on a file. rows: the first ones. Acquiring what is held answers with the same grant.
  granted @9 (ino :UInt64, sequence :UInt64) -> (err :T.Errno);
  # Acknowledges a grant: no recall is sent before (G5).
  release @10 (leases :List(Release)) -> (err :T.Errno);
  # Gives leases up: all published. `pinned`: the kernel still knows the inode (G4).
  struct Release { ino @0 :UInt64; sequence @1 :UInt64; pinned @2 :Bool; }
  releasing @11 (ino :UInt64, sequence :UInt64, waitsFor :Text) -> (err :T.Errno);
  # Once a second while a recall's work goes on (G5); waitsFor: "chain 12", for `dfs status`.
  unpin @12 (inos :List(UInt64)) -> (err :T.Errno);
  # FORGET of inodes that stillUsed said were pinned.

  allot @13 (inodes :UInt32, blocks :UInt32, forFile :UInt64)
      -> (err :T.Errno, firstInode :UInt64, ranges :List(T.BlockRange));
  # Block ids for new blocks of a file under its placement policy, spread over chains with room.
  # NO_SPACE: none has any.
  statfs @14 () -> (err :T.Errno, stat :Statfs);
  view @15 (known :UInt64) -> (err :T.Errno, view :T.View);
  # Answered when the view is newer than `known`; at once for 0.
  end @16 () -> (err :T.Errno);
  # A clean unmount: the end of the session is committed before the answer (S5).

  getxattr @17 (ino :UInt64, name :Data) -> (err :T.Errno, value :Data);
  # NO_DATA if it is not there.
  listxattr @18 (ino :UInt64) -> (err :T.Errno, names :List(Data));
  # All of them; who may see which is the kernel's matter.

  lock @19 (lock :FileLock, wait :Bool, ticket :UInt64) -> (err :T.Errno);
  # Sets, changes or removes (kind `none`) a lock, as fcntl(2) and flock(2) do: the owner's own locks
  # in the range are replaced, and split or joined as need be. AGAIN: another has it and `wait` is
  # not set; DEAD_LOCK (POSIX locks only): waiting would close a circle; INTR: given up by cancelLock;
  # NO_SPACE: kLocksPerSessionMax. Repeating it does it once. A wait that is cut off by a reattach is
  # asked for again by the client.
  testLock @20 (lock :FileLock) -> (err :T.Errno, blocker :FileLock);
  # The first lock that would be in the way; kind `none`: there is none.
  cancelLock @21 (ticket :UInt64) -> (err :T.Errno);
  # Gives a wait up. If it was granted meanwhile, that answer stands.
}

struct FileLock {
  # Two spaces that know nothing of each other: flock(2), and fcntl(2) with POSIX and OFD locks.
  ino @0 :UInt64;
  owner @1 :UInt64;      # of this session: as the kernel names it
  space @2 :Space;
  kind @3 :Kind;
  start @4 :UInt64;      # of bytes; flock: 0
  end @5 :UInt64;        # the last one; 2^63 - 1 and above: to the end, however far; flock: that
  pid @6 :UInt32;        # on the host that holds it, for people and F_GETLK
  enum Space { posix @0; flock @1; }
  enum Kind { none @0; read @1; write @2; }
}

struct Statfs {
  bytes @0 :UInt64;      # of user data: capacity over copies
  bytesFree @1 :UInt64;
  inodes @2 :UInt64;
  inodesFree @3 :UInt64;
  blockBytes @4 :UInt32;
  nameBytesMax @5 :UInt32;
}

interface Callback {
  recall @0 (ino :UInt64, sequence :UInt64) -> ();
  # Answered at once (G5); the work ends with release. A sequence that is not held is answered by a
  # release of it.
  stillUsed @1 (inos :List(UInt64)) -> (used :List(UInt64));
  # Which of these the kernel has not forgotten, or is about to be answered with: they stay pinned.
  viewChanged @2 (version :UInt64) -> ();
}
