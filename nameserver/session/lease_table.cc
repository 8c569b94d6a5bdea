#include "nameserver/session/lease_table.h"

#include <kj/debug.h>

#include <algorithm>

namespace dfs {

LeaseTable::LeaseTable(Env& env, RecallSender& sender, uint64_t firstSequence)
    : env_(env), sender_(sender), nextSequence_(firstSequence) {}

LeaseTable::Waiter::Waiter(LeaseTable& waiterTable, InodeId waiterIno, SessionId waiterSession,
                           Kind waiterKind, kj::PromiseFulfiller<kj::Own<Hold>>& waiterDone)
    : table(waiterTable),
      ino(waiterIno),
      session(waiterSession),
      kind(waiterKind),
      done(waiterDone) {}

LeaseTable::Waiter::~Waiter() noexcept(false) {
  if (!queued) return;
  auto entry = table.find(ino);
  KJ_ASSERT(entry != nullptr, "somebody waits at an inode that is not kept", ino);
  auto& queue = entry->waiters;
  queue.erase(std::remove(queue.begin(), queue.end(), this), queue.end());
  if (queue.empty()) {
    entry->recall.sinceMs = 0;
    table.recalled_.erase(ino);
  }
  table.pump(ino);
}

class LeaseTable::WaiterAdapter {
  // What a waiting promise owns: dropping the promise leaves the queue.
 public:
  WaiterAdapter(kj::PromiseFulfiller<kj::Own<Hold>>& done, LeaseTable& table, InodeId ino,
                SessionId session, Kind kind)
      : waiter_(table, ino, session, kind, done) {
    table.entries_[ino].waiters.push_back(&waiter_);
    table.pump(ino);
  }

 private:
  Waiter waiter_;
};

kj::Promise<kj::Own<LeaseTable::Hold>> LeaseTable::use(InodeId ino, SessionId session) {
  return enqueue(ino, session, Kind::USE);
}

kj::Promise<kj::Own<LeaseTable::Hold>> LeaseTable::toGrant(InodeId ino, SessionId session) {
  return enqueue(ino, session, Kind::GRANT);
}

kj::Promise<kj::Own<LeaseTable::Hold>> LeaseTable::enqueue(InodeId ino, SessionId session,
                                                           Kind kind) {
  auto& entry = entries_[ino];
  bool holds = session && entry.holder == session && kind == Kind::USE;
  if (holds || (entry.waiters.empty() && !blocked(entry, session, kind))) {
    if (kind == Kind::USE) {
      entry.uses += 1;
    } else {
      entry.granting = session;
    }
    return kj::heap<Hold>(*this, ino, session, kind);
  }
  return kj::newAdaptedPromise<kj::Own<Hold>, WaiterAdapter>(*this, ino, session, kind);
}

bool LeaseTable::blocked(const Entry& entry, SessionId session, Kind kind) {
  if (entry.holder && entry.holder != session) return true;
  if (kind == Kind::USE) return entry.granting && entry.granting != session;
  return entry.granting || entry.uses > 0;
}

void LeaseTable::admit(Entry& entry, Waiter& waiter) {
  waiter.queued = false;
  if (waiter.kind == Kind::USE) {
    entry.uses += 1;
  } else {
    entry.granting = waiter.session;
  }
  waiter.done.fulfill(kj::heap<Hold>(*this, waiter.ino, waiter.session, waiter.kind));
}

void LeaseTable::pump(InodeId ino) {
  auto found = entries_.find(ino);
  if (found == entries_.end()) return;
  auto& entry = found->second;
  while (!entry.waiters.empty()) {
    auto& first = *entry.waiters.front();
    if (blocked(entry, first.session, first.kind)) {
      if (entry.holder && entry.holder != first.session) wantRecall(ino, entry);
      break;
    }
    entry.waiters.pop_front();
    admit(entry, first);
  }
  if (entry.holder) {
    // The holder's own requests need not wait behind those that wait for it.
    for (auto i = entry.waiters.begin(); i != entry.waiters.end();) {
      auto& waiter = **i;
      bool own = waiter.session == entry.holder && waiter.kind == Kind::USE;
      if (!own) {
        ++i;
        continue;
      }
      i = entry.waiters.erase(i);
      admit(entry, waiter);
    }
  }
  if (!entry.holder && entry.uses == 0 && !entry.granting && entry.waiters.empty()) {
    entries_.erase(found);
  }
}

void LeaseTable::drop(InodeId ino, SessionId session, Kind kind) {
  auto entry = find(ino);
  KJ_ASSERT(entry != nullptr, "an inode in use is not kept", ino);
  if (kind == Kind::USE) {
    KJ_ASSERT(entry->uses > 0, "more uses ended than began", ino);
    entry->uses -= 1;
  } else {
    entry->granting = SessionId();
  }
  pump(ino);
}

LeaseTable::Entry* LeaseTable::find(InodeId ino) {
  auto found = entries_.find(ino);
  return found == entries_.end() ? nullptr : &found->second;
}

LeaseTable::Entry* LeaseTable::heldExactly(InodeId ino, SessionId session, uint64_t sequence) {
  auto entry = find(ino);
  if (entry == nullptr || entry->holder != session || entry->sequence != sequence) return nullptr;
  return entry;
}

// --- holders ---

void LeaseTable::setHolder(InodeId ino, Entry& entry, SessionId session, uint64_t sequence) {
  entry.holder = session;
  entry.sequence = sequence;
  entry.acknowledged = false;
  entry.recall = Recall();
  held_[session].insert(ino);
}

void LeaseTable::clearHolder(InodeId ino, Entry& entry) {
  auto& mine = held_[entry.holder];
  mine.erase(ino);
  if (mine.empty()) held_.erase(entry.holder);
  entry.holder = SessionId();
  entry.sequence = 0;
  entry.recall = Recall();
  recalled_.erase(ino);
}

uint64_t LeaseTable::grant(InodeId ino, SessionId session) {
  auto& entry = entries_[ino];
  KJ_REQUIRE(!entry.holder || entry.holder == session, "a second grant of one inode", ino);
  if (!entry.holder) {
    setHolder(ino, entry, session, nextSequence_++);
    pump(ino);
  }
  return entry.sequence;
}

bool LeaseTable::mayGrant(InodeId ino, SessionId session) {
  auto entry = find(ino);
  if (entry == nullptr) return true;
  if (entry->holder) return entry->holder == session;
  return entry->waiters.empty() && !blocked(*entry, session, Kind::GRANT);
}

bool LeaseTable::heldByOther(InodeId ino, SessionId session) {
  auto entry = find(ino);
  return entry != nullptr && blocked(*entry, session, Kind::USE);
}

SessionId LeaseTable::holder(InodeId ino) {
  auto entry = find(ino);
  return entry == nullptr ? SessionId() : entry->holder;
}

uint64_t LeaseTable::sequence(InodeId ino) {
  auto entry = find(ino);
  return entry == nullptr ? 0 : entry->sequence;
}

void LeaseTable::acknowledged(InodeId ino, SessionId session, uint64_t sequence) {
  auto entry = heldExactly(ino, session, sequence);
  if (entry == nullptr) return;  // it has been recalled or released meanwhile
  entry->acknowledged = true;
  if (entry->recall.sinceMs != 0 && entry->recall.sentMs == 0) sendRecall(ino, *entry);
}

void LeaseTable::released(InodeId ino, SessionId session, uint64_t sequence) {
  auto entry = heldExactly(ino, session, sequence);
  if (entry == nullptr) return;  // below the latest grant (G1)
  clearHolder(ino, *entry);
  pump(ino);
}

bool LeaseTable::claim(InodeId ino, SessionId session, uint64_t sequence, bool mayTake) {
  auto entry = find(ino);
  if (entry != nullptr && entry->holder) {
    return entry->holder == session && entry->sequence == sequence;
  }
  if (!mayTake) return false;
  setHolder(ino, entries_[ino], session, sequence);
  nextSequence_ = std::max(nextSequence_, sequence + 1);
  return true;
}

void LeaseTable::endSession(SessionId session) {
  for (auto ino : heldBy(session)) {
    auto entry = find(ino);
    KJ_ASSERT(entry != nullptr && entry->holder == session, "a lease without its inode", ino);
    clearHolder(ino, *entry);
    pump(ino);
  }
}

// --- recalls ---

void LeaseTable::wantRecall(InodeId ino, Entry& entry) {
  if (entry.recall.sinceMs == 0) {
    entry.recall.sinceMs = now();
    recalled_.insert(ino);
    if (entry.recall.sentMs != 0) entry.recall.lastSignMs = now();
  }
  if (entry.acknowledged && entry.recall.sentMs == 0) sendRecall(ino, entry);
}

void LeaseTable::sendRecall(InodeId ino, Entry& entry) {
  entry.recall.sentMs = now();
  entry.recall.lastSignMs = now();
  sender_.sendRecall(entry.holder, ino, entry.sequence);
}

void LeaseTable::sign(InodeId ino, SessionId session, uint64_t sequence, std::string waitsFor) {
  auto entry = heldExactly(ino, session, sequence);
  if (entry == nullptr) return;
  entry->recall.lastSignMs = now();
  entry->recall.waitsFor = kj::mv(waitsFor);
}

void LeaseTable::recallAnswered(InodeId ino, SessionId session, uint64_t sequence) {
  auto entry = heldExactly(ino, session, sequence);
  if (entry != nullptr) entry->recall.lastSignMs = now();
}

void LeaseTable::detached(SessionId session) {
  for (auto ino : heldBy(session)) {
    auto entry = find(ino);
    entry->acknowledged = false;
    entry->recall.sentMs = 0;
  }
}

void LeaseTable::attachedAgain(SessionId session) {
  for (auto ino : heldBy(session)) {
    auto entry = find(ino);
    entry->acknowledged = true;
    if (entry->recall.sinceMs != 0) sendRecall(ino, *entry);
  }
}

void LeaseTable::tick() {
  for (auto ino : recalled_) {
    auto entry = find(ino);
    bool late = entry->recall.sentMs == 0 && now() - entry->recall.sinceMs > kSessionLeaseMs;
    if (late) sendRecall(ino, *entry);
  }
}

std::vector<LeaseTable::RecallStatus> LeaseTable::recalls() {
  std::vector<RecallStatus> all;
  for (auto ino : recalled_) {
    auto& e = *find(ino);
    all.push_back({ino, e.holder, e.sequence, e.recall.sinceMs,
                   std::max(e.recall.sinceMs, e.recall.lastSignMs), e.recall.sentMs != 0,
                   e.recall.waitsFor, e.waiters.size()});
  }
  return all;
}

std::vector<InodeId> LeaseTable::heldBy(SessionId session) {
  auto found = held_.find(session);
  if (found == held_.end()) return {};
  return std::vector<InodeId>(found->second.begin(), found->second.end());
}

std::vector<InodeId> LeaseTable::allHeld(InodeId above, size_t inosMax) {
  std::vector<InodeId> all;
  for (auto i = entries_.upper_bound(above); i != entries_.end() && all.size() < inosMax; ++i) {
    if (i->second.holder) all.push_back(i->first);
  }
  return all;
}

size_t LeaseTable::heldCount(SessionId session) const {
  auto found = held_.find(session);
  return found == held_.end() ? 0 : found->second.size();
}

}  // namespace dfs
