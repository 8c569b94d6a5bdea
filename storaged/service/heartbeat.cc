#include "storaged/service/heartbeat.h"

#include "common/limits.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint64_t kAnswerMs = 1'000;    // a beat without an answer by then is lost
constexpr uint64_t kCountMs = 2'000;     // after which those on the same disk are counted again
constexpr uint64_t kRegisterMs = 5'000;  // it is put into the log before it is answered

kj::Array<kj::String> texts(const std::vector<std::string>& from) {
  auto all = kj::heapArrayBuilder<kj::String>(from.size());
  for (auto& a : from) all.add(kj::heapString(a.data(), a.size()));
  return all.finish();
}

template <typename T>
kj::Promise<bool> unlessFails(kj::Promise<T> p, kj::Function<void(kj::Exception&&)> failed) {
  return p.then([](T ok) { return ok; },
                [failed = kj::mv(failed)](kj::Exception&& e) mutable {
                  failed(kj::mv(e));
                  return false;
                });
}

}  // namespace

Heartbeat::Heartbeat(Env& env, Announcement announcement, ViewKeeper& keeper, BlockStore& store,
                     Updates& updates, Resync& resync, schema::NodeControl::Client control,
                     Adopt adopt)
    : env_(env),
      announcement_(kj::mv(announcement)),
      keeper_(keeper),
      store_(store),
      updates_(updates),
      resync_(resync),
      control_(kj::mv(control)),
      adopt_(kj::mv(adopt)),
      peer_(env, texts(announcement_.nameservers)),
      backoff_(env, 50, 1'000),
      tasks_(*this) {
  tasks_.add(run());
  tasks_.add(settle());
}

void Heartbeat::taskFailed(kj::Exception&& e) {
  KJ_LOG(ERROR, "the daemon lost its way to the name server", e);
  if (failed_.fulfiller->isWaiting()) failed_.fulfiller->reject(kj::mv(e));
}

void Heartbeat::storeBroke(std::string why) {
  broken_ = kj::mv(why);
  keeper_.loseRight();
}

void Heartbeat::trouble(kj::StringPtr what, const kj::Exception& e) {
  std::string now(what.cStr());
  now += ": ";
  now += e.getDescription().cStr();
  if (now != lastError_) KJ_LOG(WARNING, "trouble with the name server", what, e);
  lastError_ = kj::mv(now);
}

void Heartbeat::nextNameserver() {
  auto& all = announcement_.nameservers;
  if (all.size() > 1) std::rotate(all.begin(), all.begin() + 1, all.end());
  peer_.setAddresses(texts(all));
  peer_.disconnect();
}

Task<void> Heartbeat::run() {
  for (;;) {
    kj::Promise<bool> registering = registerAnew();
    auto tried =
        unlessFails(withTimeout(env_, kRegisterMs, kj::mv(registering)), [this](kj::Exception&& e) {
          trouble("register", e);
          peer_.disconnect();
        });
    auto ok = co_await kj::mv(tried);
    if (!ok) {
      co_await backoff_.wait();
      continue;
    }
    backoff_.reset();
    registered_ = true;
    lastError_.clear();
    kj::Promise<void> beating = beats();
    kj::Promise<void> following = follow();
    // Either ends when this registration is of no more use.
    auto both = beating.exclusiveJoin(kj::mv(following));
    co_await kj::mv(both);
  }
}

void Heartbeat::fill(schema::Space::Builder b) {
  // Its share: added up, those of all stores on a disk are the disk.
  auto now = env_.clock.bootMs();
  if (announcement_.sharers && now >= sharersAtMs_ + kCountMs) {
    sharers_ = kj::max(1u, announcement_.sharers());
    sharersAtMs_ = now;
  }
  auto space = store_.space();
  b.setTotal(space.totalBytes / sharers_);
  b.setFree(space.freeBytes / sharers_);
  b.setReserve(store_.reserveBytes() / sharers_);
}

Task<bool> Heartbeat::registerAnew() {
  auto door = co_await peer_.connected();
  auto registry = door.castAs<schema::NameDoor>().registryRequest().send().getRegistry();
  auto req = registry.registerRequest();
  auto node = req.initNode();
  toWire(announcement_.identity.store, node.initUuid());
  node.setHost(announcement_.host);
  node.setName(announcement_.name);
  node.setHttp(announcement_.http);
  node.setIncarnation(announcement_.incarnation);
  node.setSince(store_.since());
  node.setOnline(true);
  auto addresses = node.initAddresses(static_cast<uint32_t>(announcement_.addresses.size()));
  for (uint32_t i = 0; i < announcement_.addresses.size(); ++i) {
    addresses.set(i, announcement_.addresses[i]);
  }
  toWire(announcement_.identity.cluster, req.initCluster());
  fill(req.initSpace());
  req.setSince(store_.since());
  req.setControl(control_);
  auto answer = co_await req.send();
  auto err = answer.getErr();
  if (err == Errno::WRONG_CLUSTER) {
    auto why = kj::str("this store belongs to another cluster: ", answer.getWhy());
    if (failed_.fulfiller->isWaiting()) {
      failed_.fulfiller->reject(KJ_EXCEPTION(FAILED, kj::mv(why)));
    }
    co_return false;
  }
  if (err != Errno::OK) {
    lastError_ = answer.getWhy().cStr();
    if (err != Errno::NOT_LEADER) KJ_LOG(WARNING, "not registered", err, answer.getWhy());
    nextNameserver();
    co_return false;
  }
  auto cluster = fromWire(answer.getCluster());
  auto id = NodeId(answer.getId());
  auto& own = announcement_.identity.cluster;
  if (own && own != cluster) {
    if (failed_.fulfiller->isWaiting()) {
      failed_.fulfiller->reject(KJ_EXCEPTION(FAILED, "the name server is another cluster's"));
    }
    co_return false;
  }
  registration_ = answer.getRegistration();
  registry_ = kj::mv(registry);
  if (!own) {
    co_await adopt_(cluster);
    own = cluster;
    KJ_LOG(INFO, "this store belongs to a cluster now", toString(cluster), id);
  }
  keeper_.registered(id, cluster, announcement_.incarnation);
  hadRight_ = keeper_.mayServe();
  auto got = co_await fetchView(0);
  co_return got;
}

Task<bool> Heartbeat::fetchView(uint64_t known) {
  auto req = KJ_ASSERT_NONNULL(registry_).viewRequest();
  req.setKnown(known);
  auto answer = co_await req.send();
  if (answer.getErr() != Errno::OK) co_return false;
  keeper_.install(fromWire(answer.getView()));
  co_return true;
}

Task<void> Heartbeat::follow() {
  for (;;) {
    kj::Promise<bool> fetching = fetchView(keeper_.view().version);
    auto tried = unlessFails(kj::mv(fetching), [this](kj::Exception&& e) { trouble("view", e); });
    auto ok = co_await kj::mv(tried);
    if (!ok) co_return;
  }
}

Task<void> Heartbeat::beats() {
  for (;;) {
    kj::Promise<bool> beating = beat();
    auto tried =
        unlessFails(withTimeout(env_, kAnswerMs, kj::mv(beating)), [this](kj::Exception&& e) {
          trouble("beat", e);
          peer_.disconnect();
        });
    auto ok = co_await kj::mv(tried);
    if (!ok) co_return;
    co_await env_.clock.timer().afterDelay(kBeatMs * kj::MILLISECONDS);
  }
}

Task<bool> Heartbeat::beat() {
  auto sentMs = env_.clock.bootMs();
  auto req = KJ_ASSERT_NONNULL(registration_).beatRequest();
  req.setSequence(++sequence_);
  req.setViewInstalled(keeper_.view().version);
  req.setViewSettled(settled_);
  fill(req.initSpace());
  auto asks = resync_.asksToServe();
  auto synced = req.initSynced(static_cast<uint32_t>(asks.size()));
  for (uint32_t i = 0; i < asks.size(); ++i) {
    synced[i].setChain(static_cast<uint32_t>(asks[i].first.value));
    synced[i].setEpoch(asks[i].second);
  }
  req.setBroken(broken_);
  auto answer = co_await req.send();
  if (answer.getErr() != Errno::OK) co_return false;
  if (hadRight_ && !keeper_.mayServe() && broken_.empty()) {
    // It lapsed. What happened meanwhile is known only after a new registration and its view.
    KJ_LOG(WARNING, "the right to serve had lapsed, registering anew");
    co_return false;
  }
  if (broken_.empty()) {
    keeper_.extendRight(sentMs + answer.getLeaseMs());
    hadRight_ = true;
  }
  co_return true;
}

Task<void> Heartbeat::settle() {
  for (;;) {
    auto version = keeper_.view().version;
    if (version == settled_ || !keeper_.recovering().empty()) {
      co_await keeper_.changed();
      continue;
    }
    co_await updates_.noneOfTheDead();
    if (!keeper_.recovering().empty()) continue;
    version = kj::min(version, keeper_.view().version);
    // One sync serves all that ended; where nothing was written it is cheap.
    auto err = co_await store_.sync();
    if (err != Errno::OK) co_return;  // the store is out of service
    settled_ = version;
  }
}

}  // namespace dfs
