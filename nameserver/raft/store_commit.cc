// RaftReplicator's commits of the store, by size and by time, and the cutting of the log (Y7).

#include "nameserver/raft/raft_replicator.h"

#include <kj/debug.h>

namespace dfs {

void RaftReplicator::maybeCommit() {
  if (committing_ || kv_.uncommittedBytes() < options_.commitBytes) return;
  commit_ = kj::Promise<void>(commitStore()).fork();
  tasks_->add(commit_.addBranch());
}

Task<void> RaftReplicator::commitStore() {
  committing_ = true;
  uint64_t index = applied_;
  co_await kv_.commit();
  durable_ = kj::max(durable_, index);
  auto cut = log_->cut(durable_);
  co_await kj::mv(cut);
  committing_ = false;
}

Task<void> RaftReplicator::commitRegularly() {
  while (failure_ == nullptr) {
    co_await env_.clock.timer().afterDelay(options_.commitMs * kj::MILLISECONDS);
    if (committing_ || durable_ == applied_) continue;
    commit_ = kj::Promise<void>(commitStore()).fork();
    co_await commit_.addBranch();
  }
}

kj::Promise<void> RaftReplicator::stop() {
  // What was accepted is answered first; then the store is told, twice if a commit is under way.
  stopping_ = true;
  kj::Promise<void> drained = kj::READY_NOW;
  if (failure_ == nullptr && (!tail_.empty() || !waiting_.empty())) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    quiet_ = kj::mv(paf.fulfiller);
    drained = kj::mv(paf.promise);
  }
  return drained.then([this]() { return commit_.addBranch(); }).then([this]() -> kj::Promise<void> {
    KJ_IF_MAYBE(e, failure_) return kj::cp(*e);
    if (durable_ == applied_) return kj::READY_NOW;
    commit_ = kj::Promise<void>(commitStore()).fork();
    return commit_.addBranch();
  });
}

}  // namespace dfs
