#include "nameserver/session/lock_table.h"

#include <kj/debug.h>

#include <algorithm>
#include <utility>

namespace dfs {

// --- asking ---

const LockTable::Place* LockTable::find(const Key& key) const {
  auto found = places_.find(key);
  return found == places_.end() ? nullptr : &found->second;
}

std::vector<LockTable::Owner> LockTable::against(const Place& place, const Wait& wait) const {
  std::vector<Owner> owners;
  auto me = ownerOf(wait);
  for (auto& [owner, ranges] : place.held) {
    if (owner == me) continue;
    if (ranges.against(wait.lock.span, wait.lock.kind) != nullptr) owners.push_back(owner);
  }
  return owners;
}

bool LockTable::stopped(const Place& place, const Wait& wait) const {
  auto me = ownerOf(wait);
  for (auto& [owner, ranges] : place.held) {
    bool meets = owner != me && ranges.against(wait.lock.span, wait.lock.kind) != nullptr;
    if (meets) return true;
  }
  return false;
}

bool LockTable::behind(const std::vector<const Wait*>& ahead, const Wait& wait) const {
  for (auto other : ahead) {
    bool meets = other->lock.span.overlaps(wait.lock.span) &&
                 conflict(other->lock.kind, wait.lock.kind) && ownerOf(*other) != ownerOf(wait);
    if (meets) return true;
  }
  return false;
}

bool LockTable::among(const Place& place, const Wait& wait) const {
  if (place.held.count(ownerOf(wait)) != 0) return true;
  for (auto& [owner, ranges] : place.held) {
    if (owner.session != wait.session) continue;
    for (auto& range : ranges.all()) {
      if (range.pid == wait.lock.pid) return true;
    }
  }
  return false;
}

LockTable::Asked LockTable::ask(SessionId session, const FileLock& lock, bool wait,
                                uint64_t nowMs) {
  nowMs_ = nowMs;
  auto key = keyOf(lock);
  auto& place = places_[key];
  Wait want{0, session, lock, nowMs};
  auto me = ownerOf(want);
  auto mine = place.held.find(me);
  bool holds = mine != place.held.end();
  bool grows = lock.kind == LockKind::NONE ? holds && mine->second.splits(lock.span)
                                           : !holds || !mine->second.covers(lock.span, lock.kind);
  if (grows && locksOf(session) + 2 > kLocksPerSessionMax) {
    forget(key);
    return {Errno::NO_SPACE};
  }
  bool passes = wait && among(place, want);
  if (lock.space == LockSpace::FLOCK && holds && lock.kind != LockKind::NONE) {
    if (mine->second.covers(lock.span, LockKind::WRITE) == (lock.kind == LockKind::WRITE)) {
      return {Errno::OK};  // of that kind already
    }
    FileLock none = lock;
    none.kind = LockKind::NONE;
    put(key, place, me, none);
  }

  std::vector<const Wait*> ahead;
  if (wait && !passes) {
    for (auto& other : place.waits) ahead.push_back(&other);
  }
  bool blocked = lock.kind != LockKind::NONE && (stopped(place, want) || behind(ahead, want));
  if (!blocked) {
    put(key, place, me, lock);
    endCircles(place, me);
    pump(key);
    return {Errno::OK};
  }
  bool circle = wait && lock.space == LockSpace::POSIX && closesCircle(want);
  if (wait && !circle) {
    want.number = nextWait_++;
    enqueue(place, want);
  }
  pump(key);  // a flock may have been given up
  if (circle) return {Errno::DEAD_LOCK};
  return {Errno::AGAIN, want.number};
}

void LockTable::giveUp(uint64_t wait) {
  auto found = waits_.find(wait);
  if (found == waits_.end()) return;
  auto key = found->second;
  auto& place = places_.at(key);
  auto at = std::find_if(place.waits.begin(), place.waits.end(),
                         [wait](const Wait& w) { return w.number == wait; });
  KJ_ASSERT(at != place.waits.end(), "a wait that is not where it is said to be", wait);
  dequeue(place, at);
  pump(key);
}

std::vector<LockTable::Decided> LockTable::takeDecided() {
  return std::exchange(decided_, {});
}

// --- what is held ---

void LockTable::put(const Key& key, Place& place, Owner owner, const FileLock& lock) {
  auto& ranges = place.held[owner];
  auto& session = sessions_[owner.session];
  session.locks -= ranges.size();
  ranges.set(lock.span, lock.kind, lock.pid, nowMs_);
  session.locks += ranges.size();
  if (!ranges.empty()) {
    session.places.insert(key);
    return;
  }
  place.held.erase(owner);
  auto next = place.held.lower_bound(Owner{owner.session, 0});
  if (next == place.held.end() || next->first.session != owner.session) session.places.erase(key);
  if (session.places.empty()) sessions_.erase(owner.session);
}

void LockTable::forget(const Key& key) {
  auto found = places_.find(key);
  if (found == places_.end()) return;
  if (found->second.held.empty() && found->second.waits.empty()) places_.erase(found);
}

// --- who waits ---

void LockTable::enqueue(Place& place, const Wait& wait) {
  place.waits.push_back(wait);
  waits_[wait.number] = keyOf(wait.lock);
  if (wait.lock.space == LockSpace::POSIX) posixWaits_[ownerOf(wait)].insert(wait.number);
}

std::list<LockTable::Wait>::iterator LockTable::dequeue(Place& place,
                                                        std::list<Wait>::iterator at) {
  waits_.erase(at->number);
  auto found = posixWaits_.find(ownerOf(*at));
  if (found != posixWaits_.end()) {
    found->second.erase(at->number);
    if (found->second.empty()) posixWaits_.erase(found);
  }
  return place.waits.erase(at);
}

void LockTable::pump(const Key& key) {
  auto found = places_.find(key);
  if (found == places_.end()) return;
  auto& place = found->second;
  std::vector<const Wait*> ahead;
  std::vector<Owner> granted;
  bool again = false;  // something that was in the way of earlier ones has gone
  for (auto at = place.waits.begin(); at != place.waits.end();) {
    bool overdue = nowMs_ - at->sinceMs >= kLockFairMs;
    bool waits = stopped(place, *at) || (behind(ahead, *at) && !overdue && !among(place, *at));
    if (waits) {
      ahead.push_back(&*at);
      ++at;
      continue;
    }
    auto mine = place.held.find(ownerOf(*at));
    again |= mine != place.held.end() && at->lock.kind == LockKind::READ &&
             mine->second.against(at->lock.span, LockKind::READ) != nullptr;
    put(key, place, ownerOf(*at), at->lock);
    granted.push_back(ownerOf(*at));
    decided_.push_back({at->number, Errno::OK});
    at = dequeue(place, at);
  }
  for (auto& owner : granted) again |= endCircles(place, owner);
  if (again) return pump(key);
  forget(key);
}

void LockTable::tick(uint64_t nowMs) {
  nowMs_ = nowMs;
  std::set<Key> keys;
  for (auto& [number, key] : waits_) keys.insert(key);
  for (auto& key : keys) pump(key);
}

// --- circles ---

bool LockTable::closesCircle(const Wait& wait) const {
  // Whom it would wait for, whom these wait for, and so on: does it come back?
  auto me = ownerOf(wait);
  std::set<Owner> seen;
  std::vector<Owner> todo;
  auto follow = [&](const Wait& w) {
    auto place = find(keyOf(w.lock));
    if (place == nullptr) return;
    for (auto& owner : against(*place, w)) todo.push_back(owner);
  };
  follow(wait);
  while (!todo.empty()) {
    auto owner = todo.back();
    todo.pop_back();
    if (owner == me) return true;
    if (!seen.insert(owner).second) continue;
    auto waits = posixWaits_.find(owner);
    if (waits == posixWaits_.end()) continue;
    for (auto number : waits->second) {
      auto& place = places_.at(waits_.at(number));
      for (auto& w : place.waits) {
        if (w.number == number) follow(w);
      }
    }
  }
  return false;
}

bool LockTable::endCircles(Place& place, Owner granted) {
  // Others here wait for it from now on; that matters if another thread of it waits somewhere.
  if (posixWaits_.count(granted) == 0) return false;
  bool ended = false;
  for (auto at = place.waits.begin(); at != place.waits.end();) {
    if (at->lock.space != LockSpace::POSIX || !closesCircle(*at)) {
      ++at;
      continue;
    }
    decided_.push_back({at->number, Errno::DEAD_LOCK});
    at = dequeue(place, at);
    ended = true;
  }
  return ended;
}

// --- sessions ---

void LockTable::takeAll(SessionId session, std::map<std::pair<Key, Owner>, LockRanges>& taken) {
  auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  for (auto& key : found->second.places) {
    auto& held = places_.at(key).held;
    auto at = held.lower_bound(Owner{session, 0});
    while (at != held.end() && at->first.session == session) {
      taken[{key, at->first}] = at->second;
      at = held.erase(at);
    }
  }
  sessions_.erase(found);
}

bool LockTable::claim(SessionId session, const std::vector<FileLock>& held, bool mayTake,
                      uint64_t nowMs) {
  nowMs_ = nowMs;
  std::map<std::pair<Key, Owner>, LockRanges> before;
  takeAll(session, before);
  std::set<Key> touched;
  for (auto& [place, ranges] : before) touched.insert(place.first);
  bool good = true;
  for (auto& lock : held) {
    auto key = keyOf(lock);
    Owner owner{session, lock.owner};
    touched.insert(key);
    auto old = before.find({key, owner});
    bool had = old != before.end() && old->second.covers(lock.span, lock.kind);
    auto& place = places_[key];
    good = lock.kind != LockKind::NONE && (had || mayTake) &&
           !stopped(place, Wait{0, session, lock, nowMs});
    if (!good) break;
    put(key, place, owner, lock);
    if (!had) continue;
    // It has been held since then, not since this claim.
    auto since = old->second.in(lock.span).front().sinceMs;
    place.held.at(owner).set(lock.span, lock.kind, lock.pid, since);
  }
  if (!good) giveBack(before);
  for (auto& key : touched) pump(key);
  return good;
}

void LockTable::giveBack(const std::map<std::pair<Key, Owner>, LockRanges>& taken) {
  for (auto& [where, ranges] : taken) {
    auto& [key, owner] = where;
    for (auto& range : ranges.all()) {
      put(key, places_[key], owner,
          {key.first, owner.number, key.second, range.kind, range.span, range.pid});
    }
  }
}

void LockTable::endSession(SessionId session) {
  std::map<std::pair<Key, Owner>, LockRanges> taken;
  takeAll(session, taken);
  for (auto& [place, ranges] : taken) pump(place.first);
}

// --- questions ---

kj::Maybe<LockTable::Report> LockTable::blocker(SessionId session, const FileLock& lock) const {
  auto place = find(keyOf(lock));
  if (place == nullptr) return nullptr;
  kj::Maybe<Report> first;
  uint64_t start = UINT64_MAX;
  for (auto& [owner, ranges] : place->held) {
    if (owner == Owner{session, lock.owner}) continue;
    KJ_IF_MAYBE(range, ranges.against(lock.span, lock.kind)) {
      if (range->span.start >= start) continue;
      start = range->span.start;
      FileLock theirs{lock.ino, owner.number, lock.space, range->kind, range->span, range->pid};
      first = Report{owner.session, theirs, false, range->sinceMs};
    }
  }
  return first;
}

std::vector<SessionId> LockTable::inTheWay(SessionId session, const FileLock& lock) const {
  std::vector<SessionId> sessions;
  auto place = find(keyOf(lock));
  if (place == nullptr) return sessions;
  for (auto& owner : against(*place, Wait{0, session, lock, 0})) {
    bool known = !sessions.empty() && sessions.back() == owner.session;
    if (owner.session != session && !known) sessions.push_back(owner.session);
  }
  return sessions;
}

bool LockTable::waitedFor(SessionId session) const {
  auto found = sessions_.find(session);
  if (found == sessions_.end()) return false;
  for (auto& key : found->second.places) {
    auto& place = places_.at(key);
    for (auto& wait : place.waits) {
      if (wait.session == session) continue;
      for (auto& owner : against(place, wait)) {
        if (owner.session == session) return true;
      }
    }
  }
  return false;
}

std::vector<LockTable::Report> LockTable::list(InodeId above, size_t reportsMax) const {
  std::vector<Report> all;
  size_t whole = 0;  // of reports of finished inodes
  InodeId last;
  for (auto at = places_.upper_bound({above, LockSpace(UINT16_MAX)}); at != places_.end(); ++at) {
    auto& [key, place] = *at;
    if (key.first != last) whole = all.size();
    if (key.first != last && all.size() >= reportsMax) break;
    last = key.first;
    for (auto& [owner, ranges] : place.held) {
      for (auto& range : ranges.all()) {
        FileLock lock{key.first, owner.number, key.second, range.kind, range.span, range.pid};
        all.push_back({owner.session, lock, false, range.sinceMs});
      }
    }
    for (auto& wait : place.waits) all.push_back({wait.session, wait.lock, true, wait.sinceMs});
    if (all.size() > reportsMax && whole != 0) {
      all.resize(whole);
      break;
    }
  }
  return all;
}

size_t LockTable::locksOf(SessionId session) const {
  auto found = sessions_.find(session);
  return found == sessions_.end() ? 0 : found->second.locks;
}

}  // namespace dfs
