#pragma once
// The one actor that changes nodes and chains: it takes in registrations, finds silence, moves
// chains by chain_rules, makes missing ones, and tells those who wait for the view or for a fence.
//
// Thread: the loop's. Owner: the cluster. Invariants:
//   1. One step at a time; each is computed anew from the view, so one that broke off (or whose
//      outcome is unknown) is simply done again.
//   2. A new incarnation's chains move before its node record is written and its registration
//      answered (C4): a leader that dies between the two leaves a record by which the next one sees
//      the new incarnation again.

#include "nameserver/cluster/chain_maker.h"
#include "nameserver/cluster/cluster.h"
#include "nameserver/cluster/cluster_state.h"
#include "nameserver/cluster/node_book.h"
#include "nameserver/cluster/proposer.h"

#include <list>

namespace dfs {

struct Enrolled {
  Errno err = Errno::OK;
  NodeId id;
  uint64_t registration = 0;
  Uuid cluster;
  std::string why;
};

class Waiters {
  // Those who wait for a number to be reached: a version of the view, a fence.
 public:
  kj::Promise<void> wait(uint64_t number);  // OVERLOADED beyond kSessionsMax + kNodesMax
  bool empty() const { return waiting_.empty(); }
  uint64_t least() const { return waiting_.begin()->first; }
  void reached(uint64_t number);  // wakes all at or below
  void forgetCancelled();

 private:
  std::multimap<uint64_t, kj::Own<kj::PromiseFulfiller<void>>> waiting_;
};

class Membership final : private kj::TaskSet::ErrorHandler {
 public:
  Membership(Env& env, ClusterState& state, Proposer& proposer, NodeBook& book,
             ClusterOptions options);
  KJ_DISALLOW_COPY(Membership);

  const View& view() const { return view_; }
  void viewMayHaveChanged();
  kj::Promise<void> viewAfter(uint64_t version);
  kj::Promise<void> settled(uint64_t version);
  std::string unsettledBecause(uint64_t version);
  bool ready() const { return ready_; }
  kj::Promise<void> whenReady();
  ChainPlan plan();

  kj::Promise<Enrolled> enroll(NodeInfo node, Uuid cluster, StoreSpace space,
                               schema::NodeControl::Client control);
  void beaten(NodeId node, bool news);
  // A beat was noted in the book; news: something in it may move a chain.
  void kick();  // a step now instead of at the next tick

 private:
  struct Enrolling {
    NodeInfo node;
    StoreSpace space;
    schema::NodeControl::Client control;
    kj::Own<kj::PromiseFulfiller<Enrolled>> done;
    bool taken = false;  // by the step that runs
    bool refused = false;
  };

  Task<void> run();
  Task<void> step();
  Task<void> enrollNewStores();
  Task<void> moveChains();
  Task<void> writeNodes();
  Task<void> finishEnrolling();
  Task<void> makeChains();
  Task<Errno> putChains(std::vector<ChainInfo> chains);
  Task<Errno> putNode(NodeInfo node);
  void stepFailed(kj::Exception&& e);
  void admitOrRefuse(Enrolling& e);
  void noteLost();
  ChainReports reportsFor(const ChainInfo& chain);
  std::vector<NodeId> usableNodes() const;
  void checkFences();
  void checkReady();
  void taskFailed(kj::Exception&& exception) override;

  Env& env_;
  ClusterState& state_;
  Proposer& proposer_;
  NodeBook& book_;
  const ClusterOptions options_;
  View view_;
  std::map<NodeId, Presence> seen_;  // what the last whole step knew
  bool dirty_ = true;
  bool ready_ = false;
  std::list<Enrolling> enrolling_;  // at most kNodesMax
  Waiters viewWaiters_;
  Waiters fenceWaiters_;
  Waiters readyWaiters_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> kick_;
  kj::TaskSet tasks_;
};

}  // namespace dfs
