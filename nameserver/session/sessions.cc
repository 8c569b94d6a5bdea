#include "nameserver/session/sessions.h"

#include "common/retry.h"
#include "nameserver/session/session_server.h"

namespace dfs {
namespace {

constexpr uint64_t kTickMs = 250;
constexpr uint64_t kViewToldMs = 50;
constexpr size_t kTextBytesMax = 256;

kj::Exception gone(kj::StringPtr why) {
  return KJ_EXCEPTION(DISCONNECTED, why);
}

}  // namespace

Sessions::Sessions(Env& env, Queries& queries, Replicator& replicator, Cluster& cluster)
    : env_(env),
      queries_(queries),
      replicator_(replicator),
      cluster_(cluster),
      term_(replicator.term()),
      startMs_(env.clock.bootMs()),
      link_(kj::refcounted<Link>(*this)),
      stamper_(env.clock),
      leases_(env, *this, (term_ << 32) + 1),
      versions_(term_),
      attaches_(term_ << 32),
      failed_(nullptr),
      tasks_(*this) {
  auto pair = kj::newPromiseAndFulfiller<void>();
  failFulfiller_ = kj::mv(pair.fulfiller);
  failed_ = pair.promise.fork();
  for (auto& info : queries_.sessions()) {
    live_[info.id] = kj::heap<Live>(info.id, info.host, info.what, startMs_);
    unclaimed_.insert(info.id);
  }
  if (unclaimed_.empty()) {
    serving_.open();
  } else {
    KJ_LOG(INFO, "sessions have to claim what they hold before anything is served",
           unclaimed_.size());
    cluster_.pauseReclaim(true);
  }
  tasks_.add(tickForever());
  tasks_.add(tellView());
  tasks_.add(reapForever());
}

Sessions::~Sessions() noexcept(false) {
  link_->sessions = nullptr;
  for (auto& [id, live] : live_) live->canceler->cancel(gone("the name server stops"));
  calls_.cancel(gone("the name server stops"));
}

void Sessions::taskFailed(kj::Exception&& exception) {
  // What lost the leadership with its replicator is over anyway; the rest must not be passed over.
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) return;
  KJ_LOG(ERROR, "the session layer failed", exception);
  failFulfiller_->reject(kj::mv(exception));
}

// --- finding the caller ---

Sessions::Live* Sessions::find(SessionId id) {
  auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second.get();
}

Sessions::Live& Sessions::current(CallOrigin caller) {
  auto live = find(caller.session);
  if (live == nullptr || live->ending || live->attach != caller.attach) {
    kj::throwFatalException(gone("the session goes on elsewhere, or has ended"));
  }
  return *live;
}

bool Sessions::silent(const Live& live) {
  return now() - live.heardMs > kSessionPeriodMs;
}

void Sessions::detach(Live& live, kj::StringPtr why) {
  live.callback = nullptr;
  live.connection = 0;
  leases_.detached(live.id);
  live.canceler->cancel(gone(why));
}

void Sessions::connectionGone(uint64_t connection) {
  for (auto& [id, live] : live_) {
    if (live->connection == connection) detach(*live, "the connection has gone");
  }
}

// --- attach ---

Task<Errno> Sessions::startSession(SessionId id, std::string host, std::string what) {
  auto command = stamper_.own();
  auto start = command->getRoot<schema::Command>().getDo().initStartSession();
  start.setId(id.value);
  start.setHost(host.c_str());
  start.setWhat(what.c_str());
  auto outcome = co_await replicator_.propose(kj::mv(command));
  auto err = outcome->getRoot<schema::Outcome>().getErr();
  if (err != Errno::OK) co_return err;
  cluster_.viewMayHaveChanged();
  if (find(id) == nullptr) {
    live_[id] = kj::heap<Live>(id, kj::mv(host), kj::mv(what), now());
    live_[id]->claimed->open();
    KJ_LOG(INFO, "a session began", id, live_[id]->host.c_str(), live_[id]->what.c_str());
  }
  co_return Errno::OK;
}

Task<void> Sessions::attach(uint64_t connection, AttachContext context) {
  auto params = context.getParams();
  auto results = context.getResults();
  SessionId id(params.getSession());
  auto heardMs = now();
  if (!id || params.getHost().size() > kTextBytesMax || params.getWhat().size() > kTextBytesMax) {
    results.setErr(Errno::INVAL);
    co_return;
  }
  if (!replicator_.leading()) {
    results.setErr(Errno::NOT_LEADER);
    co_return;
  }
  auto live = find(id);
  bool born = live == nullptr && params.getFresh();
  if (born) {
    auto err = co_await startSession(id, params.getHost().cStr(), params.getWhat().cStr());
    if (err != Errno::OK) {
      results.setErr(err);
      co_return;
    }
  } else if (live != nullptr && live->ending) {
    co_await live->ended->wait();  // S1
  }
  co_await replicator_.confirm();
  live = find(id);
  if (live == nullptr || live->ending) {
    results.setErr(Errno::STALE);
    co_return;
  }

  detach(*live, "the session has attached again");
  live->heardMs = heardMs;
  live->attach = ++attaches_;
  live->connection = connection;
  live->callback = params.getCallback();
  live->canceler = kj::heap<kj::Canceler>();
  live->claiming.clear();
  live->claimingPins.clear();
  live->claimingLocks.clear();
  if (!born) live->claimed = kj::heap<Gate>();
  results.setErr(Errno::OK);
  results.setAttach(live->attach);
  results.setSession(kj::heap<SessionServer>(kj::addRef(*link_), CallOrigin{id, live->attach}));
  results.setLeaseMs(kSessionLeaseMs);
  results.setClaimsWanted(!born);
  KJ_IF_MAYBE(info, queries_.session(id)) {
    results.setLastSequence(info->lastSequence);
  }
  KJ_IF_MAYBE(cluster, queries_.cluster()) {
    toWire(cluster->uuid, results.initCluster());
  }
  results.setView(queries_.viewVersion());
}

Task<void> Sessions::claim(
    CallOrigin caller, Ctx<schema::Session::ClaimParams, schema::Session::ClaimResults> context) {
  auto claims = context.getParams().getLeases();
  auto locks = context.getParams().getLocks();
  if (claims.size() + locks.size() > kClaimsPerCallMax) {
    context.getResults().setErr(Errno::INVAL);
    co_return;
  }
  co_await replicator_.confirm();
  auto& live = current(caller);
  if (!addClaims(live, locks)) {
    context.getResults().setErr(Errno::INVAL);
    co_return;
  }
  for (auto claim : claims) {
    InodeId ino(claim.getIno());
    if (claim.getPinned() && queries_.isOrphan(ino)) live.claimingPins.insert(ino);
    if (claim.getLease() != schema::Lease::EXCLUSIVE) continue;
    auto attr = queries_.getattr(ino);
    bool held = attr.ok() && attr->kind == schema::Kind::FILE &&
                leases_.claim(ino, live.id, claim.getSequence(), !serving());
    if (held) {
      live.claiming[ino] = claim.getSequence();
    } else {
      sendRecall(live.id, ino, claim.getSequence());
    }
  }
  if (context.getParams().getLast() && !live.claimed->isOpen()) {
    if (!takeClaims(live)) {
      context.getResults().setErr(Errno::STALE);
      beginEnd(live.id, false, "it claims a lock that is another's");
      co_return;
    }
    for (auto ino : leases_.heldBy(live.id)) {
      if (live.claiming.count(ino) == 0) leases_.released(ino, live.id, leases_.sequence(ino));
    }
    live.pins = kj::mv(live.claimingPins);
    live.claiming.clear();
    live.claimingPins.clear();
    live.claimed->open();
    leases_.attachedAgain(live.id);
    claimedOrEnded(live.id);
  }
  context.getResults().setErr(Errno::OK);
}

void Sessions::claimedOrEnded(SessionId id) {
  unclaimed_.erase(id);
  if (!unclaimed_.empty() || serving()) return;
  KJ_LOG(INFO, "every session has claimed or has ended: serving", now() - startMs_);
  cluster_.pauseReclaim(false);
  serving_.open();
}

kj::Promise<void> Sessions::servingGate() {
  if (serving()) return kj::READY_NOW;
  gateWaiters_ += 1;
  return serving_.wait().attach(kj::defer([this]() { gateWaiters_ -= 1; }));
}

kj::Promise<void> Sessions::admitted(CallOrigin caller) {
  // Their own claims come first: the first phase cannot end before them.
  auto& live = current(caller);
  if (live.claimed->isOpen()) return servingGate();
  return live.claimed->wait().then([this]() { return servingGate(); });
}

// --- the end of sessions ---

void Sessions::beginEnd(SessionId id, bool clean, kj::StringPtr why) {
  auto live = find(id);
  if (live == nullptr || live->ending) return;
  live->ending = true;
  counters_.ended += 1;
  if (!clean) {
    KJ_LOG(WARNING, "a session is ended", id, live->host.c_str(), live->what.c_str(), why);
  }
  tasks_.add(endOne(id, clean));
}

Task<void> Sessions::endOne(SessionId id, bool clean) {
  // Its calls go first, in a turn of the loop of their own: one of them may have asked for this.
  co_await kj::evalLater([]() {});
  auto& live = KJ_ASSERT_NONNULL(find(id), "a session went away before its end", id);
  detach(live, "the session is being ended");
  Backoff backoff(env_, 20, 1000);
  for (;;) {
    auto command = stamper_.own();
    auto end = command->getRoot<schema::Command>().getDo().initEndSession();
    end.setId(id.value);
    end.setClean(clean);
    kj::Maybe<kj::Exception> failure;
    auto proposed = replicator_.propose(kj::mv(command))
                        .then([](OutcomeMessage&& outcome) {
                          auto err = outcome->getRoot<schema::Outcome>().getErr();
                          // STALE: it has ended before.
                          KJ_REQUIRE(err == Errno::OK || err == Errno::STALE,
                                     "cannot end a session", nameOf(err));
                        })
                        .catch_([&failure](kj::Exception&& e) { failure = kj::mv(e); });
    co_await kj::mv(proposed);
    bool overloaded = false;
    KJ_IF_MAYBE(e, failure) {
      overloaded = e->getType() == kj::Exception::Type::OVERLOADED;
      if (!overloaded) kj::throwFatalException(kj::mv(*e));
    }
    if (!overloaded) break;
    co_await backoff.wait();
  }
  cluster_.viewMayHaveChanged();
  live.endedVersion = queries_.viewVersion();
  live.ended->open();
  co_await cluster_.settled(live.endedVersion);
  leases_.endSession(id);
  locks_.endSession(id);
  tellLocks();
  silentCallbacks_.erase(id);
  live_.erase(id);
  claimedOrEnded(id);
}

Task<void> Sessions::end(CallOrigin caller,
                         Ctx<schema::Session::EndParams, schema::Session::EndResults> context) {
  // Runs outside the session's own calls, which its end cancels.
  auto live = find(caller.session);
  if (live != nullptr && !live->ending && live->attach != caller.attach) {
    kj::throwFatalException(gone("the session goes on elsewhere"));
  }
  if (live != nullptr) {
    beginEnd(caller.session, true, "a clean end");
    co_await live->ended->wait();
  }
  context.getResults().setErr(Errno::OK);
}

// --- time ---

Task<void> Sessions::tickForever() {
  for (;;) {
    co_await env_.clock.timer().afterDelay(kTickMs * kj::MILLISECONDS);
    tick();
  }
}

void Sessions::tick() {
  if (!serving()) {
    endUnclaimed();
  } else {
    leases_.tick();
    endSilentHolders();
    locks_.tick(now());
    tellLocks();
    endSilentLockers();
  }
  for (auto& [id, live] : live_) {
    if (now() - live->heardMs > kSessionIdleEndMs) beginEnd(id, false, "silent for an hour");
  }
}

void Sessions::endUnclaimed() {
  if (gateWaiters_ == 0) return;
  for (auto id : std::set<SessionId>(unclaimed_)) {
    auto& live = KJ_ASSERT_NONNULL(find(id), "a session that is to claim is not there", id);
    // One that is heard may still be at its claims; not for ever.
    bool over = now() - startMs_ > 3 * kSessionPeriodMs && !live.claimed->isOpen();
    if (silent(live) || over) beginEnd(id, false, "others wait and it has not claimed");
  }
}

void Sessions::endSilentHolders() {
  for (auto& recall : leases_.recalls()) {
    auto live = find(recall.holder);
    if (live == nullptr || live->ending) continue;
    bool mute =
        recall.sent && live->callback != nullptr && now() - recall.lastSignMs > kSessionPeriodMs;
    if (silent(*live)) beginEnd(live->id, false, "silent, and others wait for what it holds");
    if (mute) beginEnd(live->id, false, "it does not answer a recall, and others wait");
  }
}

// --- calls to the client ---

void Sessions::sendRecall(SessionId session, InodeId ino, uint64_t sequence) {
  auto live = find(session);
  if (live == nullptr) return;
  KJ_IF_MAYBE(callback, live->callback) {
    counters_.recallsSent += 1;
    auto request = callback->recallRequest();
    request.setIno(ino.value);
    request.setSequence(sequence);
    auto answered = request.send().ignoreResult().then(
        [this, session, ino, sequence]() { leases_.recallAnswered(ino, session, sequence); },
        [session, ino](kj::Exception&& e) {
          // Its session is judged by silence, and told again when it has attached anew.
          KJ_LOG(INFO, "a recall was not answered", session, ino, e.getDescription());
        });
    tasks_.add(kj::mv(answered));
  }
}

Task<void> Sessions::tellView() {
  uint64_t version = queries_.viewVersion();
  for (;;) {
    co_await cluster_.viewAfter(version);
    version = cluster_.view().version;
    for (auto& [id, live] : live_) {
      KJ_IF_MAYBE(callback, live->callback) {
        auto request = callback->viewChangedRequest();
        request.setVersion(version);
        // A hint: who misses it asks with view().
        tasks_.add(request.send().ignoreResult().catch_([](kj::Exception&&) {}));
      }
    }
    co_await env_.clock.timer().afterDelay(kViewToldMs * kj::MILLISECONDS);
  }
}

Task<void> Sessions::proposeOwn(CommandMessage command, kj::StringPtr what) {
  auto outcome = co_await replicator_.propose(kj::mv(command));
  auto err = outcome->getRoot<schema::Outcome>().getErr();
  KJ_REQUIRE(err == Errno::OK, "the name server's own command was refused", what, nameOf(err));
}

// --- for people ---

std::vector<SessionStatus> Sessions::status() {
  std::vector<SessionStatus> all;
  for (auto& [id, live] : live_) {
    all.push_back({id, live->host, live->what, now() - live->heardMs, live->callback != nullptr,
                   live->claimed->isOpen(), live->ending, leases_.heldCount(id), live->pins.size(),
                   locks_.locksOf(id)});
  }
  return all;
}

std::vector<RecallReport> Sessions::recalls() {
  constexpr size_t kReportsMax = 100;
  std::vector<RecallReport> all;
  for (auto& recall : leases_.recalls()) {
    if (all.size() == kReportsMax) break;
    RecallReport report;
    report.recall = recall;
    auto paths = queries_.paths(recall.ino);
    if (paths.ok() && !paths->empty()) report.path = (*paths)[0];
    auto live = find(recall.holder);
    if (live != nullptr) {
      report.host = live->host;
      if (live->endedVersion != 0) report.fencing = cluster_.unsettledBecause(live->endedVersion);
    }
    all.push_back(kj::mv(report));
  }
  return all;
}

std::vector<HealthSentence> Sessions::health() {
  constexpr uint64_t kRecallPatienceMs = 5'000;
  std::vector<HealthSentence> all;
  for (auto& r : recalls()) {
    if (now() - r.recall.sinceMs < kRecallPatienceMs) continue;
    auto file = r.path.empty() ? "inode " + std::to_string(r.recall.ino.value) : r.path;
    auto waits = !r.fencing.empty()          ? r.fencing
                 : r.recall.waitsFor.empty() ? std::string("its answer")
                                             : r.recall.waitsFor;
    all.push_back({false, "RECALL_WAITING",
                   "the client on " + r.host + " has not given back " + file,
                   std::to_string(r.recall.waiters) + " requests for it wait", "waits for " + waits,
                   "look at that client and at what it waits for; a client that says nothing for " +
                       std::to_string(kSessionLeaseMs / 1000) + " s is ended by itself",
                   r.recall.sinceMs});
  }
  for (auto& [id, live] : live_) {
    if (live->ending && live->endedVersion != 0) {
      all.push_back({false, "SESSION_ENDING", "the session of " + live->host + " is being fenced",
                     "what it held is not given to others yet",
                     cluster_.unsettledBecause(live->endedVersion), "none needed", live->heardMs});
    } else if (silent(*live)) {
      all.push_back({false, "SESSION_SILENT", "the client on " + live->host + " is silent",
                     "what it has not synced is at risk as soon as others need it",
                     "it may come back; it is ended when somebody needs what it holds",
                     "look at that machine and its network", live->heardMs});
    }
  }
  if (!serving()) {
    all.push_back(
        {true, "SESSIONS_CLAIMING",
         std::to_string(unclaimed_.size()) + " clients have not come back since the start",
         "requests wait",
         "those that stay away are ended after " + std::to_string(kSessionPeriodMs / 1000) +
             " s if somebody waits",
         "none needed", startMs_});
  }
  return all;
}

Task<void> Sessions::settleOne(InodeId ino) {
  auto hold = co_await leases_.use(ino, SessionId());
}

kj::Promise<void> Sessions::settleAll() {
  auto waits = kj::heapArrayBuilder<kj::Promise<void>>(leases_.size());
  for (auto ino : leases_.allHeld(InodeId(), leases_.size())) waits.add(settleOne(ino));
  return calls_.wrap(kj::joinPromises(waits.finish()));
}

// --- capabilities ---

class Sessions::NameServerServer final : public schema::NameServer::Server {
 public:
  NameServerServer(kj::Own<Link> link, uint64_t connection)
      : link_(kj::mv(link)), connection_(connection) {}

 protected:
  kj::Promise<void> attach(AttachContext context) override {
    if (link_->sessions == nullptr) return gone("the name server stops");
    auto& sessions = *link_->sessions;
    return sessions.calls_.wrap<void>(sessions.attach(connection_, context));
  }

 private:
  kj::Own<Link> link_;
  const uint64_t connection_;
};

schema::NameServer::Client Sessions::nameServer(uint64_t connection) {
  return kj::heap<NameServerServer>(kj::addRef(*link_), connection);
}

}  // namespace dfs
