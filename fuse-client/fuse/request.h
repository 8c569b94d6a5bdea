#pragma once
// One request of the kernel, and how it is served.
//
// Thread: the client's loop. Owner: the promise of the work, in serve().
// Invariants:
//   1. Exactly one reply leaves a Request. A second one is a bug and throws; a missing one is a bug
//      and becomes EIO when the object goes.
//   2. A signal that does not kill never makes a call fail: from the kernel's INTERRUPT on, the
//      caller's status is watched, and the work is dropped only when SIGKILL is pending or the caller
//      is gone. Then the call is answered with EINTR, which nobody sees. But who waits for a lock is
//      told of the first signal (serveWait), and answers EINTR itself: the kernel makes of it what
//      SA_RESTART says.

#include "common/outcome.h"
#include "common/task.h"
#include "fuse-client/fuse/caller.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <kj/async.h>
#include <kj/timer.h>

#include <cerrno>
#include <utility>

namespace dfs {

class Request {
 public:
  explicit Request(fuse_req_t raw) : raw_(raw) {}
  ~Request() noexcept {
    if (!replied()) fuse_reply_err(std::exchange(raw_, nullptr), EIO);
  }
  KJ_DISALLOW_COPY(Request);

  bool replied() const { return raw_ == nullptr; }
  const fuse_ctx& context() const { return *fuse_req_ctx(raw_); }
  fuse_req_t raw() const { return raw_; }

  void error(Errno err) { fuse_reply_err(take(), toHost(err)); }
  // The results of those below: false if the kernel had given the request up, so that it holds no new
  // reference to an inode or a handle, and none will be released.
  [[nodiscard]] bool entry(const fuse_entry_param& e) { return fuse_reply_entry(take(), &e) == 0; }
  [[nodiscard]] bool created(const fuse_entry_param& e, const fuse_file_info& fi) {
    return fuse_reply_create(take(), &e, &fi) == 0;
  }
  [[nodiscard]] bool opened(const fuse_file_info& fi) { return fuse_reply_open(take(), &fi) == 0; }
  [[nodiscard]] bool listed(kj::ArrayPtr<const char> bytes) {
    return fuse_reply_buf(take(), bytes.begin(), bytes.size()) == 0;
  }
  // The rest carries nothing that the kernel would have to give back, so a reply that it no longer
  // wants is of no account.
  void attr(const struct stat& st) { fuse_reply_attr(take(), &st, 0); }
  void data(kj::ArrayPtr<const kj::byte> bytes) {
    fuse_reply_buf(take(), reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  void written(size_t bytes) { fuse_reply_write(take(), bytes); }
  void offset(uint64_t at) { fuse_reply_lseek(take(), static_cast<off_t>(at)); }
  void noSuchOffset() { fuse_reply_err(take(), ENXIO); }
  void locked(const struct flock& lock) { fuse_reply_lock(take(), &lock); }
  void hostError(int host) { fuse_reply_err(take(), host); }
  void room(size_t bytes) { fuse_reply_xattr(take(), bytes); }
  void link(const char* target) { fuse_reply_readlink(take(), target); }
  void statfs(const struct statvfs& st) { fuse_reply_statfs(take(), &st); }

 private:
  fuse_req_t take() {
    KJ_REQUIRE(!replied(), "a second reply to one FUSE request");
    return std::exchange(raw_, nullptr);
  }
  fuse_req_t raw_;
};

class InterruptWatch {
  // Resolves killed() when the caller of a request is being killed (invariant 2).
  //
  // Owner: serve(), together with the Request; goes before it is answered by somebody else... the
  // kernel's INTERRUPT is only passed on while the request has no answer.
 public:
  InterruptWatch(fuse_req_t raw, kj::Timer& timer, CallerStatus& callers);
  ~InterruptWatch() noexcept(false);
  KJ_DISALLOW_COPY(InterruptWatch);

  kj::Promise<void> killed() { return kj::mv(killed_.promise); }
  kj::Promise<void> signalled() { return kj::mv(signalled_.promise); }

 private:
  static void interrupted(fuse_req_t raw, void* self);
  Task<void> watch();

  kj::Timer& timer_;
  CallerStatus& callers_;
  const int32_t tid_;
  bool watching_ = false;
  kj::PromiseFulfillerPair<void> killed_ = kj::newPromiseAndFulfiller<void>();
  kj::PromiseFulfillerPair<void> signalled_ = kj::newPromiseAndFulfiller<void>();
  kj::Promise<void> watch_ = nullptr;
};

struct Serving {
  // What serve() needs beside the work.
  kj::Own<kj::TaskSet> tasks;  // null once stopped: every request is answered with EIO then
  kj::Timer& timer;
  CallerStatus& callers;
};

inline void finish(Serving& serving, kj::Own<Request> request, kj::Own<InterruptWatch> watch,
                   kj::Promise<void> done) {
  // The only place where an exception becomes something a user sees.
  auto& r = *request;
  auto killed = watch->killed().then([&r]() {
    if (!r.replied()) r.error(Errno::INTR);
  });
  auto answered = done.exclusiveJoin(kj::mv(killed)).catch_([&r](kj::Exception&& e) {
    KJ_LOG(ERROR, "request failed", e);
    if (!r.replied()) r.error(errnoOf(e));
  });
  serving.tasks->add(answered.attach(kj::mv(watch), kj::mv(request)));
}

template <typename Work> void serve(Serving& serving, fuse_req_t raw, Work&& work) {
  // Runs `work(request)`, a Task or promise, to its end.
  auto request = kj::heap<Request>(raw);
  if (serving.tasks.get() == nullptr) return;
  auto& r = *request;
  auto done = kj::evalNow([&]() -> kj::Promise<void> { return work(r); });
  if (r.replied()) {
    // As most are at once: there is nothing to interrupt any more.
    serving.tasks->add(done.attach(kj::mv(request)));
    return;
  }
  auto watch = kj::heap<InterruptWatch>(raw, serving.timer, serving.callers);
  finish(serving, kj::mv(request), kj::mv(watch), kj::mv(done));
}

template <typename Work> void serveWait(Serving& serving, fuse_req_t raw, Work&& work) {
  // `work(request, interrupted)`: the promise resolves at the first signal, deadly or not.
  auto request = kj::heap<Request>(raw);
  if (serving.tasks.get() == nullptr) return;
  auto watch = kj::heap<InterruptWatch>(raw, serving.timer, serving.callers);
  auto done =
      kj::evalNow([&]() -> kj::Promise<void> { return work(*request, watch->signalled()); });
  finish(serving, kj::mv(request), kj::mv(watch), kj::mv(done));
}

}  // namespace dfs
