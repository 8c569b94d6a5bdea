#pragma once
// The replicated state: namespace, sessions, view. A pure function of the store and the command: no
// clock, no random number, no network, no walk in an order that depends on memory.
//
// Thread: the loop's. Owner: the replicator applies, everybody else reads through Queries.
// Invariants:
//   1. The effects of an entry, the answers to its commands and the applied index are written to
//   the Kv
//      with no commit() in between.
//   2. A command that is refused changes nothing but its stored answer.
//   3. A request id that has a stored answer is answered with it and has no second effect (X1).
//   4. A failure that is not an Errno (disk, corruption, out of memory) throws: the process ends,
//   the
//      command is never skipped (X3). An unknown command throws too (X6).

#include "common/kv.h"
#include "common/outcome.h"

#include <capnp/message.h>
#include <kj/function.h>
#include <rpc-schema/command.capnp.h>

namespace dfs {

class StateMachine {
 public:
  explicit StateMachine(Kv& kv);
  KJ_DISALLOW_COPY(StateMachine);

  uint64_t appliedIndex() const { return appliedIndex_; }
  uint64_t appliedTerm() const { return appliedTerm_; }

  using Answer = kj::FunctionParam<void(uint32_t command, schema::Outcome::Reader outcome)>;
  void apply(uint64_t index, uint64_t term, schema::Entry::Reader entry, Answer answer);
  // Entries come in order of index; one at or below appliedIndex() is skipped without answers.
  // `answer` is called once for each command, in order; the outcome lives during the call only.

  void skip(uint64_t index, uint64_t term);
  // An entry of the log's own (a barrier, a configuration): only the applied index moves.

 private:
  Kv& kv_;
  uint64_t appliedIndex_;
  uint64_t appliedTerm_;
};

}  // namespace dfs
