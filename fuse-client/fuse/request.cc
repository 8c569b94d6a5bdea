#include "fuse-client/fuse/request.h"

namespace dfs {
namespace {
constexpr auto kWatchEvery = 50 * kj::MILLISECONDS;
}

InterruptWatch::InterruptWatch(fuse_req_t raw, kj::Timer& timer, CallerStatus& callers)
    : timer_(timer), callers_(callers), tid_(fuse_req_ctx(raw)->pid) {
  // Calls back at once if the INTERRUPT was here before.
  fuse_req_interrupt_func(raw, &InterruptWatch::interrupted, this);
}

InterruptWatch::~InterruptWatch() noexcept(false) {}

void InterruptWatch::interrupted(fuse_req_t, void* self) {
  auto& watch = *static_cast<InterruptWatch*>(self);
  if (watch.watching_) return;
  watch.watching_ = true;
  watch.signalled_.fulfiller->fulfill();
  watch.watch_ = kj::Promise<void>(watch.watch()).eagerlyEvaluate([](kj::Exception&& e) {
    KJ_LOG(ERROR, "the watch over an interrupted call has failed", e);
  });
}

Task<void> InterruptWatch::watch() {
  // The signal that interrupts may be on its way still when INTERRUPT is here.
  while (!callers_.dying(tid_)) {
    co_await timer_.afterDelay(kWatchEvery);
  }
  killed_.fulfiller->fulfill();
}

}  // namespace dfs
