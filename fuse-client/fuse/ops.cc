#include "fuse-client/fuse/ops.h"

#include "fuse-client/fuse/newer_requests.h"

#include <fcntl.h>
#include <sys/file.h>

namespace dfs {
namespace {

constexpr int kAttributes = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
                            FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                            FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;

FuseOps& opsOf(fuse_req_t req) {
  return *static_cast<FuseOps*>(fuse_req_userdata(req));
}

template <typename Work> void with(fuse_req_t req, Work&& work, bool asksAnew = true) {
  auto& ops = opsOf(req);
  if (asksAnew) ops.seen().asks(fuse_req_ctx(req)->pid);
  serve(ops.serving(), req, [&](Request& r) { return work(ops, r); });
}

void init(void*, fuse_conn_info* connection) {
  // Writing behind is our own work: with the kernel's, it trusts its own size and times for ever. Pages go when times change
  // (AUTO_INVAL), for a stopped client cannot say that its lease has ended.
  connection->want &= ~(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_EXPLICIT_INVAL_DATA |
                        FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  // POSIX_ACL: the kernel asks for lists of access rights and goes by them. DONT_MASK: where a directory has a
  // default list the umask counts for nothing, and the name server knows that. HANDLE_KILLPRIV: without it the kernel takes set-id bits away by a chmod in the writer's name, who may
  // not do that.
  unsigned wanted = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
                    FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                    FUSE_CAP_ASYNC_DIO | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_POSIX_LOCKS |
                    FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
  connection->want |= wanted & connection->capable;
  connection->max_write = kWriteBytesMax;
  connection->max_readahead = kReadAheadBytes;
  connection->max_background = 64;
  connection->time_gran = 1;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.lookup(r, o.inode(parent), name); });
}
void forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups) {
  opsOf(req).forget(ino, lookups);
  fuse_reply_none(req);
}
void forgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) opsOf(req).forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}
void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    if (fi != nullptr && fi->fh == kStatxHandle) return o.statx(r, o.inode(ino));
    // With a descriptor the kernel asks only before it reads, or seeks from the end.
    kj::Maybe<FileHandle> toRead;
    if (fi != nullptr) toRead = fi->fh;
    return o.getattr(r, o.inode(ino), toRead);
  });
}
void setattr(fuse_req_t req, fuse_ino_t ino, struct stat* st, int toSet, fuse_file_info* fi) {
  SetAttr set;
  // Nothing at all: chown(-1, -1), or the kernel before a write, to have set-id bits taken away.
  set.killSetId = (toSet & kAttributes) == 0;
  set.mode = toSet & FUSE_SET_ATTR_MODE;
  set.uid = toSet & FUSE_SET_ATTR_UID;
  set.gid = toSet & FUSE_SET_ATTR_GID;
  set.size = toSet & FUSE_SET_ATTR_SIZE;
  set.atimeNow = toSet & FUSE_SET_ATTR_ATIME_NOW;
  set.mtimeNow = toSet & FUSE_SET_ATTR_MTIME_NOW;
  set.atime = (toSet & FUSE_SET_ATTR_ATIME) && !set.atimeNow;
  set.mtime = (toSet & FUSE_SET_ATTR_MTIME) && !set.mtimeNow;
  set.to.mode = st->st_mode & 07777;
  set.to.uid = st->st_uid;
  set.to.gid = st->st_gid;
  set.to.size = static_cast<uint64_t>(st->st_size);
  set.to.atime = {st->st_atim.tv_sec, static_cast<uint32_t>(st->st_atim.tv_nsec)};
  set.to.mtime = {st->st_mtim.tv_sec, static_cast<uint32_t>(st->st_mtim.tv_nsec)};
  kj::Maybe<FileHandle> handle;
  if (fi != nullptr) handle = fi->fh;
  with(req, [&](FuseOps& o, Request& r) { return o.setattr(r, o.inode(ino), set, handle); });
}
void readlink(fuse_req_t req, fuse_ino_t ino) {
  with(req, [&](FuseOps& o, Request& r) { return o.readlink(r, o.inode(ino)); });
}
void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  with(req, [&](FuseOps& o, Request& r) { return o.mknod(r, o.inode(parent), name, mode, rdev); });
}
void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  with(req, [&](FuseOps& o, Request& r) { return o.mkdir(r, o.inode(parent), name, mode); });
}
void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.unlink(r, o.inode(parent), name); });
}
void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.rmdir(r, o.inode(parent), name); });
}
void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.symlink(r, target, o.inode(parent), name); });
}
void rename(fuse_req_t req, fuse_ino_t from, const char* fromName, fuse_ino_t to,
            const char* toName, unsigned flags) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.rename(r, o.inode(from), fromName, o.inode(to), toName, flags);
  });
}
void link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.link(r, o.inode(ino), o.inode(parent), name); });
}
void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) { return o.open(r, o.inode(ino), *fi); });
}
void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) { return o.create(r, o.inode(parent), name, mode, *fi); });
}
void read(fuse_req_t req, fuse_ino_t, size_t bytes, off_t offset, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.read(r, fi->fh, static_cast<uint64_t>(offset), static_cast<uint32_t>(bytes));
  });
}
void write(fuse_req_t req, fuse_ino_t, const char* data, size_t bytes, off_t offset,
           fuse_file_info* fi) {
  // The bytes lie in the channel's buffer, which the next request overwrites: this is the one copy.
  auto copy = kj::heapArray(reinterpret_cast<const kj::byte*>(data), bytes);
  // The flags are those of the descriptor now, and of this call (RWF_SYNC, RWF_DSYNC).
  WriteHow how;
  how.append = (fi->flags & O_APPEND) != 0 && !fi->writepage;
  how.fromWriteback = fi->writepage;
  how.durable = (fi->flags & (O_SYNC | O_DSYNC)) != 0 && !fi->writepage;
  with(req, [&](FuseOps& o, Request& r) {
    return o.write(r, fi->fh, static_cast<uint64_t>(offset), kj::mv(copy), how);
  });
}
void fallocate(fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t bytes,
               fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.fallocate(r, fi->fh, mode, static_cast<uint64_t>(offset),
                       static_cast<uint64_t>(bytes));
  });
}
void lseek(fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.seek(r, fi->fh, static_cast<uint64_t>(offset), whence);
  });
}
void copyFileRange(fuse_req_t req, fuse_ino_t, off_t fromOffset, fuse_file_info* from, fuse_ino_t,
                   off_t toOffset, fuse_file_info* to, size_t bytes, int) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.copyRange(r, from->fh, static_cast<uint64_t>(fromOffset), to->fh,
                       static_cast<uint64_t>(toOffset), bytes);
  });
}
void flush(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) { return o.flush(r, fi->fh, fi->lock_owner); });
}
void release(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) { return o.release(r, fi->fh); });
}
void fsync(fuse_req_t req, fuse_ino_t ino, int dataOnly, fuse_file_info* fi) {
  FileHandle handle = fi == nullptr ? 0 : fi->fh;
  with(req,
       [&](FuseOps& o, Request& r) { return o.fsync(r, o.inode(ino), dataOnly != 0, handle); });
}
void getlk(fuse_req_t req, fuse_ino_t, fuse_file_info* fi, struct flock* lock) {
  auto wish = posixLock(*lock, fi->lock_owner);
  with(req, [&](FuseOps& o, Request& r) { return o.getlk(r, fi->fh, wish); });
}
void lock(fuse_req_t req, const fuse_file_info& fi, FileLock wish, bool wait) {
  if (!wait) {
    with(req,
         [&](FuseOps& o, Request& r) { return o.lock(r, fi.fh, wish, false, kj::NEVER_DONE); });
    return;
  }
  auto& ops = opsOf(req);
  serveWait(ops.serving(), req, [&](Request& r, kj::Promise<void> interrupted) {
    return ops.lock(r, fi.fh, wish, true, kj::mv(interrupted));
  });
}
void setlk(fuse_req_t req, fuse_ino_t, fuse_file_info* fi, struct flock* lk, int sleep) {
  lock(req, *fi, posixLock(*lk, fi->lock_owner), sleep != 0);
}
void flock(fuse_req_t req, fuse_ino_t, fuse_file_info* fi, int op) {
  auto pid = static_cast<uint32_t>(fuse_req_ctx(req)->pid);
  lock(req, *fi, flockLock(op, fi->lock_owner, pid), (op & LOCK_NB) == 0);
}
void opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) { return o.opendir(r, o.inode(ino), *fi); });
}
void readdir(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t cookie, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.readdir(r, o.inode(ino), fi->fh, static_cast<uint64_t>(cookie), bytes, false);
  });
}
void readdirPlus(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t cookie, fuse_file_info* fi) {
  with(req, [&](FuseOps& o, Request& r) {
    return o.readdir(r, o.inode(ino), fi->fh, static_cast<uint64_t>(cookie), bytes, true);
  });
}
void releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  opsOf(req).releasedir(fi->fh);
  fuse_reply_err(req, 0);
}
void fsyncdir(fuse_req_t req, fuse_ino_t ino, int dataOnly, fuse_file_info*) {
  with(req, [&](FuseOps& o, Request& r) { return o.fsync(r, o.inode(ino), dataOnly != 0); });
}
void statfs(fuse_req_t req, fuse_ino_t) {
  with(req, [&](FuseOps& o, Request& r) { return o.statfs(r); });
}

void setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t bytes,
              int flags) {
  auto copy = kj::heapArray(reinterpret_cast<const kj::byte*>(value), bytes);
  with(req, [&](FuseOps& o, Request& r) {
    return o.setxattr(r, o.inode(ino), name, kj::mv(copy), flags);
  });
}
void getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t room) {
  with(
      req, [&](FuseOps& o, Request& r) { return o.getxattr(r, o.inode(ino), name, room); }, false);
}
void listxattr(fuse_req_t req, fuse_ino_t ino, size_t room) {
  with(req, [&](FuseOps& o, Request& r) { return o.listxattr(r, o.inode(ino), room); });
}
void removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  with(req, [&](FuseOps& o, Request& r) { return o.removexattr(r, o.inode(ino), name); });
}

fuse_lowlevel_ops makeTable() {
  fuse_lowlevel_ops t{};
  t.init = init;
  t.lookup = lookup;
  t.forget = forget;
  t.forget_multi = forgetMulti;
  t.getattr = getattr;
  t.setattr = setattr;
  t.readlink = readlink;
  t.mknod = mknod;
  t.mkdir = mkdir;
  t.unlink = unlink;
  t.rmdir = rmdir;
  t.symlink = symlink;
  t.rename = rename;
  t.link = link;
  t.open = open;
  t.create = create;
  t.read = read;
  t.write = write;
  t.flush = flush;
  t.release = release;
  t.fsync = fsync;
  t.getlk = getlk;
  t.setlk = setlk;
  t.flock = flock;
  t.opendir = opendir;
  t.readdir = readdir;
  t.readdirplus = readdirPlus;
  t.releasedir = releasedir;
  t.fsyncdir = fsyncdir;
  t.statfs = statfs;
  t.fallocate = fallocate;
  t.lseek = lseek;
  t.copy_file_range = copyFileRange;
  t.setxattr = setxattr;
  t.getxattr = getxattr;
  t.listxattr = listxattr;
  t.removexattr = removexattr;
  return t;
}

}  // namespace

FuseOps::FuseOps(Vfs& vfs, kj::Timer& timer, CallerStatus& callers)
    : vfs_(vfs),
      callers_(callers),
      places_(timer),
      serving_{kj::heap<kj::TaskSet>(errors_), timer, callers} {}

FuseOps::~FuseOps() noexcept(false) {}

const fuse_lowlevel_ops& FuseOps::table() {
  static const fuse_lowlevel_ops table = makeTable();
  return table;
}

void FuseOps::forget(fuse_ino_t node, uint64_t lookups) {
  if (node == FUSE_ROOT_ID) return;  // it was never looked up
  places_.forgot(inode(node));
  vfs_.forget(inode(node), lookups);
}

void FuseOps::stop() {
  serving_.tasks = nullptr;
}

Caller FuseOps::callerOf(const Request& r, bool withGroups) {
  auto& context = r.context();
  Caller caller;
  caller.uid = context.uid;
  caller.gid = context.gid;
  caller.tid = context.pid;
  caller.umask = context.umask;
  // Root needs none: nothing is decided by its groups but set-gid bits that it may keep.
  if (withGroups && context.uid != 0) caller.groups = callers_.groups(context.pid);
  return caller;
}

kj::Maybe<Caller> FuseOps::unprivilegedOf(const Request& r) {
  auto caller = callerOf(r, false);
  if (caller.uid == 0) return nullptr;
  return kj::mv(caller);
}

}  // namespace dfs
