#pragma once
// The file system as one mounted client sees it: POSIX calls in, answers out. No FUSE header here:
// the kernel's edge (fuse/), the simulator and the tools drive the same class.
//
// Thread: the loop's. Owner: Mount.
// Rules for all calls:
//   - They wait as long as servers are away (or fail with IO after `softTimeoutMs`, if that is
//   set), and may be
//     given up by dropping the promise at any moment: a mutation in flight then happens or not,
//     once.
//   - Each answer that carries an Attr has counted one lookup of the inode where its comment says
//   "counts": forget()
//     takes it back.
//   - Errors are Errnos. An exception is a bug or a lost cluster; the edge turns it into IO.

#include "common/env.h"
#include "common/file_lock.h"
#include "common/outcome.h"
#include "common/view.h"

#include <kj/async.h>

#include <string>
#include <vector>

namespace dfs {

struct Attr {
  InodeId ino;
  schema::Kind kind = schema::Kind::NONE;
  uint32_t mode = 0;  // permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t allocated = 0;  // bytes
  Time atime, mtime, ctime, btime;
  uint32_t blockBytes = 0;
  bool xattrs = false;  // it has extended attributes
};

struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  int32_t tid = 0;  // of the calling thread on this host; 0: unknown
  uint32_t umask = 0;
};

struct SetAttr {
  bool mode = false, uid = false, gid = false, size = false;
  bool atime = false, mtime = false, atimeNow = false, mtimeNow = false;
  bool killSetId = false;  // asked for by itself; a truncation decides by its caller
  uint64_t onlyEra = 0;    // the Vfs's own: of the locks under which a size is set; 0: any
  Attr to;
};

struct Listing {
  std::string name;
  InodeId ino;
  schema::Kind kind;
  uint64_t cookie;       // where the next readdir goes on
  kj::Maybe<Attr> attr;  // counts, except for "." and ".."
};

struct FsStat {
  uint64_t bytes, bytesFree, inodes, inodesFree;
  uint32_t blockBytes, nameBytesMax;
};

struct WriteHow {
  bool append = false;  // at the end of the file, whatever the offset says
  bool fromWriteback = false;
  // Pages stored through a mapping; never extends the file (V2).
  bool durable = false;  // before it is answered
  int32_t tid = 0;       // of the thread that writes; 0: unknown
};

enum class SpaceChange { ALLOCATE, PUNCH, ZERO };  // fallocate(2)

class KernelCaches {
  // What the kernel remembers of inodes, as seen from vfs. Implemented by fuse/invalidator on a
  // thread of its own (never from within a request, platform-facts), by a model in tests. Nothing
  // here may be waited for by a request that the drop itself waits for: see V3.
 public:
  virtual kj::Promise<void> dropAttributes(InodeId ino) = 0;
  virtual kj::Promise<void> dropPages(InodeId ino, uint64_t offset, uint64_t bytes) = 0;
  // bytes 0: to the end.
  virtual kj::Promise<void> storePages(InodeId ino, uint64_t offset, kj::Array<kj::byte> data) = 0;
  // What the file holds there. It is at least that long for the kernel from then on, and answers to what it asked before
  // change nothing any more.
};

struct ThreadState {
  bool ready = false;  // to run, or running, or it waits where no signal ends it
  uint64_t ranNs = 0;  // of a processor's time, since it began
};

class Callers {
  // What is asked for only where it decides something: of most callers nobody looks the groups up.
 public:
  virtual ~Callers() noexcept(false) {}
  virtual kj::Maybe<ThreadState> thread(int32_t tid) = 0;
  // Nothing if it is gone, or of another pid namespace (0).
  virtual std::vector<uint32_t> groups(int32_t tid) = 0;
  // Supplementary ones; none if the thread is gone. REQUIRES: its request is not answered yet.
};

enum class AccessTimes { RELATIME, NEVER, STRICT };
// When reading moves a file's access time: if it is not past the last change or a day old, never, or
// each time.

struct VfsOptions {
  std::vector<std::string> nameservers;  // "HOST:PORT" or "unix:/path"
  std::string host;                      // for `dfs status`
  std::string what;                      // likewise: the mount point
  uint64_t softTimeoutMs = 0;            // 0: hard
  bool readOnly = false;
  std::string subdir;  // where the tree begins, from the cluster's root; empty: there
  AccessTimes accessTimes = AccessTimes::RELATIME;
  bool accessTimesOfDirectories = true;
};

using FileHandle = uint64_t;  // an open file; never 0
using DirHandle = uint64_t;

class Vfs {
 public:
  virtual ~Vfs() noexcept(false) {}

  // --- names. lookup, create, mkdir, mknod, symlink, link count.
  virtual kj::Promise<Outcome<Attr>> lookup(InodeId parent, std::string name) = 0;
  virtual void forget(InodeId ino, uint64_t lookups) = 0;
  virtual kj::Promise<Outcome<Attr>> mknod(InodeId parent, std::string name, schema::Kind kind,
                                           uint32_t mode, uint64_t rdev,
                                           Caller caller) = 0;  // FILE too
  virtual kj::Promise<Outcome<Attr>> mkdir(InodeId parent, std::string name, uint32_t mode,
                                           Caller caller) = 0;
  virtual kj::Promise<Outcome<Attr>> symlink(InodeId parent, std::string name, std::string target,
                                             Caller caller) = 0;
  virtual kj::Promise<Outcome<Attr>> link(InodeId ino, InodeId parent, std::string name,
                                          Caller caller) = 0;
  virtual kj::Promise<Errno> unlink(InodeId parent, std::string name, Caller caller) = 0;
  virtual kj::Promise<Errno> rmdir(InodeId parent, std::string name, Caller caller) = 0;
  virtual kj::Promise<Errno> rename(InodeId fromParent, std::string fromName, InodeId toParent,
                                    std::string toName, uint32_t flags, Caller caller) = 0;
  // flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4; others INVAL.
  virtual kj::Promise<Outcome<std::string>> readlink(InodeId ino) = 0;

  // --- attributes
  virtual kj::Promise<Outcome<Attr>> getattr(InodeId ino) = 0;
  // Waits for this mount's unanswered writes to it (V1), and for pages of another data version to
  // be dropped (V7).
  virtual kj::Promise<Outcome<Attr>> getattrToRead(InodeId ino, FileHandle handle) = 0;
  // The same, before the kernel reads from pages that it has: which is an access, and does not wait
  // until earlier ones are known.
  virtual kj::Promise<Outcome<Attr>> setattr(InodeId ino, SetAttr set, kj::Maybe<FileHandle> handle,
                                             Caller caller) = 0;
  virtual kj::Promise<Outcome<FsStat>> statfs() = 0;

  // --- extended attributes, lists of access rights (ACLs) among them
  enum class Replace { EITHER, CREATE, REPLACE };
  virtual kj::Promise<Errno> setxattr(InodeId ino, std::string name, kj::Array<kj::byte> value,
                                      Replace replace, Caller caller) = 0;
  // EXIST, NO_DATA: as `replace` says. NOT_SUP: of a name like this there is none. NO_SPACE: kXattrBytesMax,
  // kXattrListBytesMax. An ACL changes the mode with it.
  virtual kj::Promise<Outcome<kj::Array<kj::byte>>> getxattr(InodeId ino, std::string name) = 0;
  // NO_DATA: it is not there. Answered from the lease where the file has none.
  virtual kj::Promise<Outcome<std::vector<std::string>>> listxattr(InodeId ino, Caller caller) = 0;
  // trusted.* for root alone.
  virtual kj::Promise<Errno> removexattr(InodeId ino, std::string name, Caller caller) = 0;

  // --- files
  struct Opened {
    FileHandle handle;
    bool keepCache;  // the kernel's pages of it are still right
  };
  struct Created {
    Attr attr;  // counts
    Opened opened;
  };
  virtual kj::Promise<Outcome<Created>> create(InodeId parent, std::string name, uint32_t mode,
                                               int flags, Caller caller) = 0;
  // An empty name: an unnamed file (O_TMPFILE), which link() may give one.
  // STALE if the name exists and O_EXCL is not set, EXIST if it is (G8; the second CREATE of the
  // same thread that loses again checks the mode and answers the inode or ACCESS).
  virtual kj::Promise<Outcome<Opened>> open(InodeId ino, int flags, Caller caller) = 0;
  // O_TRUNC in flags truncates.
  virtual kj::Promise<Errno> release(FileHandle handle) = 0;
  virtual kj::Promise<Errno> flush(FileHandle handle) = 0;
  // close(2): a sticky error (Y3, S3) is told here and by fsync.
  virtual kj::Promise<Outcome<kj::Array<kj::byte>>> read(FileHandle handle, uint64_t offset,
                                                         uint32_t bytes) = 0;
  // At most kReadBytesMax; shorter only at the end of the file.
  virtual kj::Promise<Outcome<uint32_t>> write(FileHandle handle, uint64_t offset,
                                               kj::Array<kj::byte> data, WriteHow how,
                                               kj::Maybe<Caller> unprivileged) = 0;
  // unprivileged: a writer who may not keep the file's set-id bits (its groups may be left out).
  // O_SYNC and O_DSYNC of the handle make it durable too.
  virtual kj::Promise<Errno> fsync(InodeId ino, bool dataOnly, FileHandle handle = 0) = 0;
  // Y4. Of a directory too; of root(): everything of this mount (Y5). handle: of the descriptor, if
  // it is one of a file.

  // --- locks. A handle through which locks were taken that went with a session gets IO from read,
  // write, flush, fsync, fallocate, copyRange and a setattr of the size until they are taken anew or
  // given up, or it is closed (S3).
  virtual kj::Promise<Errno> lock(FileHandle handle, FileLock lock, bool wait,
                                  kj::Promise<void> interrupted) = 0;
  // fcntl(2) and flock(2); `lock.ino` is the handle's. AGAIN, DEAD_LOCK; NO_SPACE: too many of them.
  // With `wait`, INTR soon after `interrupted`, unless the lock has been given by then. Dropping the
  // promise gives the lock up, if it was not there before.
  virtual kj::Promise<Outcome<FileLock>> testLock(FileHandle handle, FileLock lock) = 0;
  // F_GETLK: what is in the way, or a lock of kind NONE.
  virtual kj::Promise<void> closeLocks(FileHandle handle, uint64_t owner) = 0;
  // After the flush of each close(2): POSIX locks of that owner on the file go. The last close of an
  // open file, release(), takes the others.

  // --- space and ranges of files
  virtual kj::Promise<Errno> fallocate(FileHandle handle, SpaceChange change, uint64_t offset,
                                       uint64_t bytes, bool keepSize,
                                       kj::Maybe<Caller> unprivileged) = 0;
  // ALLOCATE and ZERO write zeros where there is nothing, so that the space is taken; past the size
  // nothing can be, so there keepSize only looks whether there is room. PUNCH keeps the size
  // anyway. NO_SPACE: the size is as before. TOO_LARGE; INVAL: no bytes.
  virtual kj::Promise<Outcome<kj::Maybe<uint64_t>>> seek(FileHandle handle, uint64_t offset,
                                                         bool data) = 0;
  // SEEK_DATA, SEEK_HOLE. Null: ENXIO.
  virtual kj::Promise<Outcome<uint64_t>> copyRange(FileHandle from, uint64_t fromOffset,
                                                   FileHandle to, uint64_t toOffset, uint64_t bytes,
                                                   kj::Maybe<Caller> unprivileged) = 0;
  // copy_file_range(2). Whole blocks by reference if both offsets lie alike in their blocks, the
  // rest through this client, at most kCopyBytesMax in a call: less than was asked for is usual, 0
  // is the end of the source. INVAL: ranges of one file that overlap.

  // --- directories
  virtual kj::Promise<Outcome<DirHandle>> opendir(InodeId ino) = 0;
  virtual kj::Promise<Outcome<std::vector<Listing>>> readdir(InodeId ino, DirHandle handle,
                                                             uint64_t cookie, uint32_t entriesMax,
                                                             bool attrs) = 0;
  // With "." and ".."; empty: the end. A Listing that the caller does not pass on is given back
  // with forget().
  virtual void releasedir(DirHandle handle) = 0;

  // --- the mount
  virtual void setKernel(KernelCaches& kernel) = 0;
  virtual void setCallers(Callers& callers) = 0;  // without: nobody has any
  // Before the first call. Outlives the Vfs.
  virtual kj::Promise<void> attach() = 0;
  // Resolves when the session is there and the root answers. Throws with a sentence that says what
  // to do if the cluster refuses (WRONG_CLUSTER, too many sessions) or `subdir` is no directory of
  // it; waits while it is away.
  virtual InodeId root() const { return kRootInode; }
  // Where the tree begins: nothing above it can be reached, and its ".." is itself. Known after
  // attach(). It stays in use until the end, also when somebody removes it.
  virtual kj::Promise<void> syncAll() = 0;
  virtual kj::Promise<void> detach() = 0;
  // A clean unmount: all is synced and published, the session is ended. Throws if data could not be
  // saved.
  virtual std::string describe() = 0;
  // JSON: what it waits for, for `dfs why` and logs.
};

kj::Own<Vfs> newVfs(Env& env, VfsOptions options);
// env.disk is not used.

}  // namespace dfs
