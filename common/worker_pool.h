#pragma once
// Threads for calls that block. A job runs on one of them and its result comes back to the loop.
//
// Thread: made, used and destroyed on the loop's. Jobs run on the pool's own threads and own
// nothing there. Owner: whoever needs blocking calls (RealEnv, LmdbBacking); outlives every promise
// it gave: those left over fail.
// Invariants:
//   1. A job is in exactly one place: waiting, with a thread, done and not yet delivered, or out.
//   2. The loop is woken at most once for all jobs that are done when it looks.
//   3. Dropping a job's promise takes it back: if it waits it never runs; if a thread is at work on
//      it, the drop blocks until that thread is done with it. So what a job refers to, a buffer
//      say, needs to live only as long as the promise.

#include <kj/async.h>
#include <kj/debug.h>
#include <kj/vector.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "common/task.h"

namespace dfs {

class WorkerPool;

class WorkerJob {
 public:
  explicit WorkerJob(WorkerPool& pool) : pool_(&pool) {}
  KJ_DISALLOW_COPY(WorkerJob);

 protected:
  ~WorkerJob() = default;
  void submit();    // the last act of a constructor
  void withdraw();  // the first act of a destructor
  virtual void work() noexcept = 0;                // on a thread
  virtual void deliver() = 0;                      // on the loop
  virtual void refuse(kj::Exception&& why) = 0;    // on the loop: the pool goes before the job

 private:
  friend class WorkerPool;
  enum class Place : uint8_t { OUT, WAITING, WITH_THREAD, DONE };

  WorkerPool* pool_;
  Place place_ = Place::OUT;   // guarded by the pool's mutex, as are the links
  WorkerJob* next_ = nullptr;
  WorkerJob* previous_ = nullptr;
};

class WorkerPool {
 public:
  WorkerPool(uint32_t threads, const char* name);
  // `name`: of the threads, 15 characters at most.
  ~WorkerPool() noexcept(false);
  // Waits for the jobs that threads are at work on; the waiting ones never run.
  KJ_DISALLOW_COPY(WorkerPool);

  template <typename Func> auto run(Func func) -> kj::Promise<decltype(func())>;
  // Calls func on a thread; what it throws breaks the promise. No KJ_LOG in it: the log is the
  // loop's.

  template <typename Func> void start(Func func);
  // The same for what nobody waits for. The pool holds it until it has run; what it throws is
  // logged. On destruction it may not run at all.

 private:
  friend class WorkerJob;
  template <typename T, typename Func> class Job;
  class DetachedErrors;

  struct List {
    WorkerJob* first = nullptr;
    WorkerJob* last = nullptr;
    void add(WorkerJob& job);
    void remove(WorkerJob& job);
  };

  void threadMain();
  Task<void> collect();

  std::mutex mutex_;
  std::condition_variable work_;      // something waits, or the end has come
  std::condition_variable finished_;  // a job is done that somebody waits for in withdraw()
  List waiting_;
  List done_;
  bool ending_ = false;
  bool told_ = false;  // the loop has been woken and has not looked yet
  uint32_t withdrawing_ = 0;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> wake_;
  std::vector<std::thread> threads_;

  kj::Promise<void> woken_;
  kj::Own<kj::TaskSet::ErrorHandler> detachedErrors_;
  kj::TaskSet detached_;
  kj::Promise<void> collecting_;
};

template <typename T, typename Func> class WorkerPool::Job final : public WorkerJob {
 public:
  Job(kj::PromiseFulfiller<T>& fulfiller, WorkerPool& pool, Func func)
      : WorkerJob(pool), fulfiller_(fulfiller), func_(kj::mv(func)) {
    submit();
  }
  ~Job() { withdraw(); }

 private:
  void work() noexcept override {
    error_ = kj::runCatchingExceptions([this]() {
      if constexpr (std::is_void_v<T>) {
        func_();
      } else {
        value_ = func_();
      }
    });
  }
  void deliver() override {
    KJ_IF_MAYBE(e, error_) {
      fulfiller_.reject(kj::mv(*e));
    } else {
      if constexpr (std::is_void_v<T>) {
        fulfiller_.fulfill();
      } else {
        fulfiller_.fulfill(kj::mv(KJ_ASSERT_NONNULL(value_)));
      }
    }
  }
  void refuse(kj::Exception&& why) override { fulfiller_.reject(kj::mv(why)); }

  struct Nothing {};
  kj::PromiseFulfiller<T>& fulfiller_;
  Func func_;
  kj::Maybe<kj::Exception> error_;
  kj::Maybe<std::conditional_t<std::is_void_v<T>, Nothing, T>> value_;
};

template <typename Func> auto WorkerPool::run(Func func) -> kj::Promise<decltype(func())> {
  using T = decltype(func());
  return kj::newAdaptedPromise<T, Job<T, Func>>(*this, kj::mv(func));
}

template <typename Func> void WorkerPool::start(Func func) {
  detached_.add(run([func = kj::mv(func)]() mutable { (void)func(); }));
}

}  // namespace dfs
