#pragma once
// What this server knows of each daemon by its own ears: registrations, beats, silence (C5).
//
// Thread: the loop's. Owner: the cluster. Invariants:
//   1. A daemon is GONE only kNodeSilentMs after its last beat, or (its connection broken) when the
//      lease that the beat gave it must be over; one never heard of, kNodesSettleMs after this
//      server's start, unless an earlier leader had already written that it is offline.
//   2. Whoever was found GONE has lost its registration: it beats in vain until it registers anew.

#include "common/env.h"
#include "common/limits.h"
#include "nameserver/cluster/chain_rules.h"

#include <rpc-schema/cluster.capnp.h>

namespace dfs {

struct StoreSpace {
  uint64_t total = 0;
  uint64_t free = 0;
  uint64_t reserve = 0;

  uint64_t usable() const { return free > reserve ? free - reserve : 0; }
  bool operator==(const StoreSpace&) const = default;
};
inline StoreSpace fromWire(schema::Space::Reader r) {
  return {r.getTotal(), r.getFree(), r.getReserve()};
}

struct Heard {
  uint64_t registration = 0;  // 0: none; grows with each
  bool connected = false;
  uint64_t lastBeatMs = 0;  // bootMs; of the registration before the first
  uint64_t silentSinceMs = 0;
  uint64_t viewInstalled = 0;
  uint64_t viewSettled = 0;
  uint64_t outAt = 0;  // the view by which a daemon that is gone had left its chains; 0: not yet
  StoreSpace space;
  std::string broken;
  std::map<ChainId, uint64_t> asks;  // chains for which it asks to serve, in that epoch
  kj::Maybe<schema::NodeControl::Client> control;
};

class NodeBook {
 public:
  explicit NodeBook(Clock& clock) : clock_(clock), startMs_(clock.bootMs()) {}
  KJ_DISALLOW_COPY(NodeBook);

  Presence presence(const NodeInfo& node) const;
  bool usable(const NodeInfo& node) const;  // alive, with a store in order
  uint64_t silentMs(NodeId node) const;     // since its last beat, or since this server's start
  uint64_t startMs() const { return startMs_; }
  uint64_t nowMs() const { return clock_.bootMs(); }

  uint64_t admit(NodeId node, const StoreSpace& space, schema::NodeControl::Client control);
  // A registration; the number names it.
  Heard* registered(NodeId node, uint64_t registration);  // null: it is no longer that one
  void dropped(NodeId node, uint64_t registration);       // its connection broke
  void lose(NodeId node);                                 // found GONE: invariant 2
  Heard& heard(NodeId node) { return heard_[node]; }
  const Heard* find(NodeId node) const;

 private:
  Clock& clock_;
  const uint64_t startMs_;
  uint64_t lastRegistration_ = 0;
  std::map<NodeId, Heard> heard_;  // at most kNodesMax
};

}  // namespace dfs
