#pragma once
// The Session capability of one attach: finds its session for each call and refuses what is over.
//
// Thread: the loop's. Owner: the connection; may live longer than Sessions.

#include "nameserver/session/sessions.h"

namespace dfs {

class Sessions::CallCount {
 public:
  CallCount(Sessions& sessions, SessionId id, uint32_t Live::*count)
      : sessions_(sessions), id_(id), count_(count) {
    sessions_.find(id_)->*count_ += 1;
  }
  ~CallCount() {
    auto live = sessions_.find(id_);
    if (live != nullptr) live->*count_ -= 1;
  }
  KJ_DISALLOW_COPY(CallCount);

 private:
  Sessions& sessions_;
  const SessionId id_;
  uint32_t Live::*const count_;
};

template <typename Params, typename Results>
kj::Promise<void> Sessions::call(
    CallOrigin caller,
    Task<void> (Sessions::*method)(CallOrigin, capnp::CallContext<Params, Results>),
    capnp::CallContext<Params, Results> context, uint32_t Live::*count, uint32_t callsMax) {
  auto live = find(caller.session);
  if (live == nullptr) {
    context.getResults().setErr(Errno::STALE);
    return kj::READY_NOW;
  }
  current(caller).heardMs = now();
  counters_.calls += 1;
  if (live->*count >= callsMax) {
    context.getResults().setErr(Errno::OVERLOADED);
    return kj::READY_NOW;
  }
  kj::Promise<void> work = (this->*method)(caller, context);
  return live->canceler->wrap<void>(work.attach(kj::heap<CallCount>(*this, caller.session, count)));
}

class Sessions::SessionServer final : public schema::Session::Server {
 public:
  SessionServer(kj::Own<Link> link, CallOrigin caller) : link_(kj::mv(link)), caller_(caller) {}

 protected:
#define DFS_FORWARD(rpc, Name, method)                           \
  kj::Promise<void> rpc(Name##Context context) override {        \
    return sessions().call(caller_, &Sessions::method, context); \
  }
  DFS_FORWARD(claim, Claim, claim)
  DFS_FORWARD(renew, Renew, renew)
  DFS_FORWARD(lookup, Lookup, lookup)
  DFS_FORWARD(getattr, Getattr, getattr)
  DFS_FORWARD(readdir, Readdir, readdir)
  DFS_FORWARD(readlink, Readlink, readlink)
  DFS_FORWARD(rows, Rows, rows)
  DFS_FORWARD(apply, Apply, apply)
  DFS_FORWARD(acquire, Acquire, acquire)
  DFS_FORWARD(granted, Granted, granted)
  DFS_FORWARD(release, Release, release)
  DFS_FORWARD(releasing, Releasing, releasing)
  DFS_FORWARD(unpin, Unpin, unpin)
  DFS_FORWARD(allot, Allot, allot)
  DFS_FORWARD(statfs, Statfs, statfs)
  DFS_FORWARD(view, View, viewCall)
  DFS_FORWARD(testLock, TestLock, testLock)
  DFS_FORWARD(cancelLock, CancelLock, cancelLock)
  DFS_FORWARD(getxattr, Getxattr, getxattr)
  DFS_FORWARD(listxattr, Listxattr, listxattr)
#undef DFS_FORWARD
  kj::Promise<void> lock(LockContext context) override {
    return sessions().call(caller_, &Sessions::lock, context, &Live::lockCalls,
                           kLockCallsPerSessionMax);
  }
  kj::Promise<void> end(EndContext context) override {
    return sessions().calls_.wrap<void>(sessions().end(caller_, context));
  }

 private:
  Sessions& sessions() {
    if (link_->sessions == nullptr) {
      kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the name server stops"));
    }
    return *link_->sessions;
  }

  kj::Own<Link> link_;
  const CallOrigin caller_;
};

}  // namespace dfs
