// RaftLog::open(): what a crash may leave and what it may not (L4).
//
// Thread: the loop's.
// The log ends at the first record that is TORN. That is a torn tail if nothing shows that the
// record had been synced: no later record whose `synced` reaches it, no later segment, no applied
// index of the store. Anything BAD, and a torn record with such evidence, is damage: open() throws
// before it has changed anything. (A whole record behind a torn one is no evidence by itself: both
// may have waited for one sync, and a disk keeps what it likes of that.)

#include "nameserver/raft/log_names.h"
#include "nameserver/raft/raft_log.h"

#include <kj/debug.h>

#include <algorithm>
#include <cstring>

namespace dfs {

struct RaftLog::Scan {
  Scan(RaftLog& scanned, uint64_t applied) : log(scanned), appliedIndex(applied) {}

  RaftLog& log;
  const uint64_t appliedIndex;
  uint64_t number = 0;  // of the segment
  Bytes bytes;
  uint64_t tail = 0;       // where the first record that is not whole begins
  uint64_t tailBytes = 0;  // how far there is anything behind it
  bool first = true;

  [[noreturn]] void damaged(uint64_t offset, kj::StringPtr problem, uint64_t knownIndex) {
    uint64_t from = log.lastIndex() + 1;
    uint64_t to = kj::max(from, knownIndex);
    kj::throwFatalException(
        KJ_EXCEPTION(FAILED, kj::str("the log is damaged: ", segmentName(number), " at offset ",
                                     offset, ": ", problem, "; the entries from index ", from,
                                     " to ", to, " or later cannot be read. Nothing was changed")));
  }

  void take(DecodedRecord& record, uint64_t offset) {
    auto& h = record.header;
    uint64_t last = log.lastIndex();
    bool atStart = h.type == RecordType::SEGMENT;
    if (atStart != (offset == 0)) damaged(offset, "a segment begins in the wrong place", h.index);
    if (!first || !atStart) {
      if (h.sequence != log.nextSequence_) damaged(offset, "a record is missing", h.index);
      if (h.previous != log.chain_)
        damaged(offset, "a record does not follow the one before", h.index);
    }
    switch (h.type) {
      case RecordType::SEGMENT:
        takeSegment(record);
        break;
      case RecordType::COMMAND:
      case RecordType::BARRIER:
      case RecordType::CHANGE:
        if (h.index != last + 1) damaged(offset, "an entry's index is wrong", h.index);
        log.entries_.push_back({number, offset, h.term, recordBytes(h.bodyBytes), h.type});
        log.segments_.back().indexMax = kj::max(log.segments_.back().indexMax, h.index);
        if (h.type == RecordType::CHANGE) {
          log.configurations_.push_back({h.index, kj::mv(record.body)});
        }
        break;
      case RecordType::TRUNCATE:
        if (h.index > last || h.index + 1 < log.firstIndex_) {
          damaged(offset, "a truncation's index is wrong", h.index);
        }
        while (log.lastIndex() > h.index) log.entries_.pop_back();
        log.forgetConfigurationsAbove(h.index);
        break;
      default:
        damaged(offset, "the record is of a type that this version does not know", h.index);
    }
    log.nextSequence_ = h.sequence + 1;
    log.chain_ = h.headerSum;
    first = false;
  }

  void takeSegment(DecodedRecord& record) {
    auto& h = record.header;
    auto& segment = log.segments_.back();
    if (record.body.size() < 8) damaged(0, "a segment's first record is too short", h.index);
    segment.indexBefore = segment.indexMax = h.index;
    segment.termBefore = h.term;
    segment.configurationIndex = segmentConfigurationIndex(record.body);
    segment.configuration = kj::heapArray(Bytes(record.body).slice(8, record.body.size()));
    if (first) {
      log.firstIndex_ = h.index + 1;
      log.termBefore_ = h.term;
      log.configurationIndex_ = segment.configurationIndex;
      log.configuration_ = kj::heapArray<kj::byte>(segment.configuration.asPtr());
    } else if (h.index != log.lastIndex()) {
      damaged(0, "a segment does not follow the one before", h.index);
    }
  }

  void segment(bool isLast) {
    uint64_t offset = 0;
    while (offset < bytes.size()) {
      auto record = decodeRecord(bytes, number, offset);
      if (record.state == RecordState::BAD) damaged(offset, record.problem, appliedIndex);
      if (record.state == RecordState::TORN) break;
      take(record, offset);
      offset += recordBytes(record.header.bodyBytes);
    }
    if (offset == 0) damaged(0, "the segment's first record is missing", appliedIndex);
    tail = offset;
    tailBytes = 0;
    lookBehind(offset, isLast);
  }

  void lookBehind(uint64_t from, bool isLast) {
    // Whatever lies behind the tail: never BAD, never a witness that the tail had been synced.
    uint64_t ends = log.nextSequence_;
    for (uint64_t at = from; at < bytes.size(); at += kSectorBytes) {
      auto sector = bytes.slice(at, at + kSectorBytes);
      auto state = sectorState(sector, number, at);
      if (state == SectorState::BAD) damaged(at, "a sector's sum is wrong", appliedIndex);
      bool zeros = std::all_of(sector.begin(), sector.end(), [](kj::byte b) { return b == 0; });
      if (!zeros) tailBytes = at + kSectorBytes - from;
      if (state == SectorState::ABSENT) continue;
      uint32_t magic;
      memcpy(&magic, sector.begin(), sizeof magic);
      if (magic != kRecordMagic) continue;
      auto record = decodeRecord(bytes, number, at);
      if (record.state != RecordState::GOOD) continue;
      if (record.header.synced >= ends) {
        damaged(from, "a record that had been synced is missing", record.header.index);
      }
    }
    if (!isLast && tailBytes > 0) {
      damaged(from, "a record that had been synced is missing", log.lastIndex() + 1);
    }
  }
};

Task<kj::Maybe<kj::Own<RaftLog>>> RaftLog::open(Disk& disk, RaftLogOptions options,
                                                uint64_t appliedIndex) {
  auto listed = co_await disk.list(kLogDirectory);
  kj::Vector<uint64_t> numbers;
  if (listed.ok()) {
    for (auto& name : *listed) {
      KJ_IF_MAYBE(n, segmentNumber(name)) numbers.add(*n);
    }
  } else {
    KJ_REQUIRE(listed.err() == Errno::NO_ENT, "cannot list the log", nameOf(listed.err()));
  }
  if (numbers.empty()) co_return kj::Maybe<kj::Own<RaftLog>>(nullptr);

  auto log = kj::heap<RaftLog>(disk, options);
  Scan scan(*log, appliedIndex);
  for (size_t i = 0; i < numbers.size(); ++i) {
    scan.number = numbers[i];
    if (i > 0 && numbers[i] != numbers[i - 1] + 1) {
      scan.number = numbers[i - 1] + 1;
      scan.damaged(0, "the file is missing", appliedIndex);
    }
    auto opened = co_await disk.open(segmentName(numbers[i]), OpenMode::MUST_EXIST);
    KJ_REQUIRE(opened.ok(), "cannot open the log", numbers[i], nameOf(opened.err()));
    Segment segment{};
    segment.number = numbers[i];
    segment.file = kj::mv(*opened);
    auto bytes = kj::heapArray<kj::byte>(segment.file->size() / kSectorBytes * kSectorBytes);
    auto got = co_await segment.file->read(0, bytes);
    if (!got.ok() || *got != bytes.size() || bytes.size() == 0 ||
        bytes.size() != segment.file->size() || bytes.size() > (uint64_t(1) << 32)) {
      scan.damaged(0, "the file cannot be read, or was cut short", appliedIndex);
    }
    log->segments_.push_back(kj::mv(segment));
    scan.bytes = bytes;
    scan.segment(i + 1 == numbers.size());
    scan.bytes = nullptr;
    log->plannedOffset_ = bytes.size() < options.segmentBytes ? options.segmentBytes : scan.tail;
  }
  if (log->lastIndex() < appliedIndex) {
    scan.damaged(scan.tail, "entries that the store has applied are missing", appliedIndex);
  }
  if (log->firstIndex() > appliedIndex + 1) {
    scan.damaged(0, "the store lacks entries that were already cut off the log", appliedIndex);
  }

  // From here on the log is believed, and what was torn is taken away.
  if (scan.tailBytes > 0) {
    auto zeros = kj::heapArray<kj::byte>(scan.tailBytes);
    memset(zeros.begin(), 0, zeros.size());
    auto& last = log->segments_.back();
    KJ_LOG(INFO, "the log ended in a write that was under way", segmentName(last.number),
           scan.tail);
    auto wrote = co_await last.file->write(scan.tail, zeros);
    KJ_REQUIRE(wrote == Errno::OK, "cannot write the log", nameOf(wrote));
  }
  // Records that a killed process had written and not synced are part of the log now.
  auto synced = log->syncLast();
  co_await kj::mv(synced);
  log->synced_ = log->nextSequence_ - 1;
  log->plannedSegment_ = log->segments_.back().number;
  auto adopted = log->adoptPrepared();
  co_await kj::mv(adopted);
  co_return kj::Maybe<kj::Own<RaftLog>>(kj::mv(log));
}

}  // namespace dfs
