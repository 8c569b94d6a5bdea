// Session.apply: one mutation, from the recalls to the answer.
//
// A command is proposed when all that it needs is free and no other command in flight touches its
// names: so what its names stand for at apply is what was looked at here (G6).

#include "nameserver/session/session_server.h"

namespace dfs {
namespace {

using Do = schema::Command::Do;

constexpr uint32_t kTriesMax = 256;

struct Concerned {
  InodeId ino;     // whose attributes the answer holds
  InodeId parent;  // and of which directory
  bool mayGrant = false;
};

Concerned concernedBy(schema::Command::Reader command, InodeId outcome) {
  auto what = command.getDo();
  switch (what.which()) {
    case Do::CREATE:
      return {outcome, InodeId(what.getCreate().getParent()),
              what.getCreate().getKind() == schema::Kind::FILE};
    case Do::LINK:
      return {InodeId(what.getLink().getIno()), InodeId(what.getLink().getParent())};
    case Do::UNLINK:
      return {outcome, InodeId(what.getUnlink().getParent())};
    case Do::RENAME:
      return {outcome, InodeId(what.getRename().getToParent())};
    case Do::SETATTR:
      return {InodeId(what.getSetattr().getIno()), InodeId()};
    case Do::SETXATTR:
      return {InodeId(what.getSetxattr().getIno()), InodeId()};
    case Do::PUBLISH:
      return {InodeId(what.getPublish().getIno()), InodeId()};
    case Do::PUNCH:
      return {InodeId(what.getPunch().getIno()), InodeId()};
    case Do::CLONE:
      return {InodeId(what.getClone().getTo()), InodeId()};
    default:
      return {};
  }
}

}  // namespace

struct Sessions::Applied {
  OutcomeMessage outcome;
  Holds holds;  // until the answer has been made
};

Task<void> Sessions::prepare(CallOrigin caller, schema::Command::Reader command, Needs* needs,
                             Holds* holds) {
  // REQUIRES: all three outlive the Task. When it resolves, and as long as nobody waits, they hold.
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    *needs = needsOf(queries_, command);
    kj::Maybe<InodeId> missing;
    for (auto ino : needs->free) {
      if (holds->count(ino) == 0) {
        missing = ino;
        break;
      }
    }
    KJ_IF_MAYBE(ino, missing) {
      InodeId wanted = *ino;
      auto hold = co_await leases_.use(wanted, caller.session);
      (*holds)[wanted] = kj::mv(hold);
      continue;
    }
    bool busy = false;
    for (auto& name : needs->names) busy |= namesInFlight_.count(name) != 0;
    if (!busy) co_return;
    co_await nameFreed_->wait();
  }
  kj::throwFatalException(KJ_EXCEPTION(OVERLOADED, "the names of a command keep changing"));
}

Task<void> Sessions::proposeHeld(CommandMessage command, Needs needs, Holds holds,
                                 kj::Own<kj::PromiseFulfiller<kj::Own<Applied>>> done) {
  // Belongs to Sessions: whoever asked may be gone, but what the command relies on stays held until
  // it is applied, or can no more be.
  auto cleanup = kj::defer([this, &needs]() {
    for (auto& name : needs.names) namesInFlight_.erase(name);
    auto freed = kj::mv(nameFreed_);
    nameFreed_ = kj::heap<Gate>();
    freed->open();
    if (needs.contents) versions_.endChange(needs.contents);
  });
  auto proposed = replicator_.propose(kj::mv(command));
  kj::Maybe<kj::Exception> failure;
  auto outcome = kj::heap<Applied>();
  auto caught =
      proposed.then([&outcome](OutcomeMessage&& message) { outcome->outcome = kj::mv(message); },
                    [&failure](kj::Exception&& e) { failure = kj::mv(e); });
  co_await kj::mv(caught);
  KJ_IF_MAYBE(e, failure) {
    done->reject(kj::mv(*e));
    co_return;
  }
  outcome->holds = kj::mv(holds);
  done->fulfill(kj::mv(outcome));
}

template <typename Results>
void Sessions::answerApply(CallOrigin caller, schema::Command::Reader command, Applied& applied,
                           Results results) {
  auto outcome = applied.outcome->getRoot<schema::Outcome>().asReader();
  results.setOutcome(outcome);
  if (outcome.getErr() != Errno::OK) return;
  auto concerned = concernedBy(command, InodeId(outcome.getIno()));
  auto attr = queries_.getattr(concerned.ino);
  if (attr.ok() && !leases_.heldByOther(concerned.ino, caller.session)) {
    // S6: fresh, and the lease only if it is free: a repeated create may come late.
    bool grants =
        concerned.mayGrant && attr->nlink != 0 && leases_.mayGrant(concerned.ino, caller.session);
    if (grants) grantTo(caller, concerned.ino, results.initGrant());
    attrToWire(*attr, results.initAttr());
  }
  if (!concerned.parent) return;
  auto parent = queries_.getattr(concerned.parent);
  if (parent.ok()) attrToWire(*parent, results.initParent());
}

Task<void> Sessions::apply(
    CallOrigin caller, Ctx<schema::Session::ApplyParams, schema::Session::ApplyResults> context) {
  auto command = context.getParams().getCommand();
  auto results = context.getResults();
  auto refusal = checkClientCommand(command, caller.session);
  if (refusal != Errno::OK) {
    results.setErr(refusal);
    co_return;
  }
  co_await admitted(caller);
  Needs needs;
  Holds holds;
  co_await prepare(caller, command, &needs, &holds);
  current(caller);
  bool lacks = false;
  for (auto ino : needs.held) lacks |= leases_.holder(ino) != caller.session;
  for (auto ino : needs.free) lacks |= deniedTo(caller, ino);
  if (lacks) {
    results.initOutcome().setErr(Errno::STALE);
    co_return;
  }

  counters_.commands += 1;
  namesInFlight_.insert(needs.names.begin(), needs.names.end());
  if (needs.contents) versions_.beginChange(needs.contents);
  auto pair = kj::newPromiseAndFulfiller<kj::Own<Applied>>();
  tasks_.add(
      proposeHeld(stamper_.stamp(command), kj::mv(needs), kj::mv(holds), kj::mv(pair.fulfiller)));
  auto applied = co_await kj::mv(pair.promise);
  kj::Own<LeaseTable::Hold> hold;
  auto outcome = applied->outcome->getRoot<schema::Outcome>().asReader();
  InodeId made(command.getDo().isCreate() ? outcome.getIno() : 0);
  if (outcome.getErr() == Errno::OK && leases_.heldByOther(made, caller.session)) {
    // Asked again: somebody has begun to write to it by now. Who has made a file gets it all the same.
    hold = co_await leases_.use(made, caller.session);
    co_await replicator_.confirm();  // S4: after the wait
  }
  answerApply(caller, command, *applied, results);
}

}  // namespace dfs
