// A check of the store against itself, in bounded pieces.
//
// Each phase walks one table and asks for each record whether what it names is there and names it
// back. Sums over the records of one inode (its names, its subdirectories, the bytes of its rows)
// and the totals are carried in the cursor, together with the applied index: if commands were
// applied between two pieces a sum that was carried over is not compared, since it may be of two
// states.

#include "common/limits.h"
#include "nameserver/meta/context.h"
#include "nameserver/meta/queries.h"

namespace dfs {
namespace meta {
namespace {

constexpr uint32_t kRecordsPerStep = 4096;

enum class Phase : uint8_t {
  INODES,
  LINKS,
  DIRENTS,
  ROWS,
  BLOCKS,
  ORPHANS,
  TRIMS,
  XATTRS,
  RECLAIM,
  RANGES,
  OWNED,
  ANSWERS,
  TOTALS,
  DONE
};

struct State {
  Phase phase = Phase::INODES;
  uint64_t applied = 0;
  bool moved = false;  // commands were applied since the check began
  uint64_t inodes = 0, orphans = 0, reclaims = 0;
  uint64_t group = 0;  // the inode that `sum` is of; 0: none
  uint64_t sum = 0;
  bool mixed = false;  // commands were applied within this group
  std::string after;   // the last key that was looked at

  std::string encode() const;
  static State decode(Bytes cursor);
};

void putBig(std::string& s, uint64_t v) {
  kj::byte b[8];
  putNumber(b, v);
  s.append(reinterpret_cast<const char*>(b), 8);
}

std::string State::encode() const {
  std::string s;
  s.push_back(static_cast<char>(phase));
  s.push_back(static_cast<char>((moved ? 1 : 0) | (mixed ? 2 : 0)));
  for (auto v : {applied, inodes, orphans, reclaims, group, sum}) putBig(s, v);
  return s + after;
}

State State::decode(Bytes cursor) {
  constexpr size_t fixed = 2 + 6 * 8;
  KJ_REQUIRE(cursor.size() >= fixed && cursor[0] <= static_cast<uint8_t>(Phase::DONE),
             "not a cursor of a check");
  State s;
  s.phase = static_cast<Phase>(cursor[0]);
  s.moved = (cursor[1] & 1) != 0;
  s.mixed = (cursor[1] & 2) != 0;
  auto numbers = cursor.slice(2, fixed);
  s.applied = keyNumber(numbers, 0);
  s.inodes = keyNumber(numbers, 1);
  s.orphans = keyNumber(numbers, 2);
  s.reclaims = keyNumber(numbers, 3);
  s.group = keyNumber(numbers, 4);
  s.sum = keyNumber(numbers, 5);
  auto after = cursor.slice(fixed, cursor.size());
  s.after.assign(reinterpret_cast<const char*>(after.begin()), after.size());
  return s;
}

uint64_t packed(const XattrSums& sums) {
  // Into the one number that a cursor carries; within their limits each has room.
  static_assert(kXattrListBytesMax < 1u << 20 && kXattrBytesMax < 1u << 24);
  return uint64_t(sums.count) << 44 | uint64_t(sums.listBytes) << 24 | sums.bytes;
}

class Checker {
 public:
  Checker(Kv& kv, State state) : store_(kv), s_(kj::mv(state)) {
    auto applied = store_.applied().index;
    if (applied == s_.applied) return;
    s_.moved = s_.mixed = true;
    s_.applied = applied;
  }

  CheckStep run();
  State& state() { return s_; }

 private:
  template <typename... Parts> void problem(Parts&&... parts) {
    step_.problems.push_back({kj::str(parts...).cStr(), schema::Admin::Severity::ERROR});
  }
  void begin(uint64_t group) {
    if (s_.group == group) return;
    finish();
    s_.group = group;
    s_.sum = 0;
    s_.mixed = false;
  }
  void finish();
  void record(Bytes k, Bytes value);
  void inodeRecord(Bytes k, Bytes value);
  void linkRecord(Bytes k);
  void direntRecord(Bytes k, Bytes value);
  void rowRecord(Bytes k, Bytes value);
  void blockRecord(Bytes k);
  void trimRecord(Bytes k, Bytes value);
  void xattrRecord(Bytes k, Bytes value);
  void reclaimRecord(Bytes k);
  void rangeRecord(Bytes k, Bytes value);
  void ownedRecord(Bytes k);
  void totals();
  Table table() const;

  Store store_;
  State s_;
  CheckStep step_;
};

Table Checker::table() const {
  switch (s_.phase) {
    case Phase::INODES:
      return Table::INODE;
    case Phase::LINKS:
      return Table::LINK;
    case Phase::DIRENTS:
      return Table::DIRENT;
    case Phase::ROWS:
      return Table::ROW;
    case Phase::BLOCKS:
      return Table::BLOCK;
    case Phase::ORPHANS:
      return Table::ORPHAN;
    case Phase::TRIMS:
      return Table::TRIM;
    case Phase::XATTRS:
      return Table::XATTR;
    case Phase::RECLAIM:
      return Table::RECLAIM;
    case Phase::RANGES:
      return Table::BLOCK_RANGE;
    case Phase::OWNED:
      return Table::OWNED;
    case Phase::ANSWERS:
      return Table::ANSWER;
    case Phase::TOTALS:
    case Phase::DONE:
      break;
  }
  KJ_FAIL_ASSERT("a phase without a table");
}

void Checker::finish() {
  // The sum over the records of one inode is complete.
  if (s_.group == 0 || s_.mixed) return;
  KJ_IF_MAYBE(inode, store_.inode(InodeId(s_.group))) {
    if (s_.phase == Phase::LINKS) {
      auto names = inode->directory() ? 1 : inode->nlink;
      if (s_.sum != names) {
        problem("inode ", s_.group, " has ", s_.sum, " names and should have ", names);
      }
    } else if (s_.phase == Phase::DIRENTS && inode->directory()) {
      if (inode->nlink != 2 + s_.sum) {
        problem("directory ", s_.group, " has ", s_.sum, " subdirectories and a link count of ",
                inode->nlink);
      }
    } else if (s_.phase == Phase::ROWS && s_.sum != inode->allocated) {
      problem("file ", s_.group, " says ", inode->allocated, " bytes, its rows say ", s_.sum);
    } else if (s_.phase == Phase::XATTRS && s_.sum != packed(store_.xattrSums(inode->ino))) {
      problem("the extended attributes of inode ", s_.group, " are not what their sums say");
    }
  }
}

void Checker::inodeRecord(Bytes k, Bytes value) {
  InodeId ino(keyNumber(k, 0));
  auto inode = Inode::decode(ino, value);
  s_.inodes += 1;
  step_.inodes += 1;
  if (store_.isOrphan(ino) != (inode.nlink == 0)) {
    problem("inode ", ino, " has ", inode.nlink, " links and ",
            inode.nlink == 0 ? "is no" : "is an", " orphan");
  }
  if (inode.trimming != store_.has(Table::TRIM, key(ino.value))) {
    problem("inode ", ino, ": its cut and its trim do not agree");
  }
  auto links = store_.from(Table::LINK, key(ino.value, 0, 0));
  bool named = links->valid() && keyNumber(links->key(), 0) == ino.value;
  if (named != (inode.nlink != 0 && ino != kRootInode)) {
    problem("inode ", ino, " has ", inode.nlink, " links and ", named ? "a" : "no", " name");
  }
  if (inode.kind == Kind::FILE) {
    auto rows = store_.from(Table::ROW, key(ino.value, 0));
    bool any = rows->valid() && keyNumber(rows->key(), 0) == ino.value;
    if (!any && inode.allocated != 0) problem("file ", ino, " has bytes without rows");
  }
  if (!inode.directory()) return;
  if (inode.nlink != 0 && inode.nlink != 2 && store_.emptyDirectory(ino)) {
    problem("directory ", ino, " is empty and has a link count of ", inode.nlink);
  }
  if (inode.nlink == 0) {
    if (!store_.emptyDirectory(ino)) problem("directory ", ino, " was removed and is not empty");
    return;
  }
  if (ino == kRootInode) {
    if (inode.parent != kRootInode) problem("the root has a parent");
    return;
  }
  if (named && keyNumber(links->key(), 1) != inode.parent.value) {
    problem("directory ", ino, " is in ", keyNumber(links->key(), 1), " and takes ", inode.parent,
            " for its parent");
  }
}

void Checker::linkRecord(Bytes k) {
  InodeId ino(keyNumber(k, 0));
  auto parent = keyNumber(k, 1);
  auto cookie = keyNumber(k, 2);
  begin(ino.value);
  s_.sum += 1;
  if (!store_.has(Table::INODE, key(ino.value)))
    problem("a name of inode ", ino, ", which is gone");
  KJ_IF_MAYBE(value, store_.get(Table::DIRENT, key(parent, cookie))) {
    if (Dirent::decode(*value).ino != ino) {
      problem("entry ", parent, "/", cookie, " is not of inode ", ino);
    }
  } else {
    problem("inode ", ino, " has a name in ", parent, " that is not there");
  }
}

void Checker::direntRecord(Bytes k, Bytes value) {
  auto parent = keyNumber(k, 0);
  auto cookie = keyNumber(k, 1);
  auto entry = Dirent::decode(value);
  begin(parent);
  if (entry.kind == Kind::DIRECTORY) s_.sum += 1;
  if (cookie / kTiebreaks != nameHash(bytesOf(entry.name))) {
    problem("entry ", parent, "/", cookie, " stands where its name does not belong");
  }
  if (checkName(bytesOf(entry.name)) != Errno::OK ||
      lastName(bytesOf(entry.name)) != LastName::NORMAL) {
    problem("entry ", parent, "/", cookie, " has a name that none may have");
  }
  if (!store_.has(Table::LINK, key(entry.ino.value, parent, cookie))) {
    problem("entry ", parent, "/", cookie, " is not known to its inode ", entry.ino);
  }
  KJ_IF_MAYBE(inode, store_.inode(entry.ino)) {
    if (inode->kind != entry.kind) problem("entry ", parent, "/", cookie, " has a wrong kind");
  } else {
    problem("entry ", parent, "/", cookie, " names inode ", entry.ino, ", which is gone");
  }
  KJ_IF_MAYBE(directory, store_.inode(InodeId(parent))) {
    if (!directory->directory()) problem("inode ", parent, " has entries and is no directory");
  } else {
    problem("an entry of directory ", parent, ", which is gone");
  }
}

void Checker::rowRecord(Bytes k, Bytes value) {
  InodeId ino(keyNumber(k, 0));
  auto index = keyNumber(k, 1);
  auto row = RowRecord::decode(value);
  begin(ino.value);
  s_.sum += row.end;
  step_.rows += 1;
  if (!store_.names(row.block, ino, index)) {
    problem("block ", row.block, " of file ", ino, " is not known as named");
  } else if (!row.shared && store_.severalNames(row.block)) {
    problem("block ", row.block, " of file ", ino, " is shared and its row does not say so");
  }
  auto trim = store_.trim(ino);
  KJ_IF_MAYBE(t, trim) {
    if (t->dead(index, row)) {
      if (index < t->next) problem("file ", ino, " has a dead row that trim has passed");
      return;
    }
  }
  KJ_IF_MAYBE(file, store_.inode(ino)) {
    if (file->kind != Kind::FILE) {
      problem("inode ", ino, " has rows and is no file");
    } else if (row.end == 0 || row.end > file->blockBytes ||
               index * file->blockBytes + row.end > file->size) {
      problem("file ", ino, " has a row that does not fit its size: ", index);
    }
  } else {
    problem("a row of file ", ino, ", which is gone");
  }
}

void Checker::blockRecord(Bytes k) {
  BlockId block(keyNumber(k, 0));
  KJ_IF_MAYBE(row, store_.row(InodeId(keyNumber(k, 1)), keyNumber(k, 2))) {
    if (row->block != block) problem("block ", block, " is not the one in its row");
  } else {
    problem("block ", block, " is known as named and no row names it");
  }
  if (store_.has(Table::RECLAIM, key(block.value))) {
    problem("block ", block, " is named and being reclaimed");
  }
  if (!store_.everAllotted(block)) problem("block ", block, " was never handed out");
}

void Checker::trimRecord(Bytes k, Bytes value) {
  InodeId ino(keyNumber(k, 0));
  auto trim = TrimRecord::decode(value);
  if (trim.freed == store_.has(Table::INODE, key(ino.value))) {
    problem("inode ", ino, ": its trim does not fit");
  }
}

void Checker::xattrRecord(Bytes k, Bytes value) {
  InodeId ino(keyNumber(k, 0));
  auto cookie = keyNumber(k, 1);
  begin(ino.value);
  auto inode = store_.inode(ino);
  if (inode == nullptr) {
    bool dying = false;
    KJ_IF_MAYBE(trim, store_.trim(ino)) dying = trim->freed;
    if (!dying) problem("an extended attribute of inode ", ino, ", which is gone");
  }
  if (cookie == kCookieHead) return;
  auto record = XattrRecord::decode(value);
  XattrSums one;
  one.add(record);
  s_.sum += packed(one);
  if (cookie / kTiebreaks != nameHash(bytesOf(record.name))) {
    problem("an extended attribute of inode ", ino, " stands where its name does not belong");
  }
  auto space = xattrSpace(record.name);
  if (!space.ok() || record.value.size() > kXattrValueBytesMax) {
    problem("inode ", ino, " has an extended attribute that none may have");
    return;
  }
  bool access = *space == XattrSpace::ACCESS_ACL;
  if (!access && *space != XattrSpace::DEFAULT_ACL) return;
  auto acl = Acl::parse(bytesOf(record.value));
  KJ_IF_MAYBE(i, inode) {
    bool right = acl.ok() && !acl->empty() && (access || i->directory()) &&
                 (!access || (acl->toMode(i->mode) == i->mode && !acl->minimal()));
    if (!right) problem("inode ", ino, " has a list of access rights that does not fit its mode");
  }
}

void Checker::reclaimRecord(Bytes k) {
  BlockId block(keyNumber(k, 0));
  s_.reclaims += 1;
  if (!store_.everAllotted(block)) problem("block ", block, " is reclaimed, never handed out");
}

void Checker::rangeRecord(Bytes k, Bytes value) {
  auto last = keyNumber(k, 0);
  auto range = RangeRecord::decode(value);
  auto owned = key(range.session.value, static_cast<uint64_t>(RangeKind::BLOCKS), last);
  if (!store_.has(Table::OWNED, owned)) problem("range ", last, " is not known to its session");
  if (range.first > last || !store_.everAllotted(BlockId(last))) problem("range ", last, " is odd");
}

void Checker::ownedRecord(Bytes k) {
  auto session = key(keyNumber(k, 0));
  bool inodes = keyNumber(k, 1) == static_cast<uint64_t>(RangeKind::INODES);
  auto last = key(keyNumber(k, 2));
  if (!store_.has(inodes ? Table::INODE_RANGE : Table::BLOCK_RANGE, last)) {
    problem("session ", keyNumber(k, 0), " owns a range that is not there");
  }
  bool known = keyNumber(k, 0) == 0 || store_.has(Table::SESSION, session) ||
               store_.has(Table::ENDED, session);
  if (!known) problem("a range of session ", keyNumber(k, 0), ", which is forgotten");
}

void Checker::record(Bytes k, Bytes value) {
  switch (s_.phase) {
    case Phase::INODES:
      return inodeRecord(k, value);
    case Phase::LINKS:
      return linkRecord(k);
    case Phase::DIRENTS:
      return direntRecord(k, value);
    case Phase::ROWS:
      return rowRecord(k, value);
    case Phase::BLOCKS:
      return blockRecord(k);
    case Phase::ORPHANS:
      s_.orphans += 1;
      if (!store_.has(Table::INODE, k)) problem("orphan ", keyNumber(k, 0), " is gone");
      return;
    case Phase::TRIMS:
      return trimRecord(k, value);
    case Phase::XATTRS:
      return xattrRecord(k, value);
    case Phase::RECLAIM:
      return reclaimRecord(k);
    case Phase::RANGES:
      return rangeRecord(k, value);
    case Phase::OWNED:
      return ownedRecord(k);
    case Phase::ANSWERS:
      if (!store_.has(Table::SESSION, key(keyNumber(k, 0)))) {
        problem("an answer for session ", keyNumber(k, 0), ", which has ended");
      }
      return;
    case Phase::TOTALS:
    case Phase::DONE:
      break;
  }
  KJ_FAIL_ASSERT("a phase without records");
}

void Checker::totals() {
  if (s_.moved) return;
  auto c = store_.counts();
  if (c.inodes != s_.inodes) problem(s_.inodes, " inodes are there, ", c.inodes, " counted");
  if (c.orphans != s_.orphans) problem(s_.orphans, " orphans are there, ", c.orphans, " counted");
  if (c.reclaimBlocks != s_.reclaims) {
    problem(s_.reclaims, " blocks wait for reclaim, ", c.reclaimBlocks, " counted");
  }
}

CheckStep Checker::run() {
  uint32_t left = kRecordsPerStep;
  while (s_.phase < Phase::TOTALS) {
    auto start = s_.after + std::string(s_.after.empty() ? 0 : 1, '\0');
    if (start.empty()) start.assign(1, '\0');
    auto cursor = store_.from(table(), bytesOf(start));
    for (; cursor->valid() && left > 0; cursor->next(), --left) {
      record(cursor->key(), cursor->value());
      s_.after.assign(reinterpret_cast<const char*>(cursor->key().begin()), cursor->key().size());
    }
    if (cursor->valid()) {
      step_.next = s_.encode();
      return kj::mv(step_);
    }
    finish();
    s_.group = 0;
    s_.after.clear();
    s_.phase = static_cast<Phase>(static_cast<uint8_t>(s_.phase) + 1);
  }
  totals();
  return kj::mv(step_);
}

}  // namespace
}  // namespace meta

CheckStep check(Kv& kv, Bytes cursor) {
  meta::State state;
  if (cursor.size() == 0) {
    state.applied = meta::Store(kv).applied().index;
  } else {
    state = meta::State::decode(cursor);
  }
  return meta::Checker(kv, kj::mv(state)).run();
}

}  // namespace dfs
