#pragma once
// Runs what peers ask for, for as long as the server lives.
//
// A call in Cap'n Proto goes on after its connection has ended, and one may still be on its way to
// us when the server goes. So the work belongs to this set and not to the connection, and the
// objects that peers call ask here first.
//
// Thread: the loop's. Owner: Server, and every object that peers call. Invariant: after close()
// nothing runs, and run() calls nothing.

#include <kj/async.h>
#include <kj/debug.h>
#include <kj/refcount.h>

namespace dfs {

class Calls final : public kj::Refcounted, private kj::TaskSet::ErrorHandler {
 public:
  template <typename F> kj::Promise<void> run(F start) {
    if (tasks_.get() == nullptr) return KJ_EXCEPTION(DISCONNECTED, "this daemon is stopping");
    kj::Promise<void> work = start();
    auto paf = kj::newPromiseAndFulfiller<void>();
    auto fulfiller = kj::refcounted<Fulfiller>();
    fulfiller->own = kj::mv(paf.fulfiller);
    auto ok = [f = kj::addRef(*fulfiller)]() mutable { f->own->fulfill(); };
    auto failed = [f = kj::addRef(*fulfiller)](kj::Exception&& e) mutable {
      f->own->reject(kj::mv(e));
    };
    tasks_->add(work.then(kj::mv(ok), kj::mv(failed)));
    return kj::mv(paf.promise);
  }
  void close() { tasks_ = nullptr; }

 private:
  struct Fulfiller : kj::Refcounted {
    kj::Own<kj::PromiseFulfiller<void>> own;
  };
  void taskFailed(kj::Exception&& e) override { KJ_LOG(ERROR, "a call ended", e); }

  kj::Own<kj::TaskSet> tasks_ = kj::heap<kj::TaskSet>(static_cast<kj::TaskSet::ErrorHandler&>(*this));
};

}  // namespace dfs
