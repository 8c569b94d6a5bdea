#pragma once
// A transactional map from ordered bytes to bytes: what the namespace and the block index live in.
//
// Thread: the loop's. Owner: Server; one Kv per directory and process.
// Two implementations, one contract suite: OverlayKv, where what was written since the last commit
// lies in memory over LMDB, so that reads and writes go on while a commit is under way; and the
// simulator's, which forgets what a disk may forget.
// Invariants:
//   1. Reads see all that was written so far.
//   2. After a crash the store holds exactly what had been written when some commit() was called,
//      and nothing older than the last commit() that had resolved.
//   3. Every value carries a checksum over its key and itself; a wrong one throws, never returns.

#include <kj/array.h>
#include <kj/async.h>
#include <kj/common.h>
#include <kj/memory.h>

#include <cstdint>

namespace dfs {

using Bytes = kj::ArrayPtr<const kj::byte>;

enum class KvTable : uint8_t {};
// Each store declares its own enumerants, from 0: one table each.
inline constexpr uint8_t kKvTablesMax = 32;
inline constexpr size_t kKvKeyBytesMax = 500;

class KvCursor {
  // Walks one table in order of keys. It ends with the next put(), erase() or commit(): make
  // another.
 public:
  virtual ~KvCursor() noexcept(false) {}
  virtual bool valid() = 0;   // false: past the last key
  virtual Bytes key() = 0;    // REQUIRES valid()
  virtual Bytes value() = 0;  // REQUIRES valid()
  virtual void next() = 0;    // REQUIRES valid()
};

class KvReader {
 public:
  virtual ~KvReader() noexcept(false) {}

  virtual kj::Maybe<Bytes> get(KvTable table, Bytes key) = 0;
  // The bytes live until the next put(), erase() or commit().

  virtual kj::Own<KvCursor> from(KvTable table, Bytes key) = 0;
  // Stands on the first key that is not less.
};

class Kv : public KvReader {
 public:
  virtual void put(KvTable table, Bytes key, Bytes value) = 0;
  // REQUIRES: 1 <= key.size() <= kKvKeyBytesMax. Key and value are copied.

  virtual bool erase(KvTable table, Bytes key) = 0;
  // False if there was nothing to erase.

  virtual kj::Promise<void> commit() = 0;
  // Makes all that was written before this call durable. One after the other. It throws if the disk
  // fails or is full: then the owner ends the process, for what lies in memory may never be kept.

  virtual size_t uncommittedBytes() = 0;
  // Written and not yet durable, keys and values: the owner commits by size or by time.
};

}  // namespace dfs
