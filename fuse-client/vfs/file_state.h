#pragma once
// What this mount knows of one file: the lease, what is written and not yet published, what the
// kernel holds of it, and who is at work on it.
//
// Thread: the loop's. Owner: Client::files_; coroutines keep references of their own.
// Invariants:
//   1. With sequence != 0 the session holds `exclusive`, and map, mtime are the truth about the file.
//   2. Nothing is dirty without the lease.
//   3. A recall is answered when no LeaseUse is left and nothing is dirty.

#include "common/outcome.h"
#include "fuse-client/remote/storage_client.h"
#include "fuse-client/vfs/block_map.h"
#include "fuse-client/vfs/vfs.h"

#include <kj/refcount.h>

namespace dfs {

struct DataVersion {
  uint64_t term = 0;
  uint64_t count = 0;
  bool operator==(const DataVersion&) const = default;
};
inline DataVersion fromWire(schema::DataVersion::Reader r) {
  return {r.getTerm(), r.getCount()};
}

class LeaseUse;

struct RowsAnswer : public kj::Refcounted {
  // Of one call; serves the reads that arrived before it was sent (C9).
  Errno err = Errno::OK;
  BlockMap map;
  DataVersion version;
  uint64_t view = 0;
};

struct RowsBatch : public kj::Refcounted {
  uint64_t first = 0;
  uint64_t end = 0;
  std::vector<kj::Own<kj::PromiseFulfiller<kj::Own<RowsAnswer>>>> waiters;
};

constexpr uint64_t kPageBytesMax = 64u << 10;  // of any kernel we run on
inline uint64_t pageStart(uint64_t offset) {
  return offset / kPageBytesMax * kPageBytesMax;
}
inline uint64_t pageEnd(uint64_t end) {
  return pageStart(end + kPageBytesMax - 1);
}

struct File : public kj::Refcounted {
  explicit File(InodeId id) : ino(id) {}
  const InodeId ino;

  // --- the lease (G)
  uint64_t sequence = 0;  // of the grant; 0: none
  uint64_t answered = 0;  // the highest sequence given up: grants up to it are ignored (G1)
  uint64_t leaseEra = 0;
  uint64_t droppedAt = 0;  // Client::leasesDropped_ when it was given back last
  uint64_t leaseView = 0;  // no older view is used for its blocks (G3)
  bool recalled = false;   // being given back: no new use but for the rest of an append
  uint64_t recalledAtMs = 0;
  uint32_t restsAwaited = 0;  // appends whose rest may be on its way (awaitRest)
  uint64_t appends = 0;       // that have come
  bool acquiring = false;
  uint32_t uses = 0;
  std::deque<kj::Own<kj::PromiseFulfiller<Outcome<kj::Own<LeaseUse>>>>> waiters;
  bool held() const { return sequence != 0; }

  uint32_t blockBytes = 0;  // never changes; 0: not known yet

  // --- the contents, under the lease
  BlockMap map;
  uint64_t publishedSize = 0;
  uint64_t allocatedBase = 0;  // before what map.allocatedDelta() says
  Time mtime;
  uint32_t mode = 0;
  bool mtimeDirty = false;
  bool mtimeSet = false;  // by a program (it lies after the ctime): the next write's may be earlier
  bool dataDirty = false;  // written since the last publish, rows and size perhaps unchanged
  uint64_t dirtySinceMs = 0;
  std::set<WriteStamp> uncovered;
  bool dirty() const {
    return dataDirty || mtimeDirty || !map.dirty().empty() || map.size() != publishedSize ||
           !uncovered.empty();
  }

  // --- extended attributes: right under the lease, for another session's change recalls it
  bool xattrs = true;           // it has some
  bool capability = true;       // security.capability may be among them
  uint32_t xattrsChanging = 0;  // commands of this mount on their way
  uint64_t xattrChanges = 0;    // such commands so far: an answer asked for before one is none
  bool lacksXattrs() const { return held() && !xattrs && xattrsChanging == 0; }
  bool lacksCapability() const { return held() && (!xattrs || !capability) && xattrsChanging == 0; }

  // --- work
  FifoLock ops;          // writes share it; truncation and appends are alone
  uint64_t changes = 0;  // of its contents by this mount: calls begun, each once
  FifoLock publishing;   // one publish, or command that needs it published, at a time
  std::map<uint64_t, kj::Own<FifoLock>> blocks;
  kj::Own<RowsBatch> nextRows;
  uint64_t lastUsedMs = 0;
  Signal changed;

  // --- open files
  uint32_t handles = 0;
  Errno unseen = Errno::OK;  // an error that no descriptor was there to be told

  // --- the kernel's pages (V3, V7)
  struct Range {
    uint64_t from, end;
    bool write;
    bool dropAfter = false;
    bool early = false;   // the kernel has its answer, and the storage daemons not yet all of it
    bool served = false;  // it has its use of the lease
  };
  std::map<uint64_t, Range> requests;  // this mount's READs and WRITEs
  uint64_t nextRequest = 1;
  bool pagesPresent = false;
  bool pagesMixed = false;   // of more than one version, or put at a wrong place
  bool pagesUnsure = false;  // the kernel was left to drop them itself, and may not have done so
  DataVersion pagesVersion;
  Time toldMtimeMax;  // of all that the kernel was told since this was made
  struct Told {
    // The size that the kernel was told last, while the file was open.
    uint64_t size = 0;
    bool any = false;
    bool sure = false;  // it is known not to take the file to be shorter
    uint64_t atMs = 0;
  } told;
  bool telling = false;  // one at a time: Client::tellGrowth
  uint32_t asking = 0;   // GETATTRs under way
  bool writing() const {
    for (auto& [id, range] : requests) {
      if (range.write) return true;
    }
    return false;
  }
  bool mayHavePages() const { return pagesPresent || !requests.empty(); }
  // What a READ under way brings lies there too.
  uint64_t drops = 0;  // counts them: READs begun before one start over
  uint32_t dropsRunning = 0;
};

struct Growth : public kj::Refcounted {
  // What one allocation has made of a file; it can be undone if nobody else has changed the file since.
  uint64_t before = 0;    // the size
  uint64_t sequence = 0;  // of the lease; 0: it has not begun
  uint64_t changes = 0;   // File::changes with its own
  bool alone = true;

  void goesOn(File& file);
  // REQUIRES: a hold of file.ops, and the lease.
  bool mayBeUndone(const File& file) const;
};

class LeaseUse {
  // Keeps the lease from being given back.
 public:
  explicit LeaseUse(kj::Own<File> file) : file_(kj::mv(file)), era_(file_->leaseEra) {
    ++file_->uses;
  }
  KJ_DISALLOW_COPY(LeaseUse);
  ~LeaseUse() noexcept(false) {
    if (--file_->uses == 0) file_->changed.wake();
  }
  bool good() const { return file_->held() && file_->leaseEra == era_; }
  // False: the session ended meanwhile.

 private:
  kj::Own<File> file_;
  const uint64_t era_;
};

}  // namespace dfs
