#include "fuse-client/vfs/locks.h"

#include "common/retry.h"

namespace dfs {
namespace {

constexpr uint64_t kFirstBackoffMs = 20;
constexpr uint64_t kLastBackoffMs = 1000;

}  // namespace

struct Locks::Operation : public kj::Refcounted {
  Operation(FileLock l, bool w, FileHandle v) : lock(l), wait(w), via(v) {}

  const FileLock lock;
  const bool wait;
  const FileHandle via;  // 0: a close
  bool told = false;     // the caller has an answer, or has gone
  bool interrupted = false;
  bool calledBack = false;
  bool lost = false;                       // what its owner held went with the session
  bool unknown = false;                    // what became of an earlier try
  std::vector<LockRanges::Range> lowered;  // what its owner held there before (POSIX)
  uint64_t ticket = 0;                     // not 0: it may wait at the name server
  Signal changed;                          // any of these
  kj::Maybe<kj::PromiseFulfiller<Errno>&> asker;
  kj::Promise<void> watch = nullptr;

  bool takes() const { return lock.kind != LockKind::NONE; }
  bool givenUp() const { return takes() && (told || interrupted); }
  void tell(Errno err) {
    if (std::exchange(told, true)) return;
    KJ_IF_MAYBE(a, asker) a->fulfill(kj::mv(err));
  }
};

struct Locks::Holder : public kj::Refcounted {
  explicit Holder(Key k) : key(k) {}
  const Key key;
  LockRanges held;  // as far as this mount may rely on it
  LockRanges lost;
  std::set<FileHandle> via;
  std::list<kj::Own<Operation>> ops;  // in the order in which they have to take effect
  Signal moved;                       // ops has
};

class Locks::Asker {
  // What the caller's promise owns.
 public:
  Asker(kj::PromiseFulfiller<Errno>& fulfiller, Locks& locks, kj::Own<Operation> op)
      : locks_(locks), op_(kj::mv(op)) {
    op_->asker = fulfiller;
  }
  ~Asker() noexcept(false) {
    op_->asker = nullptr;
    op_->watch = nullptr;
    if (!std::exchange(op_->told, true)) locks_.interrupt(*op_);
  }
  KJ_DISALLOW_COPY(Asker);

 private:
  Locks& locks_;
  kj::Own<Operation> op_;
};

Locks::Locks(Env& env, NameClient& names, kj::TaskSet& tasks)
    : env_(env), names_(names), tasks_(tasks) {}

Locks::~Locks() noexcept(false) {}

// --- owners ---

kj::Own<Locks::Holder> Locks::holderOf(const Key& key) {
  auto& holder = holders_[key];
  if (holder.get() == nullptr) holder = kj::refcounted<Holder>(key);
  return kj::addRef(*holder);
}

void Locks::noteVia(Holder& holder, FileHandle via) {
  if (via == 0) return;
  holder.via.insert(via);
  byHandle_[via].insert(holder.key);
}

void Locks::forgetVia(Holder& holder) {
  for (auto via : holder.via) {
    auto found = byHandle_.find(via);
    found->second.erase(holder.key);
    if (found->second.empty()) byHandle_.erase(found);
  }
  holder.via.clear();
}

void Locks::forget(Holder& holder) {
  if (!holder.held.empty() || !holder.lost.empty() || !holder.ops.empty()) return;
  forgetVia(holder);
  holders_.erase(holder.key);
}

void Locks::lose(Holder& holder, const LockRanges::Range& range) {
  if (holder.lost.empty()) {
    KJ_LOG(ERROR, "a program has lost locks of a file", holder.key.ino, range.pid);
    ++losers_;
  }
  holder.lost.set(range.span, range.kind);
}

void Locks::forgetLost(Holder& holder, LockSpan span) {
  if (holder.lost.empty()) return;
  holder.lost.set(span, LockKind::NONE);
  if (holder.lost.empty()) --losers_;
}

bool Locks::lost(FileHandle via) const {
  if (losers_ == 0) return false;
  auto keys = byHandle_.find(via);
  if (keys == byHandle_.end()) return false;
  for (auto& key : keys->second) {
    if (!holders_.at(key)->lost.empty()) return true;
  }
  return false;
}

uint64_t Locks::eraOf(FileHandle via) const {
  auto keys = byHandle_.find(via);
  if (keys == byHandle_.end()) return 0;
  for (auto& key : keys->second) {
    if (!holders_.at(key)->held.empty()) return names_.era();
  }
  return 0;
}

// --- from the file system ---

kj::Promise<Errno> Locks::set(FileHandle via, FileLock lock, bool wait,
                              kj::Promise<void> interrupted) {
  if (lock.kind == LockKind::NONE) wait = false;
  auto holder = holderOf({lock.ino, lock.space, lock.owner});
  if (lock.kind != LockKind::NONE) noteVia(*holder, via);
  auto op = kj::refcounted<Operation>(lock, wait, via);
  auto answer = kj::newAdaptedPromise<Errno, Asker>(*this, kj::addRef(*op));
  if (wait) {
    auto& o = *op;
    op->watch = interrupted
                    .then([this, &o]() {
                      interrupt(o);
                      return env_.clock.timer().afterDelay(kLockCancelMs * kj::MILLISECONDS);
                    })
                    .then([&o]() { o.tell(Errno::INTR); })
                    .eagerlyEvaluate(nullptr);
  }
  start(kj::mv(holder), kj::mv(op));
  return answer;
}

kj::Promise<Outcome<FileLock>> Locks::test(FileLock lock) {
  auto run = [](Locks& self, FileLock wanted) -> Task<Outcome<FileLock>> {
    auto answer = co_await self.names_.ask<schema::Session::TestLockResults>(
        [wanted](schema::Session::Client& session) {
          auto request = session.testLockRequest();
          toWire(wanted, request.initLock());
          return request;
        });
    if (answer.getErr() != Errno::OK) co_return answer.getErr();
    auto blocker = answer.getBlocker();
    if (blocker.getKind() == LockKind::NONE) co_return FileLock();
    co_return fromWire(blocker);
  };
  return run(*this, lock);
}

kj::Promise<void> Locks::unlockAll(kj::Own<Holder> holder) {
  forgetLost(*holder, LockSpan());
  bool takes = false;
  for (auto& op : holder->ops) takes |= op->takes() && !op->wait;
  if (holder->held.empty() && !takes) {
    forget(*holder);
    return kj::READY_NOW;
  }
  FileLock lock;
  lock.ino = holder->key.ino;
  lock.owner = holder->key.owner;
  lock.space = holder->key.space;
  auto op = kj::refcounted<Operation>(lock, false, FileHandle(0));
  auto answer = kj::newAdaptedPromise<Errno, Asker>(*this, kj::addRef(*op));
  start(kj::mv(holder), kj::mv(op));
  return answer.ignoreResult();  // nothing that the one who closes could do about it
}

kj::Promise<void> Locks::close(InodeId ino, uint64_t owner) {
  auto found = holders_.find({ino, LockSpace::POSIX, owner});
  if (found == holders_.end()) return kj::READY_NOW;
  auto holder = kj::addRef(*found->second);
  // A later lock of this process is not to go with this descriptor's open file.
  forgetVia(*holder);
  return unlockAll(kj::mv(holder));
}

kj::Promise<void> Locks::release(FileHandle via) {
  auto found = byHandle_.find(via);
  if (found == byHandle_.end()) return kj::READY_NOW;
  auto keys = found->second;
  auto all = kj::heapArrayBuilder<kj::Promise<void>>(keys.size());
  for (auto& key : keys) {
    auto holder = kj::addRef(*holders_.at(key));
    holder->via.erase(via);
    all.add(unlockAll(kj::mv(holder)));
  }
  byHandle_.erase(via);
  return kj::joinPromises(all.finish());
}

// --- from the session ---

std::vector<FileLock> Locks::claims() const {
  std::vector<FileLock> all;
  for (auto& [key, holder] : holders_) {
    for (auto& range : holder->held.all()) {
      all.push_back({key.ino, key.owner, key.space, range.kind, range.span, range.pid});
    }
  }
  return all;
}

void Locks::sessionEnded() {
  for (auto& [key, holder] : holders_) {
    if (holder->held.empty()) continue;
    for (auto& range : holder->held.all()) lose(*holder, range);
    holder->held = LockRanges();
    for (auto& op : holder->ops) {
      op->lost = true;
      op->changed.wake();
    }
  }
}

// --- operations ---

void Locks::start(kj::Own<Holder> holder, kj::Own<Operation> op) {
  holder->ops.push_back(kj::addRef(*op));
  tasks_.add(run(kj::mv(holder), kj::mv(op)));
}

kj::Maybe<Locks::Operation&> Locks::inTheWay(Holder& holder, const Operation& op) {
  for (auto& earlier : holder.ops) {
    if (earlier.get() == &op) return nullptr;
    if (!earlier->lock.span.overlaps(op.lock.span)) continue;
    // Two that wait may do so side by side: answers come in the order in which they are given.
    if (earlier->wait && op.wait) continue;
    return *earlier;
  }
  return nullptr;
}

void Locks::callBack(Operation& op) {
  if (std::exchange(op.calledBack, true)) return;
  if (op.ticket != 0) names_.cancelLock(op.ticket);
  op.changed.wake();
}

void Locks::interrupt(Operation& op) {
  op.interrupted = true;
  if (op.takes() && op.wait && op.ticket != 0) names_.cancelLock(op.ticket);
  op.changed.wake();
}

void Locks::lowerFor(Holder& holder, Operation& op) {
  auto& lock = op.lock;
  bool flock = lock.space == LockSpace::FLOCK;
  // A flock that becomes stronger is given up first, as flock(2) says.
  bool stronger =
      flock && lock.kind == LockKind::WRITE && !holder.held.covers(lock.span, LockKind::WRITE);
  if (!flock && op.takes() && !op.unknown) op.lowered = holder.held.in(lock.span);
  holder.held.lower(lock.span, stronger ? LockKind::NONE : lock.kind);
}

void Locks::refused(Holder& holder, const Operation& op) {
  // The owner has what it had. But if the name server started anew meanwhile, it has what was claimed.
  for (auto& range : op.lowered) {
    if (holder.held.covers(range.span, range.kind)) continue;
    if (op.unknown) {
      lose(holder, range);
    } else {
      holder.held.set(range.span, range.kind, range.pid);
    }
  }
}

Task<void> Locks::run(kj::Own<Holder> holder, kj::Own<Operation> op) {
  auto leave = [&holder, &op]() {
    holder->ops.remove_if([&op](const kj::Own<Operation>& o) { return o.get() == op.get(); });
  };
  KJ_DEFER({
    leave();
    holder->moved.wake();
    forget(*holder);
  });
  auto err = Errno::INTR;
  while (!op->givenUp()) {
    KJ_IF_MAYBE(earlier, inTheWay(*holder, *op)) {
      if (earlier->wait) callBack(*earlier);
      auto moved = holder->moved.next().exclusiveJoin(op->changed.next());
      co_await kj::mv(moved);
      continue;
    }
    err = co_await send(*holder, *op);
    if (err != Errno::INTR || !std::exchange(op->calledBack, false)) break;
    refused(*holder, *op);
    leave();
    holder->ops.push_back(kj::addRef(*op));
    holder->moved.wake();
  }
  if (!op->takes()) {
    forgetLost(*holder, op->lock.span);
    op->tell(err);
    co_return;
  }
  if (err != Errno::OK) {
    if (!op->lost) refused(*holder, *op);
    op->tell(err);
    co_return;
  }
  if (op->told) {
    refused(*holder, *op);
    co_await restore(kj::addRef(*holder), op->lock);
    co_return;
  }
  holder->held.set(op->lock.span, op->lock.kind, op->lock.pid);
  forgetLost(*holder, op->lock.span);
  noteVia(*holder, op->via);
  op->tell(Errno::OK);
}

Task<Errno> Locks::send(Holder& holder, Operation& op) {
  // Asks until there is an answer. INTR: given up, or called back. Both outlive it: run() has them.
  Backoff backoff(env_, kFirstBackoffMs, kLastBackoffMs);
  for (;;) {
    if (op.givenUp() || op.calledBack) co_return Errno::INTR;
    if (op.takes() && op.lost) co_return Errno::IO;  // S3: what it relies on has gone
    if (!op.takes()) lowerFor(holder, op);
    if (!names_.attached()) {
      if (!op.takes()) op.tell(Errno::OK);
      auto attached = names_.whenAttached().ignoreResult().exclusiveJoin(op.changed.next());
      co_await kj::mv(attached);
      continue;
    }
    lowerFor(holder, op);
    op.ticket = names_.newTicket();
    auto answer = co_await names_.lock(op.lock, op.wait, op.ticket);
    op.ticket = 0;
    KJ_IF_MAYBE(err, answer) co_return *err;
    op.unknown = true;
    if (!names_.attached()) continue;
    auto pause = backoff.wait().exclusiveJoin(op.changed.next());
    co_await kj::mv(pause);
  }
}

Task<void> Locks::restore(kj::Own<Holder> holder, FileLock lock) {
  // Nobody was told of that lock: back to what the owner had there. If the connection goes, what is
  // claimed at the next attach is just that.
  std::vector<FileLock> parts;
  auto none = lock;
  none.kind = LockKind::NONE;
  uint64_t next = lock.span.start;
  for (auto& range : holder->held.in(lock.span)) {
    none.span = {next, range.span.start - 1};
    if (range.span.start > next) parts.push_back(none);
    parts.push_back({lock.ino, lock.owner, lock.space, range.kind, range.span, range.pid});
    next = range.span.end + 1;
  }
  none.span = {next, lock.span.end};
  if (next <= lock.span.end) parts.push_back(none);
  Backoff backoff(env_, kFirstBackoffMs, kLastBackoffMs);
  auto number = names_.attachNumber();
  for (size_t i = 0; i < parts.size();) {
    if (!names_.attached() || names_.attachNumber() != number) co_return;
    auto answer = co_await names_.lock(parts[i], false, 0);
    if (answer != nullptr) {
      ++i;
      continue;
    }
    co_await backoff.wait();
  }
}

}  // namespace dfs
