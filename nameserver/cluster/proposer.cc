#include "nameserver/cluster/proposer.h"

namespace dfs {

CommandMessage Proposer::command() {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto command = message->initRoot<schema::Command>();
  toWire(env_.clock.wallTime(), command.initTime());
  return message;
}

Task<OutcomeMessage> Proposer::propose(CommandMessage message) {
  co_return co_await replicator_.propose(kj::mv(message));
}

kj::Promise<void> SharedConfirm::confirm() {
  KJ_IF_MAYBE(next, next_) {
    return next->addBranch();
  }
  kj::Promise<void> before = kj::READY_NOW;
  if (running_) before = KJ_ASSERT_NONNULL(current_).addBranch();
  kj::Promise<void> done = round(kj::mv(before));
  auto forked = done.fork();
  auto branch = forked.addBranch();
  next_ = kj::mv(forked);
  return branch;
}

Task<void> SharedConfirm::round(kj::Promise<void> before) {
  // A round that failed says so to its own; the next asks again. The turn of the loop lets those
  // who came with the first join it.
  auto ended = before.catch_([](kj::Exception&&) {});
  co_await kj::mv(ended);
  current_ = kj::mv(next_);
  next_ = nullptr;
  running_ = true;
  auto confirmed = kj::evalNow([this]() { return replicator_.confirm(); });
  auto done = confirmed.then([this]() { running_ = false; },
                             [this](kj::Exception&& e) {
                               running_ = false;
                               kj::throwFatalException(kj::mv(e));
                             });
  co_await kj::mv(done);
}

}  // namespace dfs
