// Method: real threads that are held up by the test; no time passes but theirs.

#include "common/worker_pool.h"

#include <gtest/gtest.h>
#include <kj/async-io.h>

#include <atomic>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace dfs {
namespace {

struct Gate {
  // Holds up threads until it is opened.
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int arrived = 0;

  void pass() {
    std::unique_lock lock(mutex);
    ++arrived;
    changed.notify_all();
    changed.wait(lock, [this]() { return open; });
  }
  void waitFor(int count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&]() { return arrived >= count; });
  }
  void release() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};

struct World {
  kj::AsyncIoContext io = kj::setupAsyncIo();
};

TEST(WorkerPool, ResultsAndExceptionsComeBackToTheLoop) {
  World w;
  WorkerPool pool(3, "test");
  std::vector<kj::Promise<int>> results;
  for (int i = 0; i < 500; ++i) results.push_back(pool.run([i]() { return i * i; }));
  for (int i = 0; i < 500; ++i) EXPECT_EQ(results[i].wait(w.io.waitScope), i * i);
  auto bad = pool.run([]() -> int { KJ_FAIL_REQUIRE("on the thread"); });
  EXPECT_THROW(bad.wait(w.io.waitScope), kj::Exception);
  auto text = pool.run([]() { return kj::str("own"); });
  EXPECT_STREQ(text.wait(w.io.waitScope).cStr(), "own");
  auto nothing = pool.run([]() {});
  nothing.wait(w.io.waitScope);
}

TEST(WorkerPool, JobsOverlapOnItsThreadsAndNoMore) {
  World w;
  WorkerPool pool(2, "test");
  Gate gate;
  std::vector<kj::Promise<void>> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(pool.run([&gate]() { gate.pass(); }));
  gate.waitFor(2);
  {
    std::lock_guard lock(gate.mutex);
    EXPECT_EQ(gate.arrived, 2);
  }
  gate.release();
  for (auto& j : jobs) j.wait(w.io.waitScope);
}

TEST(WorkerPool, ADroppedJobThatWaitsNeverRunsAndOneAtWorkIsWaitedFor) {
  World w;
  WorkerPool pool(1, "test");
  Gate gate;
  std::atomic<bool> done = false;
  std::atomic<bool> ran = false;
  auto buffer = kj::heapArray<char>(1 << 20);
  auto atWork = pool.run([&, bytes = buffer.asPtr()]() mutable {
    gate.pass();
    memset(bytes.begin(), 1, bytes.size());
    done = true;
  });
  auto waiting = pool.run([&]() { ran = true; });
  gate.waitFor(1);
  waiting = nullptr;
  std::thread opener([&]() { gate.release(); });
  atWork = nullptr;  // blocks until the thread is done with the buffer
  EXPECT_TRUE(done);
  buffer = nullptr;
  opener.join();
  pool.run([]() {}).wait(w.io.waitScope);
  EXPECT_FALSE(ran);
}

TEST(WorkerPool, AnUnreadResultMayBeDroppedBeforeAndAfterItIsDelivered) {
  World w;
  WorkerPool pool(1, "test");
  auto done = pool.run([]() { return 1; });
  pool.run([]() {}).wait(w.io.waitScope);  // so `done` has been delivered
  done = nullptr;
  auto other = pool.run([]() { return 2; });
  pool.run([]() {}).wait(w.io.waitScope);
  EXPECT_EQ(other.wait(w.io.waitScope), 2);
}

TEST(WorkerPool, PromisesMayOutliveThePool) {
  // Those that were not delivered fail, those that were keep their result.
  World w;
  auto pool = kj::heap<WorkerPool>(1, "test");
  auto delivered = pool->run([]() { return 1; });
  auto dropped = pool->run([]() { return 2; });
  pool->run([]() {}).wait(w.io.waitScope);
  Gate gate;
  auto atWork = pool->run([&gate]() { gate.pass(); });
  auto waiting = pool->run([]() {});
  gate.waitFor(1);
  std::thread opener([&]() { gate.release(); });
  pool = nullptr;
  opener.join();
  EXPECT_EQ(delivered.wait(w.io.waitScope), 1);
  dropped = nullptr;
  EXPECT_THROW(atWork.wait(w.io.waitScope), kj::Exception);
  auto error = kj::runCatchingExceptions([&]() { waiting.wait(w.io.waitScope); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(error).getType(), kj::Exception::Type::DISCONNECTED);
}

TEST(WorkerPool, DetachedJobsRunAndTheirErrorsGoNoFurther) {
  World w;
  WorkerPool pool(1, "test");
  std::atomic<int> ran = 0;
  for (int i = 0; i < 10; ++i) {
    pool.start([&ran, i]() {
      ++ran;
      KJ_REQUIRE(i % 2 == 0, "nobody awaits this");
    });
  }
  pool.run([]() {}).wait(w.io.waitScope);
  EXPECT_EQ(ran, 10);
}

TEST(WorkerPool, RandomDropsLeaveEachJobRunOnceOrNotAtAll) {
  World w;
  std::atomic<int> ran = 0;
  int awaited = 0;
  {
    WorkerPool pool(4, "test");
    std::vector<kj::Promise<int>> jobs;
    uint64_t state = 1;
    for (int i = 0; i < 20'000; ++i) {
      jobs.push_back(pool.run([&ran]() { return ++ran; }));
      state = state * 6364136223846793005u + 1442695040888963407u;
      size_t pick = (state >> 33) % jobs.size();
      std::swap(jobs[pick], jobs.back());
      if (jobs.size() > 50) {
        if (state >> 63) {
          jobs.back().wait(w.io.waitScope);
          ++awaited;
        }
        jobs.pop_back();
      }
    }
  }
  EXPECT_GE(ran, awaited);
  EXPECT_LE(ran, 20'000);
}

}  // namespace
}  // namespace dfs
