#include "nameserver/cluster/membership.h"

#include "nameserver/cluster/fence.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint64_t kTickMs = 100;
constexpr size_t kChainsPerCommand = 1000;  // some 150 bytes each: below kEntryBytesMax
static_assert(kChainsPerCommand * 250 <= kEntryBytesMax);

std::string addressText(const NodeInfo& node) {
  return node.addresses.empty() ? "an unknown address" : node.addresses[0];
}

const NodeInfo* byUuid(const View& view, const Uuid& uuid) {
  for (auto& [id, node] : view.nodes) {
    if (node.uuid == uuid) return &node;
  }
  return nullptr;
}

}  // namespace

kj::Promise<void> Waiters::wait(uint64_t number) {
  if (waiting_.size() >= kSessionsMax + kNodesMax) {
    forgetCancelled();
    if (waiting_.size() >= kSessionsMax + kNodesMax) {
      return KJ_EXCEPTION(OVERLOADED, "too many wait for the view");
    }
  }
  auto paf = kj::newPromiseAndFulfiller<void>();
  waiting_.emplace(number, kj::mv(paf.fulfiller));
  return kj::mv(paf.promise);
}

void Waiters::reached(uint64_t number) {
  while (!waiting_.empty() && waiting_.begin()->first <= number) {
    auto fulfiller = kj::mv(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    fulfiller->fulfill();
  }
}

void Waiters::forgetCancelled() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    it = it->second->isWaiting() ? std::next(it) : waiting_.erase(it);
  }
}

Membership::Membership(Env& env, ClusterState& state, Proposer& proposer, NodeBook& book,
                       ClusterOptions options)
    : env_(env),
      state_(state),
      proposer_(proposer),
      book_(book),
      options_(options),
      view_(state.view()),
      tasks_(*this) {
  checkReady();
  tasks_.add(run());
}

void Membership::viewMayHaveChanged() {
  if (state_.viewVersion() == view_.version) return;
  view_ = state_.view();
  dirty_ = true;
  viewWaiters_.reached(view_.version);
  checkReady();
}

kj::Promise<void> Membership::viewAfter(uint64_t version) {
  viewMayHaveChanged();
  if (view_.version > version) return kj::READY_NOW;
  return viewWaiters_.wait(version + 1);
}

kj::Promise<void> Membership::settled(uint64_t version) {
  if (unsettledBecause(version).empty()) return kj::READY_NOW;
  auto promise = fenceWaiters_.wait(version);
  kick();
  return promise;
}

std::string Membership::unsettledBecause(uint64_t version) {
  viewMayHaveChanged();
  return unsettled(view_, book_, version);
}

kj::Promise<void> Membership::whenReady() {
  if (ready_) return kj::READY_NOW;
  return readyWaiters_.wait(0);
}

ChainPlan Membership::plan() {
  uint8_t replicas = 0;
  KJ_IF_MAYBE(cluster, state_.cluster()) {
    replicas = cluster->replicas;
  }
  return planFor(view_, replicas);
}

void Membership::kick() {
  dirty_ = true;
  KJ_IF_MAYBE(k, kick_) {
    (*k)->fulfill();
  }
}

void Membership::beaten(NodeId node, bool news) {
  if (news) kick();
  checkFences();
}

kj::Promise<Enrolled> Membership::enroll(NodeInfo node, Uuid cluster, StoreSpace space,
                                         schema::NodeControl::Client control) {
  Enrolled answer;
  auto info = state_.cluster();
  if (info == nullptr) {
    answer.err = Errno::REFUSED;
    answer.why = "no cluster has been created here";
    return answer;
  }
  auto ours = KJ_ASSERT_NONNULL(info).uuid;
  answer.cluster = ours;
  if (cluster && cluster != ours) {
    answer.err = Errno::WRONG_CLUSTER;
    answer.why = std::string("the store belongs to cluster ") + toString(cluster).cStr() +
                 ", this is cluster " + toString(ours).cStr();
    return answer;
  }
  if (!node.uuid || node.addresses.empty()) {
    answer.err = Errno::INVAL;
    answer.why = "a daemon must name the uuid of its store and an address";
    return answer;
  }
  if (enrolling_.size() >= kNodesMax) {
    answer.err = Errno::OVERLOADED;
    answer.why = "too many daemons register at once";
    return answer;
  }
  auto paf = kj::newPromiseAndFulfiller<Enrolled>();
  enrolling_.push_back(
      Enrolling{kj::mv(node), space, kj::mv(control), kj::mv(paf.fulfiller), false, false});
  kick();
  return kj::mv(paf.promise);
}

// --- the loop ---

Task<void> Membership::run() {
  for (;;) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    kick_ = kj::mv(paf.fulfiller);
    auto tick = env_.clock.timer().afterDelay(kTickMs * kj::MILLISECONDS);
    auto next = dirty_ ? kj::Promise<void>(kj::READY_NOW) : tick.exclusiveJoin(kj::mv(paf.promise));
    co_await kj::mv(next);
    kick_ = nullptr;
    if (!proposer_.leading()) {
      stepFailed(KJ_EXCEPTION(DISCONNECTED, "this name server does not lead"));
      co_return;  // the owner makes a new one when it leads again
    }
    kj::Promise<void> work = step();
    bool failed = false;
    auto done = work.catch_([this, &failed](kj::Exception&& e) {
      failed = true;
      stepFailed(kj::mv(e));
    });
    co_await kj::mv(done);
    if (failed) {
      co_await env_.clock.timer().afterDelay(kTickMs * kj::MILLISECONDS);
    }
  }
}

void Membership::stepFailed(kj::Exception&& e) {
  // Whoever registers comes again; everything else is computed anew by the next step.
  KJ_LOG(WARNING, "a change of nodes and chains failed; it will be tried again",
         e.getDescription());
  for (auto& pending : enrolling_) {
    pending.done->reject(
        KJ_EXCEPTION(DISCONNECTED, "the registration could not be written; register again"));
  }
  enrolling_.clear();
  dirty_ = true;
}

Task<void> Membership::step() {
  viewMayHaveChanged();
  std::map<NodeId, Presence> now;
  for (auto& [id, node] : view_.nodes) now[id] = book_.presence(node);
  if (!dirty_ && now == seen_) co_return;
  dirty_ = false;
  seen_ = kj::mv(now);

  noteLost();
  for (auto& e : enrolling_) e.taken = true;
  for (auto& e : enrolling_) admitOrRefuse(e);
  co_await enrollNewStores();
  co_await moveChains();
  co_await writeNodes();
  co_await finishEnrolling();
  co_await makeChains();

  viewMayHaveChanged();
  checkReady();
  checkFences();
}

void Membership::noteLost() {
  // Before anything is proposed: from here on a late beat of theirs is refused.
  for (auto& [id, presence] : seen_) {
    if (presence != Presence::GONE) continue;
    auto heard = book_.find(id);
    if (heard == nullptr || heard->silentSinceMs == 0) {
      auto broken = heard == nullptr ? std::string() : heard->broken;
      KJ_LOG(WARNING, "a storage daemon is out of service", view_.nodes[id].name,
             book_.silentMs(id), broken);
    }
    book_.lose(id);
  }
}

void Membership::admitOrRefuse(Enrolling& e) {
  auto refuse = [&](Errno err, std::string why) {
    e.refused = true;
    Enrolled answer;
    answer.err = err;
    answer.why = kj::mv(why);
    e.done->fulfill(kj::mv(answer));
  };
  if (e.refused) return;
  for (auto& other : enrolling_) {
    // Of two for one store the newer start counts, or the call that came last.
    if (&other == &e || other.refused || other.node.uuid != e.node.uuid) continue;
    if (other.node.incarnation < e.node.incarnation) continue;
    if (other.node.incarnation == e.node.incarnation && &other < &e) continue;
    refuse(Errno::STALE, "a newer registration of this store came at the same time");
    return;
  }
  auto known = byUuid(view_, e.node.uuid);
  if (known == nullptr || book_.presence(*known) == Presence::GONE) return;
  auto heard = book_.find(known->id);
  if (heard == nullptr || heard->registration == 0 || !heard->connected) return;
  bool elsewhere = known->addresses != e.node.addresses;
  bool older = e.node.incarnation < known->incarnation;
  if (older || (elsewhere && e.node.incarnation == known->incarnation)) {
    refuse(Errno::REFUSED, "the store " + std::string(toString(e.node.uuid).cStr()) +
                               " is already served by " + known->name + " at " +
                               addressText(*known) +
                               "; if its directory was copied, remove the copy");
  }
}

Task<void> Membership::enrollNewStores() {
  // Unknown stores get their numbers; they are in no chain yet.
  std::vector<NodeInfo> fresh;
  for (auto& e : enrolling_) {
    if (!e.taken || e.refused || byUuid(view_, e.node.uuid) != nullptr) continue;
    auto node = e.node;
    node.id = NodeId();
    node.online = true;
    fresh.push_back(kj::mv(node));
  }
  for (auto& node : fresh) {
    auto err = co_await putNode(node);
    if (err != Errno::OK) KJ_LOG(WARNING, "a new store was refused", node.name, nameOf(err));
  }
  viewMayHaveChanged();
}

ChainReports Membership::reportsFor(const ChainInfo& chain) {
  ChainReports reports;
  for (auto& m : chain.members) {
    auto node = view_.node(m.node);
    if (node == nullptr) continue;
    MemberReport report;
    auto known = seen_.find(m.node);
    report.presence = known == seen_.end() ? Presence::UNKNOWN : known->second;
    auto heard = book_.find(m.node);
    if (heard != nullptr) {
      auto ask = heard->asks.find(chain.id);
      report.asksToServe = ask != heard->asks.end() && ask->second == chain.epoch;
    }
    for (auto& e : enrolling_) {
      if (!e.taken || e.refused || e.node.uuid != node->uuid) continue;
      bool sinceChanged = e.node.since != node->since;
      bool restarted = e.node.incarnation != node->incarnation || sinceChanged;
      if (restarted) report = {Presence::RESTARTED, sinceChanged, false};
    }
    reports[m.node] = report;
  }
  return reports;
}

Task<void> Membership::moveChains() {
  std::vector<ChainInfo> moved;
  for (auto& [id, chain] : view_.chains) {
    auto next = nextChain(chain, reportsFor(chain));
    if (next.epoch != chain.epoch) moved.push_back(kj::mv(next));
  }
  if (!moved.empty()) {
    KJ_LOG(INFO, "chains move on", moved.size());
    auto err = co_await putChains(kj::mv(moved));
    KJ_REQUIRE(err == Errno::OK, "chains could not be moved", nameOf(err));
    dirty_ = true;  // what moved may now move further
  }
  viewMayHaveChanged();
  for (auto& [id, presence] : seen_) {
    if (presence != Presence::GONE) continue;
    auto& heard = book_.heard(id);
    if (heard.outAt == 0) heard.outAt = view_.version;
  }
}

Task<void> Membership::writeNodes() {
  // What silence changed; registrations come after this.
  std::vector<NodeInfo> offline;
  for (auto& [id, node] : view_.nodes) {
    auto found = seen_.find(id);
    bool online = found == seen_.end() || found->second != Presence::GONE;
    // A broken store that is well again needs no registration to be online.
    bool back = found != seen_.end() && found->second == Presence::ALIVE;
    if (node.online ? online : !back) continue;
    auto changed = node;
    changed.online = !node.online;
    offline.push_back(kj::mv(changed));
  }
  for (auto& node : offline) {
    auto err = co_await putNode(node);
    KJ_REQUIRE(err == Errno::OK, "a node could not be written", node.name, nameOf(err));
  }
  viewMayHaveChanged();
}

Task<void> Membership::finishEnrolling() {
  while (!enrolling_.empty() && enrolling_.front().taken) {
    auto& e = enrolling_.front();
    if (e.refused || !e.done->isWaiting()) {
      enrolling_.pop_front();
      continue;
    }
    auto known = byUuid(view_, e.node.uuid);
    Enrolled answer;
    answer.cluster = KJ_ASSERT_NONNULL(state_.cluster()).uuid;
    if (known == nullptr) {
      answer.err = Errno::REFUSED;
      answer.why =
          "the name server refused the record of this daemon: too many daemons, or "
          "text that is too long";
    } else {
      auto node = e.node;
      node.id = known->id;
      node.online = true;
      if (node != *known) {
        answer.err = co_await putNode(node);
        viewMayHaveChanged();
      }
      if (answer.err == Errno::OK) {
        answer.id = node.id;
        answer.registration = book_.admit(node.id, e.space, kj::mv(e.control));
        KJ_LOG(INFO, "a storage daemon has registered", node.name, addressText(node),
               node.incarnation);
      } else {
        answer.why = "the name server refused the record of this daemon";
      }
    }
    e.done->fulfill(kj::mv(answer));
    enrolling_.pop_front();
    dirty_ = true;  // it is alive now
  }
}

std::vector<NodeId> Membership::usableNodes() const {
  std::vector<NodeId> usable;
  for (auto& [id, node] : view_.nodes) {
    if (book_.usable(node)) usable.push_back(id);
  }
  return usable;
}

Task<void> Membership::makeChains() {
  auto usable = usableNodes();
  if (view_.chains.empty() && usable.size() < options_.nodesExpected) co_return;
  auto chains = missingChains(view_, usable, plan(), view_.cluster.low ^ view_.cluster.high);
  if (chains.empty()) co_return;
  KJ_LOG(INFO, "new chains", chains.size(), usable.size());
  auto err = co_await putChains(kj::mv(chains));
  KJ_REQUIRE(err == Errno::OK, "chains could not be made", nameOf(err));
  viewMayHaveChanged();
}

Task<Errno> Membership::putChains(std::vector<ChainInfo> chains) {
  for (size_t from = 0; from < chains.size(); from += kChainsPerCommand) {
    auto count = std::min(kChainsPerCommand, chains.size() - from);
    auto message = proposer_.command();
    auto list = message->getRoot<schema::Command>().getDo().initPutChains().initChains(
        static_cast<uint32_t>(count));
    for (uint32_t i = 0; i < count; ++i) toWire(chains[from + i], list[i]);
    auto outcome = co_await proposer_.propose(kj::mv(message));
    auto err = outcome->getRoot<schema::Outcome>().getErr();
    if (err != Errno::OK) co_return err;
  }
  co_return Errno::OK;
}

Task<Errno> Membership::putNode(NodeInfo node) {
  auto message = proposer_.command();
  toWire(node, message->getRoot<schema::Command>().getDo().initPutNode());
  auto outcome = co_await proposer_.propose(kj::mv(message));
  co_return outcome->getRoot<schema::Outcome>().getErr();
}

void Membership::checkFences() {
  fenceWaiters_.forgetCancelled();
  while (!fenceWaiters_.empty()) {
    auto least = fenceWaiters_.least();
    if (!unsettled(view_, book_, least).empty()) return;
    fenceWaiters_.reached(least);
  }
}

void Membership::checkReady() {
  if (ready_ || view_.chains.empty()) return;
  ready_ = true;
  readyWaiters_.reached(0);
}

void Membership::taskFailed(kj::Exception&& exception) {
  // run() catches what a step throws; this is a bug, and without the loop nothing would ever move.
  KJ_LOG(ERROR, "the loop over nodes and chains has ended", exception);
  tasks_.add(run());
}

}  // namespace dfs
