// The calls about file locks, and what the end of their holders has to do with them.
//
// A lock is given by the table at once, and told when the leader has confirmed that it leads (S4). If
// the caller has gone by then it stays in the table: what the client does not claim at its next attach
// is taken back.

#include "nameserver/session/session_server.h"

namespace dfs {

class Sessions::LockWait {
  // One call of lock() that may wait. Known by its ticket from the start, so that no cancelLock() comes
  // too early; going, it leaves the queue.
 public:
  LockWait(Sessions& sessions, SessionId session, uint64_t ticket)
      : sessions_(sessions), key_(session, ticket) {
    sessions_.lockTickets_[key_] = this;
  }
  ~LockWait() noexcept(false) {
    auto mine = sessions_.lockTickets_.find(key_);
    if (mine != sessions_.lockTickets_.end() && mine->second == this) {
      sessions_.lockTickets_.erase(mine);
    }
    leave();
  }
  KJ_DISALLOW_COPY(LockWait);

  void enter(uint64_t number) {
    number_ = number;
    sessions_.lockWaits_[number] = this;
  }
  void cancel() {
    cancelled_ = true;
    leave();
    decide(Errno::INTR);  // of no effect if it has been decided
  }
  void decide(Errno err) { pair_.fulfiller->fulfill(kj::mv(err)); }
  bool cancelled() const { return cancelled_; }
  kj::Promise<Errno> decided() { return kj::mv(pair_.promise); }

 private:
  void leave() {
    auto number = std::exchange(number_, 0);
    if (number == 0) return;
    sessions_.lockWaits_.erase(number);
    sessions_.locks_.giveUp(number);
    sessions_.tellLocks();
  }

  Sessions& sessions_;
  const std::pair<SessionId, uint64_t> key_;
  uint64_t number_ = 0;  // in the table; 0: it does not wait there
  bool cancelled_ = false;
  kj::PromiseFulfillerPair<Errno> pair_ = kj::newPromiseAndFulfiller<Errno>();
};

void Sessions::tellLocks() {
  for (auto& decided : locks_.takeDecided()) {
    auto found = lockWaits_.find(decided.wait);
    if (found != lockWaits_.end()) found->second->decide(decided.err);
  }
}

Task<void> Sessions::lock(CallOrigin caller,
                          Ctx<schema::Session::LockParams, schema::Session::LockResults> context) {
  auto params = context.getParams();
  auto results = context.getResults();
  auto asked = fromWire(params.getLock());
  if (!asked.ok()) {
    results.setErr(asked.err());
    co_return;
  }
  auto lock = *asked;
  kj::Maybe<kj::Own<LockWait>> waiting;
  if (params.getWait()) {
    waiting = kj::heap<LockWait>(*this, caller.session, params.getTicket());
  }
  co_await admitted(caller);
  KJ_IF_MAYBE(wait, waiting) {
    if ((*wait)->cancelled()) {
      results.setErr(Errno::INTR);
      co_return;
    }
  }
  bool takes = lock.kind != LockKind::NONE;
  if (takes && (deniedTo(caller, lock.ino) || !queries_.getattr(lock.ino).ok())) {
    results.setErr(Errno::STALE);
    co_return;
  }
  auto answer = locks_.ask(caller.session, lock, params.getWait(), now());
  tellLocks();
  auto err = answer.err;
  if (answer.wait != 0) {
    auto& wait = *KJ_ASSERT_NONNULL(waiting);
    wait.enter(answer.wait);
    err = co_await wait.decided();
  } else if (err == Errno::AGAIN) {
    // S2: this is a request that conflicts with what they hold.
    for (auto id : locks_.inTheWay(caller.session, lock)) endIfSilent(id);
  }
  if (takes && err == Errno::OK) {
    co_await replicator_.confirm();
    current(caller);
  }
  results.setErr(err);
}

Task<void> Sessions::testLock(
    CallOrigin caller,
    Ctx<schema::Session::TestLockParams, schema::Session::TestLockResults> context) {
  auto results = context.getResults();
  auto asked = fromWire(context.getParams().getLock());
  if (!asked.ok()) {
    results.setErr(asked.err());
    co_return;
  }
  auto lock = *asked;
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto& live = current(caller);
  results.setErr(Errno::OK);
  auto to = results.initBlocker();
  KJ_IF_MAYBE(blocker, locks_.blocker(caller.session, lock)) {
    auto theirs = blocker->lock;
    auto holder = find(blocker->session);
    // A process of another machine has no number here.
    if (holder == nullptr || holder->host != live.host) theirs.pid = 0;
    toWire(theirs, to);
    for (auto id : locks_.inTheWay(caller.session, lock)) endIfSilent(id);
  }
}

Task<void> Sessions::cancelLock(
    CallOrigin caller,
    Ctx<schema::Session::CancelLockParams, schema::Session::CancelLockResults> context) {
  auto found = lockTickets_.find({caller.session, context.getParams().getTicket()});
  context.getResults().setErr(Errno::OK);
  if (found == lockTickets_.end()) co_return;  // it has been answered, or soon will be
  found->second->cancel();
}

// --- claims and ends ---

bool Sessions::addClaims(Live& live, capnp::List<schema::FileLock>::Reader claims) {
  if (live.claimingLocks.size() + claims.size() > 2 * kLocksPerSessionMax) return false;
  for (auto claim : claims) {
    auto lock = fromWire(claim);
    if (!lock.ok()) return false;
    live.claimingLocks.push_back(*lock);
  }
  return true;
}

bool Sessions::takeClaims(Live& live) {
  auto claims = kj::mv(live.claimingLocks);
  live.claimingLocks.clear();
  bool good = locks_.claim(live.id, claims, !serving(), now());
  tellLocks();
  return good;
}

void Sessions::endIfSilent(SessionId id) {
  auto live = find(id);
  if (live == nullptr || live->ending || !silent(*live)) return;
  beginEnd(id, false, "silent, and others want to lock what it has locked");
}

void Sessions::endSilentLockers() {
  for (auto& [id, live] : live_) {
    if (!live->ending && silent(*live) && locks_.waitedFor(id)) endIfSilent(id);
  }
}

// --- for people ---

std::vector<LockReport> Sessions::locks(InodeId above, size_t locksMax) {
  std::vector<LockReport> all;
  InodeId last;
  std::string path;
  for (auto& lock : locks_.list(above, locksMax)) {
    if (lock.lock.ino != last) {
      last = lock.lock.ino;
      auto paths = queries_.paths(last);
      path = paths.ok() && !paths->empty() ? (*paths)[0] : "";
    }
    auto live = find(lock.session);
    all.push_back(
        {lock, path, live == nullptr ? "" : live->host, live == nullptr ? "" : live->what});
  }
  return all;
}

}  // namespace dfs
