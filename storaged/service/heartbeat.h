#pragma once
// The daemon's side of the registry: registers, follows the view, beats, and registers again when
// the name server or the connection says so.
//
// Thread: the loop's. Owner: Server. Invariants:
//   1. The view is asked for only after this incarnation was registered (C4).
//   2. The right to serve is counted from when the answered beat was sent (C4).
//   3. After the right has lapsed nothing extends it but a new registration and a view that was
//      asked for after it (C3).
//   4. viewSettled is told only when no update of a session that is dead in that view is uncommitted
//      here, what sessions wrote before is synced, and recovery is over (C3).

#include "common/peer.h"
#include "common/retry.h"
#include "storaged/block/block_store.h"
#include "storaged/chain/resync.h"
#include "storaged/chain/update.h"

#include <rpc-schema/cluster.capnp.h>

#include <functional>
#include <string>
#include <vector>

namespace dfs {

struct Announcement {
  StoreIdentity identity;
  uint64_t incarnation = 0;
  std::string name;
  std::string host;
  std::string http;
  std::vector<std::string> addresses;  // best first
  std::vector<std::string> nameservers;
  std::function<uint32_t()> sharers;  // how many stores lie on this disk; none: this one alone
};

class Heartbeat final : private kj::TaskSet::ErrorHandler {
 public:
  using Adopt = kj::Function<kj::Promise<void>(Uuid cluster)>;
  // Makes a first registration's cluster durable in the store's identity.

  Heartbeat(Env& env, Announcement announcement, ViewKeeper& keeper, BlockStore& store,
            Updates& updates, Resync& resync, schema::NodeControl::Client control, Adopt adopt);
  KJ_DISALLOW_COPY(Heartbeat);

  void storeBroke(std::string why);
  // No right from now on; beats go on and say why.
  kj::Promise<void> failed() { return kj::mv(failed_.promise); }
  // Once. Throws if the name server says that this store belongs to another cluster.
  bool registered() const { return registered_; }
  uint64_t settledView() const { return settled_; }
  uint64_t beatCount() const { return sequence_; }
  const std::string& lastError() const { return lastError_; }

 private:
  Task<void> run();
  Task<bool> registerAnew();
  Task<void> beats();
  Task<bool> beat();
  Task<void> follow();
  Task<bool> fetchView(uint64_t known);
  Task<void> settle();
  void fill(schema::Space::Builder b);
  void trouble(kj::StringPtr what, const kj::Exception& e);
  void nextNameserver();
  void taskFailed(kj::Exception&& e) override;

  Env& env_;
  Announcement announcement_;
  uint32_t sharers_ = 1;
  uint64_t sharersAtMs_ = 0;  // when they were counted
  ViewKeeper& keeper_;
  BlockStore& store_;
  Updates& updates_;
  Resync& resync_;
  schema::NodeControl::Client control_;
  Adopt adopt_;
  Peer peer_;
  Backoff backoff_;
  kj::PromiseFulfillerPair<void> failed_ = kj::newPromiseAndFulfiller<void>();

  kj::Maybe<schema::Registry::Client> registry_;
  kj::Maybe<schema::Registration::Client> registration_;
  bool registered_ = false;
  bool hadRight_ = false;
  uint64_t sequence_ = 0;
  uint64_t settled_ = 0;
  std::string broken_;
  std::string lastError_;
  kj::TaskSet tasks_;
};

}  // namespace dfs
