#pragma once
// The tables with their types: what the operations, the queries and the check read and write.
//
// Thread: the loop's. Owner: a local of whoever works on the Kv. Keeps nothing itself.
// Invariants:
//   1. Values that are returned are copies and outlive the next write.
//   2. Counts are changed by the functions that change what they count, so they cannot drift.
//   3. An inode has XattrSums exactly if it has extended attributes, and no access list that its mode
//      could say.
//   4. A name is a DIRENT and a LINK, a row is a ROW and a BLOCK; both halves are written here.

#include "common/acl.h"
#include "common/kv.h"
#include "common/xattr.h"
#include "nameserver/meta/keys.h"
#include "nameserver/meta/records.h"

#include <string_view>
#include <vector>

namespace dfs::meta {

inline Bytes bytesOf(std::string_view text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}
inline std::string textOf(Bytes bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
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

  // --- extended attributes ---
  bool hasXattrs(InodeId ino) { return has(Table::XATTR, key(ino.value, kCookieHead)); }
  XattrSums xattrSums(InodeId ino);
  kj::Maybe<std::string> xattr(InodeId ino, std::string_view name);
  Errno putXattr(InodeId ino, std::string_view name, std::string value);
  // In place of the one with that name. NO_SPACE: that would be more than one inode may have; nothing
  // is changed then.
  bool eraseXattr(InodeId ino, std::string_view name);  // false: it is not there
  std::vector<std::string> xattrNames(InodeId ino);     // in order of their keys
  Acl accessAcl(InodeId ino) { return acl(ino, kAccessAclName); }
  Acl defaultAcl(InodeId ino) { return acl(ino, kDefaultAclName); }
  // Empty: it has none.
  Errno putAcl(InodeId ino, std::string_view name, const Acl& acl);
  // An empty one, or an access list that says no more than the mode, is not kept. NO_SPACE, as above.

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
  struct FoundXattr {
    uint64_t cookie;
    XattrRecord record;
  };
  kj::Maybe<FoundXattr> findXattr(InodeId ino, std::string_view name);
  kj::Maybe<uint64_t> freeCookieIn(Table table, InodeId ino, Bytes name);
  void putXattrSums(InodeId ino, const XattrSums& sums);
  Acl acl(InodeId ino, std::string_view name);

  Kv& kv_;
};

}  // namespace dfs::meta
