// Sync, and the checkpoints at which the index becomes durable and old intents go.
//
// A checkpoint, and what a crash after each step leaves:
//   1. sync while service goes on                nothing has changed
//   2. the next log is made                      an empty file, replayed as such, or removed
//   3. gate closed, no update under way, sync    nothing has changed: short, for most was synced in 1
//   4. the next log is used; commit() is called  index old: both logs are replayed. Index new: the next one
//   5. gate open; the commit resolves            the same
//   6. the old log goes, freed slots are punched what is left of it is done at the next start or checkpoint

#include "storaged/block/disk_block_store.h"

#include <kj/debug.h>

namespace dfs::block {
namespace {

constexpr uint64_t kLookEveryMs = 500;
constexpr uint64_t kCheckpointEveryMs = 30'000;  // while there is something to do
constexpr uint64_t kFreeSoonMs = 1'500;          // space of erased blocks comes back within seconds

}  // namespace

kj::Promise<void> DiskBlockStore::gateOpen() {
  if (!gateClosed_) return kj::READY_NOW;
  auto paf = kj::newPromiseAndFulfiller<void>();
  gateWaiters_.push_back(kj::mv(paf.fulfiller));
  return kj::mv(paf.promise);
}

void DiskBlockStore::openGate() {
  gateClosed_ = false;
  auto waiters = kj::mv(gateWaiters_);
  gateWaiters_.clear();
  for (auto& w : waiters) w->fulfill();
}

kj::Promise<Errno> DiskBlockStore::sync() {
  if (failed_) return Errno::IO;
  if (sequence_ == dataSynced_ && syncing_ == nullptr) return Errno::OK;
  KJ_IF_MAYBE(next, nextSync_) return next->addBranch();
  KJ_IF_MAYBE(current, syncing_) {
    // It may have begun before what the caller wants covered: the one after it is shared by all who come meanwhile.
    auto after = current->addBranch().then([this](Errno) -> kj::Promise<Errno> {
      syncing_ = kj::mv(nextSync_);
      nextSync_ = nullptr;
      return syncTurn();
    });
    nextSync_ = after.fork();
    return KJ_ASSERT_NONNULL(nextSync_).addBranch();
  }
  syncing_ = kj::Promise<Errno>(syncTurn()).fork();
  return KJ_ASSERT_NONNULL(syncing_).addBranch();
}

Task<Errno> DiskBlockStore::syncTurn() {
  // In a later turn, so that syncing_ is set before it ends.
  co_await kj::evalLater([]() {});
  auto err = co_await syncOnce();
  if (nextSync_ == nullptr) syncing_ = nullptr;
  co_return err;
}

Task<Errno> DiskBlockStore::syncOnce() {
  if (failed_) co_return Errno::IO;
  if (!log_.idle()) {
    // commit() marks that nobody waits for go with this sync, too: what is appended after them is written after them.
    auto err = co_await log_.append(std::string());
    if (err != Errno::OK) co_return fail(err, "writing the intent log");
  }
  uint64_t through = appliedThrough();
  syncStartedThrough_ = kj::max(syncStartedThrough_, through);
  auto both = kj::heapArrayBuilder<kj::Promise<Errno>>(2);
  both.add(segments_.sync());
  both.add(log_.sync());
  auto all = kj::joinPromises(both.finish());
  auto errors = co_await kj::mv(all);
  for (auto err : errors) {
    if (err != Errno::OK) co_return fail(err, "syncing");
  }
  dataSynced_ = kj::max(dataSynced_, through);
  logSynced_ = kj::max(logSynced_, through);
  for (auto it = recent_.begin(); it != recent_.end();) {
    it = it->second.lastAt <= dataSynced_ ? recent_.erase(it) : std::next(it);
  }
  co_return Errno::OK;
}

void DiskBlockStore::wantCheckpoint() {
  checkpointWanted_ = true;
  KJ_IF_MAYBE(w, checkpointWaker_) {
    (*w)->fulfill();
    checkpointWaker_ = nullptr;
  }
}

Task<void> DiskBlockStore::keepCheckpoints() {
  uint64_t last = env_.clock.bootMs();
  uint64_t freedSince = 0;
  while (!failed_) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    checkpointWaker_ = kj::mv(paf.fulfiller);
    auto waited =
        paf.promise.exclusiveJoin(env_.clock.timer().afterDelay(kLookEveryMs * kj::MILLISECONDS));
    co_await kj::mv(waited);
    uint64_t now = env_.clock.bootMs();
    if (segments_.freedCount() == 0) {
      freedSince = 0;
    } else if (freedSince == 0) {
      freedSince = now;
    }
    bool due = checkpointWanted_ || (changedSinceCheckpoint_ && now >= last + kCheckpointEveryMs) ||
               (freedSince != 0 && now >= freedSince + kFreeSoonMs);
    if (!due || failed_) continue;
    auto err = co_await checkpoint();
    last = env_.clock.bootMs();
    freedSince = 0;
    if (err == Errno::NO_SPACE) {
      KJ_LOG(WARNING, "no room for the next intent log: the old one goes on");
      co_await env_.clock.timer().afterDelay(1 * kj::SECONDS);
    }
  }
}

Task<Errno> DiskBlockStore::checkpoint() {
  checkpointWanted_ = false;
  auto err = co_await sync();
  if (err != Errno::OK) co_return err;
  uint64_t old = log_.number();
  err = co_await log_.prepare(old + 1, logBytes_);
  if (err == Errno::NO_SPACE) co_return err;
  if (err != Errno::OK) co_return fail(err, "making an intent log");

  gateClosed_ = true;
  KJ_DEFER(if (gateClosed_) openGate());
  while (busy_ > 0) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    quiet_ = kj::mv(paf.fulfiller);
    co_await kj::mv(paf.promise);
    quiet_ = nullptr;
  }
  // A sync that others have begun may be under way: two of the segments at once are not allowed.
  while (syncing_ != nullptr) {
    auto other = KJ_ASSERT_NONNULL(syncing_).addBranch();
    co_await kj::mv(other);
  }
  while (!log_.idle()) {
    auto idle = log_.whenIdle();
    co_await kj::mv(idle);
  }
  err = co_await sync();
  if (err != Errno::OK) co_return err;
  while (!log_.idle()) {
    auto idle = log_.whenIdle();
    co_await kj::mv(idle);
  }
  // commit() marks may have come meanwhile: they are in the old log, which must hold all before the next one begins.
  err = co_await log_.sync();
  if (err != Errno::OK) co_return fail(err, "syncing the intent log");
  if (!log_.idle()) {
    // Some more of them: next time.
    checkpointWanted_ = true;
    co_return Errno::AGAIN;
  }
  logSynced_ = sequence_;
  log_.use();
  index_->put(kMetaTable, bytesOf(std::string("meta")),
              bytesOf(encode(Meta{log_.number(), sequence_})));
  changedSinceCheckpoint_ = false;
  auto freed = segments_.takeFreed();
  auto committed = index_->commit();
  openGate();

  bool failedCommit = false;
  try {
    co_await kj::mv(committed);
  } catch (const kj::Exception& e) {
    KJ_LOG(ERROR, "the block index could not be written", e);
    failedCommit = true;
  }
  if (failedCommit) co_return fail(Errno::IO, "committing the index");
  // Absent is as good: an earlier removal may have been the last step of a process that died.
  (void)co_await env_.disk.remove(IntentLog::nameOf(old));
  err = co_await segments_.release(kj::mv(freed));
  if (err != Errno::OK) co_return fail(err, "freeing slots");
  co_return Errno::OK;
}

kj::Promise<void> DiskBlockStore::close() {
  if (failed_) return kj::READY_NOW;
  return kj::Promise<Errno>(checkpoint()).then([](Errno err) {
    KJ_REQUIRE(err == Errno::OK || err == Errno::AGAIN || err == Errno::NO_SPACE,
               "the store could not be closed cleanly");
  });
}

}  // namespace dfs::block
