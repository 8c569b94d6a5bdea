#include "nameserver/raft/raft_replicator.h"

#include <capnp/serialize.h>

#include <kj/debug.h>

#include <cstring>

namespace dfs {
namespace {

class TaskErrors final : public kj::TaskSet::ErrorHandler {
 public:
  explicit TaskErrors(kj::Function<void(kj::Exception&&)> handle) : handle_(kj::mv(handle)) {}
  void taskFailed(kj::Exception&& exception) override { handle_(kj::mv(exception)); }

 private:
  kj::Function<void(kj::Exception&&)> handle_;
};

capnp::ReaderOptions readerOptions() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 64 * kEntryBytesMax / sizeof(capnp::word);
  return options;
}

}  // namespace

Task<void> createLog(Env& env, ReplicatorOptions options) {
  auto votes = co_await VoteFile::open(env.disk);
  KJ_REQUIRE(votes == nullptr,
             "there is a cluster here already; --create makes a new one in an "
             "empty directory only");
  kj::byte configuration[512];
  uint64_t ids[] = {options.serverId};
  auto name = kj::str(options.serverId);
  const char* addresses[] = {name.cStr()};
  size_t bytes =
      raftCoreEncodeConfiguration(ids, addresses, 1, configuration, sizeof configuration);
  KJ_REQUIRE(bytes > 0, "not a configuration", options.serverId);
  LogEntry first{1, RecordType::CHANGE, kj::heapArray<kj::byte>(configuration, bytes)};
  // The log first: without the file of term and vote it is no cluster, and nobody used it.
  auto made = RaftLog::create(env.disk, options.log, kj::mv(first));
  co_await kj::mv(made);
  auto voted = VoteFile::create(env.disk, VoteFile::Vote{options.serverId, 1, 0});
  co_await kj::mv(voted);
  auto synced = co_await env.disk.syncDirectory("");
  KJ_REQUIRE(synced == Errno::OK, "cannot sync the data directory", nameOf(synced));
}

Task<kj::Own<RaftReplicator>> RaftReplicator::open(Env& env, Kv& kv, Applier& applier,
                                                   ReplicatorOptions options,
                                                   PeerTransport* transport) {
  auto opened = co_await VoteFile::open(env.disk);
  kj::Own<VoteFile> votes;
  KJ_IF_MAYBE(v, opened) {
    votes = kj::mv(*v);
  }
  if (votes.get() == nullptr) {
    auto listed = co_await env.disk.list("log");
    KJ_REQUIRE(!listed.ok() || listed->size() == 0,
               "the log has no file of term and vote beside it: it was lost, or --create did not "
               "finish. Nothing was changed");
    KJ_FAIL_REQUIRE("no cluster here; dfs-nameserver --create makes one");
  }
  auto found = co_await RaftLog::open(env.disk, options.log, applier.appliedIndex());
  kj::Own<RaftLog> log;
  KJ_IF_MAYBE(l, found) {
    log = kj::mv(*l);
  }
  KJ_REQUIRE(log.get() != nullptr,
             "the file of term and vote is here, but the log is gone. Nothing was changed");
  auto& vote = votes->vote();
  KJ_REQUIRE(vote.server == options.serverId, "this is another server's directory", vote.server,
             options.serverId);
  uint64_t lastTerm = log->lastTerm();
  KJ_REQUIRE(vote.term >= lastTerm,
             "the file of term and vote is older than the log: it was damaged or put back. Nothing "
             "was changed",
             vote.term, lastTerm);

  auto replicator =
      kj::heap<RaftReplicator>(env, kv, applier, options, transport, kj::mv(votes), kj::mv(log));
  // Bodies are needed of configurations only.
  auto& r = *replicator;
  auto& l = *r.log_;
  kj::Vector<kj::Array<kj::byte>> bodies;
  kj::Vector<RaftCoreEntry> entries;
  for (uint64_t i = l.firstIndex(); i <= l.lastIndex(); ++i) {
    RaftCoreEntry entry{l.termOf(i), static_cast<uint32_t>(l.typeOf(i)), nullptr, 0};
    if (l.typeOf(i) == RecordType::CHANGE) {
      auto read = co_await l.read(i);
      entry.data = read.body.begin();
      entry.bytes = read.body.size();
      bodies.add(kj::mv(read.body));
    }
    entries.add(entry);
  }
  RaftCoreCut cut{l.firstIndex() - 1, l.termBefore(), l.configurationIndex(),
                  l.configuration().begin(), l.configuration().size()};
  unsigned voters = raftCoreVotersIn(l.lastConfiguration().begin(), l.lastConfiguration().size());
  KJ_REQUIRE(voters > 0, "the log has no configuration of its group. Nothing was changed");
  KJ_REQUIRE(transport != nullptr || voters == 1,
             "the log is of a group of name servers, and this one has no way to reach the others");
  auto settled = r.votes_->settle();
  co_await kj::mv(settled);
  if (voters == 1) {
    // libraft lets a lone voter lead in the term that it led in before. Ours is a new one with each
    // start: others tell leaderships apart by it.
    auto raised = r.votes_->write(r.votes_->vote().term + 1, 0);
    co_await kj::mv(raised);
  }
  RaftCoreUpdate update;
  int code = raftCoreStart(r.core_, r.nowMs(), r.votes_->vote().term, r.votes_->vote().votedFor,
                           l.firstIndex() > 1 ? &cut : nullptr, l.firstIndex(), entries.begin(),
                           static_cast<unsigned>(entries.size()), &update);
  KJ_DEFER(raftCoreUpdateFree(&update));
  if (code != RAFT_CORE_OK) r.stepFailed(code);
  auto taken = r.takeUpdate(&update);
  co_await kj::mv(taken);
  r.start();
  co_return kj::mv(replicator);
}

RaftReplicator::RaftReplicator(Env& env, Kv& kv, Applier& applier, ReplicatorOptions options,
                               PeerTransport* transport, kj::Own<VoteFile> votes,
                               kj::Own<RaftLog> log)
    : env_(env),
      kv_(kv),
      applier_(applier),
      options_(options),
      transport_(transport),
      votes_(kj::mv(votes)),
      applied_(applier.appliedIndex()),
      durable_(applied_),
      failed_(nullptr),
      termChange_(nullptr),
      log_(kj::mv(log)) {
  auto failPaf = kj::newPromiseAndFulfiller<void>();
  failFulfiller_ = kj::mv(failPaf.fulfiller);
  failed_ = failPaf.promise.fork();
  auto termPaf = kj::newPromiseAndFulfiller<void>();
  termFulfiller_ = kj::mv(termPaf.fulfiller);
  termChange_ = termPaf.promise.fork();
  onTaskFailed_ = kj::heap<TaskErrors>([this](kj::Exception&& e) { fail(kj::mv(e)); });
  tasks_ = kj::heap<kj::TaskSet>(*onTaskFailed_);

  auto address = kj::str(options.serverId);
  RaftCoreOptions core{
      options.serverId,   address.cStr(),      static_cast<uint32_t>(env.random.next() | 1),
      options.electionMs, options.heartbeatMs, 64};
  core_ = raftCoreNew(&core);
  KJ_REQUIRE(core_ != nullptr, "no memory");
  raftCoreApplied(core_, applied_);
}

RaftReplicator::~RaftReplicator() noexcept(false) {
  tasks_ = nullptr;  // what may call us goes first
  runs_ = nullptr;
  commits_ = nullptr;
  timer_ = nullptr;
  commit_ = nullptr;
  raftCoreFree(core_);
}

void RaftReplicator::start() {
  if (transport_ != nullptr) {
    transport_->onMessage([this](PeerMessage message) {
      Event event{Event::RECEIVE};
      event.message = kj::mv(message);
      push(kj::mv(event));
    });
  }
  runs_ = kj::Promise<void>(run()).eagerlyEvaluate([this](kj::Exception&& e) { fail(kj::mv(e)); });
  commits_ = kj::Promise<void>(commitRegularly()).eagerlyEvaluate([this](kj::Exception&& e) {
    fail(kj::mv(e));
  });
}

// --- the loop that steps the core ---

void RaftReplicator::push(Event event) {
  events_.push_back(kj::mv(event));
  wake();
}

void RaftReplicator::wake() {
  KJ_IF_MAYBE(w, wakeUp_) {
    auto fulfiller = kj::mv(*w);
    wakeUp_ = nullptr;
    fulfiller->fulfill();
  }
}

Task<void> RaftReplicator::run() {
  armTimer();
  while (failure_ == nullptr) {
    if (leadTerm_ != 0 && log_->lastTerm() < leadTerm_) {
      // libraft makes no entry of the new term when a lone voter elects itself; without one nothing
      // older counts as committed (Raft, 5.4.2).
      RaftCoreEntry barrier{leadTerm_, RAFT_CORE_BARRIER, "\0\0\0\0\0\0\0", 8};
      auto done = submitEntry(barrier);
      co_await kj::mv(done);
    } else if (!events_.empty()) {
      Event event = kj::mv(events_.front());
      events_.pop_front();
      RaftCoreUpdate update;
      int code = stepEvent(event, &update);
      KJ_DEFER(raftCoreUpdateFree(&update));
      if (code != RAFT_CORE_OK) stepFailed(code);
      auto taken = takeUpdate(&update);
      co_await kj::mv(taken);
    } else if (canSubmit()) {
      auto submitted = submit();
      co_await kj::mv(submitted);
    } else {
      auto paf = kj::newPromiseAndFulfiller<void>();
      wakeUp_ = kj::mv(paf.fulfiller);
      co_await kj::mv(paf.promise);
    }
  }
}

Task<void> RaftReplicator::submitEntry(RaftCoreEntry entry) {
  // The entry's bytes are copied before this waits.
  RaftCoreUpdate update;
  int code = raftCoreSubmit(core_, nowMs(), &entry, 1, &update);
  KJ_DEFER(raftCoreUpdateFree(&update));
  if (code != RAFT_CORE_OK) stepFailed(code);
  auto taken = takeUpdate(&update);
  co_await kj::mv(taken);
}

int RaftReplicator::stepEvent(Event& event, RaftCoreUpdate* update) {
  memset(update, 0, sizeof *update);
  switch (event.kind) {
    case Event::PERSISTED: {
      // Only what is still in the log counts (L2).
      bool there = event.index >= log_->firstIndex() && event.index <= log_->lastIndex() &&
                   log_->termOf(event.index) == event.term;
      if (!there) return RAFT_CORE_OK;
      return raftCorePersisted(core_, nowMs(), event.index, update);
    }
    case Event::TIMEOUT:
      return raftCoreTimeout(core_, nowMs(), update);
    case Event::CONFIGURED:
      return raftCoreConfigured(core_, nowMs(), event.index, event.bytes.begin(),
                                event.bytes.size(), update);
    case Event::RECEIVE: {
      auto& m = event.message;
      kj::Vector<RaftCoreEntry> entries;
      for (auto& e : m.entries) {
        entries.add(RaftCoreEntry{e.term, e.type, e.body.begin(), e.body.size()});
      }
      m.fields.entries = entries.begin();
      m.fields.entryCount = static_cast<unsigned>(entries.size());
      return raftCoreReceive(core_, nowMs(), &m.fields, update);
    }
  }
  KJ_UNREACHABLE;
}

void RaftReplicator::stepFailed(int code) {
  kj::throwFatalException(
      KJ_EXCEPTION(FAILED, "the consensus engine failed", raftCoreProblem(core_, code), code));
}

Task<void> RaftReplicator::takeUpdate(RaftCoreUpdate* update) {
  if (update->termOrVote) {
    auto written = votes_->write(raftCoreTerm(core_), raftCoreVote(core_));
    co_await kj::mv(written);
  }
  if (update->entriesChanged) takeEntries(*update);
  if (update->messageCount > 0) {
    auto sent = sendMessages(update);
    co_await kj::mv(sent);
  }
  noteState();
  if (applied_ < raftCoreCommitIndex(core_)) {
    auto done = applyCommitted();
    co_await kj::mv(done);
  }
  if (update->timeoutMoved) armTimer();
}

void RaftReplicator::takeEntries(const RaftCoreUpdate& update) {
  if (update.entriesIndex <= log_->lastIndex()) {
    KJ_ASSERT(update.entriesIndex > applied_, "an applied entry would be replaced");
    auto cutOff = tail_.lower_bound(update.entriesIndex);
    for (auto it = cutOff; it != tail_.end(); ++it) {
      for (auto& p : it->second.proposals) {
        p->reject(KJ_EXCEPTION(DISCONNECTED, "another name server leads and has replaced this"));
      }
    }
    tail_.erase(cutOff, tail_.end());
    auto err = log_->truncate(update.entriesIndex);
    KJ_REQUIRE(err == Errno::OK, "cannot truncate the log", nameOf(err));
  }
  if (update.entryCount == 0) return;
  KJ_ASSERT(update.entriesIndex == log_->lastIndex() + 1, "a gap in the log");
  auto entries = kj::heapArrayBuilder<LogEntry>(update.entryCount);
  for (unsigned i = 0; i < update.entryCount; ++i) {
    auto& e = update.entries[i];
    auto body = kj::heapArray<kj::byte>(static_cast<const kj::byte*>(e.data), e.bytes);
    Tail tail{e.term, static_cast<RecordType>(e.type), kj::heapArray<kj::byte>(body.asPtr()), {}};
    if (!submitted_.empty()) {
      tail.proposals = kj::mv(submitted_.front());
      submitted_.pop_front();
    }
    tail_.insert(std::make_pair(update.entriesIndex + i, kj::mv(tail)));
    entries.add(LogEntry{e.term, static_cast<RecordType>(e.type), kj::mv(body)});
  }
  uint64_t last = update.entriesIndex + update.entryCount - 1;
  uint64_t lastTerm = update.entries[update.entryCount - 1].term;
  ++persisting_;
  tasks_->add(persisted(log_->append(entries.finish()), last, lastTerm));
}

Task<void> RaftReplicator::persisted(kj::Promise<Errno> appended, uint64_t index,
                                     uint64_t entryTerm) {
  auto err = co_await kj::mv(appended);
  KJ_REQUIRE(err == Errno::OK, "no room in the log for what the group has decided", nameOf(err));
  --persisting_;
  Event event{Event::PERSISTED};
  event.index = index;
  event.term = entryTerm;
  push(kj::mv(event));
}

Task<void> RaftReplicator::sendMessages(const RaftCoreUpdate* update) {
  for (unsigned i = 0; i < update->messageCount; ++i) {
    auto& fields = update->messages[i];
    KJ_REQUIRE(transport_ != nullptr, "a message to a peer in a group of one", fields.peer);
    if (fields.type == RAFT_CORE_INSTALL_SNAPSHOT) {
      KJ_LOG(ERROR, "a name server is too far behind to be refilled from the log", fields.peer);
      continue;
    }
    PeerMessage message;
    message.fields = fields;
    if (fields.type == RAFT_CORE_APPEND && fields.entryCount > 0) {
      // libraft names the entries only; the bodies are ours to fill in.
      auto entries = kj::heapArrayBuilder<PeerEntry>(fields.entryCount);
      for (uint64_t n = fields.index + 1; n <= fields.index + fields.entryCount; ++n) {
        auto found = tail_.find(n);
        if (found != tail_.end()) {
          auto& tail = found->second;
          entries.add(PeerEntry{tail.term, static_cast<uint32_t>(tail.type),
                                kj::heapArray<kj::byte>(tail.body.asPtr())});
        } else {
          auto entry = co_await log_->read(n);
          entries.add(PeerEntry{entry.term, static_cast<uint32_t>(entry.type), kj::mv(entry.body)});
        }
      }
      message.entries = entries.finish();
    }
    transport_->send(kj::mv(message));
  }
}

// --- applying ---

Task<void> RaftReplicator::applyCommitted() {
  uint64_t commit = raftCoreCommitIndex(core_);
  while (applied_ < commit) {
    uint64_t index = applied_ + 1;
    auto found = tail_.find(index);
    if (found == tail_.end()) {
      auto entry = co_await log_->read(index);
      Tail tail{entry.term, entry.type, kj::mv(entry.body), {}};
      applyEntry(index, tail);
    } else {
      auto tail = kj::mv(found->second);
      tail_.erase(found);
      applyEntry(index, tail);
    }
    maybeCommit();
  }
  if (leadTerm_ != 0 && ownTermIndex_ != 0) {
    for (auto& c : confirms_) c->fulfill();
    confirms_.clear();
  }
  if (tail_.empty() && waiting_.empty()) {
    KJ_IF_MAYBE(q, quiet_) (*q)->fulfill();
  }
}

void RaftReplicator::applyEntry(uint64_t index, Tail& tail) {
  switch (tail.type) {
    case RecordType::COMMAND: {
      KJ_REQUIRE(tail.body.size() % sizeof(capnp::word) == 0, "an entry of no whole words", index);
      auto words = kj::heapArray<capnp::word>(tail.body.size() / sizeof(capnp::word));
      if (tail.body.size() > 0) memcpy(words.begin(), tail.body.begin(), tail.body.size());
      capnp::FlatArrayMessageReader reader(words, readerOptions());
      uint32_t answered = 0;
      applier_.apply(index, tail.term, reader.getRoot<schema::Entry>(),
                     [&](uint32_t command, schema::Outcome::Reader outcome) {
                       ++answered;
                       if (tail.proposals.empty()) return;  // another run's, or another server's
                       KJ_ASSERT(command < tail.proposals.size());
                       auto message = kj::heap<capnp::MallocMessageBuilder>();
                       message->setRoot(outcome);
                       tail.proposals[command]->fulfill(kj::mv(message));
                     });
      if (answered < tail.proposals.size()) {
        // Those of confirm() stand behind the commands.
        for (auto& p : tail.proposals) {
          if (p->isWaiting()) p->fulfill(kj::heap<capnp::MallocMessageBuilder>());
        }
      }
      break;
    }
    case RecordType::CHANGE:
      applier_.skip(index, tail.term);
      if (index > 1) {
        Event event{Event::CONFIGURED};
        event.index = index;
        event.bytes = kj::mv(tail.body);
        push(kj::mv(event));
      }
      break;
    default:
      applier_.skip(index, tail.term);
  }
  applied_ = index;
  raftCoreApplied(core_, index);
  if (leadTerm_ != 0 && tail.term == leadTerm_ && ownTermIndex_ == 0) ownTermIndex_ = index;
}

// --- state ---

void RaftReplicator::noteState() {
  uint64_t lead = raftCoreLeads(core_) ? raftCoreTerm(core_) : 0;
  if (lead == leadTerm_) return;
  bool lost = leadTerm_ != 0;
  leadTerm_ = lead;
  ownTermIndex_ = 0;
  if (lost) {
    rejectWaiting(KJ_EXCEPTION(DISCONNECTED, "this name server no longer leads"));
    rejectInFlight(KJ_EXCEPTION(DISCONNECTED, "this name server no longer leads"));
  }
  auto paf = kj::newPromiseAndFulfiller<void>();
  auto old = kj::mv(termFulfiller_);
  termFulfiller_ = kj::mv(paf.fulfiller);
  termChange_ = paf.promise.fork();
  old->fulfill();
}

void RaftReplicator::armTimer() {
  uint64_t at = raftCoreTimeoutMs(core_);
  uint64_t now = nowMs();
  uint64_t ms = at > now ? at - now : 1;
  timer_ = env_.clock.timer()
               .afterDelay(ms * kj::MILLISECONDS)
               .then([this]() { push(Event{Event::TIMEOUT}); })
               .eagerlyEvaluate([this](kj::Exception&& e) { fail(kj::mv(e)); });
}

void RaftReplicator::fail(kj::Exception&& exception) {
  if (failure_ != nullptr) return;
  KJ_LOG(ERROR, "the name server's log or store failed, and this process must end", exception);
  failure_ = kj::cp(exception);
  leadTerm_ = 0;
  auto gone = KJ_EXCEPTION(DISCONNECTED, "this name server has failed");
  rejectWaiting(kj::cp(gone));
  rejectInFlight(kj::cp(gone));
  KJ_IF_MAYBE(q, quiet_) (*q)->reject(kj::cp(exception));
  failFulfiller_->reject(kj::mv(exception));
  wake();
}

bool RaftReplicator::leading() {
  return leadTerm_ != 0;
}
uint64_t RaftReplicator::term() {
  return raftCoreTerm(core_);
}
kj::Promise<void> RaftReplicator::nextTerm() {
  return termChange_.addBranch();
}
kj::Promise<void> RaftReplicator::failed() {
  return failed_.addBranch();
}

LogStatus RaftReplicator::status() {
  return {raftCoreTerm(core_),
          leading(),
          log_->lastIndex(),
          raftCoreCommitIndex(core_),
          applied_,
          durable_,
          log_->bytes()};
}

}  // namespace dfs
