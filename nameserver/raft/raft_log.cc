#include "nameserver/raft/raft_log.h"

#include "nameserver/raft/log_names.h"

#include <kj/debug.h>

#include <cstring>

namespace dfs {

namespace {

constexpr size_t kZeroChunk = 1u << 20;

kj::Array<kj::byte> encodeSegmentBody(uint64_t configurationIndex, Bytes configuration) {
  auto body = kj::heapArray<kj::byte>(8 + configuration.size());
  for (int i = 0; i < 8; ++i) body[i] = static_cast<kj::byte>(configurationIndex >> (8 * i));
  if (configuration.size() > 0) {
    memcpy(body.begin() + 8, configuration.begin(), configuration.size());
  }
  return body;
}

}  // namespace

RaftLog::RaftLog(Disk& disk, RaftLogOptions options) : disk_(disk), options_(options) {
  KJ_REQUIRE(options.segmentBytes % kSectorBytes == 0 && options.segmentBytes >= 16 * kSectorBytes);
}

const RaftLog::Entry& RaftLog::at(uint64_t index) const {
  KJ_REQUIRE(index >= firstIndex_ && index <= lastIndex(), "no such entry in the log", index,
             firstIndex_, lastIndex());
  return entries_[index - firstIndex_];
}

uint64_t RaftLog::bytes() const {
  return segments_.size() * options_.segmentBytes;
}

void RaftLog::checkWorks() {
  KJ_IF_MAYBE(e, broken_) kj::throwFatalException(kj::cp(*e));
}

void RaftLog::fail(kj::Exception&& exception) {
  for (auto* list : {&batch_, &queue_}) {
    for (auto& write : *list) {
      if (write.done.get() != nullptr) write.done->reject(kj::cp(exception));
    }
    list->clear();
  }
  if (broken_ == nullptr) broken_ = kj::mv(exception);
}

// --- what is to be written ---

bool RaftLog::hasRoom(uint64_t bodyBytes, uint32_t spareSegments) const {
  uint64_t need = recordBytes(bodyBytes);
  size_t free = prepared_.size() - plannedSegments_;
  if (free < spareSegments) return false;
  if (plannedOffset_ + need <= options_.segmentBytes) return true;
  return free > spareSegments;
}

bool RaftLog::plan(uint64_t need, bool& newSegment) {
  newSegment = plannedOffset_ + need > options_.segmentBytes;
  return !newSegment || prepared_.size() > plannedSegments_;
}

void RaftLog::push(RecordType type, uint64_t index, uint64_t term, kj::Array<kj::byte> body) {
  RecordHeader header{};
  header.type = type;
  header.sequence = nextSequence_++;
  header.index = index;
  header.term = term;
  uint64_t size = recordBytes(body.size());
  Write write;
  write.header = header;
  write.body = kj::mv(body);
  write.newSegment = type == RecordType::SEGMENT;
  write.segment = plannedSegment_;
  write.offset = plannedOffset_;
  queue_.push_back(kj::mv(write));
  plannedOffset_ += size;
  KJ_ASSERT(plannedOffset_ <= options_.segmentBytes, "a record larger than a segment");
}

void RaftLog::pushSegmentRecord() {
  ++plannedSegments_;
  ++plannedSegment_;
  plannedOffset_ = 0;
  uint64_t last = lastIndex();
  uint64_t term = lastTerm();
  push(RecordType::SEGMENT, last, term,
       encodeSegmentBody(lastConfigurationIndex(), lastConfiguration()));
}

uint64_t RaftLog::lastConfigurationIndex() const {
  return configurations_.empty() ? configurationIndex_ : configurations_.back().index;
}

Bytes RaftLog::lastConfiguration() const {
  return configurations_.empty() ? configuration_.asPtr() : configurations_.back().bytes.asPtr();
}

void RaftLog::forgetConfigurationsAbove(uint64_t index) {
  while (!configurations_.empty() && configurations_.back().index > index) {
    configurations_.pop_back();
  }
}

kj::Promise<Errno> RaftLog::append(kj::Array<LogEntry> entries) {
  checkWorks();
  KJ_REQUIRE(entries.size() > 0);
  // Room for all of them or for none.
  uint64_t offset = plannedOffset_;
  size_t free = prepared_.size() - plannedSegments_;
  uint64_t head = recordBytes(8 + lastConfiguration().size());
  for (auto& entry : entries) {
    uint64_t need = recordBytes(entry.body.size());
    KJ_REQUIRE(head + need <= options_.segmentBytes, "an entry larger than a segment", need);
    if (offset + need > options_.segmentBytes) {
      if (free == 0) return Errno::NO_SPACE;
      --free;
      offset = head;
    }
    offset += need;
  }
  for (auto& entry : entries) {
    bool newSegment;
    KJ_ASSERT(plan(recordBytes(entry.body.size()), newSegment));
    if (newSegment) pushSegmentRecord();
    uint64_t index = lastIndex() + 1;
    uint64_t last = lastTerm();
    KJ_ASSERT(entry.term >= last, "terms never fall", index, entry.term, last);
    entries_.push_back(
        {plannedSegment_, plannedOffset_, entry.term, recordBytes(entry.body.size()), entry.type});
    if (entry.type == RecordType::CHANGE) {
      configurations_.push_back({index, kj::heapArray<kj::byte>(entry.body.asPtr())});
    }
    push(entry.type, index, entry.term, kj::mv(entry.body));
  }
  auto paf = kj::newPromiseAndFulfiller<Errno>();
  queue_.back().done = kj::mv(paf.fulfiller);
  startWriting();
  return kj::mv(paf.promise);
}

Errno RaftLog::truncate(uint64_t from) {
  checkWorks();
  KJ_REQUIRE(from > firstIndex_ || (from == firstIndex_ && firstIndex_ > 1),
             "the log cannot be truncated to nothing", from, firstIndex_);
  if (from > lastIndex()) return Errno::OK;
  bool newSegment;
  if (!plan(recordBytes(0), newSegment)) return Errno::NO_SPACE;
  if (newSegment) pushSegmentRecord();
  while (lastIndex() >= from) entries_.pop_back();
  forgetConfigurationsAbove(from - 1);
  push(RecordType::TRUNCATE, lastIndex(), lastTerm(), nullptr);
  startWriting();
  return Errno::OK;
}

// --- writing ---

void RaftLog::startWriting() {
  if (writing_) return;
  writing_ = true;
  writer_ = kj::Promise<void>(writeAll()).eagerlyEvaluate([this](kj::Exception&& e) {
    writing_ = false;
    fail(kj::mv(e));
  });
}

Task<void> RaftLog::writeAll() {
  while (!queue_.empty()) {
    batch_ = kj::mv(queue_);
    queue_.clear();
    auto done = writeBatch();
    co_await kj::mv(done);
  }
  writing_ = false;
}

Task<void> RaftLog::writeBatch() {
  // The records of one segment go out in one write; one sync covers the batch.
  kj::Vector<kj::byte> buffer;
  uint64_t start = batch_.front().offset;
  for (auto& write : batch_) {
    write.header.synced = synced_;
    write.header.previous = chain_;
    if (write.newSegment) {
      auto flushed = flush(&buffer, start);
      co_await kj::mv(flushed);
      auto begun = beginSegment(&write);
      co_await kj::mv(begun);
      start = recordBytes(write.body.size());
      continue;
    }
    auto bytes = encodeRecord(write.header, write.body, write.segment, write.offset);
    chain_ = write.header.headerSum;
    buffer.addAll(bytes);
    auto& segment = segments_.back();
    if (write.header.type != RecordType::TRUNCATE) {
      segment.indexMax = kj::max(segment.indexMax, write.header.index);
    }
  }
  auto flushed = flush(&buffer, start);
  co_await kj::mv(flushed);
  auto synced = syncLast();
  co_await kj::mv(synced);
  synced_ = batch_.back().header.sequence;
  for (auto& write : batch_) {
    if (write.done.get() != nullptr) write.done->fulfill(Errno(Errno::OK));
  }
  batch_.clear();
}

Task<void> RaftLog::flush(kj::Vector<kj::byte>* buffer, uint64_t offset) {
  if (buffer->empty()) co_return;
  auto& last = segments_.back();
  auto wrote = co_await last.file->write(offset, buffer->asPtr());
  KJ_REQUIRE(wrote == Errno::OK, "cannot write the log", segmentName(segments_.back().number),
             offset, nameOf(wrote));
  buffer->clear();
}

Task<void> RaftLog::syncLast() {
  ++syncs_;
  auto& last = segments_.back();
  auto synced = co_await last.file->sync();
  KJ_REQUIRE(synced == Errno::OK, "cannot sync the log", segmentName(segments_.back().number),
             nameOf(synced));
}

Task<void> RaftLog::beginSegment(Write* write) {
  if (!segments_.empty()) {
    auto synced = syncLast();
    co_await kj::mv(synced);
    synced_ = write->header.sequence - 1;
    write->header.synced = synced_;
  }
  KJ_ASSERT(!prepared_.empty() && plannedSegments_ > 0);
  auto next = kj::mv(prepared_.front());
  prepared_.pop_front();
  --plannedSegments_;
  auto bytes = encodeRecord(write->header, write->body, write->segment, 0);
  auto wrote = co_await next.file->write(0, bytes);
  KJ_REQUIRE(wrote == Errno::OK, "cannot begin a segment of the log", next.name, nameOf(wrote));
  ++syncs_;
  auto synced = co_await next.file->sync();
  KJ_REQUIRE(synced == Errno::OK, "cannot sync a segment of the log", next.name, nameOf(synced));
  auto name = segmentName(write->segment);
  auto renamed = co_await disk_.rename(next.name, name);
  KJ_REQUIRE(renamed == Errno::OK, "cannot name a segment of the log", name, nameOf(renamed));
  auto durable = co_await disk_.syncDirectory(kLogDirectory);
  KJ_REQUIRE(durable == Errno::OK, "cannot sync the log's directory", nameOf(durable));
  chain_ = write->header.headerSum;
  Segment segment;
  segment.number = write->segment;
  segment.file = kj::mv(next.file);
  segment.indexBefore = write->header.index;
  segment.termBefore = write->header.term;
  segment.indexMax = write->header.index;
  segment.configurationIndex = segmentConfigurationIndex(write->body);
  segment.configuration = kj::heapArray(Bytes(write->body).slice(8, write->body.size()));
  segments_.push_back(kj::mv(segment));
  startPreparing();
}

// --- space ---

void RaftLog::startPreparing() {
  if (preparing_ || prepared_.size() >= options_.segmentsAhead) return;
  preparing_ = true;
  preparer_ = kj::Promise<void>(prepare())
                  .catch_([this](kj::Exception&& e) {
                    preparing_ = false;
                    fail(kj::mv(e));
                  })
                  .fork();
}

Task<void> RaftLog::makeRoom() {
  checkWorks();
  startPreparing();
  co_await preparer_.addBranch();
  checkWorks();
}

Task<void> RaftLog::prepare() {
  while (prepared_.size() < options_.segmentsAhead) {
    auto name = preparedName(preparedNames_++);
    auto opened = co_await disk_.open(name, OpenMode::CREATE);
    if (opened.err() == Errno::NO_SPACE) break;
    KJ_REQUIRE(opened.ok(), "cannot prepare a segment of the log", name, nameOf(opened.err()));
    auto file = kj::mv(*opened);
    auto err = co_await file->truncate(0);
    if (err == Errno::OK) err = co_await file->allocate(0, options_.segmentBytes);
    auto zeros = kj::heapArray<kj::byte>(kj::min(kZeroChunk, size_t(options_.segmentBytes)));
    memset(zeros.begin(), 0, zeros.size());
    for (uint64_t at = 0; at < options_.segmentBytes && err == Errno::OK; at += zeros.size()) {
      size_t n = kj::min(zeros.size(), options_.segmentBytes - at);
      err = co_await file->write(at, zeros.slice(0, n));
    }
    if (err == Errno::OK) err = co_await file->sync();
    if (err == Errno::OK) err = co_await disk_.syncDirectory(kLogDirectory);
    if (err == Errno::NO_SPACE) {
      file = nullptr;
      auto removed = co_await disk_.remove(name);
      KJ_REQUIRE(removed == Errno::OK, "cannot remove a file", name, nameOf(removed));
      break;
    }
    KJ_REQUIRE(err == Errno::OK, "cannot prepare a segment of the log", name, nameOf(err));
    prepared_.push_back({kj::mv(name), kj::mv(file)});
  }
  preparing_ = false;
}

Task<void> RaftLog::adoptPrepared() {
  // Files of the last run that were never named. They may hold anything: made anew.
  auto listed = co_await disk_.list(kLogDirectory);
  KJ_REQUIRE(listed.ok(), "cannot list the log's directory", nameOf(listed.err()));
  for (auto& name : *listed) {
    if (segmentNumber(name) != nullptr) continue;
    if (!isPrepared(name)) {
      KJ_LOG(WARNING, "a file in the log's directory is none of ours", name);
      continue;
    }
    auto path = kj::str(kLogDirectory, "/", name);
    auto removed = co_await disk_.remove(path);
    KJ_REQUIRE(removed == Errno::OK, "cannot remove a file", path, nameOf(removed));
  }
  auto room = makeRoom();
  co_await kj::mv(room);
}

Task<void> RaftLog::cut(uint64_t index) {
  if (cutting_ || reads_ > 0) co_return;  // the next one does it
  cutting_ = true;
  KJ_DEFER(cutting_ = false);
  bool removed = false;
  while (segments_.size() > 1 && segments_.front().indexMax <= index && reads_ == 0) {
    // Waiting records lie in the last segment or a later one, so the first one is done with.
    auto gone = kj::mv(segments_.front());
    segments_.pop_front();
    auto& first = segments_.front();
    while (firstIndex_ <= first.indexBefore && !entries_.empty()) {
      termBefore_ = entries_.front().term;
      entries_.pop_front();
      ++firstIndex_;
    }
    termBefore_ = first.termBefore;
    configurationIndex_ = first.configurationIndex;
    configuration_ = kj::heapArray<kj::byte>(first.configuration.asPtr());
    while (!configurations_.empty() && configurations_.front().index < firstIndex_) {
      configurations_.pop_front();
    }
    gone.file = nullptr;
    auto name = segmentName(gone.number);
    auto err = co_await disk_.remove(name);
    KJ_REQUIRE(err == Errno::OK, "cannot remove a segment of the log", name, nameOf(err));
    // One by one: a later segment never disappears before an earlier one.
    auto durable = co_await disk_.syncDirectory(kLogDirectory);
    KJ_REQUIRE(durable == Errno::OK, "cannot sync the log's directory", nameOf(durable));
    removed = true;
  }
  if (removed) {
    auto room = makeRoom();
    co_await kj::mv(room);
  }
}

Task<LogEntry> RaftLog::read(uint64_t index) {
  Entry entry = at(index);
  DiskFile* file = nullptr;
  for (auto& segment : segments_) {
    if (segment.number == entry.segment) file = segment.file.get();
  }
  KJ_REQUIRE(file != nullptr, "the entry is not on the disk yet", index);
  ++reads_;
  KJ_DEFER(--reads_);
  // decodeRecord() wants places as they are in the segment, so the bytes go to their place.
  auto bytes = kj::heapArray<kj::byte>(entry.offset + entry.bytes);
  auto got = co_await file->read(entry.offset, bytes.slice(entry.offset, bytes.size()));
  KJ_REQUIRE(got.ok() && *got == entry.bytes, "cannot read the log", segmentName(entry.segment),
             entry.offset, nameOf(got.err()));
  auto record = decodeRecord(bytes, entry.segment, entry.offset);
  KJ_REQUIRE(record.state == RecordState::GOOD && record.header.index == index &&
                 record.header.term == entry.term,
             "the log is damaged", segmentName(entry.segment), entry.offset, index, record.problem);
  co_return LogEntry{entry.term, entry.type, kj::mv(record.body)};
}

Task<void> RaftLog::create(Disk& disk, RaftLogOptions options, LogEntry configuration) {
  auto made = co_await disk.makeDirectory(kLogDirectory);
  KJ_REQUIRE(made == Errno::OK, "cannot make the log's directory", nameOf(made));
  auto listed = co_await disk.list(kLogDirectory);
  KJ_REQUIRE(listed.ok(), "cannot list the log's directory", nameOf(listed.err()));
  for (auto& name : *listed) {
    KJ_REQUIRE(segmentNumber(name) == nullptr, "there is a log here already", name);
  }
  auto log = kj::heap<RaftLog>(disk, options);
  auto adopted = log->adoptPrepared();
  co_await kj::mv(adopted);
  KJ_REQUIRE(!log->prepared_.empty(), "no space for a log here", options.segmentBytes);
  log->pushSegmentRecord();
  auto entries = kj::heapArrayBuilder<LogEntry>(1);
  entries.add(kj::mv(configuration));
  auto appended = co_await log->append(entries.finish());
  KJ_REQUIRE(appended == Errno::OK, "cannot make a log", nameOf(appended));
  auto prepared = log->preparer_.addBranch();
  co_await kj::mv(prepared);
}

}  // namespace dfs
