// See store.h.

#include "nameserver/meta/store.h"

#include "common/limits.h"

namespace dfs::meta {
namespace {

template <typename Record> Record metaRecord(Store& store, MetaKey k) {
  KJ_IF_MAYBE(value, store.get(Table::META, key(static_cast<uint64_t>(k)))) {
    return Record::decode(*value);
  }
  return Record();
}

}  // namespace

std::vector<uint64_t> Store::keysAbove(Table table, uint64_t above, uint32_t max) {
  std::vector<uint64_t> keys;
  if (above == ~uint64_t(0)) return keys;
  auto cursor = from(table, key(above + 1));
  for (; cursor->valid() && keys.size() < max; cursor->next()) {
    keys.push_back(keyNumber(cursor->key(), 0));
  }
  return keys;
}

kj::Maybe<ClusterRecord> Store::cluster() {
  KJ_IF_MAYBE(value, get(Table::META, key(static_cast<uint64_t>(MetaKey::CLUSTER)))) {
    return ClusterRecord::decode(*value);
  }
  return nullptr;
}

AppliedRecord Store::applied() {
  return metaRecord<AppliedRecord>(*this, MetaKey::APPLIED);
}

CountsRecord Store::counts() {
  return metaRecord<CountsRecord>(*this, MetaKey::COUNTS);
}

NextRecord Store::next() {
  return metaRecord<NextRecord>(*this, MetaKey::NEXT);
}

void Store::moveView() {
  auto n = next();
  n.view += 1;
  putMeta(MetaKey::NEXT, n);
}

// --- inodes ---

kj::Maybe<Inode> Store::inode(InodeId ino) {
  KJ_IF_MAYBE(value, get(Table::INODE, key(ino.value))) {
    return Inode::decode(ino, *value);
  }
  return nullptr;
}

void Store::putInode(const Inode& inode) {
  put(Table::INODE, key(inode.ino.value), inode.encode());
}

void Store::addInode(const Inode& inode) {
  KJ_ASSERT(!has(Table::INODE, key(inode.ino.value)), "an inode number is used twice", inode.ino);
  putInode(inode);
  changeCounts([](CountsRecord& c) { c.inodes += 1; });
}

void Store::eraseInode(InodeId ino) {
  KJ_ASSERT(erase(Table::INODE, key(ino.value)), "an inode is freed twice", ino);
  changeCounts([](CountsRecord& c) { c.inodes -= 1; });
}

void Store::addOrphan(InodeId ino, bool unnamed) {
  put(Table::ORPHAN, key(ino.value), unnamed ? encodeUnnamedMark() : encodeMark());
  changeCounts([](CountsRecord& c) { c.orphans += 1; });
}

void Store::eraseOrphan(InodeId ino) {
  KJ_ASSERT(erase(Table::ORPHAN, key(ino.value)), "not an orphan", ino);
  changeCounts([](CountsRecord& c) { c.orphans -= 1; });
}

bool Store::isUnnamed(InodeId ino) {
  KJ_IF_MAYBE(value, get(Table::ORPHAN, key(ino.value))) {
    return isUnnamedMark(*value);
  }
  return false;
}

kj::Maybe<TrimRecord> Store::trim(InodeId ino) {
  KJ_IF_MAYBE(value, get(Table::TRIM, key(ino.value))) {
    return TrimRecord::decode(*value);
  }
  return nullptr;
}

// --- names ---

kj::Maybe<Store::Name> Store::findName(InodeId parent, Bytes name) {
  auto first = firstCookie(name);
  auto cursor = from(Table::DIRENT, key(parent.value, first));
  for (; cursor->valid(); cursor->next()) {
    if (keyNumber(cursor->key(), 0) != parent.value) break;
    auto cookie = keyNumber(cursor->key(), 1);
    if (cookie >= first + kTiebreaks) break;
    auto entry = Dirent::decode(cursor->value());
    if (bytesOf(entry.name) == name) return Name{cookie, kj::mv(entry)};
  }
  return nullptr;
}

kj::Maybe<uint64_t> Store::freeCookieIn(Table table, InodeId ino, Bytes name) {
  auto first = firstCookie(name);
  auto wanted = first;
  auto cursor = from(table, key(ino.value, first));
  for (; cursor->valid(); cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    if (keyNumber(cursor->key(), 1) != wanted) break;
    wanted += 1;
  }
  if (wanted == first + kTiebreaks) return nullptr;
  return wanted;
}

Outcome<uint64_t> Store::freeCookie(InodeId parent, Bytes name) {
  KJ_IF_MAYBE(cookie, freeCookieIn(Table::DIRENT, parent, name)) {
    return *cookie;
  }
  return Errno::NO_SPACE;
}

void Store::putName(InodeId parent, uint64_t cookie, const Dirent& entry) {
  put(Table::DIRENT, key(parent.value, cookie), entry.encode());
  put(Table::LINK, key(entry.ino.value, parent.value, cookie), encodeMark());
}

void Store::eraseName(InodeId parent, uint64_t cookie, InodeId ino) {
  KJ_ASSERT(erase(Table::DIRENT, key(parent.value, cookie)), "no such entry", parent, cookie);
  KJ_ASSERT(erase(Table::LINK, key(ino.value, parent.value, cookie)), "an entry without its link",
            parent, cookie, ino);
}

bool Store::emptyDirectory(InodeId ino) {
  auto cursor = from(Table::DIRENT, key(ino.value, 0));
  return !cursor->valid() || keyNumber(cursor->key(), 0) != ino.value;
}

// --- extended attributes ---

XattrSums Store::xattrSums(InodeId ino) {
  KJ_IF_MAYBE(value, get(Table::XATTR, key(ino.value, kCookieHead))) {
    return XattrSums::decode(*value);
  }
  return XattrSums();
}

void Store::putXattrSums(InodeId ino, const XattrSums& sums) {
  if (sums.count != 0) return put(Table::XATTR, key(ino.value, kCookieHead), sums.encode());
  KJ_ASSERT(sums == XattrSums(), "no attributes, and yet bytes of them", ino);
  erase(Table::XATTR, key(ino.value, kCookieHead));  // there or not
}

kj::Maybe<Store::FoundXattr> Store::findXattr(InodeId ino, std::string_view name) {
  if (!hasXattrs(ino)) return nullptr;  // as most
  auto first = firstCookie(bytesOf(name));
  auto cursor = from(Table::XATTR, key(ino.value, first));
  for (; cursor->valid(); cursor->next()) {
    if (keyNumber(cursor->key(), 0) != ino.value) break;
    auto cookie = keyNumber(cursor->key(), 1);
    if (cookie >= first + kTiebreaks) break;
    auto record = XattrRecord::decode(cursor->value());
    if (record.name == name) return FoundXattr{cookie, kj::mv(record)};
  }
  return nullptr;
}

kj::Maybe<std::string> Store::xattr(InodeId ino, std::string_view name) {
  KJ_IF_MAYBE(found, findXattr(ino, name)) {
    return kj::mv(found->record.value);
  }
  return nullptr;
}

Errno Store::putXattr(InodeId ino, std::string_view name, std::string value) {
  XattrRecord record{std::string(name), kj::mv(value)};
  auto sums = xattrSums(ino);
  auto old = findXattr(ino, name);
  kj::Maybe<uint64_t> cookie;
  KJ_IF_MAYBE(o, old) {
    sums.take(o->record);
    cookie = o->cookie;
  } else {
    cookie = freeCookieIn(Table::XATTR, ino, bytesOf(name));
  }
  sums.add(record);
  if (sums.listBytes > kXattrListBytesMax || sums.bytes > kXattrBytesMax) return Errno::NO_SPACE;
  KJ_IF_MAYBE(where, cookie) {
    put(Table::XATTR, key(ino.value, *where), record.encode());
    putXattrSums(ino, sums);
    return Errno::OK;
  }
  return Errno::NO_SPACE;
}

bool Store::eraseXattr(InodeId ino, std::string_view name) {
  KJ_IF_MAYBE(old, findXattr(ino, name)) {
    auto sums = xattrSums(ino);
    sums.take(old->record);
    KJ_ASSERT(erase(Table::XATTR, key(ino.value, old->cookie)), "an attribute went away", ino);
    putXattrSums(ino, sums);
    return true;
  }
  return false;
}

std::vector<std::string> Store::xattrNames(InodeId ino) {
  std::vector<std::string> names;
  auto cursor = from(Table::XATTR, key(ino.value, kCookieHead + 1));
  for (; cursor->valid() && keyNumber(cursor->key(), 0) == ino.value; cursor->next()) {
    names.push_back(XattrRecord::decode(cursor->value()).name);
  }
  return names;
}

Acl Store::acl(InodeId ino, std::string_view name) {
  KJ_IF_MAYBE(value, xattr(ino, name)) {
    auto acl = Acl::parse(bytesOf(*value));
    KJ_ASSERT(acl.ok(), "an invalid list of access rights", ino, nameOf(acl.err()));
    return kj::mv(*acl);
  }
  return Acl();
}

Errno Store::putAcl(InodeId ino, std::string_view name, const Acl& acl) {
  if (acl.empty() || (name == kAccessAclName && acl.minimal())) {
    eraseXattr(ino, name);  // there or not
    return Errno::OK;
  }
  auto bytes = acl.encode();
  return putXattr(ino, name, textOf(Bytes(bytes.data(), bytes.size())));
}

// --- rows ---

kj::Maybe<RowRecord> Store::row(InodeId ino, uint64_t index) {
  KJ_IF_MAYBE(value, get(Table::ROW, key(ino.value, index))) {
    return RowRecord::decode(*value);
  }
  return nullptr;
}

void Store::putRow(InodeId ino, uint64_t index, const RowRecord& row) {
  put(Table::ROW, key(ino.value, index), row.encode());
  put(Table::BLOCK, key(row.block.value, ino.value, index), encodeMark());
}

void Store::eraseRow(InodeId ino, uint64_t index, BlockId block, uint64_t nowMs) {
  KJ_ASSERT(erase(Table::ROW, key(ino.value, index)), "no such row", ino, index);
  KJ_ASSERT(erase(Table::BLOCK, key(block.value, ino.value, index)), "a row's block is not known",
            ino, index, block);
  if (!isNamed(block)) addReclaim(block, nowMs);
}

bool Store::isNamed(BlockId block) {
  auto cursor = from(Table::BLOCK, key(block.value));
  return cursor->valid() && keyNumber(cursor->key(), 0) == block.value;
}

bool Store::names(BlockId block, InodeId ino, uint64_t index) {
  return has(Table::BLOCK, key(block.value, ino.value, index));
}

bool Store::severalNames(BlockId block) {
  auto cursor = from(Table::BLOCK, key(block.value));
  if (!cursor->valid() || keyNumber(cursor->key(), 0) != block.value) return false;
  cursor->next();
  return cursor->valid() && keyNumber(cursor->key(), 0) == block.value;
}

void Store::upgrade() {
  // BLOCK was keyed by the block alone, as long as one row at most could name it.
  constexpr size_t oldKeyBytes = 8;
  for (uint64_t above = 0;;) {
    auto cursor = from(Table::BLOCK, key(above));
    if (!cursor->valid() || cursor->key().size() != oldKeyBytes) return;
    auto block = keyNumber(cursor->key(), 0);
    auto name = BlockRecord::decode(cursor->value());
    cursor = nullptr;
    erase(Table::BLOCK, key(block));  // it was just read
    put(Table::BLOCK, key(block, name.ino.value, name.index), encodeMark());
    above = block + 1;
  }
}

void Store::addReclaim(BlockId block, uint64_t nowMs) {
  put(Table::RECLAIM, key(block.value), ReclaimRecord{nowMs}.encode());
  changeCounts([](CountsRecord& c) { c.reclaimBlocks += 1; });
}

bool Store::eraseReclaim(BlockId block) {
  if (!erase(Table::RECLAIM, key(block.value))) return false;
  changeCounts([](CountsRecord& c) { c.reclaimBlocks -= 1; });
  return true;
}

// --- what was handed out ---

bool Store::everAllotted(BlockId block) {
  KJ_IF_MAYBE(value, get(Table::SEQUENCE, key(block.chain().value))) {
    return block.sequence() >= 1 && block.sequence() < decodeNumber(*value);
  }
  return false;
}

kj::Maybe<SessionId> Store::handedOutTo(BlockId block) {
  auto cursor = from(Table::BLOCK_RANGE, key(block.value));
  if (!cursor->valid()) return nullptr;
  auto range = RangeRecord::decode(cursor->value());
  if (range.first > block.value) return nullptr;
  return range.session;
}

}  // namespace dfs::meta
