#pragma once
// Completes commands: the time, and what only the leader may say.
//
// Thread: the loop's. Owner: Sessions.
// Invariants:
//   1. Times that it gives do not go back while this server leads.
//   2. Inode numbers are left to apply, which takes the next free one: a repeated request keeps the
//      number of its stored answer, and no number is used twice.

#include "common/env.h"
#include "nameserver/raft/replicator.h"

#include <algorithm>

namespace dfs {

class Stamper {
 public:
  explicit Stamper(Clock& clock) : clock_(clock) {}

  CommandMessage stamp(schema::Command::Reader command) {
    auto message = kj::heap<capnp::MallocMessageBuilder>(
        static_cast<unsigned>(command.totalSize().wordCount + 64));
    message->setRoot(command);
    auto root = message->getRoot<schema::Command>();
    toWire(now(), root.initTime());
    if (root.getDo().isCreate()) root.getDo().getCreate().setIno(0);
    return message;
  }

  CommandMessage own() {
    // One of the name server's own, still without what it does.
    auto message = kj::heap<capnp::MallocMessageBuilder>();
    toWire(now(), message->initRoot<schema::Command>().initTime());
    return message;
  }

 private:
  Time now() {
    last_ = std::max(last_, clock_.wallTime());
    return last_;
  }

  Clock& clock_;
  Time last_;
};

}  // namespace dfs
