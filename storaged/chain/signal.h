#pragma once
// Many wait for one thing to happen, again and again.
//
// Thread: the loop's. Owner: whoever raises it; waiters are let go with DISCONNECTED when it goes.

#include <kj/async.h>

#include <utility>
#include <vector>

namespace dfs {

class Wakeup {
 public:
  Wakeup() = default;
  KJ_DISALLOW_COPY(Wakeup);

  kj::Promise<void> next() {
    auto paf = kj::newPromiseAndFulfiller<void>();
    waiters_.push_back(kj::mv(paf.fulfiller));
    if (waiters_.size() > 64 && waiters_.size() > 2 * aliveLast_) tidy();
    return kj::mv(paf.promise);
  }
  void raise() {
    auto now = std::exchange(waiters_, {});
    for (auto& w : now) w->fulfill();
  }

 private:
  void tidy() {
    // Those who gave up leave nothing behind for longer than it takes the number to double.
    std::vector<kj::Own<kj::PromiseFulfiller<void>>> alive;
    for (auto& w : waiters_) {
      if (w->isWaiting()) alive.push_back(kj::mv(w));
    }
    waiters_ = kj::mv(alive);
    aliveLast_ = waiters_.size();
  }

  std::vector<kj::Own<kj::PromiseFulfiller<void>>> waiters_;
  size_t aliveLast_ = 0;
};

}  // namespace dfs
