#include "fuse-client/remote/storage_client.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint64_t kPingAfterMs = 4'000;     // a call that takes so long makes us ask whether
constexpr uint64_t kPingAnswerMs = 5'000;    // the daemon is there at all
constexpr uint64_t kReadPatienceMs = 2'000;  // then another copy is tried
constexpr uint32_t kSmallBytes = 64u << 10;  // up to here the control connection takes it
constexpr uint32_t kDiskErrorsMax = 20;

}  // namespace

bool covered(const WriteStamp& write, const SyncStamps& sync) {
  // Where `since` changes servedFrom begins anew, before that daemon may answer: so one that has every
  // write since that epoch took part in this one, or was brought up from one that had it (Y6), even
  // if it lost its own copy in between.
  auto found = sync.find(write.chain);
  if (found == sync.end()) return false;
  for (auto& now : found->second) {
    if (now.servedFrom <= write.epoch) return true;
  }
  return false;
}

struct StorageClient::SyncOne {
  Errno err = Errno::IO;
  uint64_t since = 0;
  std::map<ChainId, uint64_t> servedFrom;
};

struct StorageClient::SyncBatch {
  // What one call to a daemon will ask; whoever comes while a call is under way joins the next.
  std::map<ChainId, uint64_t> chains;
  std::vector<kj::Own<kj::PromiseFulfiller<SyncOne>>> waiters;
};

struct StorageClient::Daemon {
  Daemon(Env& env, const std::vector<std::string>& list)
      : addresses(list), bulk(env, copy(list)), control(env, copy(list)) {}

  static kj::Array<kj::String> copy(const std::vector<std::string>& list) {
    auto result = kj::heapArrayBuilder<kj::String>(list.size());
    for (auto& address : list) result.add(kj::heapString(address.c_str()));
    return result.finish();
  }

  Peer& peer(bool ofBulk) { return ofBulk ? bulk : control; }

  std::vector<std::string> addresses;
  Peer bulk;
  Peer control;
  bool syncing = false;
  kj::Own<SyncBatch> next;
};

StorageClient::StorageClient(Env& env, NameClient& names)
    : env_(env), names_(names), tasks_(*this) {}

StorageClient::~StorageClient() noexcept(false) {}

StorageClient::Daemon& StorageClient::daemon(NodeId node) {
  auto info = names_.view().node(node);
  const std::vector<std::string> nowhere;
  auto& addresses = info == nullptr ? nowhere : info->addresses;
  auto& found = daemons_[node];
  if (found.get() == nullptr) {
    found = kj::heap<Daemon>(env_, addresses);
  } else if (info != nullptr && found->addresses != addresses) {
    found->addresses = addresses;
    found->bulk.setAddresses(Daemon::copy(addresses));
    found->control.setAddresses(Daemon::copy(addresses));
  }
  return *found;
}

kj::Promise<schema::StorageDaemon::Client> StorageClient::door(NodeId node, bool bulk) {
  return daemon(node).peer(bulk).connected().then([](capnp::Capability::Client bootstrap) {
    return schema::StorageDaemon::Client(
        bootstrap.castAs<schema::StoreDoor>().storageRequest().send().getStorage());
  });
}

Task<void> StorageClient::watchSilence(NodeId node, bool bulk) {
  // Beside a call: breaks with DISCONNECTED when the daemon does not even answer a ping. A call may
  // take long (a sync of much data, a chain that waits); silence is something else.
  for (;;) {
    co_await env_.clock.timer().afterDelay(kPingAfterMs * kj::MILLISECONDS);
    auto& peer = daemon(node).peer(bulk);
    auto number = peer.connectionNumber();
    auto ping = peer.connected().then([](capnp::Capability::Client bootstrap) {
      return bootstrap.castAs<schema::StoreDoor>().storageRequest().send().ignoreResult();
    });
    auto failure = co_await attempt(withTimeout(env_, kPingAnswerMs, kj::mv(ping)));
    KJ_IF_MAYBE(e, failure) {
      auto& silent = daemon(node).peer(bulk);
      if (silent.connectionNumber() == number) silent.disconnect();
      kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "a storage daemon is silent", node, *e));
    }
  }
}

void StorageClient::fillAt(schema::At::Builder at, uint64_t epoch) {
  at.setView(names_.view().version);
  at.setSession(names_.session().value);
  at.setEpoch(epoch);
  at.setCluster(names_.cluster().low);
}

Task<void> StorageClient::recover(Errno err, uint64_t viewSeen) {
  if (err == Errno::NOT_LIVE) co_await names_.renewal();
  // The newer view, or a while: the daemon may be the one that is behind.
  auto pause = env_.clock.timer().afterDelay(100 * kj::MILLISECONDS);
  co_await pause.exclusiveJoin(names_.viewAfter(viewSeen));
}

// --- reading ---

kj::Promise<Outcome<kj::Array<kj::byte>>> StorageClient::read(BlockId block, uint32_t offset,
                                                              uint32_t bytes, uint64_t viewMin) {
  return readLoop(block, offset, bytes, viewMin);
}

std::vector<NodeId> StorageClient::readOrder(const ChainInfo& chain, BlockId block) {
  // A daemon on this host first; otherwise blocks spread over the members.
  std::vector<NodeId> local, others;
  for (auto& member : chain.members) {
    if (member.state != MemberState::SERVING) continue;
    auto info = names_.view().node(member.node);
    if (info == nullptr) continue;
    bool isLocal = !info->addresses.empty() && info->addresses[0].rfind("unix:", 0) == 0;
    (isLocal ? local : others).push_back(member.node);
  }
  uint64_t hash = block.value * 0x9E3779B97F4A7C15u >> 32;
  for (auto* list : {&local, &others}) {
    if (!list->empty())
      std::rotate(list->begin(), list->begin() + hash % list->size(), list->end());
  }
  local.insert(local.end(), others.begin(), others.end());
  return local;
}

Task<Outcome<kj::Array<kj::byte>>> StorageClient::readFrom(NodeId node, BlockId block,
                                                           uint32_t offset, uint32_t bytes,
                                                           uint64_t epoch, uint64_t timeoutMs) {
  bool bulk = bytes > kSmallBytes;
  auto client = co_await withTimeout(env_, timeoutMs, door(node, bulk));
  auto request = client.readRequest();
  fillAt(request.initAt(), epoch);
  request.setBlock(block.value);
  request.setOffset(offset);
  request.setBytes(bytes);
  kj::Promise<capnp::Response<schema::StorageDaemon::ReadResults>> sent = request.send();
  auto silence =
      watchSilence(node, bulk)
          .
          operator kj::Promise<void>()
          .then([]() -> kj::Promise<capnp::Response<schema::StorageDaemon::ReadResults>> {
            return kj::NEVER_DONE;
          });
  auto answered = sent.exclusiveJoin(kj::mv(silence));
  auto answer = co_await withTimeout(env_, timeoutMs, kj::mv(answered));
  auto err = answer.getErr();
  if (err != Errno::OK) co_return err;
  auto data = answer.getData();
  if (data.size() > bytes) co_return Errno::CORRUPT;
  if (data.size() > 0 && !sumsMatch(offset, data, answer.getSums())) co_return Errno::CORRUPT;
  co_return kj::heapArray<kj::byte>(data);
}

Task<Outcome<kj::Array<kj::byte>>> StorageClient::readLoop(BlockId block, uint32_t offset,
                                                           uint32_t bytes, uint64_t viewMin) {
  Backoff backoff(env_, 20, 1000);
  auto era = names_.era();
  uint64_t patienceMs = kReadPatienceMs;
  uint32_t badPasses = 0;
  for (;;) {
    auto viewWanted = kj::max(viewMin, names_.sessionView());
    co_await names_.viewAtLeast(viewWanted);
    if (era != names_.era()) co_return Errno::IO;
    auto viewSeen = names_.view().version;
    auto chain = names_.view().chain(block.chain());
    std::vector<NodeId> order;
    uint64_t epoch = 0;
    if (chain != nullptr) {
      order = readOrder(*chain, block);
      epoch = chain->epoch;
    }
    size_t absent = 0, bad = 0;
    Errno moved = Errno::OK;
    for (auto node : order) {
      auto tried = co_await attempt(kj::Promise<Outcome<kj::Array<kj::byte>>>(
          readFrom(node, block, offset, bytes, epoch, patienceMs)));
      if (era != names_.era()) co_return Errno::IO;
      KJ_IF_MAYBE(failure, tried.failure) {
        if (!mayRetry(*failure)) kj::throwFatalException(kj::mv(*failure));
        continue;
      }
      auto& outcome = KJ_ASSERT_NONNULL(tried.value);
      if (outcome.ok()) co_return kj::mv(outcome);
      if (outcome.err() == Errno::NO_BLOCK) {
        ++absent;
      } else if (outcome.err() == Errno::CORRUPT || outcome.err() == Errno::IO) {
        KJ_LOG(WARNING, "a copy of a block cannot be read; asking another", block, node,
               nameOf(outcome.err()));
        ++bad;
      } else if (outcome.err() == Errno::WRONG_EPOCH || outcome.err() == Errno::NOT_LIVE) {
        moved = outcome.err();
        break;
      } else if (outcome.err() == Errno::INVAL || outcome.err() == Errno::WRONG_CLUSTER) {
        co_return Errno::IO;
      }
    }
    if (moved != Errno::OK) {
      co_await recover(moved, viewSeen);
      continue;
    }
    if (!order.empty() && absent == order.size()) co_return Errno::NO_BLOCK;
    if (!order.empty() && absent + bad == order.size() && ++badPasses >= 3) co_return Errno::IO;
    patienceMs = kj::min(patienceMs * 2, uint64_t(60'000));
    auto waiting = waiting_.insert(block.chain());
    KJ_DEFER(waiting_.erase(waiting));
    co_await backoff.wait().exclusiveJoin(names_.viewAfter(viewSeen));
  }
}

// --- writing ---

kj::Promise<Outcome<WriteStamp>> StorageClient::write(BlockId block, uint32_t offset,
                                                      kj::ArrayPtr<const kj::byte> data,
                                                      uint32_t clearFrom) {
  return writeLoop(block, offset, data, clearFrom);
}

Task<Outcome<WriteStamp>> StorageClient::writeLoop(BlockId block, uint32_t offset,
                                                   kj::ArrayPtr<const kj::byte> data,
                                                   uint32_t clearFrom) {
  auto era = names_.era();
  while (era == numberingEra_ && !unanswered_.empty() &&
         nextSequence_ - *unanswered_.begin() >= kBlockWindow) {
    co_await windowMoved_.next();
  }
  if (era != names_.era()) co_return Errno::IO;
  if (numberingEra_ != era) {
    numberingEra_ = era;
    nextSequence_ = 1;
    unanswered_.clear();
  }
  auto sequence = nextSequence_++;
  unanswered_.insert(sequence);
  KJ_DEFER({
    if (era == numberingEra_) unanswered_.erase(sequence);
    windowMoved_.wake();
  });
  auto sums = unitSums(offset, data);
  bool bulk = data.size() > kSmallBytes;
  uint32_t diskErrors = 0;
  Backoff backoff(env_, 20, 1000);
  auto waiting = waiting_.insert(block.chain());
  KJ_DEFER(waiting_.erase(waiting));

  for (;;) {
    co_await names_.viewAtLeast(names_.sessionView());
    if (era != names_.era()) co_return Errno::IO;
    auto viewSeen = names_.view().version;
    auto chain = names_.view().chain(block.chain());
    auto head = chain == nullptr ? kj::Maybe<NodeId>(nullptr) : chain->head();
    if (head == nullptr) {
      co_await names_.viewAfter(viewSeen);
      continue;
    }
    auto node = KJ_ASSERT_NONNULL(head);
    auto epoch = chain->epoch;
    auto call = door(node, bulk).then([&](schema::StorageDaemon::Client client) {
      auto request = client.writeRequest();
      fillAt(request.initAt(), epoch);
      auto update = request.initUpdate();
      update.setBlock(block.value);
      update.setOffset(offset);
      update.setData(data);
      auto list = update.initSums(sums.size());
      for (size_t i = 0; i < sums.size(); ++i) list.set(i, sums[i]);
      toWire(RequestId{names_.session().value, sequence}, update.initRequest());
      update.setWindowFrom(*unanswered_.begin());
      update.setClearFrom(clearFrom);
      return kj::Promise<capnp::Response<schema::StorageDaemon::WriteResults>>(request.send());
    });
    using Answer = capnp::Response<schema::StorageDaemon::WriteResults>;
    auto gone = [](kj::StringPtr why) {
      return [why]() -> kj::Promise<Answer> { return KJ_EXCEPTION(DISCONNECTED, why); };
    };
    auto moved = names_.epochAfter(block.chain(), epoch, era).then(gone("the chain has moved on"));
    kj::Promise<void> silence = watchSilence(node, bulk);
    auto raced = call.exclusiveJoin(kj::mv(moved)).exclusiveJoin(silence.then(gone("silent")));
    auto tried = co_await attempt(kj::mv(raced));
    if (era != names_.era()) co_return Errno::IO;
    KJ_IF_MAYBE(failure, tried.failure) {
      if (!mayRetry(*failure)) kj::throwFatalException(kj::mv(*failure));
      if (names_.view().version == viewSeen) {
        co_await backoff.wait().exclusiveJoin(names_.viewAfter(viewSeen));
      }
      continue;
    }
    auto& answer = KJ_ASSERT_NONNULL(tried.value);
    switch (answer.getErr()) {
      case Errno::OK: {
        WriteStamp stamp;
        stamp.chain = block.chain();
        stamp.epoch = epoch;
        for (auto member : answer.getStamps()) {
          stamp.members.push_back(
              {NodeId(member.getNode()), member.getSince(), member.getServedFrom()});
        }
        std::sort(stamp.members.begin(), stamp.members.end());
        noteRoom(stamp, answer.getRoomy());
        co_return kj::mv(stamp);
      }
      case Errno::WRONG_EPOCH:
      case Errno::NOT_LIVE:
        co_await recover(answer.getErr(), viewSeen);
        break;
      case Errno::OVERLOADED:
      case Errno::AGAIN:
        co_await backoff.wait();
        break;
      case Errno::NO_SPACE:
        noteFull(block.chain());
        co_return Errno::NO_SPACE;
      default:
        // A disk that fails takes its daemon out of the chain; the next view says so.
        KJ_LOG(WARNING, "a write was refused", block, node, nameOf(answer.getErr()));
        if (++diskErrors >= kDiskErrorsMax) co_return Errno::IO;
        co_await backoff.wait().exclusiveJoin(names_.viewAfter(viewSeen));
    }
  }
}

void StorageClient::noteRoom(const WriteStamp& stamp, bool roomy) {
  for (auto& member : stamp.members) {
    roomyUntilMs_[member.node] = roomy ? env_.clock.bootMs() + kRoomyForMs : 0;
  }
}

void StorageClient::noteFull(ChainId id) {
  auto chain = names_.view().chain(id);
  if (chain == nullptr) return;
  for (auto& member : chain->members) roomyUntilMs_[member.node] = 0;
}

bool StorageClient::roomy(ChainId id) {
  auto chain = names_.view().chain(id);
  if (chain == nullptr || chain->servingCount() == 0) return false;
  for (auto& member : chain->members) {
    auto said = roomyUntilMs_.find(member.node);
    bool plenty = said != roomyUntilMs_.end() && said->second > env_.clock.bootMs();
    if (member.state == MemberState::SERVING && !plenty) return false;
  }
  return true;
}

bool StorageClient::roomyAnywhere() {
  bool any = false;
  for (auto& [node, until] : roomyUntilMs_) {
    if (until == 0) return false;
    any = any || until > env_.clock.bootMs();
  }
  return any;
}

// --- syncing ---

kj::Promise<Outcome<SyncStamps>> StorageClient::sync(std::vector<ChainId> chains) {
  return syncLoop(kj::mv(chains));
}

Task<Outcome<SyncStamps>> StorageClient::syncLoop(std::vector<ChainId> chains) {
  auto era = names_.era();
  std::set<ChainId> left(chains.begin(), chains.end());
  SyncStamps result;
  Backoff backoff(env_, 20, 1000);
  while (!left.empty()) {
    co_await names_.viewAtLeast(names_.sessionView());
    if (era != names_.era()) co_return Errno::IO;
    auto viewSeen = names_.view().version;
    std::map<NodeId, std::vector<std::pair<ChainId, uint64_t>>> perNode;
    std::map<ChainId, std::pair<uint64_t, size_t>> wanted;  // epoch, members that must answer
    for (auto id : left) {
      auto chain = names_.view().chain(id);
      if (chain == nullptr || chain->servingCount() == 0) continue;
      wanted[id] = {chain->epoch, chain->servingCount()};
      for (auto& member : chain->members) {
        if (member.state == MemberState::SERVING) {
          perNode[member.node].push_back({id, chain->epoch});
        }
      }
    }
    std::vector<std::multiset<ChainId>::iterator> waits;
    for (auto id : left) waits.push_back(waiting_.insert(id));
    KJ_DEFER(for (auto& wait : waits) waiting_.erase(wait));
    if (wanted.empty()) {
      co_await names_.viewAfter(viewSeen);
      continue;
    }
    struct Answers {
      std::map<ChainId, std::vector<BlockStamp>> stamps;
    };
    auto answers = kj::heap<Answers>();
    auto promises = kj::heapArrayBuilder<kj::Promise<void>>(perNode.size());
    for (auto& [node, list] : perNode) {
      promises.add(syncNode(node, list).then([&to = *answers, of = node, held = list](SyncOne one) {
        if (one.err != Errno::OK) return;
        for (auto& [chain, epoch] : held) {
          auto from = one.servedFrom.find(chain);
          if (from != one.servedFrom.end()) {
            to.stamps[chain].push_back({of, one.since, from->second});
          }
        }
      }));
    }
    auto all = kj::joinPromises(promises.finish());
    for (auto& [chain, at] : wanted) {
      all = all.exclusiveJoin(names_.epochAfter(chain, at.first, era));
    }
    auto failure = co_await attempt(kj::mv(all));
    if (era != names_.era()) co_return Errno::IO;
    KJ_IF_MAYBE(e, failure) {
      if (!mayRetry(*e)) kj::throwFatalException(kj::mv(*e));
    }
    for (auto& [chain, at] : wanted) {
      auto& got = answers->stamps[chain];
      if (got.size() != at.second) continue;
      result[chain] = kj::mv(got);
      left.erase(chain);
    }
    if (!left.empty() && names_.view().version == viewSeen) {
      co_await backoff.wait().exclusiveJoin(names_.viewAfter(viewSeen));
    }
  }
  co_return kj::mv(result);
}

kj::Promise<StorageClient::SyncOne> StorageClient::syncNode(
    NodeId node, std::vector<std::pair<ChainId, uint64_t>> chains) {
  auto& to = daemon(node);
  if (to.next.get() == nullptr) to.next = kj::heap<SyncBatch>();
  for (auto& [chain, epoch] : chains) {
    auto& at = to.next->chains[chain];
    at = kj::max(at, epoch);
  }
  auto pair = kj::newPromiseAndFulfiller<SyncOne>();
  to.next->waiters.push_back(kj::mv(pair.fulfiller));
  if (!to.syncing) {
    to.syncing = true;
    tasks_.add(runSyncs(node, to));
  }
  return kj::mv(pair.promise);
}

Task<void> StorageClient::runSyncs(NodeId node, Daemon& daemon) {
  while (daemon.next.get() != nullptr) {
    auto batch = kj::mv(daemon.next);
    std::vector<kj::Own<kj::PromiseFulfiller<SyncOne>>> wanted;
    for (auto& waiter : batch->waiters) {
      if (waiter->isWaiting()) wanted.push_back(kj::mv(waiter));
    }
    if (wanted.empty()) continue;
    kj::Promise<SyncOne> call = syncCall(node, batch->chains);
    auto tried = co_await attempt(kj::mv(call));
    for (auto& waiter : wanted) {
      KJ_IF_MAYBE(one, tried.value) waiter->fulfill(SyncOne(*one));
      KJ_IF_MAYBE(e, tried.failure) waiter->reject(kj::cp(*e));
    }
  }
  daemon.syncing = false;
}

Task<StorageClient::SyncOne> StorageClient::syncCall(NodeId node,
                                                     std::map<ChainId, uint64_t> chains) {
  auto silence =
      watchSilence(node, false)
          .
          operator kj::Promise<void>()
          .then([]() -> kj::Promise<schema::StorageDaemon::Client> { return kj::NEVER_DONE; });
  auto opened = door(node, false).exclusiveJoin(kj::mv(silence));
  auto client = co_await kj::mv(opened);
  auto request = client.syncRequest();
  fillAt(request.initAt(), 0);
  auto list = request.initChains(chains.size());
  uint32_t i = 0;
  for (auto& [chain, epoch] : chains) {
    list[i].setChain(static_cast<uint32_t>(chain.value));
    list[i].setEpoch(epoch);
    ++i;
  }
  using Answer = capnp::Response<schema::StorageDaemon::SyncResults>;
  kj::Promise<Answer> sent = request.send();
  auto silent =
      watchSilence(node, false).operator kj::Promise<void>().then([]() -> kj::Promise<Answer> {
        return kj::NEVER_DONE;
      });
  auto answer = co_await sent.exclusiveJoin(kj::mv(silent));
  SyncOne one;
  one.err = answer.getErr();
  one.since = answer.getSince();
  auto from = answer.getServedFrom();
  if (one.err == Errno::OK && from.size() == chains.size()) {
    i = 0;
    for (auto& [chain, epoch] : chains) one.servedFrom[chain] = from[i++];
  }
  if (one.err == Errno::NOT_LIVE) co_await names_.renewal();
  co_return kj::mv(one);
}

std::string StorageClient::waitsFor() const {
  if (waiting_.empty()) return "";
  return "chain " + std::to_string(waiting_.begin()->value);
}

void StorageClient::taskFailed(kj::Exception&& exception) {
  KJ_LOG(ERROR, "work with the storage daemons failed", exception);
}

}  // namespace dfs
