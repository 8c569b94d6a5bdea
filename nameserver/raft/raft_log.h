#pragma once
// The name server's write-ahead log: entries of the replicated log in segment files, each written
// once over zeros that were allocated and synced before. README.md has the format and crash orders.
//
// Thread: the loop's. Owner: RaftReplicator; after it the Disk.
// Invariants:
//   1. What append() has promised is found by the next open(), or open() throws (L4, L5, N2).
//   2. open() that throws has changed nothing.
//   3. append() answers NO_SPACE before anything was written, or not at all: the space of all that
//      was accepted is allocated. Any other failure of a write or sync breaks the log for good (L7).
//   4. A record is written into a segment only after all records of the segments before it, and the
//      segment's name, were synced.

#include "common/env.h"
#include "common/task.h"
#include "nameserver/raft/log_record.h"

#include <kj/vector.h>

#include <deque>

namespace dfs {

struct LogEntry {
  uint64_t term;
  RecordType type;  // COMMAND, BARRIER or CHANGE
  kj::Array<kj::byte> body;
};

struct RaftLogOptions {
  uint64_t segmentBytes = 8u << 20;
  uint32_t segmentsAhead = 2;  // the reserve (R5)
};

class RaftLog {
 public:
  static Task<void> create(Disk& disk, RaftLogOptions options, LogEntry configuration);
  // A log of one entry, index 1. Throws if there are segments already. Durable when it resolves.

  static Task<kj::Maybe<kj::Own<RaftLog>>> open(Disk& disk, RaftLogOptions options,
                                                uint64_t appliedIndex);
  // nullptr: there is no log. `appliedIndex`: of the store, which cannot be ahead of the log. Throws
  // a sentence with file, offset and indexes if the log is damaged.

  RaftLog(Disk& disk, RaftLogOptions options);
  KJ_DISALLOW_COPY(RaftLog);

  uint64_t firstIndex() const { return firstIndex_; }  // of the entries that are still there
  uint64_t lastIndex() const { return firstIndex_ + entries_.size() - 1; }  // accepted ones
  uint64_t termBefore() const { return termBefore_; }  // of the entry before firstIndex()
  uint64_t termOf(uint64_t index) const { return at(index).term; }
  uint64_t lastTerm() const { return entries_.empty() ? termBefore_ : entries_.back().term; }
  RecordType typeOf(uint64_t index) const { return at(index).type; }
  uint64_t bytes() const;  // of all segments
  uint64_t syncCount() const { return syncs_; }

  uint64_t configurationIndex() const { return configurationIndex_; }
  Bytes configuration() const { return configuration_; }
  // As of the entry before firstIndex(); 0 and empty if the log begins with index 1.

  Bytes lastConfiguration() const;  // the latest, committed or not

  bool hasRoom(uint64_t bodyBytes, uint32_t spareSegments) const;
  // For one more entry, leaving that many prepared segments.
  Task<void> makeRoom();
  // Prepares segments as far as there is space.

  kj::Promise<Errno> append(kj::Array<LogEntry> entries);
  // Behind lastIndex(), at once; resolves when they are on the disk. Appends that come during a sync
  // are covered by the next one together. OK or NO_SPACE; throws if the log is broken.
  Errno truncate(uint64_t from);
  // Drops the entries from there on; durable with the next append. NO_SPACE changes nothing.
  Task<LogEntry> read(uint64_t index);
  // Of an entry that is on the disk. Throws if it is damaged.
  Task<void> cut(uint64_t index);
  // Removes the segments that hold nothing above that index, oldest first, but never the last one.

 private:
  struct Entry {
    uint64_t segment;
    uint64_t offset;
    uint64_t term;
    uint64_t bytes;
    RecordType type;
  };
  struct Segment {
    uint64_t number;
    kj::Own<DiskFile> file;
    uint64_t indexBefore;
    uint64_t termBefore;
    uint64_t indexMax;  // of the entries in it
    uint64_t configurationIndex;
    kj::Array<kj::byte> configuration;
  };
  struct Prepared {
    kj::String name;
    kj::Own<DiskFile> file;
  };
  struct Write {
    RecordHeader header;
    kj::Array<kj::byte> body;
    bool newSegment;  // a segment begins with this record, which is its SEGMENT record
    uint64_t segment;
    uint64_t offset;
    kj::Own<kj::PromiseFulfiller<Errno>> done;  // of the last record of an append
  };
  struct Scan;
  friend struct Scan;

  const Entry& at(uint64_t index) const;
  bool plan(uint64_t recordBytes, bool& newSegment);
  void pushSegmentRecord();
  void push(RecordType type, uint64_t index, uint64_t term, kj::Array<kj::byte> body);
  void startWriting();
  Task<void> writeAll();
  Task<void> writeBatch();
  Task<void> beginSegment(Write* write);
  Task<void> flush(kj::Vector<kj::byte>* buffer, uint64_t offset);
  Task<void> syncLast();
  void startPreparing();
  Task<void> prepare();
  Task<void> adoptPrepared();
  void forgetConfigurationsAbove(uint64_t index);
  uint64_t lastConfigurationIndex() const;
  void fail(kj::Exception&& exception);
  void checkWorks();

  Disk& disk_;
  const RaftLogOptions options_;

  std::deque<Segment> segments_;  // oldest first; those whose file is there
  std::deque<Entry> entries_;     // from firstIndex_
  uint64_t firstIndex_ = 1;
  uint64_t termBefore_ = 0;
  uint64_t configurationIndex_ = 0;
  kj::Array<kj::byte> configuration_;
  struct Configuration {
    uint64_t index;
    kj::Array<kj::byte> bytes;
  };
  std::deque<Configuration> configurations_;  // those in the log, oldest first

  // Where the next record goes, counting those that wait in queue_.
  uint64_t nextSequence_ = 1;
  uint64_t plannedSegment_ = 0;
  uint64_t plannedOffset_ = 0;
  uint32_t plannedSegments_ = 0;  // prepared ones that the queue will take
  std::deque<Write> queue_;
  std::deque<Write> batch_;  // being written

  uint64_t chain_ = 0;   // headerSum of the last record that was encoded
  uint64_t synced_ = 0;  // sequence
  uint64_t syncs_ = 0;
  std::deque<Prepared> prepared_;
  uint64_t preparedNames_ = 0;
  bool preparing_ = false;
  bool writing_ = false;
  bool cutting_ = false;
  uint32_t reads_ = 0;
  kj::Maybe<kj::Exception> broken_;
  kj::Promise<void> writer_ = kj::READY_NOW;  // last: dropped first
  kj::ForkedPromise<void> preparer_ = kj::Promise<void>(kj::READY_NOW).fork();
};

}  // namespace dfs
