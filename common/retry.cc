#include "common/retry.h"

#include "common/outcome.h"

namespace dfs {

bool mayRetry(const kj::Exception& exception) {
  auto type = exception.getType();
  return type == kj::Exception::Type::DISCONNECTED || type == kj::Exception::Type::OVERLOADED;
}

Backoff::Backoff(Env& env, uint64_t firstMs, uint64_t lastMs)
    : env_(env), firstMs_(firstMs), lastMs_(lastMs), stepMs_(firstMs) {
  KJ_REQUIRE(firstMs >= 1 && firstMs <= lastMs);
}

kj::Promise<void> Backoff::wait() {
  uint64_t ms = stepMs_ / 2 + env_.random.below(stepMs_ / 2 + 1);
  stepMs_ = kj::min(stepMs_ * 2, lastMs_);
  return env_.clock.timer().afterDelay(ms * kj::MILLISECONDS);
}

void Backoff::reset() {
  stepMs_ = firstMs_;
}

}  // namespace dfs
