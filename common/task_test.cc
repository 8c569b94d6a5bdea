// Method: each promise of task.h on a bare event loop; traces of what was destroyed, in order.

#include "common/task.h"

#include <gtest/gtest.h>
#include <kj/async-io.h>

#include <string>
#include <vector>

namespace dfs {
namespace {

struct World {
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  std::string trace;

  void turn() {
    for (int i = 0; i < 10; ++i) kj::evalLater([]() {}).wait(scope);
  }
};

class Mark {
  // Notes in the trace that it goes; throws there if it is told to.
 public:
  Mark(std::string& trace, char name, bool throws = false)
      : trace_(&trace), name_(name), throws_(throws) {}
  Mark(Mark&& other) noexcept : trace_(other.trace_), name_(other.name_), throws_(other.throws_) {
    other.trace_ = nullptr;
  }
  ~Mark() noexcept(false) {
    if (trace_ == nullptr) return;
    trace_->push_back(name_);
    if (throws_) KJ_FAIL_REQUIRE("a destructor throws");
  }

 private:
  std::string* trace_;
  char name_;
  bool throws_;
};

Task<int> plus(kj::Promise<int> left, int right) {
  int value = co_await kj::mv(left);
  co_return value + right;
}
Task<void> note(std::string& trace, kj::Promise<void> first) {
  trace += 'a';
  co_await kj::mv(first);
  trace += 'b';
}

TEST(Task, RunsAtOnceUpToItsFirstWaitAndThenOnlyFromTheLoop) {
  World w;
  auto paf = kj::newPromiseAndFulfiller<void>();
  kj::Promise<void> task = note(w.trace, kj::mv(paf.promise));
  EXPECT_EQ(w.trace, "a");
  paf.fulfiller->fulfill();
  EXPECT_EQ(w.trace, "a");
  w.turn();
  EXPECT_EQ(w.trace, "ab");  // though nobody waits for it
  task.wait(w.scope);
}

Task<kj::String> pieces(kj::Promise<kj::String> a, Task<int> b, kj::Promise<kj::Own<int>> c) {
  auto x = co_await kj::mv(a);
  auto y = co_await kj::mv(b);
  auto z = co_await kj::mv(c);
  co_return kj::str(x, y, *z);
}
TEST(Task, AwaitsPromisesAndTasksOfAllKindsOfResults) {
  World w;
  auto late = kj::evalLater([]() { return kj::str("x"); });
  auto task = pieces(kj::mv(late), plus(kj::evalLater([]() { return 1; }), 2), kj::heap<int>(4));
  EXPECT_STREQ(kj::mv(task).wait(w.scope).cStr(), "x34");
}

Task<void> holds(std::string& trace, Mark parameter, kj::Promise<void> forEver) {
  Mark older(trace, '2');
  Mark newer(trace, '1');
  co_await kj::mv(forEver);
  trace += "never";
}
TEST(Task, CancellingDropsTheAwaitedPromiseThenLocalsNewestFirstThenParameters) {
  World w;
  {
    kj::Promise<void> never = kj::NEVER_DONE;
    kj::Promise<void> task = holds(w.trace, Mark(w.trace, '3'), never.attach(Mark(w.trace, '0')));
    w.turn();
    EXPECT_EQ(w.trace, "");
  }
  EXPECT_EQ(w.trace, "0123");
}

Task<int> throwsAfter(kj::Promise<void> wait) {
  co_await kj::mv(wait);
  KJ_FAIL_REQUIRE("from the body");
}
Task<int> catches(kj::Promise<int> p) {
  int value = 0;
  try {
    value = co_await kj::mv(p);
  } catch (const kj::Exception& e) {
    value = e.getDescription() == "from the body" ? 7 : 8;
  }
  co_return value;
}
TEST(Task, WhatTheBodyThrowsBreaksThePromiseAndCanBeCaughtByAnother) {
  World w;
  EXPECT_THROW(throwsAfter(kj::READY_NOW).wait(w.scope), kj::Exception);
  EXPECT_THROW(throwsAfter(kj::evalLater([]() {})).wait(w.scope), kj::Exception);
  EXPECT_EQ(catches(throwsAfter(kj::evalLater([]() {}))).wait(w.scope), 7);
  kj::Promise<int> broken = KJ_EXCEPTION(DISCONNECTED, "gone");
  auto error = kj::runCatchingExceptions([&]() { plus(kj::mv(broken), 1).wait(w.scope); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(error).getType(), kj::Exception::Type::DISCONNECTED);
}

Task<int> endsBadly(std::string& trace, kj::Promise<void> wait) {
  Mark older(trace, 'o');
  Mark bad(trace, 'x', true);
  co_await kj::mv(wait);
  co_return 1;
}
TEST(Task, ADestructorThatThrowsBreaksThePromiseAndIsOnlyLoggedDuringCancellation) {
  World w;
  EXPECT_THROW(endsBadly(w.trace, kj::evalLater([]() {})).wait(w.scope), kj::Exception);
  EXPECT_EQ(w.trace, "xo");
  w.trace.clear();
  { kj::Promise<int> cancelled = endsBadly(w.trace, kj::NEVER_DONE); }
  EXPECT_EQ(w.trace, "xo");
  // And one in what is awaited.
  kj::Promise<void> ready = kj::evalLater([]() {});
  auto task = note(w.trace, ready.attach(Mark(w.trace, 'p', true)));
  EXPECT_THROW(kj::mv(task).wait(w.scope), kj::Exception);
}

struct Errors final : public kj::TaskSet::ErrorHandler {
  void taskFailed(kj::Exception&& e) override { failures.push_back(e.getDescription().cStr()); }
  std::vector<std::string> failures;
};
TEST(Task, FitsTaskSetsForksAndJoins) {
  World w;
  Errors errors;
  kj::TaskSet tasks(errors);
  tasks.add(note(w.trace, kj::evalLater([]() {})));
  kj::Promise<int> failing = throwsAfter(kj::evalLater([]() {}));
  tasks.add(failing.ignoreResult());
  tasks.onEmpty().wait(w.scope);
  EXPECT_EQ(w.trace, "ab");
  EXPECT_EQ(errors.failures, std::vector<std::string>{"from the body"});

  kj::Promise<int> one = plus(kj::evalLater([]() { return 1; }), 1);
  auto fork = one.fork();
  auto branches = kj::heapArrayBuilder<kj::Promise<int>>(3);
  for (int i = 0; i < 3; ++i) branches.add(plus(fork.addBranch(), i));
  auto all = kj::joinPromises(branches.finish()).wait(w.scope);
  EXPECT_EQ(all[0] + 10 * all[1] + 100 * all[2], 432);

  kj::Promise<int> slow = plus(kj::NEVER_DONE, 1);
  kj::Promise<int> quick = plus(5, 1);
  EXPECT_EQ(slow.exclusiveJoin(kj::mv(quick)).wait(w.scope), 6);
  kj::Promise<int> then = plus(5, 1);
  EXPECT_EQ(then.then([](int x) { return x * 2; }).wait(w.scope), 12);
}

Task<int> depth(int levels) {
  if (levels == 0) {
    co_await kj::evalLater([]() {});
    co_return 0;
  }
  int below = co_await depth(levels - 1);
  co_return below + 1;
}
TEST(Task, TenThousandTasksDeepRun) {
  World w;
  EXPECT_EQ(depth(10'000).wait(w.scope), 10'000);
}
TEST(Task, AThousandTasksDeepAreCancelled) {
  // Each level of destruction takes about a kilobyte of stack, more under sanitizers.
  World w;
  { kj::Promise<int> cancelled = depth(1'000); }
  kj::Promise<int> cancelledLate = depth(1'000);
  kj::evalLater([]() {}).wait(w.scope);
}

Task<uint64_t> million() {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < 1'000'000; ++i) {
    if (i % 2 == 0) {
      co_await kj::Promise<void>(kj::READY_NOW);
    } else {
      co_await kj::evalLater([]() {});
    }
    sum += i;
  }
  co_return sum;
}
TEST(Task, AMillionWaitsInOneLoopTakeNoStack) {
  World w;
  EXPECT_EQ(million().wait(w.scope), 499'999'500'000u);
}

Task<void> dropsItself(kj::Maybe<kj::Promise<void>>& self) {
  co_await kj::evalLater([]() {});
  self = nullptr;
}
TEST(TaskDeathTest, ATaskThatDropsItsOwnPromiseIsABugThatEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        World w;
        kj::Maybe<kj::Promise<void>> self;
        self = kj::Promise<void>(dropsItself(self));
        w.turn();
      },
      "");
}

}  // namespace
}  // namespace dfs
