// Removed inodes: freed when no client's kernel knows them any more (G4). Every live session is asked
// before `reap`; one that does not answer keeps the inode.
//
// The rows of what was freed are given back by Cluster.

#include "common/limits.h"
#include "common/retry.h"
#include "nameserver/session/session_server.h"

namespace dfs {
namespace {

constexpr uint64_t kLookMs = 500;
constexpr uint64_t kAnswerMs = 5'000;
constexpr uint64_t kSilentCallbackMs = 10'000;

}  // namespace

bool Sessions::pinned(InodeId ino) {
  for (auto& [id, live] : live_) {
    if (live->pins.count(ino) != 0) return true;
  }
  return false;
}

Task<void> Sessions::reapForever() {
  co_await serving_.wait();
  for (;;) {
    bool more = false;
    if (queries_.counts().orphans != 0) {
      more = co_await reapSome();
    }
    if (!more) {
      co_await env_.clock.timer().afterDelay(kLookMs * kj::MILLISECONDS);
    }
  }
}

Task<bool> Sessions::reapSome() {
  auto looked = queries_.orphans(reapCursor_, kInodesPerReapMax);
  bool atEnd = looked.size() < kInodesPerReapMax;
  reapCursor_ = atEnd ? InodeId() : looked.back();
  std::vector<InodeId> candidates, asked;
  for (auto ino : looked) {
    if (!pinned(ino)) candidates.push_back(ino);
  }
  // Who has made one without a name and does not know of it yet would say that it does not use it.
  auto unheard = queries_.unheardOf(candidates);
  for (auto ino : candidates) {
    if (unheard.count(ino) == 0) asked.push_back(ino);
  }
  if (asked.empty()) co_return !atEnd;

  std::set<InodeId> keep;
  bool all = co_await askAll(asked, &keep);
  std::vector<InodeId> freed;
  for (auto ino : asked) {
    // Asked after the wait: somebody may have claimed, or be at work on it.
    if (all && keep.count(ino) == 0 && !pinned(ino) && !leases_.holder(ino)) freed.push_back(ino);
  }
  if (freed.empty()) co_return !atEnd;
  auto command = stamper_.own();
  auto list = command->getRoot<schema::Command>().getDo().initReap().initInos(
      static_cast<unsigned>(freed.size()));
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, freed[i].value);
  kj::Maybe<kj::Exception> failure;
  kj::Promise<void> reaped = proposeOwn(kj::mv(command), "reap");
  auto caught = reaped.catch_([&failure](kj::Exception&& e) { failure = kj::mv(e); });
  co_await kj::mv(caught);
  KJ_IF_MAYBE(e, failure) {
    if (!mayRetry(*e)) kj::throwFatalException(kj::mv(*e));
    co_return false;  // the next look asks again
  }
  counters_.reaped += freed.size();
  for (auto& [id, live] : live_) {
    for (auto ino : freed) live->denied.erase(ino);
  }
  co_return !atEnd;
}

Task<bool> Sessions::askAll(std::vector<InodeId> inos, std::set<InodeId>* keep) {
  // False: a session did not answer, or came meanwhile.
  std::vector<SessionId> ids;
  for (auto& [id, live] : live_) ids.push_back(id);
  auto answers = kj::heapArrayBuilder<kj::Promise<bool>>(ids.size());
  for (auto id : ids) answers.add(askOne(id, inos, keep));
  auto all = co_await kj::joinPromises(answers.finish());
  bool every = true;
  for (auto answered : all) every = every && answered;
  co_return every;
}

Task<bool> Sessions::askOne(SessionId id, std::vector<InodeId> inos, std::set<InodeId>* keep) {
  auto live = find(id);
  if (live == nullptr) co_return true;
  auto attach = live->attach;
  auto again = silentCallbacks_.find(id);
  bool tired = again != silentCallbacks_.end() && now() < again->second;
  if (live->ending || live->callback == nullptr || tired) co_return false;
  auto request = KJ_ASSERT_NONNULL(live->callback).stillUsedRequest();
  auto list = request.initInos(static_cast<unsigned>(inos.size()));
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, inos[i].value);
  kj::Maybe<std::set<InodeId>> used;
  kj::Promise<void> sent = request.send().then([&used](auto&& answer) {
    std::set<InodeId> set;
    for (auto ino : answer.getUsed()) set.insert(InodeId(ino));
    used = kj::mv(set);
  });
  // No answer is an answer too: the inodes stay.
  auto answered = withTimeout(env_, kAnswerMs, kj::mv(sent)).catch_([](kj::Exception&&) {});
  co_await kj::mv(answered);

  live = find(id);
  if (live == nullptr) co_return true;  // ended and fenced meanwhile: it holds nothing
  KJ_IF_MAYBE(set, used) {
    if (live->attach != attach) co_return false;
    silentCallbacks_.erase(id);
    for (auto ino : inos) {
      if (set->count(ino) != 0) {
        live->pins.insert(ino);
        keep->insert(ino);
      } else {
        // What never had a name may yet get one, and then everybody may use it.
        if (queries_.isOrphan(ino) && !queries_.isUnnamed(ino)) live->denied.insert(ino);
        leases_.released(ino, id, leases_.sequence(ino));
      }
    }
    co_return true;
  }
  silentCallbacks_[id] = now() + kSilentCallbackMs;
  co_return false;
}

}  // namespace dfs
