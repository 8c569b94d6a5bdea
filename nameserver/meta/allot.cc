// Inode numbers and block ids for a session's use. Neither is ever handed out twice, nor used
// twice.
//
// An inode range shrinks as its numbers are used, so what stands in INODE_RANGE has never been an
// inode. A block range stays as long as the session is known (R3). Both are keyed by their last
// number: the first key at or above a number is the range that holds it, if any does.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

#include <set>

namespace dfs::meta {
namespace {

constexpr uint32_t kWantsMax = kRowsPerAnswerMax;      // chains in one allotment
constexpr uint32_t kIdsPerAllotMax = 1u << 20;         // inodes, and blocks of one chain
constexpr uint64_t kInodeLeapMax = uint64_t(1) << 32;  // above the next number
constexpr uint64_t kSequencesMax = uint64_t(1) << 40;

void putRange(Store& store, RangeKind kind, uint64_t last, const RangeRecord& range) {
  auto table = kind == RangeKind::INODES ? Table::INODE_RANGE : Table::BLOCK_RANGE;
  store.put(table, key(last), range.encode());
  store.put(Table::OWNED, key(range.session.value, static_cast<uint64_t>(kind), last),
            encodeMark());
}

void eraseRange(Store& store, RangeKind kind, uint64_t last, SessionId session) {
  auto table = kind == RangeKind::INODES ? Table::INODE_RANGE : Table::BLOCK_RANGE;
  KJ_ASSERT(store.erase(table, key(last)), "no such range", last);
  KJ_ASSERT(store.erase(Table::OWNED, key(session.value, static_cast<uint64_t>(kind), last)),
            "a range without its owner", last);
}

void addRange(Store& store, RangeKind kind, uint64_t first, uint64_t count, SessionId session) {
  // One record with the range before it, if that is the same session's.
  auto table = kind == RangeKind::INODES ? Table::INODE_RANGE : Table::BLOCK_RANGE;
  RangeRecord range{first, session};
  KJ_IF_MAYBE(value, store.get(table, key(first - 1))) {
    auto before = RangeRecord::decode(*value);
    if (before.session == session) {
      range.first = before.first;
      eraseRange(store, kind, first - 1, session);
    }
  }
  putRange(store, kind, first + count - 1, range);
}

struct Held {
  RangeRecord range;
  uint64_t last;
};

kj::Maybe<Held> rangeOfInode(Store& store, InodeId ino) {
  auto cursor = store.from(Table::INODE_RANGE, key(ino.value));
  if (!cursor->valid()) return nullptr;
  auto range = RangeRecord::decode(cursor->value());
  if (range.first > ino.value) return nullptr;
  return Held{range, keyNumber(cursor->key(), 0)};
}

uint64_t nextSequence(Store& store, uint32_t chain) {
  KJ_IF_MAYBE(value, store.get(Table::SEQUENCE, key(chain))) {
    return decodeNumber(*value);
  }
  return 1;
}

Errno check(Context& c, schema::Allot::Reader r) {
  auto session = r.getSession();
  if (session != 0 && !c.store.has(Table::SESSION, key(session))) return Errno::STALE;
  if (session == 0 && r.getBlocks().size() != 0) return Errno::INVAL;
  if (r.getInodes() > kIdsPerAllotMax || r.getBlocks().size() > kWantsMax) return Errno::INVAL;
  std::set<uint32_t> chains;
  for (auto want : r.getBlocks()) {
    if (want.getCount() == 0 || want.getCount() > kIdsPerAllotMax) return Errno::INVAL;
    if (!chains.insert(want.getChain()).second) return Errno::INVAL;
    if (!c.store.has(Table::CHAIN, key(want.getChain()))) return Errno::INVAL;
    if (nextSequence(c.store, want.getChain()) + want.getCount() > kSequencesMax) {
      return Errno::NO_SPACE;
    }
  }
  return Errno::OK;
}

}  // namespace

Errno applyAllot(Context& c, schema::Allot::Reader r, Answer& out) {
  auto refusal = check(c, r);
  if (refusal != Errno::OK) return refusal;
  SessionId session(r.getSession());
  if (r.getInodes() != 0) {
    auto next = c.store.next();
    out.firstInode = InodeId(next.inode);
    addRange(c.store, RangeKind::INODES, next.inode, r.getInodes(), session);
    next.inode += r.getInodes();
    c.store.putMeta(MetaKey::NEXT, next);
  }
  for (auto want : r.getBlocks()) {
    auto first = nextSequence(c.store, want.getChain());
    auto block = BlockId(ChainId(want.getChain()), first).value;
    addRange(c.store, RangeKind::BLOCKS, block, want.getCount(), session);
    c.store.put(Table::SEQUENCE, key(want.getChain()), encodeNumber(first + want.getCount()));
    out.ranges.push_back({want.getChain(), first, want.getCount()});
  }
  return Errno::OK;
}

Outcome<InodeId> checkInodeNumber(Context& c, InodeId wanted) {
  auto next = c.store.next().inode;
  if (!wanted) return InodeId(next);
  if (wanted.value >= next) {
    if (wanted.value - next > kInodeLeapMax) return Errno::INVAL;
    return wanted;
  }
  KJ_IF_MAYBE(held, rangeOfInode(c.store, wanted)) {
    // One's own, or what the name server keeps for all.
    auto owner = held->range.session;
    if (!owner || !c.client || owner == c.client) return wanted;
  }
  return Errno::INVAL;
}

void useInodeNumber(Store& store, InodeId ino) {
  auto next = store.next();
  if (ino.value >= next.inode) {
    next.inode = ino.value + 1;
    store.putMeta(MetaKey::NEXT, next);
    return;
  }
  auto held = KJ_ASSERT_NONNULL(rangeOfInode(store, ino), "an inode number out of nowhere", ino);
  eraseRange(store, RangeKind::INODES, held.last, held.range.session);
  if (ino.value > held.range.first) {
    putRange(store, RangeKind::INODES, ino.value - 1, held.range);
  }
  if (ino.value < held.last) {
    putRange(store, RangeKind::INODES, held.last, {ino.value + 1, held.range.session});
  }
}

}  // namespace dfs::meta
