#pragma once
// The one Kv: what was written since the last commit lies in memory above a backing store, so that
// reads and writes go on while a commit is under way.
//
//   active      written since the last commit(); the only layer that changes
//   waiting     handed to commit() while another was under way; two such become one
//   under way   being written by the backing, readable all the while
//   durable     in the backing, but not yet in its snapshot that is read
//   backing     the last commit, as a snapshot
//
// A layer hides those below it; an erased key is a tombstone there. Persistent format: the stored
// value is the value followed by 8 bytes, little-endian: xxh3-64 of the value, seeded with the
// xxh3-64 of the key, seeded with the number of the table.
//
// Thread: the loop's; the backing commits elsewhere. Owner: as of any Kv.
// Invariants:
//   1. One commit is under way at a time, and its delta does not change meanwhile.
//   2. A delta is dropped only after the backing's snapshot holds it. Both happen inside put(),
//      erase() or commit(), never in between: bytes and cursors given out stay good until then.
//   3. After a commit has failed none is begun again.
// Crash: README.md.

#include "common/kv.h"

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace dfs {

struct KvDelta {
  // Changes to be committed together: sealed values, or null for what is erased.
  using Table = std::map<std::string, std::optional<std::string>, std::less<>>;
  std::array<Table, kKvTablesMax> tables;
  size_t bytes = 0;  // of keys and values

  bool empty() const;
};

class KvBacking {
  // A store of sealed values that is read at its last snapshot.
 public:
  virtual ~KvBacking() noexcept(false) {}

  virtual kj::Maybe<Bytes> get(uint8_t table, Bytes key) = 0;
  virtual kj::Own<KvCursor> from(uint8_t table, Bytes key) = 0;
  // Both: bytes and cursors are good until renew().

  virtual kj::Promise<void> commit(const KvDelta& delta) = 0;
  // Makes it durable, all or nothing. `delta` lives, and does not change, until the promise is
  // resolved or dropped; dropping it waits for the work or cancels it.

  virtual void renew() = 0;
  // Reads see from now on what has been committed by now.
};

kj::Own<Kv> newOverlayKv(kj::Own<KvBacking> backing);

}  // namespace dfs
