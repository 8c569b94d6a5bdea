#pragma once
// The tables of the replicated store and the keys in them. Persisted: see README.md.
//
// Thread: any; values only.
// Invariants:
//   1. Every key is one to three big-endian 64-bit numbers, so the order of bytes is the order of
//      numbers, table by table.
//   2. A table's number and the meaning of its keys never change; new tables are added at the end.

#include "common/checksum.h"
#include "common/ids.h"
#include "common/kv.h"

#include <kj/debug.h>

namespace dfs::meta {

enum class Table : uint8_t {
  META = 0,          // MetaKey
  INODE = 1,         // ino
  DIRENT = 2,        // parent, cookie
  LINK = 3,          // ino, parent, cookie
  ROW = 4,           // ino, index
  BLOCK = 5,         // block, ino, index: a row that names it
  ORPHAN = 6,        // ino
  TRIM = 7,          // ino -> which of its rows are dead and wait for removal
  SESSION = 8,       // session: live ones
  ENDED = 9,         // session: ended, ranges still kept (R3)
  ANSWER = 10,       // client, sequence
  NODE = 11,         // node
  CHAIN = 12,        // chain
  RECLAIM = 13,      // block
  SEQUENCE = 14,     // chain -> next block sequence
  BLOCK_RANGE = 15,  // last block of the range: what was handed out
  INODE_RANGE = 16,  // last inode of the range: handed out and not yet used
  OWNED = 17,        // session, RangeKind, last: the ranges of a session
  XATTR = 18,        // ino, cookie of the attribute's name; ino, 0: the sums over them
};
inline constexpr uint8_t kTables = 19;
static_assert(kTables <= kKvTablesMax);

inline KvTable kvTable(Table table) {
  return static_cast<KvTable>(table);
}

enum class MetaKey : uint64_t { CLUSTER = 1, APPLIED = 2, COUNTS = 3, NEXT = 4 };
enum class RangeKind : uint64_t { INODES = 0, BLOCKS = 1 };

template <size_t numbers> struct Key {
  kj::byte bytes[numbers * 8];
  operator Bytes() const { return Bytes(bytes, numbers * 8); }
};

inline void putNumber(kj::byte* into, uint64_t number) {
  for (int i = 7; i >= 0; --i) {
    into[i] = static_cast<kj::byte>(number);
    number >>= 8;
  }
}

inline Key<1> key(uint64_t a) {
  Key<1> k;
  putNumber(k.bytes, a);
  return k;
}
inline Key<2> key(uint64_t a, uint64_t b) {
  Key<2> k;
  putNumber(k.bytes, a);
  putNumber(k.bytes + 8, b);
  return k;
}
inline Key<3> key(uint64_t a, uint64_t b, uint64_t c) {
  Key<3> k;
  putNumber(k.bytes, a);
  putNumber(k.bytes + 8, b);
  putNumber(k.bytes + 16, c);
  return k;
}

inline uint64_t keyNumber(Bytes key, size_t i) {
  // The i-th number of a key. Throws if the key is shorter.
  KJ_REQUIRE(key.size() >= (i + 1) * 8, "a key of the store is too short", key.size());
  uint64_t number = 0;
  for (size_t b = i * 8; b < i * 8 + 8; ++b) number = number << 8 | key[b];
  return number;
}

// --- names ---
// A directory entry's key is its parent and its cookie: 56 bits of the name's hash above 7 bits
// that tell names of one hash apart. The cookie is also the readdir offset (63 bits); 1 and 2
// stand for "." and "..", so the hash is never 0.

inline constexpr uint64_t kTiebreaks = 128;
inline constexpr uint64_t kCookieHead = 0;  // of extended attributes: where no name stands
inline constexpr uint64_t kCookieDot = 1;
inline constexpr uint64_t kCookieDotDot = 2;

inline uint64_t nameHash(Bytes name) {
  uint64_t hash = checksum(name) >> 8;
  return hash == 0 ? 1 : hash;
}
inline uint64_t firstCookie(Bytes name) {
  return nameHash(name) * kTiebreaks;
}

}  // namespace dfs::meta
