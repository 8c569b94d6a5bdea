// The lock table against a model that keeps a kind for each byte and looks at everything each time.

#include "nameserver/session/lock_table.h"

#include "tests/sim/world/sim_random.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <tuple>

namespace dfs {
namespace {

constexpr uint64_t kBytes = 12;  // of the model; the last one stands for all that follows

FileLock lockOf(uint64_t owner, LockKind kind, uint64_t start = 0, uint64_t end = kLockEnd,
                LockSpace space = LockSpace::POSIX) {
  FileLock lock;
  lock.ino = InodeId(5);
  lock.owner = owner;
  lock.space = space;
  lock.kind = kind;
  lock.span = {start, end};
  lock.pid = static_cast<uint32_t>(owner);
  return lock;
}
FileLock flockOf(uint64_t owner, LockKind kind) {
  return lockOf(owner, kind, 0, kLockEnd, LockSpace::FLOCK);
}

constexpr auto kRead = LockKind::READ;
constexpr auto kWrite = LockKind::WRITE;
constexpr auto kNone = LockKind::NONE;

struct Model {
  using Owner = std::tuple<uint64_t, uint64_t, LockSpace, uint64_t>;  // ino, session, space, number
  struct Wait {
    uint64_t number;
    SessionId session;
    FileLock lock;
    uint64_t sinceMs;
  };
  std::map<Owner, std::array<LockKind, kBytes>> held;
  std::deque<Wait> waits;
  std::vector<std::pair<uint64_t, Errno>> decided;
  uint64_t nowMs = 0;

  static Owner ownerOf(SessionId session, const FileLock& lock) {
    return {lock.ino.value, session.value, lock.space, lock.owner};
  }
  static bool at(const FileLock& lock, uint64_t byte) {
    return byte >= lock.span.start && byte <= lock.span.end;
  }
  std::set<Owner> against(SessionId session, const FileLock& lock) const {
    std::set<Owner> all;
    auto me = ownerOf(session, lock);
    for (auto& [owner, bytes] : held) {
      bool same = std::get<0>(owner) == std::get<0>(me) && std::get<2>(owner) == std::get<2>(me);
      if (!same || owner == me) continue;
      for (uint64_t b = 0; b < kBytes; ++b) {
        if (at(lock, b) && conflict(bytes[b], lock.kind)) all.insert(owner);
      }
    }
    return all;
  }
  bool among(SessionId session, const FileLock& lock) const {
    // Owner numbers are pids in this test.
    auto found = held.find(ownerOf(session, lock));
    if (found == held.end()) return false;
    for (auto kind : found->second) {
      if (kind != kNone) return true;
    }
    return false;
  }
  static bool meet(const FileLock& a, const FileLock& b) {
    return a.ino == b.ino && a.space == b.space && a.span.overlaps(b.span) &&
           conflict(a.kind, b.kind);
  }
  void put(SessionId session, const FileLock& lock) {
    auto& bytes =
        held.emplace(ownerOf(session, lock), std::array<LockKind, kBytes>{}).first->second;
    for (uint64_t b = 0; b < kBytes; ++b) {
      if (at(lock, b)) bytes[b] = lock.kind;
    }
  }
  bool circle(SessionId session, const FileLock& lock) const {
    if (lock.space != LockSpace::POSIX) return false;
    auto me = ownerOf(session, lock);
    std::set<std::pair<uint64_t, uint64_t>> reached;  // POSIX owners, of any file
    std::deque<Owner> todo;
    for (auto& o : against(session, lock)) todo.push_back(o);
    while (!todo.empty()) {
      auto o = todo.front();
      todo.pop_front();
      std::pair<uint64_t, uint64_t> who{std::get<1>(o), std::get<3>(o)};
      if (who == std::pair{std::get<1>(me), std::get<3>(me)}) return true;
      if (!reached.insert(who).second) continue;
      for (auto& w : waits) {
        if (w.lock.space != LockSpace::POSIX || w.session.value != who.first) continue;
        if (w.lock.owner != who.second) continue;
        for (auto& next : against(w.session, w.lock)) todo.push_back(next);
      }
    }
    return false;
  }
  bool mustWait(size_t upTo, SessionId session, const FileLock& lock, bool fair) const {
    if (!against(session, lock).empty()) return true;
    if (!fair || among(session, lock)) return false;
    for (size_t i = 0; i < upTo; ++i) {
      bool own = ownerOf(waits[i].session, waits[i].lock) == ownerOf(session, lock);
      if (!own && meet(waits[i].lock, lock)) return true;
    }
    return false;
  }
  void settle() {
    for (bool again = true; again;) {
      again = false;
      for (size_t i = 0; i < waits.size() && !again; ++i) {
        auto w = waits[i];
        bool fair = nowMs - w.sinceMs < kLockFairMs;
        if (mustWait(i, w.session, w.lock, fair)) continue;
        put(w.session, w.lock);
        decided.push_back({w.number, Errno::OK});
        waits.erase(waits.begin() + static_cast<long>(i));
        again = true;
      }
    }
  }
};

struct Driver {
  explicit Driver(uint64_t seed) : random(seed) {}

  SimRandom random;
  LockTable table;
  Model model;
  std::vector<std::pair<uint64_t, Errno>> decided;
  std::set<uint64_t> open;

  FileLock any() {
    auto end = random.between(0, kBytes);
    FileLock lock = lockOf(random.between(1, 3), LockKind(random.below(3)));
    lock.ino = InodeId(random.between(5, 6));
    if (random.chance(25)) {
      lock.space = LockSpace::FLOCK;
      return lock;
    }
    lock.span.start = random.below(kBytes - 1);
    lock.span.end = end >= kBytes - 1 ? kLockEnd : std::max(lock.span.start, end);
    return lock;
  }
  SessionId session() { return SessionId(random.between(1, 3)); }

  void ask() {
    auto who = session();
    auto lock = any();
    bool wait = random.chance(60);
    // Threads of one owner that wait for files at the same time are tested by hand.
    for (auto& w : model.waits) {
      if (w.session == who && w.lock.owner == lock.owner) return;
    }
    bool circle = false, mustWait = false;
    auto before = model.held;
    bool among = model.among(who, lock);
    auto mine = before.find(Model::ownerOf(who, lock));
    auto old = mine == before.end() ? kNone : mine->second[0];
    bool flock = lock.space == LockSpace::FLOCK;
    bool same = flock && lock.kind != kNone && old == lock.kind;
    if (flock && lock.kind != kNone && !same) {
      auto none = lock;
      none.kind = kNone;
      model.put(who, none);
    }
    if (lock.kind != kNone && !same) {
      mustWait = model.mustWait(model.waits.size(), who, lock, wait && !among);
      circle = mustWait && wait && model.circle(who, lock);
    }
    auto asked = table.ask(who, lock, wait, model.nowMs);
    EXPECT_EQ(asked.err, circle ? Errno::DEAD_LOCK : mustWait ? Errno::AGAIN : Errno::OK);
    EXPECT_EQ(asked.wait != 0, mustWait && wait && !circle);
    if (!mustWait && !same) model.put(who, lock);
    if (asked.wait != 0) model.waits.push_back({asked.wait, who, lock, model.nowMs});
    model.settle();
  }
  void step() {
    auto kind = random.below(100);
    if (kind < 85) {
      ask();
    } else if (kind < 90 && !model.waits.empty()) {
      auto at = random.below(model.waits.size());
      table.giveUp(model.waits[at].number);
      model.waits.erase(model.waits.begin() + static_cast<long>(at));
      model.settle();
    } else if (kind < 95) {
      model.nowMs += random.below(3000);
      table.tick(model.nowMs);
      model.settle();
    } else {
      auto who = session();
      for (size_t i = 0; i < model.waits.size();) {
        if (model.waits[i].session != who) {
          ++i;
          continue;
        }
        table.giveUp(model.waits[i].number);
        model.waits.erase(model.waits.begin() + static_cast<long>(i));
        model.settle();
      }
      table.endSession(who);
      for (auto at = model.held.begin(); at != model.held.end();) {
        at = std::get<1>(at->first) == who.value ? model.held.erase(at) : std::next(at);
      }
      model.settle();
    }
  }
  void compare() {
    for (auto& d : table.takeDecided()) decided.push_back({d.wait, d.err});
    std::sort(decided.begin(), decided.end());
    std::sort(model.decided.begin(), model.decided.end());
    ASSERT_EQ(decided, model.decided);
    std::map<Model::Owner, std::array<LockKind, kBytes>> seen;
    size_t waiting = 0;
    for (auto& r : table.list(InodeId(), SIZE_MAX)) {
      if (r.waiting) {
        ++waiting;
        continue;
      }
      auto& bytes = seen.emplace(Model::ownerOf(r.session, r.lock), std::array<LockKind, kBytes>{})
                        .first->second;
      for (uint64_t b = 0; b < kBytes; ++b) {
        if (!Model::at(r.lock, b)) continue;
        ASSERT_EQ(bytes[b], kNone) << "twice";
        bytes[b] = r.lock.kind;
      }
    }
    for (auto& [owner, bytes] : model.held) {
      bool none = std::all_of(bytes.begin(), bytes.end(), [](LockKind k) { return k == kNone; });
      if (none) {
        ASSERT_EQ(seen.count(owner), 0u);
      } else {
        ASSERT_EQ(seen[owner], bytes);
      }
    }
    ASSERT_EQ(waiting, model.waits.size());
  }
};

TEST(LockTable, DoesWhatTheModelDoesInRandomHistories) {
  for (uint64_t seed = 1; seed <= 300 && !::testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Driver driver(seed);
    for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i) {
      driver.step();
      driver.compare();
    }
  }
}

const SessionId kA(1), kB(2), kC(3);

struct World {
  LockTable table;
  uint64_t nowMs = 0;
  LockTable::Asked ask(SessionId session, FileLock lock, bool wait = false) {
    return table.ask(session, lock, wait, nowMs);
  }
  Errno answered(uint64_t wait) {
    for (auto& d : table.takeDecided()) {
      if (d.wait == wait) return d.err;
    }
    return Errno::AGAIN;
  }
};

TEST(LockTable, RangesAreSplitAndJoinedUpToTheLastByte) {
  World w;
  EXPECT_EQ(w.ask(kA, lockOf(1, kWrite, 0, kLockEnd)).err, Errno::OK);
  EXPECT_EQ(w.ask(kA, lockOf(1, kNone, 10, 19)).err, Errno::OK);
  EXPECT_EQ(w.table.locksOf(kA), 2u);
  EXPECT_EQ(w.ask(kB, lockOf(1, kWrite, 10, 19)).err, Errno::OK);
  EXPECT_EQ(w.ask(kB, lockOf(1, kRead, 20, 20)).err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kA, lockOf(1, kNone, kLockEnd, kLockEnd)).err, Errno::OK);
  EXPECT_EQ(w.ask(kB, lockOf(1, kWrite, kLockEnd, kLockEnd)).err, Errno::OK);
  EXPECT_EQ(w.ask(kB, lockOf(1, kWrite, kLockEnd - 1, kLockEnd)).err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kB, lockOf(1, kNone)).err, Errno::OK);
  EXPECT_EQ(w.ask(kA, lockOf(1, kWrite, 10, 19)).err, Errno::OK);
  EXPECT_EQ(w.table.locksOf(kA), 1u);
  EXPECT_EQ(w.ask(kA, lockOf(1, kNone)).err, Errno::OK);
  EXPECT_TRUE(w.table.empty());
}

TEST(LockTable, WhoWritesIsNotStarvedByReadersAndNobodyWaitsForEverForFairness) {
  World w;
  EXPECT_EQ(w.ask(kA, flockOf(1, kRead)).err, Errno::OK);
  auto writer = w.ask(kB, flockOf(1, kWrite), true);
  EXPECT_EQ(writer.err, Errno::AGAIN);
  auto reader = w.ask(kC, flockOf(1, kRead), true);
  EXPECT_EQ(reader.err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kC, flockOf(2, kRead), false).err, Errno::OK);  // as flock(2) has it
  // Another descriptor of a process that has a lock already: it would wait for itself.
  auto again = flockOf(7, kRead);
  again.pid = 1;
  EXPECT_EQ(w.ask(kA, again, true).err, Errno::OK);
  w.nowMs = kLockFairMs - 1;
  w.table.tick(w.nowMs);
  EXPECT_EQ(w.answered(reader.wait), Errno::AGAIN);
  w.nowMs = kLockFairMs;
  w.table.tick(w.nowMs);
  EXPECT_EQ(w.answered(reader.wait), Errno::OK);
  w.ask(kA, flockOf(1, kNone));
  w.ask(kA, flockOf(7, kNone));
  w.ask(kC, flockOf(2, kNone));
  EXPECT_EQ(w.answered(writer.wait), Errno::AGAIN);
  w.ask(kC, flockOf(1, kNone));
  EXPECT_EQ(w.answered(writer.wait), Errno::OK);
}

TEST(LockTable, AFlockThatIsToBecomeStrongerIsGivenUpFirst) {
  World w;
  w.ask(kA, flockOf(1, kRead));
  w.ask(kB, flockOf(1, kRead));
  EXPECT_EQ(w.ask(kA, flockOf(1, kWrite)).err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kB, flockOf(1, kWrite)).err, Errno::OK);
  EXPECT_EQ(w.ask(kB, flockOf(1, kRead)).err, Errno::OK);
  EXPECT_EQ(w.ask(kA, flockOf(1, kRead)).err, Errno::OK);
}

TEST(LockTable, ACircleIsRefusedAlsoOverFilesAndSessionsAndThreads) {
  World w;
  w.ask(kA, lockOf(1, kWrite, 0, 0));
  auto other = lockOf(1, kWrite, 0, 0);
  other.ino = InodeId(9);
  w.ask(kB, other);
  auto waits = w.ask(kA, other, true);
  EXPECT_EQ(waits.err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kB, lockOf(1, kRead, 0, 5), true).err, Errno::DEAD_LOCK);
  EXPECT_EQ(w.ask(kB, lockOf(1, kRead, 0, 5), false).err, Errno::AGAIN);
  // Upgrades of two readers.
  w.ask(kA, lockOf(4, kRead, 50, 60));
  w.ask(kB, lockOf(4, kRead, 50, 60));
  EXPECT_EQ(w.ask(kA, lockOf(4, kWrite, 50, 60), true).err, Errno::AGAIN);
  EXPECT_EQ(w.ask(kB, lockOf(4, kWrite, 50, 60), true).err, Errno::DEAD_LOCK);
  // B waits for C; another thread of C is given what A waits for, and A what C's first waits for.
  w.ask(kC, lockOf(7, kWrite, 100, 100));
  w.ask(kB, lockOf(8, kWrite, 110, 110));
  auto first = w.ask(kC, lockOf(7, kWrite, 110, 110), true);
  auto second = w.ask(kB, lockOf(8, kWrite, 100, 100), true);
  EXPECT_EQ(first.err, Errno::AGAIN);
  EXPECT_EQ(second.err, Errno::DEAD_LOCK);
}

TEST(LockTable, AGrantThatClosesACircleEndsTheWaitThatCompletesIt) {
  // A waits for what B has; B has two threads, and one of them gets what A holds up.
  World w;
  w.ask(kC, lockOf(3, kWrite, 0, 0));
  w.ask(kA, lockOf(1, kWrite, 5, 5));
  auto thread = w.ask(kB, lockOf(2, kWrite, 0, 0), true);  // behind C
  auto a = w.ask(kA, lockOf(1, kWrite, 0, 0), true);       // behind C too
  auto b = w.ask(kB, lockOf(2, kWrite, 5, 5), true);       // waits for A, which waits for C only
  EXPECT_EQ(b.err, Errno::AGAIN);
  w.ask(kC, lockOf(3, kNone));
  std::map<uint64_t, Errno> decided;
  for (auto& d : w.table.takeDecided()) decided[d.wait] = d.err;
  EXPECT_EQ(decided[thread.wait], Errno::OK);
  EXPECT_EQ(decided[a.wait], Errno::DEAD_LOCK);
  EXPECT_EQ(decided.count(b.wait), 0u);
}

TEST(LockTable, ClaimsAreTakenWholeOrNotAtAll) {
  World w;
  EXPECT_TRUE(w.table.claim(kA, {lockOf(1, kWrite, 0, 9), flockOf(2, kRead)}, true, 0));
  EXPECT_TRUE(w.table.claim(kB, {flockOf(2, kRead)}, true, 0));
  EXPECT_FALSE(w.table.claim(kC, {flockOf(1, kRead), lockOf(1, kRead, 9, 9)}, true, 0));
  w.table.endSession(kC);
  // In normal service nothing is taken that was not held, and what is not claimed is free.
  EXPECT_FALSE(w.table.claim(kB, {flockOf(2, kRead), flockOf(3, kRead)}, false, 0));
  EXPECT_EQ(w.table.locksOf(kB), 1u);  // until its session has ended (S1)
  w.table.endSession(kB);
  auto waits = w.ask(kB, lockOf(1, kWrite, 5, 5), true);
  EXPECT_TRUE(w.table.waitedFor(kA));
  EXPECT_TRUE(w.table.claim(kA, {lockOf(1, kRead, 0, 3)}, false, 0));
  EXPECT_EQ(w.answered(waits.wait), Errno::OK);
  EXPECT_EQ(w.ask(kB, flockOf(9, kWrite)).err, Errno::OK);
  EXPECT_FALSE(w.table.waitedFor(kA));
  EXPECT_FALSE(w.table.claim(kA, {lockOf(1, kWrite, 0, 3)}, false, 0));  // weaker than that
}

TEST(LockTable, ABoundOfLocksIsKeptByThoseThatGrow) {
  World w;
  for (uint64_t i = 0; i + 2 <= kLocksPerSessionMax; ++i) {
    ASSERT_EQ(w.ask(kA, lockOf(1, kRead, i * 4, i * 4 + 2)).err, Errno::OK);
  }
  EXPECT_EQ(w.ask(kA, lockOf(2, kRead, 0, 1)).err, Errno::NO_SPACE);
  EXPECT_EQ(w.ask(kA, lockOf(1, kNone, 1, 1)).err, Errno::NO_SPACE);
  EXPECT_EQ(w.ask(kB, lockOf(1, kRead, 0, 1)).err, Errno::OK);
  EXPECT_EQ(w.ask(kA, lockOf(1, kNone)).err, Errno::OK);
  EXPECT_EQ(w.ask(kA, lockOf(2, kRead, 0, 1)).err, Errno::OK);
}

TEST(LockTable, TheFirstThatIsInTheWayIsNamed) {
  World w;
  w.ask(kA, lockOf(1, kRead, 30, 39));
  w.ask(kB, lockOf(1, kRead, 10, 19));
  EXPECT_EQ(w.table.blocker(kC, lockOf(1, kRead)), nullptr);
  auto found = w.table.blocker(kC, lockOf(1, kWrite));
  KJ_IF_MAYBE(report, found) {
    EXPECT_EQ(report->session, kB);
    EXPECT_EQ(report->lock.span, (LockSpan{10, 19}));
    EXPECT_EQ(report->lock.kind, kRead);
  } else {
    FAIL();
  }
  EXPECT_EQ(w.table.blocker(kB, lockOf(1, kWrite, 0, 25)), nullptr);  // its own
  EXPECT_EQ(w.table.inTheWay(kC, lockOf(1, kWrite)), (std::vector<SessionId>{kA, kB}));
  EXPECT_EQ(w.table.list(InodeId(5), 10).size(), 0u);
  EXPECT_EQ(w.table.list(InodeId(4), 1).size(), 2u);  // those of one inode all together
}

}  // namespace
}  // namespace dfs
