#include "nameserver/cluster/reclaim.h"

#include "common/retry.h"

namespace dfs {
namespace {

constexpr uint64_t kRoundMs = 1'000;
constexpr size_t kFreedRememberedMax = 65536;
constexpr uint32_t kTrimsPerRound = 64;

}  // namespace

Reclaim::Reclaim(Env& env, ClusterState& state, Proposer& proposer, NodeBook& book,
                 Membership& members)
    : env_(env), state_(state), proposer_(proposer), book_(book), members_(members), tasks_(*this) {
  tasks_.add(runFreed());
  tasks_.add(runOrphans());
}

kj::Promise<void> Reclaim::guarded(kj::Promise<void> work, kj::StringPtr what) {
  return work.catch_([what](kj::Exception&& e) {
    // A daemon or the lead went away: the next round starts from the state as it is then.
    KJ_LOG(WARNING, "a round was broken off and will be repeated", what, e.getDescription());
  });
}

Task<void> Reclaim::runFreed() {
  for (;;) {
    co_await env_.clock.timer().afterDelay(kRoundMs * kj::MILLISECONDS);
    if (!proposer_.leading()) co_return;
    if (paused_) continue;
    auto work = guarded(freedRound(), "reclaim");
    co_await kj::mv(work);
  }
}

Task<void> Reclaim::freedRound() {
  co_await trimRound();
  co_await deleteFreed();
  co_await forgetRound();
}

Task<void> Reclaim::trimRound() {
  for (auto ino : state_.trims(InodeId(), kTrimsPerRound)) {
    bool more = true;
    while (more && !paused_) {
      auto message = proposer_.command();
      auto trim = message->getRoot<schema::Command>().getDo().initTrim();
      trim.setIno(ino.value);
      trim.setRowsMax(kRowsPerTrim);
      auto outcome = co_await proposer_.propose(kj::mv(message));
      auto answer = outcome->getRoot<schema::Outcome>().asReader();
      more = answer.getErr() == Errno::OK && answer.getCount() != 0;
      if (answer.getErr() != Errno::OK) {
        KJ_LOG(WARNING, "rows of a removed file could not be given back", ino,
               nameOf(answer.getErr()));
      }
    }
  }
}

Task<void> Reclaim::forgetRound() {
  auto now = book_.nowMs();
  auto ended = state_.endedSessions();
  std::map<SessionId, uint64_t> seen;
  std::vector<SessionId> over;
  for (auto session : ended) {
    auto known = seenEndedMs_.find(session);
    auto since = known == seenEndedMs_.end() ? now : known->second;
    if (now - since >= kRangesKeptMs) over.push_back(session);
    if (seen.size() < kSessionsMax) seen[session] = since;
  }
  seenEndedMs_ = kj::mv(seen);
  for (auto session : over) {
    bool more = true;
    while (more && !paused_) {
      auto message = proposer_.command();
      message->getRoot<schema::Command>().getDo().setForgetSession(session.value);
      auto outcome = co_await proposer_.propose(kj::mv(message));
      auto answer = outcome->getRoot<schema::Outcome>().asReader();
      more = answer.getErr() == Errno::OK && answer.getCount() != 0;
    }
  }
}

// --- freed blocks ---

bool Reclaim::allHere(const ChainInfo& chain) {
  for (auto& m : chain.members) {
    auto node = members_.view().node(m.node);
    if (node == nullptr || book_.presence(*node) != Presence::ALIVE) return false;
  }
  return true;
}

bool Reclaim::due(BlockId block) {
  auto now = book_.nowMs();
  auto seen = seenFreedMs_.find(block);
  if (seen == seenFreedMs_.end()) {
    if (seenFreedMs_.size() < kFreedRememberedMax) seenFreedMs_[block] = now;
  } else if (now - seen->second >= kReclaimGraceMs) {
    return true;
  }
  auto chain = members_.view().chain(block.chain());
  if (chain == nullptr) return false;
  for (auto& m : chain->members) {
    auto heard = book_.find(m.node);
    if (heard != nullptr && heard->space.free < 2 * heard->space.reserve) return true;
  }
  return false;
}

Task<void> Reclaim::deleteFreed() {
  for (;;) {
    if (paused_) co_return;
    auto freed = state_.reclaims(above_, kBlocksPerReclaimMax);
    Blocks blocks;
    for (auto& f : freed) {
      auto chain = members_.view().chain(f.block.chain());
      if (chain != nullptr && !allHere(*chain)) continue;  // invariant 2; nothing remembered
      if (due(f.block)) blocks.push_back(f.block);
    }
    bool end = freed.size() < kBlocksPerReclaimMax;
    above_ = end ? BlockId() : freed.back().block;
    if (!blocks.empty()) co_await removeEverywhere(kj::mv(blocks));
    if (end) co_return;
  }
}

Task<void> Reclaim::removeEverywhere(Blocks blocks) {
  std::map<NodeId, Blocks> perNode;
  std::map<BlockId, uint32_t> missing;  // members that have yet to say that it is gone
  for (auto block : blocks) {
    missing[block] = 0;
    auto chain = members_.view().chain(block.chain());
    if (chain == nullptr) continue;
    for (auto& m : chain->members) {
      perNode[m.node].push_back(block);
      missing[block] += 1;
    }
  }
  kj::Vector<kj::Promise<void>> calls;
  for (auto& [node, theirs] : perNode) {
    calls.add(guarded(removeAt(node, theirs, &missing), "removal of blocks"));
  }
  auto all = kj::joinPromises(calls.releaseAsArray());
  co_await kj::mv(all);
  if (paused_) co_return;

  Blocks gone;
  for (auto& [block, count] : missing) {
    if (count == 0) gone.push_back(block);
  }
  if (gone.empty()) co_return;
  auto message = proposer_.command();
  auto list = message->getRoot<schema::Command>().getDo().initReclaimed().initBlocks(
      static_cast<uint32_t>(gone.size()));
  for (uint32_t i = 0; i < gone.size(); ++i) list.set(i, gone[i].value);
  co_await proposer_.propose(kj::mv(message));
  for (auto block : gone) seenFreedMs_.erase(block);
}

Task<void> Reclaim::removeAt(NodeId node, Blocks blocks, std::map<BlockId, uint32_t>* missing) {
  // `missing` lives in removeEverywhere, which waits for all calls or drops them first.
  auto heard = book_.find(node);
  if (heard == nullptr || heard->control == nullptr) co_return;
  auto control = KJ_ASSERT_NONNULL(book_.heard(node).control);
  auto request = control.removeRequest();
  auto list = request.initBlocks(static_cast<uint32_t>(blocks.size()));
  for (uint32_t i = 0; i < blocks.size(); ++i) list.set(i, blocks[i].value);
  auto answered =
      withTimeout(env_, kSessionLeaseMs,
                  kj::Promise<capnp::Response<schema::NodeControl::RemoveResults>>(request.send()));
  auto answer = co_await kj::mv(answered);
  std::set<BlockId> asked(blocks.begin(), blocks.end());
  for (auto removed : answer.getRemoved()) {
    if (asked.erase(BlockId(removed)) != 0) (*missing)[BlockId(removed)] -= 1;
  }
}

void Reclaim::taskFailed(kj::Exception&& exception) {
  KJ_LOG(ERROR, "reclaim has ended until the next start of a term", exception);
}

}  // namespace dfs
