#pragma once
// The Replicator: libraft's core, the log, term and vote, and the state machine, put together.
//
// Thread: the loop's. Owner: Server. What it is given (env, kv, applier, transport) outlives it.
// Invariants:
//   1. One coroutine steps the core, and does what a step asks for in the order of L2: term and vote
//      are on the disk before anything else is; entries go to the log; then messages go out; what is
//      committed is applied. The core hears of entries when they are on the disk.
//   2. Commands that arrive while an entry is on its way to the disk go into the next one: a lonely
//      command costs one sync, a hundred at once cost two or three.
//   3. The log is cut only below what the store has committed (Y7).
//   4. After the first failure nothing is answered and nothing more is written (L7).

#include "common/env.h"
#include "common/limits.h"
#include "common/task.h"
#include "nameserver/raft/peer_transport.h"
#include "nameserver/raft/raft_log.h"
#include "nameserver/raft/replicator.h"
#include "nameserver/raft/vote_file.h"

#include <deque>
#include <map>

namespace dfs {

class Applier {
  // What the replicator needs of a state machine.
 public:
  virtual uint64_t appliedIndex() = 0;
  virtual void apply(uint64_t index, uint64_t term, schema::Entry::Reader entry,
                     StateMachine::Answer answer) = 0;
  virtual void skip(uint64_t index, uint64_t term) = 0;
};

class StateMachineApplier final : public Applier {
 public:
  explicit StateMachineApplier(StateMachine& machine) : machine_(machine) {}
  uint64_t appliedIndex() override { return machine_.appliedIndex(); }
  void apply(uint64_t index, uint64_t term, schema::Entry::Reader entry,
             StateMachine::Answer answer) override {
    machine_.apply(index, term, entry, kj::mv(answer));
  }
  void skip(uint64_t index, uint64_t term) override { machine_.skip(index, term); }

 private:
  StateMachine& machine_;
};

struct ReplicatorOptions {
  uint64_t serverId = 1;
  RaftLogOptions log = {};
  size_t commitBytes = 8u << 20;      // the store commits when that much is uncommitted,
  uint64_t commitMs = 1000;           // or this often
  uint64_t reserveBytes = 64u << 20;  // below it only what frees space is admitted (R5)
  size_t entryBytesMax = kEntryBytesMax;
  uint32_t waitingMax = kProposalsWaitingMax;
  uint32_t electionMs = 1000;
  uint32_t heartbeatMs = 100;
};

Task<void> createLog(Env& env, ReplicatorOptions options);
// An empty log of a group of one (N1). Throws a sentence if there is, or was begun, a log already.

class RaftReplicator final : public Replicator {
 public:
  static Task<kj::Own<RaftReplicator>> open(Env& env, Kv& kv, Applier& applier,
                                            ReplicatorOptions options, PeerTransport* transport);
  // Throws a sentence if there is no log, or it is damaged; then nothing was changed. What the log
  // has and the store lacks is applied by the time confirm() resolves. `transport` may be null in a
  // group of one.

  RaftReplicator(Env& env, Kv& kv, Applier& applier, ReplicatorOptions options,
                 PeerTransport* transport, kj::Own<VoteFile> votes, kj::Own<RaftLog> log);
  ~RaftReplicator() noexcept(false);
  KJ_DISALLOW_COPY(RaftReplicator);

  kj::Promise<OutcomeMessage> propose(CommandMessage command) override;
  // Besides what Replicator says: the outcome is NO_SPACE, and nothing was done, if the command
  // needs room and there is less than the reserve.
  kj::Promise<void> confirm() override;
  bool leading() override;
  uint64_t term() override;
  kj::Promise<void> nextTerm() override;
  LogStatus status() override;
  kj::Promise<void> failed() override;
  kj::Promise<void> stop() override;

  uint64_t logSyncs() const { return log_->syncCount(); }

 private:
  struct Proposal {
    CommandMessage command;  // null: only its place in the log matters (confirm() in a group)
    size_t bytes;
    bool needsRoom;
    kj::Own<kj::PromiseFulfiller<OutcomeMessage>> done;
  };
  struct Tail {
    // An entry that is not applied yet.
    uint64_t term;
    RecordType type;
    kj::Array<kj::byte> body;
    kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>> proposals;
  };
  struct Event {
    enum { PERSISTED, TIMEOUT, RECEIVE, CONFIGURED } kind;
    uint64_t index = 0;
    uint64_t term = 0;
    PeerMessage message = {};
    kj::Array<kj::byte> bytes = nullptr;
  };

  // raft_replicator.cc
  void start();
  Task<void> run();
  Task<void> submitEntry(RaftCoreEntry entry);
  Task<void> takeUpdate(RaftCoreUpdate* update);
  void takeEntries(const RaftCoreUpdate& update);
  Task<void> persisted(kj::Promise<Errno> appended, uint64_t index, uint64_t entryTerm);
  Task<void> sendMessages(const RaftCoreUpdate* update);
  Task<void> applyCommitted();
  void applyEntry(uint64_t index, Tail& tail);
  int stepEvent(Event& event, RaftCoreUpdate* update);
  void push(Event event);
  void wake();
  void armTimer();
  void noteState();
  void fail(kj::Exception&& exception);
  void stepFailed(int code);
  uint64_t nowMs() { return env_.clock.bootMs(); }

  // proposals.cc
  bool canSubmit();
  Task<void> submit();
  Task<void> refuseWithoutRoom();
  void rejectWaiting(kj::Exception exception);
  void rejectInFlight(kj::Exception exception);
  kj::Promise<OutcomeMessage> enqueue(CommandMessage command, size_t bytes, bool needsRoom);
  bool belowReserve();
  kj::Array<kj::byte> takeBatch(
      kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>>* proposals);

  // store_commit.cc
  Task<void> commitRegularly();
  Task<void> commitStore();
  void maybeCommit();

  Env& env_;
  Kv& kv_;
  Applier& applier_;
  const ReplicatorOptions options_;
  PeerTransport* const transport_;
  kj::Own<VoteFile> votes_;
  RaftCore* core_;

  std::deque<Event> events_;
  std::deque<Proposal> waiting_;
  size_t roomNeeded_ = 0;  // of waiting_, how many need room
  std::map<uint64_t, Tail> tail_;
  std::deque<kj::Vector<kj::Own<kj::PromiseFulfiller<OutcomeMessage>>>> submitted_;
  // Of the step under way: who waits for each of its entries.

  uint64_t applied_;
  uint64_t durable_;           // of the store
  uint64_t persisting_ = 0;    // appends to the log that are under way
  uint64_t leadTerm_ = 0;      // 0: does not lead
  uint64_t ownTermIndex_ = 0;  // an applied entry of that term, or 0
  bool stopping_ = false;
  bool idle_ = false;
  kj::Maybe<kj::Exception> failure_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> wakeUp_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> quiet_;  // stop() waits for the tail
  kj::Vector<kj::Own<kj::PromiseFulfiller<void>>> confirms_;
  kj::Own<kj::PromiseFulfiller<void>> failFulfiller_;
  kj::ForkedPromise<void> failed_;
  kj::Own<kj::PromiseFulfiller<void>> termFulfiller_;
  kj::ForkedPromise<void> termChange_;
  uint64_t spaceAskedMs_ = 0;
  bool spaceLow_ = false;

  kj::Own<RaftLog> log_;  // before what waits for it, so that it goes after
  kj::ForkedPromise<void> commit_ = kj::Promise<void>(kj::READY_NOW).fork();
  bool committing_ = false;
  kj::Promise<void> timer_ = kj::READY_NOW;
  kj::Promise<void> commits_ = kj::READY_NOW;
  kj::Promise<void> runs_ = kj::READY_NOW;
  kj::Own<kj::TaskSet::ErrorHandler> onTaskFailed_;
  kj::Own<kj::TaskSet> tasks_;
};

}  // namespace dfs
