// From an entry of the log to effects and answers.
//
// Once only (X1): a request is known by (client, sequence). Its answer is stored beside its effect
// until the client acknowledges it; what is at or below the acknowledged sequence, and whatever
// comes from no live session, executes nothing.

#include "common/limits.h"
#include "nameserver/meta/operations.h"
#include "nameserver/meta/state_machine.h"

#include <algorithm>

namespace dfs {
namespace meta {
namespace {

Errno dispatch(Context& c, schema::Command::Reader command, Answer& out) {
  auto what = command.getDo();
  using Do = schema::Command::Do;
  switch (what.which()) {
    case Do::NOTHING:
      return Errno::OK;
    case Do::CREATE_CLUSTER:
      return applyCreateCluster(c, what.getCreateCluster());
    case Do::CREATE:
      return applyCreate(c, what.getCreate(), out);
    case Do::LINK:
      return applyLink(c, what.getLink(), out);
    case Do::UNLINK:
      return applyUnlink(c, what.getUnlink(), out);
    case Do::RENAME:
      return applyRename(c, what.getRename(), out);
    case Do::SETATTR:
      return applySetattr(c, what.getSetattr(), out);
    case Do::PUBLISH:
      return applyPublish(c, what.getPublish(), out);
    case Do::REAP:
      return applyReap(c, what.getReap());
    case Do::TRIM:
      return applyTrim(c, what.getTrim(), out);
    case Do::RECLAIMED:
      return applyReclaimed(c, what.getReclaimed(), out);
    case Do::START_SESSION:
      return applyStartSession(c, what.getStartSession());
    case Do::END_SESSION:
      return applyEndSession(c, what.getEndSession());
    case Do::ALLOT:
      return applyAllot(c, what.getAllot(), out);
    case Do::PUT_NODE:
      return applyPutNode(c, what.getPutNode(), out);
    case Do::PUT_CHAINS:
      return applyPutChains(c, what.getPutChains());
    case Do::FORGET_SESSION:
      return applyForgetSession(c, SessionId(what.getForgetSession()), out);
    case Do::DELETE_ORPHANS:
      return applyDeleteOrphans(c, what.getDeleteOrphans(), out);
    case Do::SETXATTR:
      return applySetxattr(c, what.getSetxattr(), out);
    case Do::PUNCH:
      return applyPunch(c, what.getPunch(), out);
    case Do::CLONE:
      return applyClone(c, what.getClone(), out);
  }
  KJ_FAIL_REQUIRE("the log holds a command that this version does not know",
                  (unsigned)what.which());
}

Answer execute(Store& store, schema::Command::Reader command) {
  bool creates = command.getDo().isCreateCluster();
  auto credentials = command.getCredentials();
  auto now = fromWire(command.getTime());
  Answer out;
  if (!creates && store.cluster() == nullptr) {
    out.err = Errno::REFUSED;
  } else if (credentials.getGroups().size() > kGroupsMax || now.nsec >= 1'000'000'000) {
    out.err = Errno::INVAL;
  } else {
    Context c{store,
              {store, credentials.getUid(), credentials.getGid(), credentials.getGroups()},
              now,
              SessionId(command.getRequest().getClient())};
    auto err = dispatch(c, command, out);
    if (err != Errno::OK) out = Answer();
    out.err = err;
  }
  return out;
}

Answer refusal(Errno err) {
  Answer answer;
  answer.err = err;
  return answer;
}

class Once {
  // The stored answers of one client.
 public:
  Once(Store& store, RequestId request) : store_(store), request_(request) {}

  kj::Maybe<SessionRecord> session() {
    KJ_IF_MAYBE(value, store_.get(Table::SESSION, key(request_.client))) {
      return SessionRecord::decode(*value);
    }
    return nullptr;
  }
  void put(const SessionRecord& session) {
    store_.put(Table::SESSION, key(request_.client), session.encode());
  }

  kj::Maybe<Answer> stored() {
    auto value = store_.get(Table::ANSWER, key(request_.client, request_.sequence));
    KJ_IF_MAYBE(v, value) {
      return Answer::decode(*v);
    }
    return nullptr;
  }

  void acknowledge(SessionRecord& session, uint64_t upTo) {
    upTo = std::min(upTo, request_.sequence - 1);
    if (upTo <= session.acknowledged) return;
    std::vector<uint64_t> sequences;  // at most kAnswerWindow are stored
    auto cursor = store_.from(Table::ANSWER, key(request_.client, session.acknowledged + 1));
    for (; cursor->valid() && keyNumber(cursor->key(), 0) == request_.client; cursor->next()) {
      auto sequence = keyNumber(cursor->key(), 1);
      if (sequence > upTo) break;
      sequences.push_back(sequence);
    }
    for (auto sequence : sequences) {
      store_.erase(Table::ANSWER, key(request_.client, sequence));  // it was just read
    }
    session.acknowledged = upTo;
    session.last = std::max(session.last, upTo);
    put(session);
  }

  void store(const Answer& answer) {
    // The command may have ended its own session: then nobody asks any more.
    KJ_IF_MAYBE(s, session()) {
      store_.put(Table::ANSWER, key(request_.client, request_.sequence), answer.encode());
      s->last = std::max(s->last, request_.sequence);
      put(*s);
    }
  }

 private:
  Store& store_;
  const RequestId request_;
};

Answer applyOnce(Store& store, schema::Command::Reader command) {
  auto request = fromWire(command.getRequest());
  if (request.client == 0) return execute(store, command);
  Once once(store, request);
  KJ_IF_MAYBE(session, once.session()) {
    if (request.sequence <= session->acknowledged) return refusal(Errno::STALE);
    once.acknowledge(*session, command.getAckedUpTo());
    KJ_IF_MAYBE(answer, once.stored()) {
      return kj::mv(*answer);
    }
    if (request.sequence > session->acknowledged + kAnswerWindow) {
      return refusal(Errno::OVERLOADED);
    }
    auto answer = execute(store, command);
    once.store(answer);
    return answer;
  }
  // Before there is a cluster there are no sessions either.
  return refusal(store.cluster() == nullptr ? Errno::REFUSED : Errno::STALE);
}

void toWire(const Answer& answer, schema::Outcome::Builder b) {
  b.setErr(answer.err);
  b.setIno(answer.ino.value);
  b.setFirstInode(answer.firstInode.value);
  b.setLinks(answer.links);
  b.setCount(answer.count);
  if (answer.ranges.empty()) return;
  auto ranges = b.initRanges(static_cast<uint32_t>(answer.ranges.size()));
  for (uint32_t i = 0; i < ranges.size(); ++i) {
    ranges[i].setChain(answer.ranges[i].chain);
    ranges[i].setFirst(answer.ranges[i].first);
    ranges[i].setCount(static_cast<uint32_t>(answer.ranges[i].count));
  }
}

}  // namespace
}  // namespace meta

StateMachine::StateMachine(Kv& kv) : kv_(kv) {
  meta::Store store(kv_);
  store.upgrade();
  auto applied = store.applied();
  appliedIndex_ = applied.index;
  appliedTerm_ = applied.term;
}

void StateMachine::apply(uint64_t index, uint64_t term, schema::Entry::Reader entry,
                         Answer answer) {
  if (index <= appliedIndex_) return;
  meta::Store store(kv_);
  uint32_t number = 0;
  for (auto command : entry.getCommands()) {
    auto result = meta::applyOnce(store, command);
    capnp::word scratch[64] = {};
    capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, 64));
    auto outcome = message.initRoot<schema::Outcome>();
    meta::toWire(result, outcome);
    answer(number++, outcome.asReader());
  }
  skip(index, term);
}

void StateMachine::skip(uint64_t index, uint64_t term) {
  if (index <= appliedIndex_) return;
  meta::Store(kv_).putMeta(meta::MetaKey::APPLIED, meta::AppliedRecord{index, term});
  appliedIndex_ = index;
  appliedTerm_ = term;
}

}  // namespace dfs
