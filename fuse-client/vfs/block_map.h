#pragma once
// The block list of one file, with the arithmetic of sizes and ends (R1). No waiting, no network.
//
// Thread: the loop's; a value. Owner: a File (the leased state), or one answer to `rows`.
// Invariants:
//   1. Bytes at or past a row's end, of absent rows and past the size are zeros.
//   2. index * blockBytes + end of a row never exceeds the size, except in an answer that is read
//      only.
//   3. What `groupKnown` says no to is not known: neither a row nor a hole.

#include "common/ids.h"
#include "common/limits.h"

#include <kj/common.h>

#include <map>
#include <set>
#include <vector>

namespace dfs {

struct FileRow {
  BlockId block;
  uint32_t end = 0;
  bool shared = false;
  bool operator==(const FileRow&) const = default;
};

struct ReadSlice {
  // A piece of a read that lies in one block of the file.
  uint64_t index = 0;
  uint32_t from = 0;    // in the block
  uint32_t bytes = 0;   // of the read
  uint32_t stored = 0;  // how many of them the block holds; zeros follow
  BlockId block;
};

struct WritePlan {
  BlockId block;  // of value 0: a new one is needed
  uint32_t clearFrom = 0;
  FileRow old;  // shared: to be copied into the new one
};

class BlockMap {
 public:
  void reset(uint64_t size, uint32_t blockBytes, bool complete);
  void put(uint64_t index, FileRow row) { rows_.emplace(index, row); }
  // As the name server knows it; what is known here is newer.

  uint64_t size() const { return size_; }
  uint32_t blockBytes() const { return blockBytes_; }
  uint64_t allocated() const;  // REQUIRES: everything is known; else what of it is
  int64_t allocatedDelta() const { return delta_; }  // against what was fetched
  void clearDelta() { delta_ = 0; }

  // Rows are fetched in groups of kRowsPerAnswerMax.
  static uint64_t groupOf(uint64_t index) { return index / kRowsPerAnswerMax; }
  bool groupKnown(uint64_t group) const { return complete_ || knownGroups_.count(group) != 0; }
  uint64_t cuts() const { return cuts_; }  // moves when rows may have gone
  void setKnown(uint64_t group) { knownGroups_.insert(group); }

  std::vector<ReadSlice> slices(uint64_t offset, uint32_t bytes) const;
  // Ends at the size. REQUIRES: the rows are known.

  WritePlan plan(uint64_t index, uint32_t to) const;
  // For bytes that end at `to` of the block (exclusive).
  void written(uint64_t index, BlockId block, uint32_t to);
  void resize(uint64_t size);
  // What the name server does with the same command: rows past the end go, the last one is cut.

  // The same for holes and copies by reference.
  void punch(uint64_t first, uint64_t end);
  void cut(uint64_t index, uint32_t end);
  // Bytes of a block from there on mean nothing any more; end > 0. To be published, as a write.
  void share(uint64_t first, uint64_t count);
  // These rows' blocks are named elsewhere too.
  void clone(const BlockMap& from, uint64_t fromFirst, uint64_t count, uint64_t toFirst,
             uint64_t size);
  // In place of what stood there; `from` may be this one. REQUIRES: its rows are known.

  uint32_t endOf(uint64_t index) const;  // 0: a hole
  kj::Maybe<uint64_t> nextData(uint64_t offset) const;
  // Null: none from there on. REQUIRES for both: everything from there on is known.
  uint64_t nextHole(uint64_t offset) const;
  // The size at the latest. A hole in a block begins where a unit does, as on a local disk.
  bool complete() const { return complete_; }

  const std::map<uint64_t, FileRow>& rows() const { return rows_; }
  const std::set<uint64_t>& dirty() const { return dirty_; }
  void clean(uint64_t index, const FileRow& published);
  // Unless it has changed again.

 private:
  uint64_t dataEnd(uint64_t index, const FileRow& row) const;
  std::map<uint64_t, FileRow>::iterator drop(std::map<uint64_t, FileRow>::iterator row);

  uint64_t size_ = 0;
  uint32_t blockBytes_ = kBlockBytes;
  bool complete_ = false;
  int64_t delta_ = 0;
  uint64_t cuts_ = 0;
  std::map<uint64_t, FileRow> rows_;
  std::set<uint64_t> dirty_;
  std::set<uint64_t> knownGroups_;
};

}  // namespace dfs
