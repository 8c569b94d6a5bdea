#include "common/worker_pool.h"

#include <pthread.h>
#include <signal.h>

namespace dfs {

class WorkerPool::DetachedErrors final : public kj::TaskSet::ErrorHandler {
 public:
  void taskFailed(kj::Exception&& e) override { KJ_LOG(WARNING, "a job that nobody awaits", e); }
};

void WorkerPool::List::add(WorkerJob& job) {
  job.next_ = nullptr;
  job.previous_ = last;
  (last == nullptr ? first : last->next_) = &job;
  last = &job;
}

void WorkerPool::List::remove(WorkerJob& job) {
  (job.previous_ == nullptr ? first : job.previous_->next_) = job.next_;
  (job.next_ == nullptr ? last : job.next_->previous_) = job.previous_;
  job.next_ = job.previous_ = nullptr;
}

void WorkerJob::submit() {
  std::lock_guard lock(pool_->mutex_);
  place_ = Place::WAITING;
  pool_->waiting_.add(*this);
  pool_->work_.notify_one();
}

void WorkerJob::withdraw() {
  if (pool_ == nullptr) return;
  std::unique_lock lock(pool_->mutex_);
  if (place_ == Place::WITH_THREAD) {
    ++pool_->withdrawing_;
    pool_->finished_.wait(lock, [this]() { return place_ != Place::WITH_THREAD; });
    --pool_->withdrawing_;
  }
  if (place_ == Place::WAITING) pool_->waiting_.remove(*this);
  if (place_ == Place::DONE) pool_->done_.remove(*this);
  place_ = Place::OUT;
}

WorkerPool::WorkerPool(uint32_t threads, const char* name)
    : woken_(nullptr),
      detachedErrors_(kj::heap<DetachedErrors>()),
      detached_(*detachedErrors_),
      collecting_(nullptr) {
  auto paf = kj::newPromiseAndCrossThreadFulfiller<void>();
  woken_ = kj::mv(paf.promise);
  wake_ = kj::mv(paf.fulfiller);
  collecting_ = collect();

  // Signals are the loop's.
  sigset_t all, before;
  sigfillset(&all);
  KJ_ASSERT(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
  for (uint32_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this]() { threadMain(); });
    // Without a name it is only harder to find in a debugger.
    (void)pthread_setname_np(threads_.back().native_handle(), name);
  }
  KJ_ASSERT(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

WorkerPool::~WorkerPool() noexcept(false) {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_.notify_all();
  for (auto& thread : threads_) thread.join();
  for (auto* list : {&waiting_, &done_}) {
    while (list->first != nullptr) {
      auto& job = *list->first;
      list->remove(job);
      job.place_ = WorkerJob::Place::OUT;
      job.pool_ = nullptr;
      job.refuse(KJ_EXCEPTION(DISCONNECTED, "the threads that were to do it are gone"));
    }
  }
}

void WorkerPool::threadMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this]() { return ending_ || waiting_.first != nullptr; });
    if (ending_) return;
    auto& job = *waiting_.first;
    waiting_.remove(job);
    job.place_ = WorkerJob::Place::WITH_THREAD;
    lock.unlock();
    job.work();
    lock.lock();
    job.place_ = WorkerJob::Place::DONE;
    done_.add(job);
    if (withdrawing_ > 0) finished_.notify_all();
    if (!told_) {
      told_ = true;
      wake_->fulfill();
    }
  }
}

Task<void> WorkerPool::collect() {
  for (;;) {
    co_await kj::mv(woken_);
    auto paf = kj::newPromiseAndCrossThreadFulfiller<void>();
    woken_ = kj::mv(paf.promise);
    List ready;
    {
      // Whoever finishes from here on wakes the loop again.
      std::lock_guard lock(mutex_);
      ready = std::exchange(done_, List());
      wake_ = kj::mv(paf.fulfiller);
      told_ = false;
      for (auto* job = ready.first; job != nullptr; job = job->next_) {
        job->place_ = WorkerJob::Place::OUT;
      }
    }
    // Fulfilling only makes events; nobody drops a job in this loop.
    while (ready.first != nullptr) {
      auto& job = *ready.first;
      ready.remove(job);
      job.pool_ = nullptr;  // its promise may be dropped after the pool
      job.deliver();
    }
  }
}

}  // namespace dfs
