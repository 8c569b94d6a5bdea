#pragma once
// The daemon's view of the cluster, and its own right to serve.
//
// Thread: the loop's. Owner: Server. Invariants:
//   1. The view never goes back to an older version.
//   2. The right to serve ends by the clock (bootMs) at a time counted from when the answered beat
//      was sent (C4). It is compared by every check and again at every reply; no timer ends it.
//   3. A chain counts as served only in a view that knows this incarnation of the daemon, and only
//      after what a start or an outage left uncommitted there has been settled (recovering).

#include "common/env.h"
#include "common/task.h"
#include "common/view.h"
#include "common/waiting.h"

#include <rpc-schema/storage.capnp.h>

#include <kj/function.h>

#include <map>
#include <set>
#include <vector>

namespace dfs {

struct At {
  // What a sender takes the world to be: schema::At.
  uint64_t view = 0;
  SessionId session;
  uint64_t epoch = 0;
  uint64_t cluster = 0;
};
inline At fromWire(schema::At::Reader r) {
  return {r.getView(), SessionId(r.getSession()), r.getEpoch(), r.getCluster()};
}

class ViewKeeper {
 public:
  explicit ViewKeeper(Env& env) : env_(env) {}
  KJ_DISALLOW_COPY(ViewKeeper);

  void registered(NodeId self, Uuid cluster, uint64_t incarnation);
  void install(View view);
  // Ignored unless newer. REQUIRES: asked for after registered(), so that a view from before this
  // incarnation is never taken (C4).
  void onInstall(kj::Function<void()> hook) { hooks_.push_back(kj::mv(hook)); }
  // Called in each install, before anybody who waits goes on. REQUIRES: its owner goes with us.
  void extendRight(uint64_t untilBootMs);
  void loseRight() { rightUntilMs_ = 0; }

  const View& view() const { return view_; }
  NodeId self() const { return self_; }
  bool mayServe() const;
  kj::Promise<void> changed() { return changed_.next(); }
  // The next installed view, or the end of a recovery.
  kj::Promise<void> moved(ChainId chain, uint64_t epoch);
  // Resolves when the chain is no longer in that epoch.

  Task<Errno> caughtUp(At at);
  // Waits, at most kViewWaitMs, for a view that is not older than the sender's. WRONG_CLUSTER;
  // WRONG_EPOCH if it does not come.
  Errno admits(const At& at, ChainId chain) const;
  // May a client's request be served by this member now: cluster, right, session (0 passes), epoch,
  // state. WRONG_CLUSTER, WRONG_EPOCH, NOT_LIVE.
  Errno admitsHead(const At& at, ChainId chain) const;  // and this member is the head
  Errno admitsReplica(const At& at, ChainId chain) const;
  // May a predecessor's update enter here: cluster, epoch, state serving or syncing. Ended sessions
  // pass (C3).
  bool serves(ChainId chain) const;          // by the view; not asking for the right
  MemberState stateIn(ChainId chain) const;  // OFFLINE if it is no member
  uint64_t epochOf(ChainId chain) const;     // 0: no such chain

  std::vector<ChainId> recovering() const { return {recovering_.begin(), recovering_.end()}; }
  void recovered(ChainId chain);

 private:
  bool knowsUs() const;

  Env& env_;
  NodeId self_;
  Uuid cluster_;
  uint64_t incarnation_ = 0;
  uint64_t rightUntilMs_ = 0;
  View view_;
  std::set<ChainId> recovering_;
  std::vector<kj::Function<void()>> hooks_;
  Signal changed_;
};

}  // namespace dfs
