#include "fuse-client/vfs/accesses.h"

#include "common/limits.h"

namespace dfs {
namespace {

constexpr uint64_t kTogetherMs = 1000;
constexpr int64_t kOldSec = 24 * 3600;

}  // namespace

Accesses::Accesses(Clock& clock, AccessTimes rule, bool ofDirectories, Tell tell)
    : clock_(clock),
      rule_(rule),
      ofDirectories_(ofDirectories),
      tell_(kj::mv(tell)),
      tasks_(*this) {}

void Accesses::taskFailed(kj::Exception&& e) {
  KJ_LOG(ERROR, "a time of access could not be told", e);
}

void Accesses::seen(const Attr& attr) {
  if (rule_ == AccessTimes::NEVER) return;
  if (attr.kind == schema::Kind::DIRECTORY && !ofDirectories_) return;
  bool due = rule_ == AccessTimes::STRICT || attr.atime <= attr.mtime || attr.atime <= attr.ctime ||
             clock_.wallTime().sec - attr.atime.sec >= kOldSec;
  if (due) {
    due_.insert(attr.ino);
  } else {
    due_.erase(attr.ino);
  }
}

void Accesses::accessed(InodeId ino) {
  if (due_.count(ino) == 0) return;
  auto found = accesses_.find(ino);
  if (found == accesses_.end() && accesses_.size() >= kAccessesWaitingMax) return;
  if (rule_ != AccessTimes::STRICT) due_.erase(ino);
  if (found != accesses_.end()) {
    found->second->untold = true;
    return;
  }
  auto access = kj::refcounted<Access>();
  accesses_[ino] = kj::addRef(*access);
  tasks_.add(run(ino, kj::mv(access)));
}

Task<void> Accesses::run(InodeId ino, kj::Own<Access> access) {
  KJ_DEFER(accesses_.erase(ino); access->untold = false; access->changed.wake());
  while (access->untold) {
    while (telling_ >= kAccessesAtOnce) co_await freed_.next();
    access->untold = false;
    access->telling = true;
    ++telling_;
    {
      KJ_DEFER(--telling_; access->telling = false; freed_.wake(); access->changed.wake());
      co_await tell_(ino);
    }
    auto asked = access->asked.next();
    auto together = clock_.timer().afterDelay(kTogetherMs * kj::MILLISECONDS);
    co_await together.exclusiveJoin(kj::mv(asked));
  }
}

kj::Promise<void> Accesses::known(InodeId ino) {
  auto found = accesses_.find(ino);
  if (found == accesses_.end() || found->second->done()) return kj::READY_NOW;
  return awaitKnown(kj::addRef(*found->second));
}

Task<void> Accesses::awaitKnown(kj::Own<Access> access) {
  while (!access->done()) {
    access->asked.wake();
    co_await access->changed.next();
  }
}

kj::Promise<void> Accesses::allKnown() {
  return awaitAll();
}

Task<void> Accesses::awaitAll() {
  std::vector<InodeId> inos;
  for (auto& [ino, access] : accesses_) inos.push_back(ino);
  for (auto ino : inos) co_await known(ino);
}

}  // namespace dfs
