#pragma once
// Segment files `segments/NNNNNN` and the slots in them: kSlotsPerSegment pieces of kBlockBytes each in a sparse file, so that a
// small block takes only the units that were written and none moves when it grows.
//
// Thread: the loop's. Owner: DiskBlockStore.
// Invariants:
//   1. A slot is in use, freed (its block has gone, but a crash may still find what named it), or free.
//   2. A freed slot becomes free only after the index that no longer names it is durable, and it has been punched (B3).

#include "common/env.h"
#include "common/task.h"
#include "storaged/block/format.h"
#include "storaged/block/read_once.h"

#include <map>
#include <set>
#include <vector>

namespace dfs::block {

class Segments {
 public:
  explicit Segments(Env& env) : env_(env) {}
  KJ_DISALLOW_COPY(Segments);

  void markUsed(uint64_t slot);  // at a start, for each block of the index
  void markDirty(uint64_t slot) { dirty_.insert(slot / kSlotsPerSegment); }
  // At a start: a killed process has written there, and nobody knows whether it was synced.
  uint64_t take();  // a free slot, the lowest
  void free(uint64_t slot) { freed_.push_back(slot); }
  void giveBack(uint64_t slot) { free_.insert(slot); }  // was taken, and nothing ever named it
  size_t freedCount() const { return freed_.size(); }
  std::vector<uint64_t> takeFreed() { return std::exchange(freed_, {}); }
  Task<Errno> release(std::vector<uint64_t> slots);
  // Punches them; then they are free.

  Task<Errno> write(uint64_t slot, uint32_t offset, Bytes data);
  Task<Outcome<size_t>> read(uint64_t slot, uint32_t offset, kj::ArrayPtr<kj::byte> into);
  // The page cache keeps what is read in small pieces, and large ones that are read a second time.

  Task<Errno> sync();
  // Everything whose write() has resolved is on the disk. One at a time.

 private:
  static constexpr size_t kPiecesRemembered = 65'536;  // each of kReadBytesMax

  struct File {
    kj::Own<DiskFile> file;
    kj::Maybe<kj::ForkedPromise<Errno>> opening;
  };
  Task<Errno> open(uint64_t segment);
  Task<Errno> openNow(uint64_t segment);

  Env& env_;
  ReadOnce readOnce_{kPiecesRemembered};
  std::map<uint64_t, File> files_;
  std::set<uint64_t> dirty_;  // segments written since their last sync began
  bool namesDirty_ = false;   // a file was made since the last sync of the directory
  uint64_t slotEnd_ = 0;      // first that was never used
  std::set<uint64_t> free_;   // below slotEnd_
  std::vector<uint64_t> freed_;
};

}  // namespace dfs::block
