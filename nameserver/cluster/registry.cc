#include "nameserver/cluster/registry.h"

namespace dfs {
namespace {

constexpr uint32_t kAsksMax = 65536;  // chains in one beat

class RegistrationServer final : public schema::Registration::Server {
  // Dropped with the daemon's connection.
 public:
  RegistrationServer(kj::Own<Leash> leash, NodeId node, uint64_t registration)
      : leash_(kj::mv(leash)), node_(node), registration_(registration) {}
  KJ_DISALLOW_COPY(RegistrationServer);

  ~RegistrationServer() noexcept(false) {
    KJ_IF_MAYBE(ends, leash_->ends()) {
      ends->book.dropped(node_, registration_);
      ends->membership.kick();
    }
  }

  kj::Promise<void> beat(BeatContext context) override { return answer(context); }

 private:
  Errno note(schema::Registration::BeatParams::Reader params) {
    KJ_IF_MAYBE(ends, leash_->ends()) {
      auto heard = ends->book.registered(node_, registration_);
      if (heard == nullptr) return Errno::STALE;
      auto node = ends->membership.view().node(node_);
      bool wasGone = node == nullptr || ends->book.presence(*node) == Presence::GONE;
      if (wasGone && heard->broken.empty()) {
        ends->membership.kick();
        return Errno::STALE;
      }
      std::map<ChainId, uint64_t> asks;
      if (params.getSynced().size() > kAsksMax) return Errno::INVAL;
      for (auto ask : params.getSynced()) asks[ChainId(ask.getChain())] = ask.getEpoch();
      std::string broken(params.getBroken().begin(), params.getBroken().size());
      bool news = asks != heard->asks || broken != heard->broken ||
                  heard->viewInstalled != params.getViewInstalled();
      if (broken.empty() && !heard->broken.empty()) {
        heard->silentSinceMs = 0;
        heard->outAt = 0;
      }
      heard->lastBeatMs = ends->book.nowMs();
      heard->viewInstalled = params.getViewInstalled();
      heard->viewSettled = params.getViewSettled();
      heard->space = fromWire(params.getSpace());
      heard->broken = kj::mv(broken);
      heard->asks = kj::mv(asks);
      ends->membership.beaten(node_, news);
      return Errno::OK;
    }
    return Errno::NOT_LEADER;
  }

  Task<void> answer(BeatContext context) {
    auto refusal = note(context.getParams());
    if (refusal != Errno::OK) {
      context.getResults().setErr(refusal);
      co_return;
    }
    auto confirmed = confirm();
    co_await kj::mv(confirmed);

    auto results = context.getResults();
    KJ_IF_MAYBE(ends, leash_->ends()) {
      // Asked after the wait: it may have been found silent meanwhile.
      bool stands = ends->book.registered(node_, registration_) != nullptr;
      results.setErr(stands ? Errno::OK : Errno::STALE);
      results.setLeaseMs(stands ? kNodeLeaseMs : 0);
      ends->membership.viewMayHaveChanged();
      results.setView(ends->membership.view().version);
    } else {
      results.setErr(Errno::NOT_LEADER);
    }
  }

  kj::Promise<void> confirm() {
    KJ_IF_MAYBE(ends, leash_->ends()) {
      return ends->confirm.confirm();
    }
    return kj::READY_NOW;
  }

  kj::Own<Leash> leash_;
  const NodeId node_;
  const uint64_t registration_;
};

class RegistryServer final : public schema::Registry::Server {
 public:
  explicit RegistryServer(kj::Own<Leash> leash) : leash_(kj::mv(leash)) {}

  kj::Promise<void> register_(RegisterContext context) override { return enroll(context); }
  kj::Promise<void> view(ViewContext context) override { return answerView(context); }

 private:
  kj::Promise<Enrolled> ask(RegisterContext context) {
    auto params = context.getParams();
    KJ_IF_MAYBE(ends, leash_->ends()) {
      auto node = fromWire(params.getNode());
      node.id = NodeId();
      node.since = params.getSince();
      if (node.name.empty()) {
        node.name =
            node.host.empty() ? "store-" + std::to_string(node.uuid.low % 10000) : node.host;
      }
      if (node.host.empty()) node.host = node.name;
      return ends->membership.enroll(kj::mv(node), fromWire(params.getCluster()),
                                     fromWire(params.getSpace()), params.getControl());
    }
    Enrolled none;
    none.err = Errno::NOT_LEADER;
    return none;
  }

  Task<void> enroll(RegisterContext context) {
    auto asked = ask(context);
    auto enrolled = co_await kj::mv(asked);
    auto results = context.getResults();
    if (leash_->ends() == nullptr) enrolled.err = Errno::NOT_LEADER;
    results.setErr(enrolled.err);
    results.setWhy(enrolled.why.c_str());
    toWire(enrolled.cluster, results.initCluster());
    if (enrolled.err != Errno::OK) {
      if (!enrolled.why.empty()) KJ_LOG(WARNING, "a registration was refused", enrolled.why);
      co_return;
    }
    results.setId(static_cast<uint32_t>(enrolled.id.value));
    results.setRegistration(
        kj::heap<RegistrationServer>(kj::addRef(*leash_), enrolled.id, enrolled.registration));
  }

  kj::Promise<void> newer(uint64_t known) {
    KJ_IF_MAYBE(ends, leash_->ends()) {
      if (known != 0) return ends->membership.viewAfter(known);
    }
    return kj::READY_NOW;
  }

  Task<void> answerView(ViewContext context) {
    auto waited = newer(context.getParams().getKnown());
    context.releaseParams();
    co_await kj::mv(waited);
    auto results = context.getResults();
    KJ_IF_MAYBE(ends, leash_->ends()) {
      ends->membership.viewMayHaveChanged();
      toWire(ends->membership.view(), results.initView());
    } else {
      results.setErr(Errno::NOT_LEADER);
    }
  }

  kj::Own<Leash> leash_;
};

}  // namespace

schema::Registry::Client newRegistry(kj::Own<Leash> leash) {
  return kj::heap<RegistryServer>(kj::mv(leash));
}

}  // namespace dfs
