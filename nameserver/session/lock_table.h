#pragma once
// Who has locked which files, and who waits for that: flock(2) and fcntl(2) between all sessions.
//
// Thread: the loop's. Owner: Sessions. Memory only: after a start it is made anew from claims (S5).
// Knows no clock: whoever calls says what time it is, in milliseconds.
// Invariants:
//   1. No two owners hold ranges of one file and space that conflict.
//   2. Who waits stands behind everybody who came earlier and wants what conflicts; but not longer
//      than kLockFairMs for their sake alone, and never if their owner or process has a lock of
//      that file already. Who does not wait (F_SETLK, LOCK_NB) is stopped only by what is held.
//   3. Among those who wait for POSIX locks nobody waits in a circle.
//   4. Only files with a lock or somebody who waits are kept here.

#include "common/file_lock.h"

#include <list>
#include <map>
#include <set>
#include <vector>

namespace dfs {

class LockTable {
 public:
  struct Asked {
    Errno err;
    uint64_t wait = 0;  // not 0, with AGAIN: it waits; the end comes with takeDecided()
  };
  struct Decided {
    uint64_t wait;
    Errno err;  // OK, or DEAD_LOCK if waiting would have closed a circle by now
  };
  struct Report {
    SessionId session;
    FileLock lock;
    bool waiting;
    uint64_t sinceMs;
  };

  Asked ask(SessionId session, const FileLock& lock, bool wait, uint64_t nowMs);
  // Sets the range to `lock.kind`, as fcntl(2) and flock(2) do: a flock of another kind is given up
  // before the new one is looked for. OK; AGAIN; DEAD_LOCK; NO_SPACE: kLocksPerSessionMax.
  void giveUp(uint64_t wait);
  // Ignored if it has been decided.
  std::vector<Decided> takeDecided();
  // Those since the last call; to be asked after each of the others.

  kj::Maybe<Report> blocker(SessionId session, const FileLock& lock) const;
  std::vector<SessionId> inTheWay(SessionId session, const FileLock& lock) const;
  // Other sessions that hold what conflicts.
  bool waitedFor(SessionId session) const;
  // Another session waits for what it holds.

  bool claim(SessionId session, const std::vector<FileLock>& held, bool mayTake, uint64_t nowMs);
  // Afterwards the session holds exactly these. mayTake: also what it did not hold before. False: they
  // are not all its own; it keeps what it had until its end (S1).
  void endSession(SessionId session);
  // What it holds goes to others. REQUIRES: nothing of it waits any more.
  void tick(uint64_t nowMs);

  std::vector<Report> list(InodeId above, size_t reportsMax) const;
  // In order of inode, those of one all or none, at least of one inode.
  size_t locksOf(SessionId session) const;
  bool empty() const { return places_.empty(); }

 private:
  struct Owner {
    SessionId session;
    uint64_t number;
    auto operator<=>(const Owner&) const = default;
  };
  using Key = std::pair<InodeId, LockSpace>;
  struct Wait {
    uint64_t number;
    SessionId session;
    FileLock lock;
    uint64_t sinceMs;
  };
  struct Place {
    std::map<Owner, LockRanges> held;
    std::list<Wait> waits;  // in order of arrival
  };
  struct Session {
    size_t locks = 0;
    std::set<Key> places;  // where it holds something
  };

  static Key keyOf(const FileLock& lock) { return {lock.ino, lock.space}; }
  static Owner ownerOf(const Wait& wait) { return {wait.session, wait.lock.owner}; }
  const Place* find(const Key& key) const;
  std::vector<Owner> against(const Place& place, const Wait& wait) const;
  // The owners that hold what conflicts.
  bool stopped(const Place& place, const Wait& wait) const;
  bool behind(const std::vector<const Wait*>& ahead, const Wait& wait) const;
  bool among(const Place& place, const Wait& wait) const;
  // Its owner or process holds something there.
  bool closesCircle(const Wait& wait) const;
  void put(const Key& key, Place& place, Owner owner, const FileLock& lock);
  void forget(const Key& key);
  void enqueue(Place& place, const Wait& wait);
  std::list<Wait>::iterator dequeue(Place& place, std::list<Wait>::iterator at);
  void pump(const Key& key);
  bool endCircles(Place& place, Owner granted);
  void takeAll(SessionId session, std::map<std::pair<Key, Owner>, LockRanges>& taken);
  void giveBack(const std::map<std::pair<Key, Owner>, LockRanges>& taken);

  std::map<Key, Place> places_;
  std::map<SessionId, Session> sessions_;
  std::map<uint64_t, Key> waits_;                   // by number
  std::map<Owner, std::set<uint64_t>> posixWaits_;  // of one owner
  std::vector<Decided> decided_;
  uint64_t nextWait_ = 1;
  uint64_t nowMs_ = 0;
};

}  // namespace dfs
