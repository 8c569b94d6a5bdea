@0xf022d6dee86ad798;
# What `dfs` asks of a name server.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dfs::schema");
using T = import "types.capnp";

interface Admin {
  status @0 () -> (json :Text);
  # The same object as /status over HTTP: schema number, cluster, health with its sentences, name
  # servers, stores, chains, sessions, counts.
  view @1 () -> (view :T.View);
  resolve @2 (path :Data) -> (err :T.Errno, attr :T.Attr);
  # From the root, symlinks not followed.
  rows @3 (ino :UInt64, first :UInt64, count :UInt32) -> (err :T.Errno, rows :List(T.Row), atEnd :Bool);
  # As published; recalls nothing.
  check @4 (cursor :Data) -> (problems :List(Problem), next :Data, inodes :UInt64, rows :UInt64);
  # One bounded piece of a check of the store against itself; empty `next`: that was the last.
  struct Problem { text @0 :Text; severity @1 :Severity; }
  enum Severity { warning @0; error @1; }
  namedBlocks @5 (above :UInt64, blocksMax :UInt32)
      -> (blocks :List(Named), atEnd :Bool);
  # Every block that a row names, and those handed out or being reclaimed, in order of id.
  struct Named { block @0 :UInt64; ino @1 :UInt64; index @2 :UInt64; end @3 :UInt32; use @4 :Use; }
  enum Use { row @0; handedOut @1; reclaim @2; }
  paths @6 (ino :UInt64) -> (err :T.Errno, paths :List(Data));
  settle @7 () -> (err :T.Errno);
  # Recalls every exclusive lease once, so that all that clients have written is published and a
  # check sees it; answers when done.
  locks @8 (above :UInt64, locksMax :UInt32) -> (locks :List(Lock), atEnd :Bool);
  # Held ones and those waited for, in order of inode; `above`: inodes up to that are left out. All
  # locks of an inode come in one answer, as far as a frame takes them.
  struct Lock {
    ino @0 :UInt64;
    path @1 :Text;           # with the first of an inode; empty: it has no name any more
    host @2 :Text;
    mount @3 :Text;
    pid @4 :UInt32;
    flock @5 :Bool;
    write @6 :Bool;
    start @7 :UInt64;
    end @8 :UInt64;
    waiting @9 :Bool;
    sinceMs @10 :UInt64;     # of the clock on the wall, since 1970; after a restart of the name server: its start
  }
}
