#pragma once
// The RPC face to storage daemons: register, beat, view.
//
// Thread: the loop's. Owner: the connections; it outlives the cluster, which it reaches through a
// leash that is cut when the term ends. From then on it answers NOT_LEADER.

#include "nameserver/cluster/membership.h"

#include <kj/refcount.h>

namespace dfs {

class Leash final : public kj::Refcounted {
 public:
  struct Ends {
    Membership& membership;
    NodeBook& book;
    SharedConfirm& confirm;
  };
  explicit Leash(Ends ends) : ends_(ends) {}
  void cut() { ends_ = nullptr; }
  kj::Maybe<Ends&> ends() { return ends_; }

 private:
  kj::Maybe<Ends> ends_;
};

schema::Registry::Client newRegistry(kj::Own<Leash> leash);

}  // namespace dfs
