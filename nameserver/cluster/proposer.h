#pragma once
// Commands of the name server itself, and confirmations of leadership shared by all who wait (S4).
//
// Thread: the loop's. Owner: the cluster.

#include "common/env.h"
#include "common/task.h"
#include "nameserver/raft/replicator.h"

namespace dfs {

class Proposer {
 public:
  Proposer(Env& env, Replicator& replicator) : env_(env), replicator_(replicator) {}
  KJ_DISALLOW_COPY(Proposer);

  CommandMessage command();  // with the time and a request id that is never repeated
  Task<OutcomeMessage> propose(CommandMessage message);
  bool leading() { return replicator_.leading(); }

 private:
  Env& env_;
  Replicator& replicator_;
};

class SharedConfirm {
  // One round serves all that came before it began.
 public:
  explicit SharedConfirm(Replicator& replicator) : replicator_(replicator) {}
  KJ_DISALLOW_COPY(SharedConfirm);

  kj::Promise<void> confirm();
  // Replicator::confirm() by a round that begins after this call.

 private:
  Task<void> round(kj::Promise<void> before);

  Replicator& replicator_;
  bool running_ = false;
  kj::Maybe<kj::ForkedPromise<void>> current_;  // the round that runs, or the last
  kj::Maybe<kj::ForkedPromise<void>> next_;     // the one that begins when that has ended
};

}  // namespace dfs
