#pragma once
// Whether and when to try again after an exception.

#include "common/env.h"

namespace dfs {

bool mayRetry(const kj::Exception& exception);
// True for what another try can mend: DISCONNECTED and OVERLOADED.

class Backoff {
  // Delays that double with jitter: each is between half and all of its step.
 public:
  Backoff(Env& env, uint64_t firstMs, uint64_t lastMs);
  kj::Promise<void> wait();  // the next delay
  void reset();              // after a success

 private:
  Env& env_;
  const uint64_t firstMs_;
  const uint64_t lastMs_;
  uint64_t stepMs_;
};

template <typename T> kj::Promise<T> withTimeout(Env& env, uint64_t ms, kj::Promise<T> promise) {
  // DISCONNECTED when the time is over: the peer is silent, and what it did is unknown (K4, K5).
  auto late = env.clock.timer().afterDelay(ms * kj::MILLISECONDS).then([ms]() -> kj::Promise<T> {
    return KJ_EXCEPTION(DISCONNECTED, "no answer in time", ms);
  });
  return promise.exclusiveJoin(kj::mv(late));
}

}  // namespace dfs
