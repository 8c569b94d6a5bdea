#include "fuse-client/remote/name_client.h"

#include "fuse-client/remote/callback.h"

#include <capnp/message.h>

namespace dfs {
namespace {

kj::Array<kj::String> addressesOf(const std::vector<std::string>& list) {
  auto result = kj::heapArrayBuilder<kj::String>(list.size());
  for (auto& address : list) result.add(kj::heapString(address.c_str()));
  return result.finish();
}

uint64_t randomId(Env& env) {
  for (;;) {
    uint64_t id = env.random.next();
    if (id != 0) return id;
  }
}

}  // namespace

NameClient::NameClient(Env& env, NameClientOptions options, NameEvents& events)
    : env_(env),
      options_(kj::mv(options)),
      events_(events),
      peer_(env, addressesOf(options_.nameservers)),
      session_(randomId(env)),
      tasks_(*this) {}

NameClient::~NameClient() noexcept(false) {}

void NameClient::start() {
  tasks_.add(live());
}

kj::Promise<void> NameClient::ready() {
  KJ_IF_MAYBE(e, refused_) return kj::cp(*e);
  if (capability_ != nullptr) return kj::READY_NOW;
  return changed_.next().then([this]() { return ready(); });
}

kj::Promise<schema::Session::Client> NameClient::whenAttached() {
  KJ_IF_MAYBE(client, capability_) return *client;
  return changed_.next().then([this]() { return whenAttached(); });
}

// --- the lease ---

bool NameClient::leaseValid() {
  return capability_ != nullptr && env_.clock.bootMs() < validUntilMs_;
}

kj::Promise<void> NameClient::whenValid() {
  if (leaseValid()) return kj::READY_NOW;
  auto next = attached() ? renewal() : changed_.next();
  return next.then([this]() { return whenValid(); });
}

kj::Promise<void> NameClient::renewal() {
  // The next renewal to be sent; one that is under way may have been sent before this call.
  auto wait = [](NameClient& self, uint64_t wanted, uint64_t era) -> Task<void> {
    while (self.renewalsAnswered_ < wanted && self.era_ == era) co_await self.changed_.next();
  };
  renewalWanted_ = renewalsSent_ + 1;
  renewWanted_.wake();
  return wait(*this, renewalWanted_, era_);
}

void NameClient::extendLease(uint64_t sentMs, uint32_t leaseMs) {
  uint64_t off = leaseMs * kDriftPerMille / 1000 + kLeaseMarginMs;
  uint64_t until = sentMs + (leaseMs > off ? leaseMs - off : 0);
  validUntilMs_ = kj::max(validUntilMs_, until);
}

// --- the life of the session ---

Task<void> NameClient::live() {
  Backoff backoff(env_, kFirstBackoffMs, kLastBackoffMs);
  for (;;) {
    auto tried = co_await attempt(kj::Promise<bool>(attachOnce()));
    KJ_IF_MAYBE(failure, tried.failure) {
      trouble_ = failure->getDescription().cStr();
      peer_.disconnect();
      if (!mayRetry(*failure)) {
        if (attachCount_ == 0) {
          refused_ = kj::mv(*failure);
          changed_.wake();
          co_return;
        }
        KJ_LOG(ERROR, "the name server does not take this session; trying on", *failure);
      }
    }
    if (ending_) co_return;
    if (!attached()) {
      co_await backoff.wait();
      continue;
    }
    backoff.reset();
    trouble_ = "";
    auto number = attachCount_;
    auto client = KJ_ASSERT_NONNULL(capability_);
    auto renewing = attempt(kj::Promise<void>(renewFor(number, client)));
    auto following = attempt(kj::Promise<void>(followView(number, client)));
    auto broken = broken_.next().then([]() -> kj::Maybe<kj::Exception> { return nullptr; });
    auto ended = renewing.exclusiveJoin(kj::mv(following)).exclusiveJoin(kj::mv(broken));
    auto why = co_await kj::mv(ended);
    KJ_IF_MAYBE(e, why) trouble_ = e->getDescription().cStr();
    if (ending_) co_return;
    lost(number);
  }
}

void NameClient::lost(uint64_t number) {
  // The connection of that attach is of no use any more.
  if (number != attachCount_ || capability_ == nullptr) return;
  capability_ = nullptr;
  peer_.disconnect();
  broken_.wake();
  changed_.wake();
}

void NameClient::followHint(kj::StringPtr leader) {
  if (leader.size() == 0) return;
  std::vector<std::string> order{leader.cStr()};
  for (auto& address : options_.nameservers) {
    if (address != order[0]) order.push_back(address);
  }
  peer_.setAddresses(addressesOf(order));
}

void NameClient::sessionHasEnded(kj::StringPtr how) {
  KJ_LOG(WARNING, "the session has ended; going on with a new one", how, session_);
  ++era_;
  session_ = SessionId(randomId(env_));
  fresh_ = true;
  attachNumber_ = 0;
  validUntilMs_ = 0;
  sessionView_ = 0;
  nextSequence_ = 1;
  unanswered_.clear();
  capability_ = nullptr;
  events_.sessionEnded();
  windowMoved_.wake();
  viewChanged_.wake();
  changed_.wake();
}

Task<bool> NameClient::attachOnce() {
  auto bootstrap = co_await peer_.connected();
  auto nameServer = bootstrap.castAs<schema::NameDoor>().nameServerRequest().send().getNameServer();
  auto request = nameServer.attachRequest();
  request.setSession(session_.value);
  request.setFresh(fresh_);
  request.setCallback(
      kj::heap<CallbackServer>(events_, [this, era = era_]() { return era == era_ && !ending_; }));
  request.setHost(options_.host.c_str());
  request.setWhat(options_.what.c_str());
  uint64_t sentMs = env_.clock.bootMs();
  // A leader that starts may let a new session wait until the old ones have claimed or ended (S5):
  // hence patience well beyond a lease.
  kj::Promise<capnp::Response<schema::NameServer::AttachResults>> sent = request.send();
  auto answer = co_await withTimeout(env_, 4 * kSessionLeaseMs, kj::mv(sent));

  switch (answer.getErr()) {
    case Errno::OK:
      break;
    case Errno::NOT_LEADER:
      peer_.disconnect();
      followHint(answer.getLeader());
      co_return false;
    case Errno::STALE:
      if (fresh_) {
        session_ = SessionId(randomId(env_));  // an unlucky number, or a repeat that came too late
      } else {
        sessionHasEnded("attach was refused");
      }
      co_return false;
    case Errno::OVERLOADED:
    case Errno::AGAIN:
      co_return false;
    case Errno::WRONG_CLUSTER:
      kj::throwFatalException(KJ_EXCEPTION(
          FAILED, "the name server belongs to another cluster: check the addresses it was given"));
    default:
      kj::throwFatalException(KJ_EXCEPTION(FAILED,
                                           "the name server refuses this client; its log says why",
                                           nameOf(answer.getErr())));
  }

  auto cluster = fromWire(answer.getCluster());
  KJ_REQUIRE(!cluster_ || cluster_ == cluster,
             "the name server belongs to another cluster than before", toString(cluster));
  cluster_ = cluster;
  fresh_ = false;
  auto client = answer.getSession();
  if (answer.getClaimsWanted()) {
    auto claimed = co_await claimAll(client);
    if (!claimed) co_return false;
  }
  ++attachCount_;
  attachNumber_ = answer.getAttach();
  sessionView_ = kj::max(sessionView_, answer.getView());
  extendLease(sentMs, answer.getLeaseMs());
  capability_ = kj::mv(client);
  changed_.wake();
  co_return true;
}

Task<bool> NameClient::claimAll(schema::Session::Client client) {
  auto claims = events_.claims();
  auto locks = events_.lockClaims();
  size_t from = 0, lockFrom = 0;
  do {
    size_t count = kj::min(claims.size() - from, size_t(kClaimsPerCallMax));
    size_t lockCount = kj::min(locks.size() - lockFrom, size_t(kClaimsPerCallMax) - count);
    bool last = from + count == claims.size() && lockFrom + lockCount == locks.size();
    auto request = client.claimRequest();
    auto lockList = request.initLocks(lockCount);
    for (size_t i = 0; i < lockCount; ++i) toWire(locks[lockFrom + i], lockList[i]);
    lockFrom += lockCount;
    auto list = request.initLeases(count);
    for (size_t i = 0; i < count; ++i) {
      auto& claim = claims[from + i];
      list[i].setIno(claim.ino.value);
      list[i].setSequence(claim.sequence);
      list[i].setLease(claim.sequence == 0 ? schema::Lease::NONE : schema::Lease::EXCLUSIVE);
      list[i].setPinned(claim.pinned);
    }
    request.setLast(last);
    kj::Promise<capnp::Response<schema::Session::ClaimResults>> sent = request.send();
    auto answer = co_await withTimeout(env_, 4 * kSessionLeaseMs, kj::mv(sent));
    if (answer.getErr() == Errno::STALE) {
      sessionHasEnded("claims were refused");
      co_return false;
    }
    if (answer.getErr() != Errno::OK) co_return false;
    from += count;
    if (last) co_return true;
  } while (from < claims.size() || lockFrom < locks.size());
  co_return true;
}

Task<void> NameClient::renewFor(uint64_t number, schema::Session::Client client) {
  // Ends when the connection is of no use. The renewal is the probe for all calls on it.
  for (;;) {
    if (renewalsSent_ >= renewalWanted_) {
      auto pause = env_.clock.timer().afterDelay(kSessionRenewMs * kj::MILLISECONDS);
      co_await pause.exclusiveJoin(renewWanted_.next());
    }
    uint64_t sentMs = env_.clock.bootMs();
    uint64_t mine = ++renewalsSent_;
    kj::Promise<capnp::Response<schema::Session::RenewResults>> sent = client.renewRequest().send();
    auto answer = co_await withTimeout(env_, kSilenceMs, kj::mv(sent));
    if (number != attachCount_) co_return;
    if (answer.getErr() == Errno::STALE || answer.getErr() == Errno::NOT_LIVE) {
      sessionHasEnded("renewal was refused");
      co_return;
    }
    if (answer.getErr() == Errno::OVERLOADED) continue;
    if (answer.getErr() != Errno::OK) co_return;
    extendLease(sentMs, answer.getLeaseMs());
    renewalsAnswered_ = mine;
    changed_.wake();
  }
}

kj::Promise<void> NameClient::end() {
  auto run = [](NameClient& self) -> Task<void> {
    while (self.attached()) {
      auto client = co_await self.whenAttached();
      auto number = self.attachCount_;
      self.ending_ = true;
      kj::Promise<capnp::Response<schema::Session::EndResults>> sent = client.endRequest().send();
      auto tried = co_await attempt(withTimeout(self.env_, kSessionLeaseMs, kj::mv(sent)));
      if (tried.value != nullptr) break;  // whatever it says, the session is at its end
      self.lost(number);
    }
    self.ending_ = true;
    self.capability_ = nullptr;
    self.broken_.wake();
  };
  return run(*this);
}

// --- mutations ---

kj::Promise<Applied> NameClient::apply(kj::Function<void(schema::Command::Builder)> fill,
                                       kj::Maybe<uint64_t> onlyEra) {
  auto pair = kj::newPromiseAndFulfiller<Applied>();
  tasks_.add(mutate(kj::mv(fill), onlyEra, kj::mv(pair.fulfiller)));
  return kj::mv(pair.promise);
}

Task<void> NameClient::mutate(kj::Function<void(schema::Command::Builder)> fill,
                              kj::Maybe<uint64_t> onlyEra,
                              kj::Own<kj::PromiseFulfiller<Applied>> fulfiller) {
  co_await whenAttached();
  while (!unanswered_.empty() && nextSequence_ - *unanswered_.begin() >= kAnswerWindow) {
    co_await windowMoved_.next();
  }
  if (!fulfiller->isWaiting()) co_return;  // given up before it was sent: it never happened
  auto era = era_;
  if (onlyEra.orDefault(era) != era) {
    fulfiller->fulfill(Applied());
    co_return;
  }
  auto sequence = nextSequence_++;
  unanswered_.insert(sequence);
  KJ_DEFER({
    if (era == era_) {
      unanswered_.erase(sequence);
      windowMoved_.wake();
    }
  });
  capnp::MallocMessageBuilder message;
  auto command = message.initRoot<schema::Command>();
  fill(command);
  toWire(RequestId{session_.value, sequence}, command.initRequest());

  Backoff backoff(env_, kFirstBackoffMs, kLastBackoffMs);
  for (;;) {
    auto client = co_await whenAttached();
    if (era != era_) break;
    auto number = attachCount_;
    command.setAckedUpTo(*unanswered_.begin() - 1);
    auto request = client.applyRequest();
    request.setCommand(command.asReader());
    kj::Promise<capnp::Response<schema::Session::ApplyResults>> sent = request.send();
    auto tried = co_await attempt(kj::mv(sent));
    if (era != era_) break;
    KJ_IF_MAYBE(failure, tried.failure) {
      if (!mayRetry(*failure)) {
        fulfiller->reject(kj::mv(*failure));
        co_return;
      }
      if (failure->getType() == kj::Exception::Type::DISCONNECTED) lost(number);
      co_await backoff.wait();
      continue;
    }
    auto answer = kj::mv(KJ_ASSERT_NONNULL(tried.value));
    auto err = answer.getErr();
    if (err == Errno::OK) {
      auto grant = answer.getGrant();
      if (!fulfiller->isWaiting() && grant.getLease() == schema::Lease::EXCLUSIVE) {
        // Whoever asked has gone: nobody would ever acknowledge the grant, or give it back.
        events_.recall(InodeId(answer.getAttr().getIno()), grant.getSequence());
      }
      Applied applied;
      applied.err = answer.getOutcome().getErr();
      applied.era = era;
      applied.response = kj::mv(answer);
      fulfiller->fulfill(kj::mv(applied));
      co_return;
    }
    if (err == Errno::NOT_LEADER) {
      lost(number);
    } else if (err == Errno::STALE || err == Errno::NOT_LIVE) {
      co_await renewal();
    } else if (err != Errno::OVERLOADED) {
      Applied applied;
      applied.err = err;
      applied.era = era;
      fulfiller->fulfill(kj::mv(applied));
      co_return;
    }
    co_await backoff.wait();
  }
  // S3: the session went and took the answer with it.
  Applied unknown;
  unknown.era = era;
  fulfiller->fulfill(kj::mv(unknown));
}

// --- file locks ---

kj::Promise<kj::Maybe<Errno>> NameClient::lock(FileLock lock, bool wait, uint64_t ticket) {
  return lockOnce(lock, wait, ticket);
}

kj::Promise<void> NameClient::leaves(uint64_t number) {
  if (!attached() || number != attachCount_) return kj::READY_NOW;
  return changed_.next().then([this, number]() { return leaves(number); });
}

Task<kj::Maybe<Errno>> NameClient::lockOnce(FileLock lock, bool wait, uint64_t ticket) {
  auto number = attachCount_;
  auto era = era_;
  auto request = KJ_ASSERT_NONNULL(capability_).lockRequest();
  toWire(lock, request.initLock());
  request.setWait(wait);
  request.setTicket(ticket);
  // It may wait for long, and is not to wait for an answer to a session or a connection that is over.
  using Response = capnp::Response<schema::Session::LockResults>;
  auto over = leaves(number).then([]() -> kj::Promise<Response> {
    return KJ_EXCEPTION(DISCONNECTED, "the connection or the session has gone");
  });
  kj::Promise<Response> sent = request.send();
  auto tried = co_await attempt(sent.exclusiveJoin(kj::mv(over)));
  KJ_IF_MAYBE(failure, tried.failure) {
    if (!mayRetry(*failure)) {
      KJ_LOG(ERROR, "the name server cannot answer about a lock", *failure);
      co_return errnoOf(*failure);
    }
    if (failure->getType() == kj::Exception::Type::DISCONNECTED) lost(number);
    co_return nullptr;
  }
  auto err = KJ_ASSERT_NONNULL(tried.value).getErr();
  if (err == Errno::NOT_LEADER) lost(number);
  if (err == Errno::NOT_LEADER || err == Errno::OVERLOADED) co_return nullptr;
  if (err == Errno::STALE || err == Errno::NOT_LIVE) {
    co_await renewal();  // S7
    if (era != era_) co_return nullptr;
  }
  // An answer on a connection that is given up by now may contradict the claims made since.
  if (!attached() || number != attachCount_) co_return nullptr;
  co_return err;
}

void NameClient::cancelLock(uint64_t ticket) {
  KJ_IF_MAYBE(client, capability_) {
    auto request = client->cancelLockRequest();
    request.setTicket(ticket);
    // If it does not arrive, the connection goes, and the wait with it.
    tasks_.add(request.send().ignoreResult().catch_([](kj::Exception&&) {}));
  }
}

// --- the view ---

void NameClient::takeView(schema::View::Reader reader) {
  if (reader.getVersion() <= view_.version) return;
  view_ = fromWire(reader);
  viewChanged_.wake();
}

Task<void> NameClient::followView(uint64_t number, schema::Session::Client client) {
  for (;;) {
    auto request = client.viewRequest();
    request.setKnown(view_.version);
    kj::Promise<capnp::Response<schema::Session::ViewResults>> sent = request.send();
    auto tried = co_await attempt(kj::mv(sent));
    if (number != attachCount_) co_return;
    KJ_IF_MAYBE(failure, tried.failure) {
      if (failure->getType() == kj::Exception::Type::DISCONNECTED) co_return;
      if (!mayRetry(*failure)) kj::throwFatalException(kj::mv(*failure));
    }
    KJ_IF_MAYBE(answer, tried.value) {
      if (answer->getErr() == Errno::OK) {
        takeView(answer->getView());
        continue;
      }
      if (answer->getErr() == Errno::NOT_LEADER) co_return;
    }
    co_await env_.clock.timer().afterDelay(kFirstBackoffMs * 10 * kj::MILLISECONDS);
  }
}

kj::Promise<void> NameClient::viewAtLeast(uint64_t version) {
  if (view_.version >= version) return kj::READY_NOW;
  return viewChanged_.next().then([this, version]() { return viewAtLeast(version); });
}

kj::Promise<void> NameClient::epochAfter(ChainId chain, uint64_t epoch, uint64_t era) {
  auto info = view_.chain(chain);
  if (era != era_ || info == nullptr || info->epoch != epoch) return kj::READY_NOW;
  return viewChanged_.next().then(
      [this, chain, epoch, era]() { return epochAfter(chain, epoch, era); });
}

std::string NameClient::describe() {
  std::string text = "{\"session\":\"" + std::to_string(session_.value) + "\",\"attached\":";
  text += attached() ? "true" : "false";
  text += ",\"leaseValid\":";
  text += leaseValid() ? "true" : "false";
  text += ",\"view\":" + std::to_string(view_.version);
  text += ",\"mutationsInFlight\":" + std::to_string(unanswered_.size());
  text += ",\"trouble\":\"";
  for (char c : trouble_.empty() ? std::string(peer_.lastError().cStr()) : trouble_) {
    if (c == '"' || c == '\\') text += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) text += c;
  }
  return text + "\"}";
}

void NameClient::taskFailed(kj::Exception&& exception) {
  KJ_LOG(ERROR, "work of the session failed", exception);
}

}  // namespace dfs
