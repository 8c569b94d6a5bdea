#pragma once
// Task<T>: the one coroutine type. A function that returns one may co_await a kj::Promise, the
// answer to a Cap'n Proto request, or another Task. A Task turns into a kj::Promise by itself.
//
// Thread: a Task belongs to the event loop of the thread that called the function.
// Owner: whoever holds the Task, or the kj::Promise made of it. Dropping it cancels the work.
// Invariants:
//   1. The body runs at once up to its first co_await. After that only the loop resumes it, never
//      the code that fulfils what it waits for; and it goes on whether anybody waits for it or not.
//   2. Cancelling drops the awaited promise, then the locals, newest first, then the parameters.
//      The body sees nothing of it: destructors undo what must be undone.
//   3. An exception that leaves the body breaks the promise. One that a destructor throws during
//      cancellation is logged and goes no further.
//
// The only file that uses kj::_, the inside of KJ. Cap'n Proto 0.9 (Debian 12) knows no coroutines;
// 1.x knows them, but Debian 13 builds its library without, and g++ dies on kj::Promise as the
// return type of a coroutine. So both get this type.

#include <capnp/common.h>
#include <kj/async.h>
#include <kj/debug.h>

#include <coroutine>
#include <utility>

namespace dfs {

static_assert(CAPNP_VERSION / 1000 == 9 || CAPNP_VERSION / 1000000 == 1,
              "task.h relies on the inside of KJ as of versions 0.9 and 1.x");

template <typename T> class TaskFrame;
template <typename U> class TaskAwaiter;

template <typename T> class [[nodiscard]] Task {
 public:
  using promise_type = TaskFrame<T>;

  Task(Task&&) noexcept = default;
  ~Task() noexcept {}
  // A promise's own destructor may throw, and g++ 12 dies on a coroutine whose return type has such
  // a destructor. Ours does not throw: invariant 3.

  operator kj::Promise<T>() && { return kj::mv(promise_); }
  T wait(kj::WaitScope& scope) && { return promise_.wait(scope); }

 private:
  friend class TaskFrame<T>;
  explicit Task(kj::Promise<T> promise) : promise_(kj::mv(promise)) {}
  kj::Promise<T> promise_;
};

using OwnNode = decltype(kj::_::PromiseNode::from(kj::instance<kj::Promise<void>>()));

#if CAPNP_VERSION < 1000000
class TaskNode : public kj::_::PromiseNode, public kj::_::Event, private kj::Disposer {
 protected:
  OwnNode ownSelf() { return OwnNode(this, *this); }
  virtual void destroy() = 0;

 private:
  void disposeImpl(void*) const override { const_cast<TaskNode*>(this)->destroy(); }
};
#else
class TaskNode : public kj::_::PromiseNode, public kj::_::Event {
 protected:
  TaskNode() : Event(kj::SourceLocation()) {}
  OwnNode ownSelf() { return OwnNode(this); }
};
#endif

class TaskFrameBase : public TaskNode {
  // What a coroutine keeps beside its variables. Those who wait see the node behind a promise, the
  // loop sees the event that resumes the body, and the node's owner frees it all with destroy().
 public:
  struct Wait {
    OwnNode node;
    kj::_::ExceptionOrValue& answer;
  };

  ~TaskFrameBase() noexcept(false) {
    if (gone_ != nullptr) *gone_ = true;
  }

  std::suspend_never initial_suspend() noexcept { return {}; }
  std::suspend_always final_suspend() noexcept {
    // Whoever waits is told here and not when the value was returned: only now have the locals
    // gone, and what their destructors threw is part of the result.
    running_ = false;
    if (gone_ == nullptr) waiter_.arm();
    return {};
  }

  template <typename U> TaskAwaiter<U> await_transform(kj::Promise<U>&& promise) {
    return TaskAwaiter<U>(*this, kj::mv(promise));
  }
  template <typename U> TaskAwaiter<U> await_transform(Task<U>&& task) {
    return TaskAwaiter<U>(*this, kj::mv(task));
  }

  void suspend(Wait& wait) noexcept {
    wait_ = &wait;
    running_ = false;
    wait.node->setSelfPointer(&wait.node);
    wait.node->onReady(this);
  }

 protected:
  std::coroutine_handle<> body_;
  bool* gone_ = nullptr;  // set while the frame is destroyed: where to say that it is

 private:
  kj::Maybe<kj::Own<Event>> fire() override {
    running_ = true;
    auto& wait = *std::exchange(wait_, nullptr);
    wait.node->get(wait.answer);
    KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { wait.node = nullptr; })) {
      wait.answer.addException(kj::mv(*e));
    }
    body_.resume();
    return nullptr;
  }

  void destroy() noexcept override {
    KJ_ASSERT(!running_, "a task dropped the promise that owns it");
    bool gone = false;
    gone_ = &gone;
    auto destroyBody = [&gone, body = body_]() {
      // Once, as a rule. If a local's destructor throws, compilers take the body to its final
      // suspension and leave the rest, this object included, to a second call.
      while (!gone) body.destroy();
    };
    KJ_IF_MAYBE(e, kj::runCatchingExceptions(destroyBody)) {
      KJ_LOG(ERROR, "thrown while a task went away", *e);
    }
  }

  void onReady(Event* event) noexcept override { waiter_.init(event); }
  void tracePromise(kj::_::TraceBuilder& trace, bool stopAtNextEvent) override {
    if (!stopAtNextEvent && wait_ != nullptr) wait_->node->tracePromise(trace, false);
  }
  void traceEvent(kj::_::TraceBuilder& trace) override {
    if (wait_ != nullptr) wait_->node->tracePromise(trace, true);
    waiter_.traceEvent(trace);
  }

  OnReadyEvent waiter_;   // who waits for this task
  Wait* wait_ = nullptr;  // what this task waits for
  bool running_ = true;
};

template <typename U> class TaskAwaiter {
  // One co_await: lives in the frame until the body goes on.
 public:
  TaskAwaiter(TaskFrameBase& frame, kj::Promise<U> promise)
      : frame_(frame), wait_{kj::_::PromiseNode::from(kj::mv(promise)), answer_} {}
  KJ_DISALLOW_COPY(TaskAwaiter);

  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept { frame_.suspend(wait_); }
  U await_resume() { return kj::_::convertToReturn(kj::mv(answer_)); }

 private:
  TaskFrameBase& frame_;
  kj::_::ExceptionOr<kj::_::FixVoid<U>> answer_;
  TaskFrameBase::Wait wait_;
};

template <typename T> struct TaskResult {
  kj::_::ExceptionOr<T> result;
  void return_value(T value) { result.value = kj::mv(value); }
};
template <> struct TaskResult<void> {
  kj::_::ExceptionOr<kj::_::Void> result;
  void return_void() { result.value = kj::_::Void(); }
};

template <typename T> class TaskFrame final : public TaskFrameBase, public TaskResult<T> {
 public:
  Task<T> get_return_object() {
    body_ = std::coroutine_handle<TaskFrame>::from_promise(*this);
    return Task<T>(kj::_::PromiseNode::to<kj::Promise<T>>(this->ownSelf()));
  }

  void unhandled_exception() noexcept {
    auto e = KJ_ASSERT_NONNULL(kj::runCatchingExceptions([]() { throw; }));
    if (gone_ != nullptr) KJ_LOG(ERROR, "thrown while a task was cancelled", e);
    this->result.addException(kj::mv(e));
  }

 private:
  void get(kj::_::ExceptionOrValue& output) noexcept override {
    output.as<kj::_::FixVoid<T>>() = kj::mv(this->result);
  }
};

}  // namespace dfs
