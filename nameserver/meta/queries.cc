// Questions about names and inodes. Each looks at as many records as its answer has, and a bounded
// number beside.

#include "nameserver/meta/queries.h"

#include "common/limits.h"
#include "nameserver/meta/context.h"

#include <algorithm>

namespace dfs {

using meta::Inode;
using meta::key;
using meta::keyNumber;
using meta::Kind;
using meta::Store;
using meta::Table;

namespace {

constexpr size_t kPathsMax = 64;          // names of one inode that paths() gives
constexpr uint32_t kPathStepsMax = 8192;  // directories that it walks through, for all of them
constexpr uint32_t kReadDirMax = 65536;

InodeAttr attrOf(Store& store, const Inode& i) {
  InodeAttr a;
  a.ino = i.ino;
  a.kind = i.kind;
  a.mode = i.mode;
  a.uid = i.uid;
  a.gid = i.gid;
  a.nlink = i.nlink;
  a.rdev = i.rdev;
  a.size = i.size;
  a.allocated = i.allocated;
  a.atime = i.atime;
  a.mtime = i.mtime;
  a.ctime = i.ctime;
  a.btime = i.btime;
  a.blockBytes = i.blockBytes;
  a.parent = i.parent;
  a.xattrs = store.hasXattrs(i.ino);
  return a;
}

Outcome<Inode> inodeOf(Store& store, InodeId ino) {
  KJ_IF_MAYBE(inode, store.inode(ino)) {
    return kj::mv(*inode);
  }
  return Errno::STALE;
}

Outcome<Inode> directoryOf(Store& store, InodeId ino) {
  auto inode = inodeOf(store, ino);
  if (inode.ok() && !inode->directory()) return Errno::NOT_DIR;
  return inode;
}

std::string pathOf(Store& store, InodeId directory, std::string name, uint32_t& steps) {
  // Empty if the steps are used up.
  std::vector<std::string> names{kj::mv(name)};
  while (directory != kRootInode) {
    if (steps == 0) return "";
    steps -= 1;
    auto cursor = store.from(Table::LINK, key(directory.value, 0, 0));
    KJ_REQUIRE(cursor->valid() && keyNumber(cursor->key(), 0) == directory.value,
               "a directory without a name", directory);
    InodeId parent(keyNumber(cursor->key(), 1));
    auto cookie = keyNumber(cursor->key(), 2);
    auto value = KJ_REQUIRE_NONNULL(store.get(Table::DIRENT, key(parent.value, cookie)),
                                    "a link without its entry", directory);
    names.push_back(meta::Dirent::decode(value).name);
    directory = parent;
  }
  std::string path;
  for (auto n = names.rbegin(); n != names.rend(); ++n) path += "/" + *n;
  return path;
}

}  // namespace

void toWire(const InodeAttr& a, schema::Attr::Builder b) {
  b.setIno(a.ino.value);
  b.setKind(a.kind);
  b.setMode(a.mode);
  b.setUid(a.uid);
  b.setGid(a.gid);
  b.setNlink(a.nlink);
  b.setRdev(a.rdev);
  b.setSize(a.size);
  b.setAllocated(a.allocated);
  toWire(a.atime, b.initAtime());
  toWire(a.mtime, b.initMtime());
  toWire(a.ctime, b.initCtime());
  toWire(a.btime, b.initBtime());
  b.setBlockBytes(a.blockBytes);
  b.setXattrs(a.xattrs);
}

void toWire(const RowInfo& row, schema::Row::Builder b) {
  b.setIndex(row.index);
  b.setBlock(row.block.value);
  b.setEnd(row.end);
  b.setShared(row.shared);
}

RowInfo fromWire(schema::Row::Reader r) {
  return {r.getIndex(), BlockId(r.getBlock()), r.getEnd(), r.getShared()};
}

Outcome<InodeAttr> Queries::getattr(InodeId ino) {
  Store store(kv_);
  auto inode = inodeOf(store, ino);
  if (!inode.ok()) return inode.err();
  return attrOf(store, *inode);
}

Outcome<DirEntry> Queries::lookup(InodeId parent, Bytes name) {
  Store store(kv_);
  auto directory = directoryOf(store, parent);
  if (!directory.ok()) return directory.err();
  if (name.size() > kNameBytesMax) return Errno::NAME_TOO_LONG;
  switch (meta::lastName(name)) {
    case meta::LastName::DOT:
      return DirEntry{".", parent, Kind::DIRECTORY, meta::kCookieDot};
    case meta::LastName::DOT_DOT:
      return DirEntry{"..", directory->parent, Kind::DIRECTORY, meta::kCookieDotDot};
    case meta::LastName::NORMAL:
      break;
  }
  KJ_IF_MAYBE(found, store.findName(parent, name)) {
    return DirEntry{kj::mv(found->entry.name), found->entry.ino, found->entry.kind, found->cookie};
  }
  return Errno::NO_ENT;
}

Outcome<std::vector<DirEntry>> Queries::readdir(InodeId ino, uint64_t cookie, uint32_t entriesMax) {
  Store store(kv_);
  auto directory = directoryOf(store, ino);
  if (!directory.ok()) return directory.err();
  if (directory->nlink == 0) return Errno::NO_ENT;  // removed, and has not even its dots
  std::vector<DirEntry> entries;
  if (cookie == ~uint64_t(0)) return entries;
  auto max = std::min(entriesMax, kReadDirMax);
  auto cursor = store.from(Table::DIRENT, key(ino.value, cookie + 1));
  for (; cursor->valid() && entries.size() < max; cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    auto entry = meta::Dirent::decode(cursor->value());
    entries.push_back({kj::mv(entry.name), entry.ino, entry.kind, keyNumber(cursor->key(), 1)});
  }
  return entries;
}

Outcome<std::string> Queries::readlink(InodeId ino) {
  Store store(kv_);
  auto inode = inodeOf(store, ino);
  if (!inode.ok()) return inode.err();
  if (inode->kind != Kind::SYMLINK) return Errno::INVAL;
  return kj::mv(inode->target);
}

Outcome<std::string> Queries::getxattr(InodeId ino, std::string_view name) {
  Store store(kv_);
  KJ_IF_MAYBE(value, store.xattr(ino, name)) {
    return kj::mv(*value);
  }
  return store.inode(ino) == nullptr ? Errno::STALE : Errno::NO_DATA;
}

Outcome<std::vector<std::string>> Queries::listxattr(InodeId ino) {
  Store store(kv_);
  if (store.inode(ino) == nullptr) return Errno::STALE;
  return store.xattrNames(ino);
}

Outcome<std::vector<RowInfo>> Queries::rows(InodeId ino, uint64_t first, uint64_t count,
                                            uint32_t rowsMax) {
  // Dead rows that wait for trim are passed over; they are at most `count`.
  Store store(kv_);
  auto inode = inodeOf(store, ino);
  if (!inode.ok()) return inode.err();
  std::vector<RowInfo> rows;
  if (inode->kind != Kind::FILE) return rows;
  meta::TrimRecord trim;
  if (inode->trimming) trim = KJ_ASSERT_NONNULL(store.trim(ino), "a cut without its trim", ino);
  auto blocks = inode->size / inode->blockBytes + (inode->size % inode->blockBytes != 0 ? 1 : 0);
  auto cursor = store.from(Table::ROW, key(ino.value, first));
  for (; cursor->valid() && rows.size() < rowsMax; cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    auto index = keyNumber(cursor->key(), 1);
    if (index - first >= count || index >= blocks) break;
    auto row = meta::RowRecord::decode(cursor->value());
    if (!trim.dead(index, row)) rows.push_back({index, row.block, row.end, row.shared});
  }
  return rows;
}

Outcome<std::vector<std::string>> Queries::paths(InodeId ino) {
  Store store(kv_);
  auto inode = inodeOf(store, ino);
  if (!inode.ok()) return inode.err();
  if (ino == kRootInode) return std::vector<std::string>{"/"};
  struct Link {
    InodeId parent;
    uint64_t cookie;
  };
  std::vector<Link> links;
  auto cursor = store.from(Table::LINK, key(ino.value, 0, 0));
  for (; cursor->valid() && links.size() < kPathsMax; cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    links.push_back({InodeId(keyNumber(cursor->key(), 1)), keyNumber(cursor->key(), 2)});
  }
  std::vector<std::string> paths;
  uint32_t steps = kPathStepsMax;
  for (auto& link : links) {
    auto value = KJ_REQUIRE_NONNULL(store.get(Table::DIRENT, key(link.parent.value, link.cookie)),
                                    "a link without its entry", ino);
    auto path = pathOf(store, link.parent, meta::Dirent::decode(value).name, steps);
    if (path.empty()) break;
    paths.push_back(kj::mv(path));
  }
  return paths;
}

bool Queries::isOrphan(InodeId ino) {
  return Store(kv_).isOrphan(ino);
}

std::vector<InodeId> Queries::orphans(InodeId above, uint32_t inosMax) {
  std::vector<InodeId> inos;
  for (auto k : Store(kv_).keysAbove(Table::ORPHAN, above.value, inosMax)) inos.emplace_back(k);
  return inos;
}

bool Queries::isUnnamed(InodeId ino) {
  return Store(kv_).isUnnamed(ino);
}

std::set<InodeId> Queries::unheardOf(const std::vector<InodeId>& inos) {
  Store store(kv_);
  std::set<InodeId> unnamed, unheard;
  for (auto ino : inos) {
    if (store.isUnnamed(ino)) unnamed.insert(ino);
  }
  if (unnamed.empty()) return unheard;
  for (auto cursor = store.from(Table::ANSWER, key(0)); cursor->valid(); cursor->next()) {
    auto answer = meta::Answer::decode(cursor->value());
    if (answer.count != 0 && unnamed.count(answer.ino) != 0) unheard.insert(answer.ino);
  }
  return unheard;
}

std::vector<InodeId> Queries::trims(InodeId above, uint32_t inosMax) {
  std::vector<InodeId> inos;
  for (auto k : Store(kv_).keysAbove(Table::TRIM, above.value, inosMax)) inos.emplace_back(k);
  return inos;
}

Counts Queries::counts() {
  auto c = Store(kv_).counts();
  return {c.inodes, c.orphans, c.reclaimBlocks};
}

}  // namespace dfs
