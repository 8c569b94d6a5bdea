// The other half of Reclaim: the comparison of what lies on the daemons with what anybody names.

#include "common/retry.h"
#include "nameserver/cluster/reclaim.h"

namespace dfs {
namespace {

constexpr uint64_t kOrphanRoundMs = 600'000;
constexpr size_t kSuspectsMax = 65536;  // of one daemon in one round

}  // namespace

Task<void> Reclaim::runOrphans() {
  uint64_t delayMs = kNodesSettleMs;
  for (;;) {
    co_await env_.clock.timer().afterDelay(delayMs * kj::MILLISECONDS);
    if (!proposer_.leading()) co_return;
    delayMs = paused_ ? kNodesSettleMs : kOrphanRoundMs;
    if (paused_) continue;
    auto work = guarded(orphanRound(), "the search for orphans");
    co_await kj::mv(work);
  }
}

Task<void> Reclaim::orphanRound() {
  std::vector<NodeId> nodes;
  for (auto& [id, node] : members_.view().nodes) {
    if (book_.usable(node)) nodes.push_back(id);
  }
  for (auto node : nodes) {
    if (paused_) co_return;
    auto work = guarded(orphansOf(node), "the search for orphans on one daemon");
    co_await kj::mv(work);
  }
}

Task<void> Reclaim::orphansOf(NodeId node) {
  std::set<BlockId> before;
  before.swap(suspects_[node]);  // a round that breaks off is no round in a row
  std::set<BlockId> suspects;
  uint64_t above = 0;
  bool more = true;
  while (more && !paused_) {
    auto heard = book_.find(node);
    if (heard == nullptr || heard->control == nullptr) co_return;
    auto control = KJ_ASSERT_NONNULL(book_.heard(node).control);
    auto request = control.inventoryRequest();
    request.setAbove(above);
    request.setBlocksMax(kInventoryBlocksMax);
    auto answered = withTimeout(
        env_, kSessionLeaseMs,
        kj::Promise<capnp::Response<schema::NodeControl::InventoryResults>>(request.send()));
    auto answer = co_await kj::mv(answered);

    Blocks again;
    for (auto number : answer.getBlocks()) {
      KJ_REQUIRE(number > above, "a daemon's inventory is out of order", node, number);
      above = number;
      BlockId block(number);
      if (!state_.mayBeOrphan(block)) continue;
      if (before.count(block) != 0) again.push_back(block);
      if (suspects.size() < kSuspectsMax) suspects.insert(block);
    }
    more = !answer.getAtEnd() && answer.getBlocks().size() != 0;
    if (!again.empty()) co_await proposeOrphans(kj::mv(again));
  }
  suspects_[node] = kj::mv(suspects);
}

Task<void> Reclaim::proposeOrphans(Blocks blocks) {
  for (size_t from = 0; from < blocks.size() && !paused_; from += kBlocksPerReclaimMax) {
    auto count = std::min<size_t>(kBlocksPerReclaimMax, blocks.size() - from);
    auto message = proposer_.command();
    auto list =
        message->getRoot<schema::Command>().getDo().initDeleteOrphans(static_cast<uint32_t>(count));
    for (uint32_t i = 0; i < count; ++i) list.set(i, blocks[from + i].value);
    auto outcome = co_await proposer_.propose(kj::mv(message));
    KJ_LOG(INFO, "blocks that nobody names will be deleted",
           outcome->getRoot<schema::Outcome>().getCount());
  }
}

}  // namespace dfs
