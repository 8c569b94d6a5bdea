#include "nameserver/raft/log_record.h"

#include "common/checksum.h"

#include <kj/debug.h>

#include <cstring>

namespace dfs {
namespace {

void put32(kj::byte* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<kj::byte>(value >> (8 * i));
}
void put64(kj::byte* at, uint64_t value) {
  for (int i = 0; i < 8; ++i) at[i] = static_cast<kj::byte>(value >> (8 * i));
}
uint32_t get32(const kj::byte* at) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= uint32_t(at[i]) << (8 * i);
  return value;
}
uint64_t get64(const kj::byte* at) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= uint64_t(at[i]) << (8 * i);
  return value;
}

uint64_t tagOf(Bytes sector, uint64_t segment, uint64_t offset) {
  uint64_t seed = segment * 0x9e3779b97f4a7c15 + offset;
  // Two bits of the last byte are always set, so that no single flipped bit makes a whole tag look
  // like one that was cut short.
  return checksum(sector.slice(0, kSectorData), seed) | (uint64_t(0xc0) << 56);
}

void encodeHeader(const RecordHeader& h, kj::byte* at) {
  put32(at, kRecordMagic);
  put32(at + 4, h.bodyBytes);
  put32(at + 8, static_cast<uint32_t>(h.type));
  put32(at + 12, h.format);
  put64(at + 16, h.sequence);
  put64(at + 24, h.index);
  put64(at + 32, h.term);
  put64(at + 40, h.synced);
  put64(at + 48, h.previous);
  put64(at + 56, h.bodySum);
}

}  // namespace

size_t recordBytes(size_t bodyBytes) {
  return (kRecordHeaderBytes + bodyBytes + kSectorData - 1) / kSectorData * kSectorBytes;
}

kj::Array<kj::byte> encodeRecord(RecordHeader& header, Bytes body, uint64_t segment,
                                 uint64_t offset) {
  KJ_REQUIRE(offset % kSectorBytes == 0);
  header.format = kLogFormat;
  header.bodyBytes = static_cast<uint32_t>(body.size());
  header.bodySum = checksum(body);
  kj::byte head[kRecordHeaderBytes];
  encodeHeader(header, head);
  header.headerSum = checksum(Bytes(head, kRecordHeaderBytes - 8));
  put64(head + kRecordHeaderBytes - 8, header.headerSum);

  auto out = kj::heapArray<kj::byte>(recordBytes(body.size()));
  memset(out.begin(), 0, out.size());
  size_t done = 0, total = kRecordHeaderBytes + body.size();
  for (size_t at = 0; at < out.size(); at += kSectorBytes) {
    auto sector = out.slice(at, at + kSectorBytes);
    for (size_t in = 0; in < kSectorData && done < total;) {
      bool inHead = done < kRecordHeaderBytes;
      size_t left = inHead ? kRecordHeaderBytes - done : total - done;
      size_t n = kj::min(kSectorData - in, left);
      memcpy(sector.begin() + in, inHead ? head + done : body.begin() + done - kRecordHeaderBytes,
             n);
      in += n;
      done += n;
    }
    put64(sector.begin() + kSectorData, tagOf(sector, segment, offset + at));
  }
  return out;
}

SectorState sectorState(Bytes sector, uint64_t segment, uint64_t offset) {
  uint64_t stored = get64(sector.begin() + kSectorData);
  uint64_t tag = tagOf(sector, segment, offset);
  if (stored == tag) return SectorState::GOOD;
  if (stored == 0) return SectorState::ABSENT;
  for (int bytes = 1; bytes < 8; ++bytes) {
    uint64_t mask = (uint64_t(1) << (8 * bytes)) - 1;
    if (stored == (tag & mask)) return SectorState::ABSENT;
  }
  return SectorState::BAD;
}

DecodedRecord decodeRecord(Bytes bytes, uint64_t segment, uint64_t offset) {
  DecodedRecord result{RecordState::BAD, "", {}, nullptr};
  auto stateAt = [&](uint64_t at) {
    return sectorState(bytes.slice(at, at + kSectorBytes), segment, at);
  };
  KJ_REQUIRE(offset + kSectorBytes <= bytes.size());
  switch (stateAt(offset)) {
    case SectorState::BAD:
      result.problem = "a sector's sum is wrong";
      return result;
    case SectorState::ABSENT:
      result.state = RecordState::TORN;
      return result;
    case SectorState::GOOD:
      break;
  }
  auto head = bytes.begin() + offset;
  auto& h = result.header;
  h.bodyBytes = get32(head + 4);
  h.type = static_cast<RecordType>(get32(head + 8));
  h.format = get32(head + 12);
  h.sequence = get64(head + 16);
  h.index = get64(head + 24);
  h.term = get64(head + 32);
  h.synced = get64(head + 40);
  h.previous = get64(head + 48);
  h.bodySum = get64(head + 56);
  h.headerSum = get64(head + 64);
  if (get32(head) != kRecordMagic || checksum(Bytes(head, kRecordHeaderBytes - 8)) != h.headerSum) {
    result.problem = "there is no record where one must begin";
    return result;
  }
  if (h.format != kLogFormat) {
    result.problem = "the record is of a format that this version does not know";
    return result;
  }
  size_t size = recordBytes(h.bodyBytes);
  if (size > bytes.size() - offset) {
    result.problem = "a record is longer than its segment";
    return result;
  }
  bool torn = false;
  for (uint64_t at = offset + kSectorBytes; at < offset + size; at += kSectorBytes) {
    auto state = stateAt(at);
    if (state == SectorState::BAD) {
      result.problem = "a sector's sum is wrong";
      return result;
    }
    torn = torn || state == SectorState::ABSENT;
  }
  if (torn) {
    result.state = RecordState::TORN;
    return result;
  }
  result.body = kj::heapArray<kj::byte>(h.bodyBytes);
  for (size_t done = 0; done < h.bodyBytes;) {
    size_t at = kRecordHeaderBytes + done;
    size_t n = kj::min(kSectorData - at % kSectorData, h.bodyBytes - done);
    memcpy(result.body.begin() + done, head + at / kSectorData * kSectorBytes + at % kSectorData,
           n);
    done += n;
  }
  if (checksum(result.body) != h.bodySum) {
    result.problem = "a body's sum is wrong";
    return result;
  }
  result.state = RecordState::GOOD;
  return result;
}

}  // namespace dfs
