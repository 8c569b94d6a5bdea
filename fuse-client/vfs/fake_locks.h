#pragma once
// File locks of the fake cluster: no order, no circles, but everything that can go wrong on the way.
//
// Thread: the test's. Owner: fake::Cluster.

#include "common/file_lock.h"
#include "common/waiting.h"

#include <rpc-schema/namespace.capnp.h>

#include <set>

namespace dfs::fake {

class FileLocks {
 public:
  using Owner = std::pair<uint64_t, uint64_t>;  // session, number
  std::map<std::pair<InodeId, LockSpace>, std::map<Owner, LockRanges>> held;
  Signal changed;
  std::set<uint64_t> unclaimed;  // sessions of a first phase: nobody is given anything (S5)
  std::set<uint64_t> ended;      // sessions
  uint64_t waiting = 0;
  bool refuseClaims = false;
  uint64_t loseAnswers = 0;  // of so many calls: they are done, and then the connection goes
  bool deaf = false;         // cancels are not heard

  LockRanges& of(const FileLock& lock, uint64_t session) {
    return held[{lock.ino, lock.space}][{session, lock.owner}];
  }
  kj::Maybe<std::pair<Owner, LockRanges::Range>> against(uint64_t session, const FileLock& lock) {
    for (auto& [owner, ranges] : held[{lock.ino, lock.space}]) {
      if (owner == Owner(session, lock.owner)) continue;
      KJ_IF_MAYBE(range, ranges.against(lock.span, lock.kind)) {
        return std::make_pair(owner, *range);
      }
    }
    return nullptr;
  }
  kj::Promise<Errno> ask(uint64_t session, FileLock lock, bool wait, uint64_t ticket) {
    if (ended.count(session) != 0) return Errno::STALE;
    if (!unclaimed.empty()) {
      return changed.next().then([=, this]() { return ask(session, lock, wait, ticket); });
    }
    if (lock.kind == LockKind::NONE || against(session, lock) == nullptr) {
      of(lock, session).set(lock.span, lock.kind, lock.pid);
      changed.wake();
      return Errno::OK;
    }
    if (!wait) return Errno::AGAIN;
    if (cancelled_.erase({session, ticket}) != 0) return Errno::INTR;
    ++waiting;
    return changed.next().attach(kj::defer([this]() { --waiting; })).then([=, this]() {
      return ask(session, lock, wait, ticket);
    });
  }
  void cancel(uint64_t session, uint64_t ticket) {
    if (deaf) return;
    cancelled_.insert({session, ticket});
    changed.wake();
  }
  void claim(uint64_t session, capnp::List<schema::FileLock>::Reader list) {
    drop(session);
    unclaimed.erase(session);
    for (auto one : list) {
      auto lock = fromWire(one);
      KJ_ASSERT(lock.ok() && against(session, *lock) == nullptr);
      of(*lock, session).set(lock->span, lock->kind, lock->pid);
    }
    changed.wake();
  }
  void drop(uint64_t session) {
    unclaimed.erase(session);
    for (auto& [key, owners] : held) {
      std::erase_if(owners, [session](auto& one) { return one.first.first == session; });
    }
    changed.wake();
  }

 private:
  std::set<std::pair<uint64_t, uint64_t>> cancelled_;
};

}  // namespace dfs::fake
