#pragma once
// The session at the name server: dials, attaches, renews, claims after a reconnect, repeats what
// was in flight, follows the view; and starts another session when this one has ended.
//
// Thread: the loop's. Owner: the Vfs. Dropping it drops the connection without ending the session.
// Invariants:
//   1. The lease counts from when the renewal was sent, less drift and margin (T1 to T4).
//   2. A mutation has one request id for ever and is repeated until it is answered or its session
//      has ended; whoever asked for it may be gone.
//   3. era() moves exactly when a session ends; what was made under another era is worth nothing.
//   4. Sequences in flight stay within kAnswerWindow (S6).

#include "common/env.h"
#include "common/file_lock.h"
#include "common/limits.h"
#include "common/peer.h"
#include "common/retry.h"
#include "common/task.h"
#include "common/view.h"
#include "common/waiting.h"

#include <rpc-schema/cluster.capnp.h>
#include <rpc-schema/namespace.capnp.h>

#include <kj/function.h>

#include <set>
#include <string>
#include <vector>

namespace dfs {

class NameEvents {
  // What the name server and the life of the session ask of the file system above.
 public:
  struct Claim {
    InodeId ino;
    uint64_t sequence;  // 0: no lease, only the pin
    bool pinned;
  };
  virtual std::vector<Claim> claims() = 0;
  virtual std::vector<FileLock> lockClaims() = 0;
  // What it is not told here the name server takes back.
  virtual void recall(InodeId ino, uint64_t sequence) = 0;
  virtual std::vector<InodeId> stillUsed(std::vector<InodeId> inos) = 0;
  // Those in use stay pinned from now on, until unpin (G4).
  virtual void sessionEnded() = 0;
  // S3. Called before anything is asked under the new session.
};

struct NameClientOptions {
  std::vector<std::string> nameservers;
  std::string host;
  std::string what;
};

struct Applied {
  Errno err = Errno::IO;  // IO also when the session ended before the outcome was known
  kj::Maybe<capnp::Response<schema::Session::ApplyResults>> response;  // there if it was answered
  uint64_t era = 0;
};

class NameClient final : private kj::TaskSet::ErrorHandler {
 public:
  NameClient(Env& env, NameClientOptions options, NameEvents& events);
  ~NameClient() noexcept(false);
  KJ_DISALLOW_COPY(NameClient);

  void start();
  kj::Promise<void> ready();
  // The first session is there. Throws with a sentence if the cluster refuses.

  // --- the session
  SessionId session() const { return session_; }
  uint64_t era() const { return era_; }
  uint64_t attachNumber() const { return attachNumber_; }
  Uuid cluster() const { return cluster_; }
  bool attached() const { return capability_ != nullptr; }
  bool leaseValid();
  kj::Promise<void> whenValid();
  // The lease is valid at the moment it resolves.
  kj::Promise<void> renewal();
  // Resolves after a renewal that was sent after this call, or after a session's end: ask era().
  kj::Promise<schema::Session::Client> whenAttached();
  kj::Promise<void> end();
  // A clean unmount. Nothing may be asked afterwards.

  // --- the view
  const View& view() const { return view_; }
  uint64_t sessionView() const { return sessionView_; }  // the first that knows this session
  kj::Promise<void> viewAtLeast(uint64_t version);
  kj::Promise<void> viewAfter(uint64_t version) { return viewAtLeast(version + 1); }
  kj::Promise<void> epochAfter(ChainId chain, uint64_t epoch, uint64_t era);
  // Resolves when the chain stands at another epoch, or the era at another number.

  // --- calls
  template <typename Results, typename Make> Task<capnp::Response<Results>> ask(Make make) {
    // `make` fills a request of a session; called again for each try. For what may be repeated.
    Backoff backoff(env_, kFirstBackoffMs, kLastBackoffMs);
    for (;;) {
      auto client = co_await whenAttached();
      auto number = attachCount_;
      auto era = era_;
      kj::Promise<capnp::Response<Results>> sent = make(client).send();
      auto tried = co_await attempt(kj::mv(sent));
      KJ_IF_MAYBE(failure, tried.failure) {
        if (!mayRetry(*failure)) kj::throwFatalException(kj::mv(*failure));
        if (failure->getType() == kj::Exception::Type::DISCONNECTED) lost(number);
        co_await backoff.wait();
        continue;
      }
      auto answer = kj::mv(KJ_ASSERT_NONNULL(tried.value));
      auto err = answer.getErr();
      if (err == Errno::NOT_LEADER) {
        lost(number);
      } else if (err == Errno::STALE || err == Errno::NOT_LIVE) {
        // Of the inode or of the session? Only the name server knows (S7).
        co_await renewal();
        if (era == era_) co_return kj::mv(answer);
        continue;
      } else if (err != Errno::OVERLOADED && err != Errno::AGAIN) {
        // AGAIN: no chain serves at the moment, and while servers are away calls wait.
        co_return kj::mv(answer);
      }
      co_await backoff.wait();
    }
  }

  kj::Promise<Applied> apply(kj::Function<void(schema::Command::Builder)> fill,
                             kj::Maybe<uint64_t> onlyEra = nullptr);
  // One mutation, exactly once. Dropping the promise does not stop what has been sent. onlyEra: what
  // rests on a lease must not be sent by the session after (IO).

  // --- file locks. Their order, and what a repeat may do, is the caller's matter (vfs/locks).
  kj::Promise<kj::Maybe<Errno>> lock(FileLock lock, bool wait, uint64_t ticket);
  // One try. Null: what became of it is not known, or it was not looked at; if attached() does not
  // hold now, the claims of the next attach decide. REQUIRES attached().
  void cancelLock(uint64_t ticket);
  // The answer to lock() says what came of it.
  uint64_t newTicket() { return nextTicket_++; }

  void background(kj::Promise<void> work) { tasks_.add(kj::mv(work)); }

  std::string describe();

 private:
  class CallbackServer;
  static constexpr uint64_t kFirstBackoffMs = 20;
  static constexpr uint64_t kLastBackoffMs = 1000;
  static constexpr uint64_t kSilenceMs = 5'000;

  Task<void> live();
  Task<bool> attachOnce();
  // False: try again after a pause.
  Task<bool> claimAll(schema::Session::Client client);
  Task<void> renewFor(uint64_t number, schema::Session::Client client);
  Task<void> followView(uint64_t number, schema::Session::Client client);
  kj::Promise<void> leaves(uint64_t number);
  // Resolves when that attach is not the one that counts any more.
  Task<kj::Maybe<Errno>> lockOnce(FileLock lock, bool wait, uint64_t ticket);
  Task<void> mutate(kj::Function<void(schema::Command::Builder)> fill, kj::Maybe<uint64_t> onlyEra,
                    kj::Own<kj::PromiseFulfiller<Applied>> fulfiller);
  void lost(uint64_t number);
  void sessionHasEnded(kj::StringPtr how);
  void followHint(kj::StringPtr leader);
  void extendLease(uint64_t sentMs, uint32_t leaseMs);
  void takeView(schema::View::Reader view);
  void taskFailed(kj::Exception&& exception) override;

  Env& env_;
  const NameClientOptions options_;
  NameEvents& events_;
  Peer peer_;

  SessionId session_;
  bool fresh_ = true;  // this session's id was never answered
  uint64_t era_ = 1;
  uint64_t attachNumber_ = 0;
  uint64_t attachCount_ = 0;  // ours: one for each attach that was answered
  Uuid cluster_;
  kj::Maybe<schema::Session::Client> capability_;
  uint64_t validUntilMs_ = 0;
  uint64_t sessionView_ = 0;
  bool ending_ = false;
  std::string trouble_;  // why there is no session now

  uint64_t renewalWanted_ = 0;
  uint64_t renewalsSent_ = 0;
  uint64_t renewalsAnswered_ = 0;

  View view_;
  uint64_t nextSequence_ = 1;
  uint64_t nextTicket_ = 1;
  std::set<uint64_t> unanswered_;

  Signal changed_;      // attached, lost, ended, renewed
  Signal renewWanted_;  // somebody needs one now
  Signal viewChanged_;
  Signal windowMoved_;
  Signal broken_;
  kj::Maybe<kj::Exception> refused_;
  kj::TaskSet tasks_;
};

}  // namespace dfs
