// RaftReplicator's way in: admission, batches, and what happens without room.

#include "nameserver/raft/commands_that_free.h"
#include "nameserver/raft/raft_replicator.h"

#include <capnp/serialize.h>

#include <kj/debug.h>

namespace dfs {
namespace {

constexpr uint64_t kSpaceFreshMs = 100;
constexpr size_t kEntryOverhead = 64;

OutcomeMessage refusal(Errno err) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  message->initRoot<schema::Outcome>().setErr(err);
  return message;
}

}  // namespace

kj::Promise<OutcomeMessage> RaftReplicator::propose(CommandMessage command) {
  auto reader = command->getRoot<schema::Command>().asReader();
  size_t bytes = (reader.totalSize().wordCount + 4) * sizeof(capnp::word);
  bool needsRoom = !freesSpace(reader);
  KJ_REQUIRE(bytes + kEntryOverhead <= options_.entryBytesMax, "a command that fits no entry",
             bytes);
  return enqueue(kj::mv(command), bytes, needsRoom);
}

kj::Promise<OutcomeMessage> RaftReplicator::enqueue(CommandMessage command, size_t bytes,
                                                    bool needsRoom) {
  if (failure_ != nullptr || stopping_ || leadTerm_ == 0) {
    return KJ_EXCEPTION(DISCONNECTED, "this name server does not lead");
  }
  if (waiting_.size() >= options_.waitingMax) {
    return KJ_EXCEPTION(OVERLOADED, "too many commands wait for the log");
  }
  if (needsRoom && belowReserve()) return refusal(Errno::NO_SPACE);
  auto paf = kj::newPromiseAndFulfiller<OutcomeMessage>();
  waiting_.push_back({kj::mv(command), bytes, needsRoom, kj::mv(paf.fulfiller)});
  if (needsRoom) ++roomNeeded_;
  wake();
  return kj::mv(paf.promise);
}

bool RaftReplicator::belowReserve() {
  uint64_t now = nowMs();
  if (spaceAskedMs_ == 0 || now >= spaceAskedMs_ + kSpaceFreshMs) {
    spaceAskedMs_ = now;
    auto space = env_.disk.space();
    KJ_REQUIRE(space.ok(), "cannot ask for the free space", nameOf(space.err()));
    bool low = space->freeBytes < options_.reserveBytes;
    if (low != spaceLow_) {
      KJ_LOG(WARNING, "free space is below the reserve, or back above it", low, space->freeBytes);
    }
    spaceLow_ = low;
  }
  return spaceLow_;
}

bool RaftReplicator::canSubmit() {
  return !waiting_.empty() && leadTerm_ != 0 && persisting_ == 0 &&
         tail_.size() < kUncommittedEntriesMax;
}

Task<void> RaftReplicator::submit() {
  // One spare segment stays for what frees space.
  if (roomNeeded_ > 0 && !log_->hasRoom(options_.entryBytesMax, 1)) {
    auto refused = refuseWithoutRoom();
    co_await kj::mv(refused);
    if (waiting_.empty()) co_return;
  }
  if (!log_->hasRoom(options_.entryBytesMax, 0)) {
    auto tried = log_->makeRoom();
    co_await kj::mv(tried);
    if (!log_->hasRoom(options_.entryBytesMax, 0)) {
      while (!waiting_.empty()) {
        waiting_.front().done->fulfill(refusal(Errno::NO_SPACE));
        waiting_.pop_front();
      }
      roomNeeded_ = 0;
      co_return;
    }
  }
  if (!canSubmit()) co_return;  // asked again after the waits
  kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>> proposals;
  auto body = takeBatch(&proposals);
  submitted_.clear();
  submitted_.push_back(kj::mv(proposals));
  RaftCoreEntry entry{leadTerm_, RAFT_CORE_COMMAND, body.begin(), body.size()};
  auto done = submitEntry(entry);
  co_await kj::mv(done);
}

Task<void> RaftReplicator::refuseWithoutRoom() {
  auto tried = log_->makeRoom();
  co_await kj::mv(tried);
  if (log_->hasRoom(options_.entryBytesMax, 1)) co_return;
  std::deque<Proposal> kept;
  for (auto& p : waiting_) {
    if (p.needsRoom) {
      p.done->fulfill(refusal(Errno::NO_SPACE));
    } else {
      kept.push_back(kj::mv(p));
    }
  }
  waiting_ = kj::mv(kept);
  roomNeeded_ = 0;
}

kj::Array<kj::byte> RaftReplicator::takeBatch(
    kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>>* proposals) {
  // As many as fit into one entry, in order. confirm()'s places add no command; they go behind.
  size_t bytes = kEntryOverhead;
  kj::Vector<CommandMessage> commands;
  kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>> places;
  while (!waiting_.empty() && bytes + waiting_.front().bytes <= options_.entryBytesMax) {
    auto p = kj::mv(waiting_.front());
    waiting_.pop_front();
    bytes += p.bytes;
    if (p.needsRoom) --roomNeeded_;
    if (p.command.get() == nullptr) {
      places.add(kj::mv(p.done));
    } else {
      commands.add(kj::mv(p.command));
      proposals->add(kj::mv(p.done));
    }
  }
  for (auto& place : places) proposals->add(kj::mv(place));
  capnp::MallocMessageBuilder message(static_cast<uint32_t>(bytes / sizeof(capnp::word) + 8));
  auto list =
      message.initRoot<schema::Entry>().initCommands(static_cast<uint32_t>(commands.size()));
  for (uint32_t i = 0; i < commands.size(); ++i) {
    list.setWithCaveats(i, commands[i]->getRoot<schema::Command>().asReader());
  }
  auto words = capnp::messageToFlatArray(message);
  return kj::heapArray<kj::byte>(words.asBytes());
}

kj::Promise<void> RaftReplicator::confirm() {
  if (failure_ != nullptr || stopping_ || leadTerm_ == 0) {
    return KJ_EXCEPTION(DISCONNECTED, "this name server does not lead");
  }
  if (raftCoreVoters(core_) > 1) {
    // A place in the log behind everything committed before: applied, it proves both.
    return enqueue(CommandMessage(), 0, false).ignoreResult();
  }
  // Nobody else can have led. What was committed before the call has been applied, but for the time
  // before the first entry of this term.
  if (ownTermIndex_ != 0) return kj::READY_NOW;
  auto paf = kj::newPromiseAndFulfiller<void>();
  confirms_.add(kj::mv(paf.fulfiller));
  return kj::mv(paf.promise);
}

void RaftReplicator::rejectWaiting(kj::Exception exception) {
  for (auto& p : waiting_) p.done->reject(kj::cp(exception));
  waiting_.clear();
  roomNeeded_ = 0;
  for (auto& c : confirms_) c->reject(kj::cp(exception));
  confirms_.clear();
}

void RaftReplicator::rejectInFlight(kj::Exception exception) {
  for (auto& [index, tail] : tail_) {
    for (auto& p : tail.proposals) p->reject(kj::cp(exception));
    tail.proposals.clear();
  }
}

}  // namespace dfs
