#pragma once
// A KJ event loop whose clock moves only when nothing else can.
//
// Thread: the simulator's only one. Owner: SimWorld, or a test.

#include <kj/async.h>
#include <kj/debug.h>
#include <kj/timer.h>

namespace dfs {

class VirtualTime final : public kj::EventPort {
 public:
  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};

  bool wait() override {
    // Everything runnable has run. Jump to the next armed timer. If there is none, the code under
    // test waits for something that will never come, and that is the bug to report.
    KJ_IF_MAYBE(next, timer.nextEvent()) {
      timer.advanceTo(kj::max(*next, timer.now()));
      return false;
    }
    KJ_FAIL_ASSERT("simulation deadlock: everybody waits and no timer is armed");
  }
  bool poll() override { return false; }

  uint64_t nowNs() const { return (timer.now() - kj::origin<kj::TimePoint>()) / kj::NANOSECONDS; }
};

}  // namespace dfs
