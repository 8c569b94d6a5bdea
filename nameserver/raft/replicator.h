#pragma once
// How a command becomes durable and is applied. What is behind it, one server or five, is nobody
// else's business.
//
// Thread: the loop's. Owner: Server.
// Invariants:
//   1. propose() resolves only when the command is on the disks of a majority and has been applied
//   here.
//   2. Commands are applied in one order everywhere; each once (StateMachine 3).
//   3. After a failure of the log or of the store nothing is answered any more: failed() resolves
//   and the
//      process ends (L7).

#include "common/env.h"
#include "nameserver/meta/state_machine.h"

#include <capnp/message.h>

#include <string>

namespace dfs {

struct LogStatus {
  uint64_t term;
  bool leading;
  uint64_t lastIndex;
  uint64_t commitIndex;
  uint64_t appliedIndex;
  uint64_t durableAppliedIndex;
  uint64_t logBytes;
};

using CommandMessage = kj::Own<capnp::MallocMessageBuilder>;  // root: schema::Command
using OutcomeMessage = kj::Own<capnp::MallocMessageBuilder>;  // root: schema::Outcome

class Replicator {
 public:
  virtual ~Replicator() noexcept(false) {}

  virtual kj::Promise<OutcomeMessage> propose(CommandMessage command) = 0;
  // Throws OVERLOADED if too many wait, DISCONNECTED if this server does not lead or stopped
  // leading before the outcome was known. Dropping the promise does not take the command back.

  virtual kj::Promise<void> confirm() = 0;
  // Resolves when this server is known to have led at some moment after the call, and to have
  // applied all that was committed before it, an entry of its own term included (ReadIndex, S4).
  // Then reads are linearizable. Throws DISCONNECTED if it does not lead.

  virtual bool leading() = 0;
  virtual uint64_t term() = 0;
  virtual kj::Promise<void> nextTerm() = 0;
  // Resolves when it starts or stops to lead, or the term changes.
  virtual LogStatus status() = 0;
  virtual kj::Promise<void> failed() = 0;
  // Resolves, or throws with the reason, when the process must end.
  virtual kj::Promise<void> stop() = 0;
  // A clean end: what is applied becomes durable, so that the next start replays nothing.
};

}  // namespace dfs
