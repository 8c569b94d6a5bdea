#pragma once
// How the name server's log looks on disk: sectors and records. README.md has the page on it.
//
// PERSISTED, format 1: a change needs a new number and the old code beside it.
// Thread: any (pure functions).
// A record begins on a sector and fills whole ones. A sector is 504 bytes and then a tag: a sum
// over them, the segment's number and the sector's place. Since a segment was all zeros before
// (and is zeroed again behind a torn tail), every sector is one of
//   GOOD    its tag is right,
//   ABSENT  its end was never written (zeros, or the beginning of a write and then zeros),
//   BAD     anything else. No crash leaves that: it is damage, wherever it is.

#include "common/kv.h"

#include <kj/array.h>

namespace dfs {

inline constexpr size_t kSectorBytes = 512;
inline constexpr size_t kSectorData = kSectorBytes - 8;
inline constexpr size_t kRecordHeaderBytes = 72;
inline constexpr uint32_t kRecordMagic = 0x4c534644;  // "DFSL"
inline constexpr uint32_t kLogFormat = 1;

enum class RecordType : uint32_t {
  COMMAND = 1,
  BARRIER = 2,
  CHANGE = 3,
  SEGMENT = 16,  // the first of each file; body: SegmentBody
  TRUNCATE = 17  // entries above `index` are no longer part of the log
};

struct RecordHeader {
  // Little-endian, in this order, behind the magic and before its own sum.
  uint32_t bodyBytes;
  RecordType type;
  uint32_t format;
  uint64_t sequence;  // of the record in the log, from 1, without gaps
  uint64_t index;     // of the entry; SEGMENT, TRUNCATE: of the last entry before
  uint64_t term;      // of the entry; SEGMENT, TRUNCATE: of the last entry before
  uint64_t synced;    // all records up to this sequence were known to be on the disk
  uint64_t previous;  // headerSum of the record before: a chain, for the sum covers the body's too
  uint64_t bodySum;
  uint64_t headerSum;
};

size_t recordBytes(size_t bodyBytes);  // on disk, whole sectors

kj::Array<kj::byte> encodeRecord(RecordHeader& header, Bytes body, uint64_t segment,
                                 uint64_t offset);
// Fills in magic, format, bodyBytes and both sums. `offset` in the segment, a multiple of a sector.

enum class SectorState { GOOD, ABSENT, BAD };
SectorState sectorState(Bytes sector, uint64_t segment, uint64_t offset);

enum class RecordState { GOOD, TORN, BAD };
struct DecodedRecord {
  RecordState state;
  kj::StringPtr problem;  // of BAD
  RecordHeader header;    // GOOD
  kj::Array<kj::byte> body;
};
DecodedRecord decodeRecord(Bytes segmentBytes, uint64_t segment, uint64_t offset);
// TORN: at least one of its sectors is ABSENT and none is BAD.

}  // namespace dfs
