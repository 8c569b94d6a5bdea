#pragma once
// The tables with their types: what the operations, the queries and the check read and write.
//
// Thread: the loop's. Owner: a local of whoever works on the Kv. Keeps nothing itself.
// Invariants:
//   1. Values that are returned are copies and outlive the next write.
//   2. Counts are changed by the functions that change what they count, so they cannot drift.
//   3. A name is a DIRENT and a LINK, a row is a ROW and a BLOCK; both halves are written here.

#include "common/kv.h"
#include "nameserver/meta/keys.h"
#include "nameserver/meta/records.h"

#include <vector>

namespace dfs::meta {

inline Bytes bytesOf(const std::string& text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

class Store {
 public:
  explicit Store(Kv& kv) : kv_(kv) {}

  void upgrade();
  // What an older version has left gets today's form. At each start, before anything else.

  // --- any table ---
  kj::Maybe<Bytes> get(Table table, Bytes key) { return kv_.get(kvTable(table), key); }
  bool has(Table table, Bytes key) { return get(table, key) != nullptr; }
  kj::Own<KvCursor> from(Table table, Bytes key) { return kv_.from(kvTable(table), key); }
  void put(Table table, Bytes key, const RecordBytes& value) {
    kv_.put(kvTable(table), key, Bytes(value.data(), value.size()));
  }
  bool erase(Table table, Bytes key) { return kv_.erase(kvTable(table), key); }

  std::vector<uint64_t> keysAbove(Table table, uint64_t above, uint32_t max);
  // Of a table with one number as its key: up to max keys greater than `above`, in order.

  // --- the few single records ---
  kj::Maybe<ClusterRecord> cluster();
  AppliedRecord applied();  // zeros in an empty store
  CountsRecord counts();
  NextRecord next();
  template <typename Record> void putMeta(MetaKey k, const Record& record) {
    put(Table::META, key(static_cast<uint64_t>(k)), record.encode());
  }
  template <typename Change> void changeCounts(Change&& change) {
    auto c = counts();
    change(c);
    putMeta(MetaKey::COUNTS, c);
  }
  void moveView();

  // --- inodes ---
  kj::Maybe<Inode> inode(InodeId ino);
  void putInode(const Inode& inode);  // one that is there
  void addInode(const Inode& inode);  // one that is not
  void eraseInode(InodeId ino);
  void addOrphan(InodeId ino, bool unnamed = false);
  // unnamed: it never had a name, and may still get one.
  void eraseOrphan(InodeId ino);
  bool isOrphan(InodeId ino) { return has(Table::ORPHAN, key(ino.value)); }
  bool isUnnamed(InodeId ino);
  kj::Maybe<TrimRecord> trim(InodeId ino);

  // --- names ---
  struct Name {
    uint64_t cookie;
    Dirent entry;
  };
  kj::Maybe<Name> findName(InodeId parent, Bytes name);
  Outcome<uint64_t> freeCookie(InodeId parent, Bytes name);
  // Where a name that is not there would stand. NO_SPACE: 128 names with this hash are there.
  void putName(InodeId parent, uint64_t cookie, const Dirent& entry);
  void eraseName(InodeId parent, uint64_t cookie, InodeId ino);
  bool emptyDirectory(InodeId ino);

  // --- rows ---
  kj::Maybe<RowRecord> row(InodeId ino, uint64_t index);
  void putRow(InodeId ino, uint64_t index, const RowRecord& row);
  void eraseRow(InodeId ino, uint64_t index, BlockId block, uint64_t nowMs);
  // The block goes to reclaim, unless another row names it too.
  bool isNamed(BlockId block);
  bool names(BlockId block, InodeId ino, uint64_t index);
  bool severalNames(BlockId block);
  void addReclaim(BlockId block, uint64_t nowMs);
  bool eraseReclaim(BlockId block);

  // --- what was handed out ---
  bool everAllotted(BlockId block);
  kj::Maybe<SessionId> handedOutTo(BlockId block);

 private:
  Kv& kv_;
};

}  // namespace dfs::meta
