#include "storaged/block/intent_log.h"

#include <kj/debug.h>

#include <cstdio>

namespace dfs::block {
namespace {
constexpr size_t kBatchBytesMax = 1 << 20;
}

kj::String IntentLog::nameOf(uint64_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "intents/%08llu", static_cast<unsigned long long>(number));
  return kj::str(name);
}

Task<Errno> IntentLog::prepare(uint64_t number, uint64_t bytes) {
  auto opened = co_await env_.disk.open(nameOf(number), OpenMode::CREATE);
  if (!opened.ok()) co_return opened.err();
  auto file = kj::mv(*opened);
  auto err = co_await file->truncate(0);
  if (err != Errno::OK) co_return err;
  err = co_await file->allocate(0, bytes);
  if (err != Errno::OK) co_return err;
  err = co_await file->sync();
  if (err != Errno::OK) co_return err;
  err = co_await env_.disk.syncDirectory("intents");
  if (err != Errno::OK) co_return err;
  prepared_ = kj::mv(file);
  preparedNumber_ = number;
  co_return Errno::OK;
}

void IntentLog::use() {
  KJ_REQUIRE(idle() && prepared_.get() != nullptr, "the intent log is changed while records wait");
  file_ = kj::mv(prepared_);
  number_ = preparedNumber_;
  at_ = 0;
}

kj::Promise<void> IntentLog::whenIdle() {
  if (idle()) return kj::READY_NOW;
  auto paf = kj::newPromiseAndFulfiller<void>();
  idleWaiters_.push_back(kj::mv(paf.fulfiller));
  return kj::mv(paf.promise);
}

kj::Promise<Errno> IntentLog::append(std::string record) {
  if (failed_ != Errno::OK) return failed_;
  auto paf = kj::newPromiseAndFulfiller<Errno>();
  queue_.push_back({kj::mv(record), kj::mv(paf.fulfiller)});
  if (!writing_) {
    writing_ = true;
    pumping_ = kj::Promise<void>(pump()).eagerlyEvaluate(
        [](kj::Exception&& e) { KJ_LOG(ERROR, "the intent log has stopped", e); });
  }
  return kj::mv(paf.promise);
}

Task<void> IntentLog::pump() {
  // In a later turn, so that records of one turn go together, and so that pumping_ is set.
  co_await kj::evalLater([]() {});
  while (!queue_.empty()) {
    std::string batch;
    std::deque<kj::Own<kj::PromiseFulfiller<Errno>>> waiters;
    while (!queue_.empty() && batch.size() < kBatchBytesMax) {
      batch += queue_.front().record;
      waiters.push_back(kj::mv(queue_.front().fulfiller));
      queue_.pop_front();
    }
    auto err = failed_;
    if (err == Errno::OK) err = co_await file_->write(at_, bytesOf(batch));
    at_ += batch.size();
    if (err != Errno::OK) failed_ = err;
    for (auto& w : waiters) w->fulfill(kj::cp(err));
  }
  writing_ = false;
  auto idle = kj::mv(idleWaiters_);
  idleWaiters_.clear();
  for (auto& w : idle) w->fulfill();
}

kj::Promise<Errno> IntentLog::sync() {
  if (failed_ != Errno::OK) return failed_;
  KJ_IF_MAYBE(next, nextSync_) return next->addBranch();
  KJ_IF_MAYBE(current, syncing_) {
    auto after = current->addBranch().then([this](Errno) -> kj::Promise<Errno> {
      syncing_ = kj::mv(nextSync_);
      nextSync_ = nullptr;
      return syncNow();
    });
    nextSync_ = after.fork();
    return KJ_ASSERT_NONNULL(nextSync_).addBranch();
  }
  syncing_ = kj::Promise<Errno>(syncNow()).fork();
  return KJ_ASSERT_NONNULL(syncing_).addBranch();
}

Task<Errno> IntentLog::syncNow() {
  // In a later turn, so that syncing_ is set before it ends.
  co_await kj::evalLater([]() {});
  auto err = co_await file_->sync();
  if (err != Errno::OK) failed_ = err;
  if (nextSync_ == nullptr) syncing_ = nullptr;
  co_return err;
}

}  // namespace dfs::block
