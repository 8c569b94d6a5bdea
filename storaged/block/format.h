#pragma once
// What lies on the disk of a store: records of the index and of the intent log. Persisted: version 1. README.md has the page;
// format_test.cc the golden bytes. All numbers are little-endian, keys big-endian.
//
// Thread: any; pure functions.

#include "common/ids.h"
#include "common/kv.h"
#include "common/limits.h"
#include "storaged/block/block_store.h"

#include <array>
#include <string>
#include <vector>

namespace dfs::block {

inline constexpr KvTable kRecordTable{0};  // block -> BlockRecord
inline constexpr KvTable kSumTable{1};     // block, group of kUnitsPerGroup units -> their sums
inline constexpr KvTable kMetaTable{2};    // "meta" -> Meta

inline constexpr uint32_t kUnitsPerBlock = kBlockBytes / kUnitBytes;
inline constexpr uint32_t kGroupsPerBlock = kUnitsPerBlock / kUnitsPerGroup;
inline constexpr uint32_t kSlotsPerSegment = 16;  // a slot is kBlockBytes of a sparse segment file

using Group =
    std::array<uint64_t, kUnitsPerGroup>;  // 0: the unit was never written and reads as zeros

inline constexpr uint64_t kTornSum = 1;
// In place of a unit's sum: a crash left bytes of no known state there. Until the block is replaced or
// accepted the unit cannot be read.

struct BlockRecord {
  uint64_t slot = 0;
  BlockVersion at;
  uint32_t length = 0;
  bool committed = false;
  bool doubtful = false;
  RequestId request;
};

struct Meta {
  uint64_t log = 0;       // the first intent log to replay
  uint64_t sequence = 0;  // of the last intent that the index holds
};

enum class IntentKind : uint8_t {
  NONE = 0,
  WRITE =
      1,  // sums of [firstUnit, firstUnit + sums) are new; units from clearFirst on that are not among them are gone
  INSTALL = 2,  // the whole block: all its sums from unit 0, in a new slot
  ERASE = 3,
  COMMIT = 4,  // record.at is committed
  ACCEPT = 5,  // all sums from unit 0, made anew from what lies there
};

struct Intent {
  uint64_t sequence = 0;
  uint64_t dataSynced =
      0;  // known at the time of writing: the data of all intents up to it is on the disk,
  uint64_t logSynced = 0;  // and all intents up to this one are
  IntentKind kind = IntentKind::NONE;
  BlockId block;
  BlockRecord record;  // after this intent
  uint32_t firstUnit = 0;
  uint32_t clearFirst = kUnitsPerBlock;
  std::vector<uint64_t> sums;
};

std::string encode(const BlockRecord& record);
BlockRecord decodeRecord(Bytes bytes);  // throws if it is none
std::string encode(const Group& group);
Group decodeGroup(Bytes bytes);
std::string encode(const Meta& meta);
Meta decodeMeta(Bytes bytes);

std::string recordKey(BlockId block);
BlockId blockOfKey(Bytes key);
std::string sumKey(BlockId block, uint32_t group);
inline Bytes bytesOf(const std::string& text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

inline constexpr size_t kIntentHeadBytes = 128;
std::string encode(const Intent& intent, uint64_t log);
// `log`: the number of the log that it goes into, part of its checksum: what an older log left in the same place is never taken for it.
bool looksLikeIntent(const kj::byte* bytes);
// Whether the magic stands there: a quick look at 4 bytes.
kj::Maybe<Intent> decodeIntent(Bytes bytes, uint64_t log, size_t& used);
// Of the intent that begins at bytes[0]; `used`: its size, a multiple of 8. Null if there is none or it is damaged.

}  // namespace dfs::block
