#include "storaged/chain/view_keeper.h"

#include "common/limits.h"
#include "common/retry.h"

namespace dfs {
namespace {

bool takesUpdates(MemberState state) {
  return state == MemberState::SERVING || state == MemberState::SYNCING;
}

MemberState stateIn(const View& view, NodeId node, ChainId id) {
  auto chain = view.chain(id);
  if (chain == nullptr) return MemberState::OFFLINE;
  return chain->stateOf(node).orDefault(MemberState::OFFLINE);
}

}  // namespace

void ViewKeeper::registered(NodeId self, Uuid cluster, uint64_t incarnation) {
  KJ_REQUIRE(!self_ || self_ == self, "the name server gave this store another id", self_, self);
  self_ = self;
  cluster_ = cluster;
  incarnation_ = incarnation;
}

void ViewKeeper::install(View view) {
  if (view.version <= view_.version) return;
  KJ_REQUIRE(view.cluster == cluster_, "a view of another cluster");
  for (auto& entry : view.chains) {
    auto id = entry.first;
    auto before = dfs::stateIn(view_, self_, id);
    auto now = dfs::stateIn(view, self_, id);
    if (now != MemberState::SERVING) {
      recovering_.erase(id);
    } else if (!takesUpdates(before)) {
      // Serving without having been brought up: what lies uncommitted here is the chain's now.
      recovering_.insert(id);
    }
  }
  view_ = kj::mv(view);
  for (auto& hook : hooks_) hook();
  changed_.wake();
}

void ViewKeeper::recovered(ChainId chain) {
  recovering_.erase(chain);
  changed_.wake();
}

void ViewKeeper::extendRight(uint64_t untilBootMs) {
  rightUntilMs_ = kj::max(rightUntilMs_, untilBootMs);
}

bool ViewKeeper::mayServe() const {
  return env_.clock.bootMs() < rightUntilMs_;
}

bool ViewKeeper::knowsUs() const {
  auto node = view_.node(self_);
  return node != nullptr && node->incarnation == incarnation_;
}

MemberState ViewKeeper::stateIn(ChainId chain) const {
  return dfs::stateIn(view_, self_, chain);
}

uint64_t ViewKeeper::epochOf(ChainId chain) const {
  auto c = view_.chain(chain);
  return c == nullptr ? 0 : c->epoch;
}

bool ViewKeeper::serves(ChainId chain) const {
  return knowsUs() && stateIn(chain) == MemberState::SERVING && recovering_.count(chain) == 0;
}

static Task<void> waitMoved(ViewKeeper* keeper, ChainId chain, uint64_t epoch) {
  while (keeper->epochOf(chain) == epoch) co_await keeper->changed();
}

kj::Promise<void> ViewKeeper::moved(ChainId chain, uint64_t epoch) {
  return waitMoved(this, chain, epoch);
}

static Task<bool> waitVersion(ViewKeeper* keeper, uint64_t version) {
  while (keeper->view().version < version) co_await keeper->changed();
  co_return true;
}

// Before its first registration a daemon knows no cluster: that is no refusal for good, for who asks
// would give up, but a view that is not there yet.
Task<Errno> ViewKeeper::caughtUp(At at) {
  if (cluster_ && at.cluster != cluster_.low) co_return Errno::WRONG_CLUSTER;
  if (view_.version >= at.view) co_return Errno::OK;
  // The long poll for the next view is always under way: it is only to be waited for.
  kj::Promise<bool> came = waitVersion(this, at.view);
  auto late =
      env_.clock.timer().afterDelay(kViewWaitMs * kj::MILLISECONDS).then([]() { return false; });
  auto ok = co_await came.exclusiveJoin(kj::mv(late));
  co_return ok ? Errno::OK : Errno::WRONG_EPOCH;
}

Errno ViewKeeper::admits(const At& at, ChainId chain) const {
  if (cluster_ && at.cluster != cluster_.low) return Errno::WRONG_CLUSTER;
  if (!mayServe() || view_.version < at.view) return Errno::WRONG_EPOCH;
  if (at.session && !view_.live(at.session)) return Errno::NOT_LIVE;
  if (epochOf(chain) != at.epoch || !serves(chain)) return Errno::WRONG_EPOCH;
  return Errno::OK;
}

Errno ViewKeeper::admitsHead(const At& at, ChainId chain) const {
  auto refusal = admits(at, chain);
  if (refusal != Errno::OK) return refusal;
  auto head = KJ_ASSERT_NONNULL(view_.chain(chain)->head());
  return head == self_ ? Errno::OK : Errno::WRONG_EPOCH;
}

Errno ViewKeeper::admitsReplica(const At& at, ChainId chain) const {
  if (cluster_ && at.cluster != cluster_.low) return Errno::WRONG_CLUSTER;
  if (view_.version < at.view || !knowsUs()) return Errno::WRONG_EPOCH;
  if (epochOf(chain) != at.epoch || at.epoch == 0) return Errno::WRONG_EPOCH;
  return takesUpdates(stateIn(chain)) ? Errno::OK : Errno::WRONG_EPOCH;
}

}  // namespace dfs
