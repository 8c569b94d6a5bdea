#pragma once
// The table of FUSE operations: each call of the kernel becomes a call of the Vfs and one reply.
//
// Thread: the loop's. Owner: Mount; outlives the channel.
// No attribute, entry or page outlives the next question: every timeout is zero, while the kernel's page cache stays on
// (AUTO_INVAL_DATA; the Vfs drops pages itself when contents have changed).

#include "common/limits.h"
#include "fuse-client/fuse/directory_places.h"
#include "fuse-client/fuse/request.h"
#include "fuse-client/fuse/seen_attributes.h"
#include "fuse-client/vfs/vfs.h"

namespace dfs {

class FuseOps {
 public:
  FuseOps(Vfs& vfs, kj::Timer& timer, CallerStatus& callers);
  ~FuseOps() noexcept(false);
  KJ_DISALLOW_COPY(FuseOps);

  static const fuse_lowlevel_ops& table();
  // Its userdata is a FuseOps.

  // The work behind each operation, by file: ops_names.cc, ops_attributes.cc, ops_file.cc, ops_directory.cc, ops_locks.cc,
  // ops_xattrs.cc.
  Task<void> lookup(Request& r, InodeId parent, std::string name);
  Task<void> mknod(Request& r, InodeId parent, std::string name, mode_t mode, dev_t rdev);
  Task<void> mkdir(Request& r, InodeId parent, std::string name, mode_t mode);
  Task<void> symlink(Request& r, std::string target, InodeId parent, std::string name);
  Task<void> link(Request& r, InodeId ino, InodeId parent, std::string name);
  Task<void> unlink(Request& r, InodeId parent, std::string name);
  Task<void> rmdir(Request& r, InodeId parent, std::string name);
  Task<void> rename(Request& r, InodeId from, std::string fromName, InodeId to, std::string toName,
                    uint32_t flags);
  Task<void> readlink(Request& r, InodeId ino);

  Task<void> getattr(Request& r, InodeId ino, kj::Maybe<FileHandle> toRead);
  Task<void> statx(Request& r, InodeId ino);
  Task<void> setattr(Request& r, InodeId ino, SetAttr set, kj::Maybe<FileHandle> handle);
  Task<void> statfs(Request& r);

  Task<void> setxattr(Request& r, InodeId ino, std::string name, kj::Array<kj::byte> value,
                      int flags);
  Task<void> getxattr(Request& r, InodeId ino, std::string name, size_t room);
  Task<void> listxattr(Request& r, InodeId ino, size_t room);
  // room 0: how much there is. RANGE: more than that.
  Task<void> removexattr(Request& r, InodeId ino, std::string name);

  Task<void> create(Request& r, InodeId parent, std::string name, mode_t mode, fuse_file_info fi);
  Task<void> open(Request& r, InodeId ino, fuse_file_info fi);
  Task<void> read(Request& r, FileHandle handle, uint64_t offset, uint32_t bytes);
  Task<void> write(Request& r, FileHandle handle, uint64_t offset, kj::Array<kj::byte> data,
                   WriteHow how);
  Task<void> flush(Request& r, FileHandle handle, uint64_t lockOwner);
  Task<void> release(Request& r, FileHandle handle);
  Task<void> fsync(Request& r, InodeId ino, bool dataOnly, FileHandle handle = 0);

  Task<void> getlk(Request& r, FileHandle handle, FileLock lock);
  Task<void> lock(Request& r, FileHandle handle, FileLock lock, bool wait,
                  kj::Promise<void> interrupted);

  // ops_space.cc
  Task<void> fallocate(Request& r, FileHandle handle, int mode, uint64_t offset, uint64_t bytes);
  Task<void> seek(Request& r, FileHandle handle, uint64_t offset, int whence);
  Task<void> copyRange(Request& r, FileHandle from, uint64_t fromOffset, FileHandle to,
                       uint64_t toOffset, uint64_t bytes);

  Task<void> opendir(Request& r, InodeId ino, fuse_file_info fi);
  Task<void> readdir(Request& r, InodeId ino, DirHandle handle, uint64_t cookie, size_t bytes,
                     bool plus);
  void releasedir(DirHandle handle) { vfs_.releasedir(handle); }
  void forget(fuse_ino_t node, uint64_t lookups);

  // The kernel's numbers of inodes are ours, but that its 1 is the root of the mount, whichever
  // directory of the cluster that is. In st_ino stands the cluster's number.
  InodeId inode(fuse_ino_t node) const {
    return node == FUSE_ROOT_ID ? vfs_.root() : InodeId(node);
  }
  fuse_ino_t node(InodeId ino) const { return ino == vfs_.root() ? FUSE_ROOT_ID : ino.value; }

  Serving& serving() { return serving_; }
  SeenAttributes& seen() { return seen_; }
  void setKernel(KernelEntries& kernel) { places_.setKernel(kernel); }
  void stop();
  // Drops all work under way: each request is answered with EIO, and so is each that comes later.
  // REQUIRES: not called by that work.

 private:
  class Errors final : public kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&& e) override {
      KJ_LOG(ERROR, "a request could not be answered", e);
    }
  };

  Caller callerOf(const Request& r, bool withGroups = true);
  kj::Maybe<Caller> unprivilegedOf(const Request& r);
  // Of whom a change of contents takes the set-id bits away.
  void replyEntry(Request& r, Outcome<Attr> made, InodeId parent, const std::string& name);
  void saw(const Request& r, const Attr& attr) {
    seen_.told(r.context().pid, attr.ino, attr.xattrs);
  }

  Vfs& vfs_;
  CallerStatus& callers_;
  SeenAttributes seen_;
  DirectoryPlaces places_;
  Errors errors_;
  Serving serving_;
};

FileLock posixLock(const struct flock& lock, uint64_t owner);
FileLock flockLock(int operation, uint64_t owner, uint32_t pid);  // LOCK_SH, LOCK_EX or LOCK_UN
struct stat toStat(const Attr& attr);
fuse_entry_param toEntry(const Attr& attr);
mode_t modeOf(const Attr& attr);  // with the type's bits
mode_t typeBits(schema::Kind kind);
schema::Kind kindOf(mode_t mode);  // NONE: not a type

}  // namespace dfs
