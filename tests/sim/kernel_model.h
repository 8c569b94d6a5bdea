#pragma once
// The kernel of one client machine, as far as the Vfs can tell: a page cache whose pages stay until
// they are dropped or until attributes with another mtime or size arrive, timeouts of zero (every
// walk is made of LOOKUPs, every read begins with a GETATTR), and lookup counts.
//
// Thread: the simulator's. Owner: SimCluster, one for each start of a client.
// Invariants:
//   1. Drops and stores take time of their own, one after the other, and wait for nothing (V3).
//   2. What a READ of ours brought while a WRITE of ours changed the file is not kept.
//   3. Attributes are passed over if others of that inode, a drop, a store or a WRITE came after they were asked for, as by Linux
//      (fuse_change_attributes); a read then goes by the size that was known before.

#include "common/task.h"
#include "fuse-client/vfs/vfs.h"
#include "tests/sim/world/world.h"

#include <map>
#include <string>

namespace dfs {

class KernelModel final : public KernelCaches {
 public:
  KernelModel(VirtualTime& time, SimRandom& random) : time_(time), random_(random) {}
  KJ_DISALLOW_COPY(KernelModel);

  kj::Promise<void> dropAttributes(InodeId ino) override;
  kj::Promise<void> dropPages(InodeId ino, uint64_t offset, uint64_t bytes) override;
  kj::Promise<void> storePages(InodeId ino, uint64_t offset, kj::Array<kj::byte> data) override;

  Task<Outcome<std::string>> read(Vfs& vfs, InodeId ino, FileHandle handle, uint64_t offset,
                                  uint32_t bytes);
  // read(2): from the cache where all pages are there.
  Task<Outcome<uint32_t>> write(Vfs& vfs, InodeId ino, FileHandle handle, uint64_t offset,
                                std::string data, bool append);
  Task<Errno> fallocate(Vfs& vfs, InodeId ino, FileHandle handle, SpaceChange change,
                        uint64_t offset, uint64_t bytes, bool keepSize);
  Task<Outcome<uint64_t>> copyRange(Vfs& vfs, FileHandle from, uint64_t fromOffset, InodeId toIno,
                                    FileHandle to, uint64_t toOffset, uint64_t bytes);
  Task<Outcome<Attr>> walk(Vfs& vfs, std::vector<std::string> names);
  // From the root by LOOKUPs. What it met stays counted until forgetAll().
  void counted(InodeId ino) { ++lookups_[ino]; }
  void knows(const Attr& attr);  // from the LOOKUP that made the inode, or after ftruncate(2)
  void hold(InodeId ino) { ++holds_[ino]; }  // an open file: its inode is not forgotten
  void unhold(InodeId ino);
  void forgetAll(Vfs& vfs);  // what memory pressure does: all that is not held
  uint64_t drops() const { return drops_; }

 private:
  struct Pages {
    Time mtime;
    uint64_t size = 0;
    uint64_t version = 0;    // changes_ when its attributes changed last
    uint64_t writes = 0;     // of ours, begun and ended
    uint32_t extending = 0;  // WRITEs under way: sizes are not taken meanwhile
    std::map<uint64_t, std::string> pages;
  };
  kj::Promise<void> turn(uint64_t usMax);  // of the thread that drops and stores
  void forgetRange(InodeId ino, uint64_t offset, uint64_t bytes);
  void take(const Attr& attr, uint64_t asked);
  void grown(InodeId ino, uint64_t end);
  void changed(Pages& pages) { pages.version = ++changes_; }

  VirtualTime& time_;
  SimRandom& random_;
  kj::TimePoint lastTurn_ = kj::origin<kj::TimePoint>();
  uint64_t changes_ = 0;  // of attributes of any inode
  std::map<InodeId, Pages> pages_;
  std::map<InodeId, uint64_t> lookups_;
  std::map<InodeId, uint64_t> holds_;
  uint64_t drops_ = 0;
};

}  // namespace dfs
