#pragma once
// Something that has to happen once before others go on.
//
// Thread: the loop's. Owner: whoever opens it; those who wait may go at any time.

#include <kj/async.h>

namespace dfs {

class Gate {
 public:
  Gate() : Gate(kj::newPromiseAndFulfiller<void>()) {}
  KJ_DISALLOW_COPY(Gate);

  bool isOpen() const { return open_; }
  void open() {
    open_ = true;
    fulfiller_->fulfill();
  }
  kj::Promise<void> wait() {
    if (open_) return kj::READY_NOW;
    return promise_.addBranch();
  }

 private:
  explicit Gate(kj::PromiseFulfillerPair<void> pair)
      : fulfiller_(kj::mv(pair.fulfiller)), promise_(pair.promise.fork()) {}

  bool open_ = false;
  kj::Own<kj::PromiseFulfiller<void>> fulfiller_;
  kj::ForkedPromise<void> promise_;
};

}  // namespace dfs
