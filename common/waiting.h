#pragma once
// Small things that wait: a signal for many, a lock in order of arrival, an attempt whose failure is
// a value.
//
// Thread: the loop's. Owner: whoever has one as a member; must outlive its waiters' wake-ups.

#include <kj/async.h>
#include <kj/debug.h>
#include <kj/exception.h>
#include <kj/refcount.h>

#include <deque>
#include <vector>

namespace dfs {

class Signal {
  // Wakes everybody who waits. Says nothing about what happened: the woken ask again.
 public:
  kj::Promise<void> next() {
    if (waiters_.size() >= cleanAt_) forgetTheGone();
    auto pair = kj::newPromiseAndFulfiller<void>();
    waiters_.push_back(kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }
  void wake() {
    auto woken = kj::mv(waiters_);
    waiters_.clear();
    for (auto& waiter : woken) waiter->fulfill();
  }

 private:
  void forgetTheGone() {
    // Waiters that gave up are noticed here, or a signal that is never given would grow for ever.
    std::vector<kj::Own<kj::PromiseFulfiller<void>>> kept;
    for (auto& waiter : waiters_) {
      if (waiter->isWaiting()) kept.push_back(kj::mv(waiter));
    }
    waiters_ = kj::mv(kept);
    cleanAt_ = kj::max(size_t(64), waiters_.size() * 2);
  }

  std::vector<kj::Own<kj::PromiseFulfiller<void>>> waiters_;
  size_t cleanAt_ = 64;
};

class FifoLock {
  // Many sharers or one alone, in order of arrival. A Hold ends with its object; it keeps the lock's
  // inside alive, so the lock may go first.
  struct State : public kj::Refcounted {
    struct Waiter;
    uint32_t sharers = 0;
    bool alone = false;
    std::deque<kj::Own<Waiter>> waiters;
    void pump();
  };

 public:
  class Hold {
   public:
    Hold(kj::Own<State> state, bool alone) : state_(kj::mv(state)), alone_(alone) {}
    KJ_DISALLOW_COPY(Hold);
    ~Hold() noexcept(false) {
      if (alone_) {
        state_->alone = false;
      } else {
        --state_->sharers;
      }
      state_->pump();
    }

   private:
    kj::Own<State> state_;
    const bool alone_;
  };

  FifoLock() : state_(kj::refcounted<State>()) {}
  KJ_DISALLOW_COPY(FifoLock);

  kj::Promise<kj::Own<Hold>> shared() { return enter(false); }
  kj::Promise<kj::Own<Hold>> alone() { return enter(true); }
  bool idle() const { return state_->sharers == 0 && !state_->alone && state_->waiters.empty(); }

 private:
  kj::Promise<kj::Own<Hold>> enter(bool alone);
  kj::Own<State> state_;
};

struct FifoLock::State::Waiter {
  bool alone;
  kj::Own<kj::PromiseFulfiller<kj::Own<Hold>>> fulfiller;
};

inline void FifoLock::State::pump() {
  while (!waiters.empty()) {
    if (!waiters.front()->fulfiller->isWaiting()) {
      waiters.pop_front();
      continue;
    }
    bool wantsAlone = waiters.front()->alone;
    if (alone || (wantsAlone && sharers > 0)) return;
    auto waiter = kj::mv(waiters.front());
    waiters.pop_front();
    if (wantsAlone) {
      alone = true;
    } else {
      ++sharers;
    }
    waiter->fulfiller->fulfill(kj::heap<Hold>(kj::addRef(*this), wantsAlone));
  }
}

inline kj::Promise<kj::Own<FifoLock::Hold>> FifoLock::enter(bool alone) {
  auto pair = kj::newPromiseAndFulfiller<kj::Own<Hold>>();
  auto waiter = kj::heap<State::Waiter>();
  waiter->alone = alone;
  waiter->fulfiller = kj::mv(pair.fulfiller);
  state_->waiters.push_back(kj::mv(waiter));
  state_->pump();
  return kj::mv(pair.promise);
}

template <typename T> struct Tried {
  kj::Maybe<T> value;
  kj::Maybe<kj::Exception> failure;  // exactly one of the two is there
};

template <typename T> kj::Promise<Tried<T>> attempt(kj::Promise<T> promise) {
  return promise.then(
      [](T&& value) {
        return Tried<T>{kj::mv(value), nullptr};
      },
      [](kj::Exception&& e) {
        return Tried<T>{nullptr, kj::mv(e)};
      });
}

inline kj::Promise<kj::Maybe<kj::Exception>> attempt(kj::Promise<void> promise) {
  return promise.then([]() -> kj::Maybe<kj::Exception> { return nullptr; },
                      [](kj::Exception&& e) -> kj::Maybe<kj::Exception> { return kj::mv(e); });
}

}  // namespace dfs
