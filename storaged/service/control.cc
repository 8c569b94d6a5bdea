#include "storaged/service/control.h"

#include "common/limits.h"

namespace dfs {
namespace {

using RemoveContext =
    capnp::CallContext<schema::NodeControl::RemoveParams, schema::NodeControl::RemoveResults>;
using VerifyContext =
    capnp::CallContext<schema::StoreAdmin::VerifyParams, schema::StoreAdmin::VerifyResults>;

Task<void> removeFreed(AccessParts* parts, RemoveContext context) {
  auto list = context.getParams().getBlocks();
  KJ_REQUIRE(list.size() <= kBlocksPerReclaimMax, "too many blocks in one removal");
  std::vector<BlockId> gone;
  for (auto value : list) {
    BlockId block(value);
    // Never waits for a block that somebody is at: the name server asks again.
    auto turn = parts->turns.tryExclusive(block);
    if (turn == nullptr) continue;
    auto err = co_await parts->store.erase(block);
    if (err != Errno::OK) break;  // the store is out of service
    gone.push_back(block);
  }
  auto removed = context.getResults().initRemoved(static_cast<uint32_t>(gone.size()));
  for (uint32_t i = 0; i < gone.size(); ++i) removed.set(i, gone[i].value);
}

Task<void> verifyOne(AccessParts* parts, VerifyContext context) {
  BlockId block(context.getParams().getBlock());
  auto turn = co_await parts->turns.shared(block);
  BlockVersion found;
  KJ_IF_MAYBE(stored, parts->store.find(block)) found = stored->at;
  auto err = co_await parts->store.verify(block);
  if (err == Errno::CORRUPT) parts->resync.repairSoon(block, found);
  context.getResults().setErr(err);
}

struct Page {
  std::vector<BlockId> blocks;
  bool atEnd;
};

Page pageOf(BlockStore& store, uint64_t above, uint32_t blocksWanted) {
  uint32_t max = kj::min(kj::max(blocksWanted, 1u), kInventoryBlocksMax);
  Page page{store.list(BlockId(above), max), false};
  page.atEnd = page.blocks.size() < max;
  return page;
}

}  // namespace

kj::Promise<void> Control::remove(RemoveContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return removeFreed(&parts_, context); });
}

kj::Promise<void> Control::inventory(InventoryContext context) {
  return calls_->run([this, context]() mutable -> kj::Promise<void> {
    auto params = context.getParams();
    auto page = pageOf(parts_.store, params.getAbove(), params.getBlocksMax());
    auto& all = page.blocks;
    auto results = context.getResults();
    results.setAtEnd(page.atEnd);
    auto blocks = results.initBlocks(static_cast<uint32_t>(all.size()));
    for (uint32_t i = 0; i < all.size(); ++i) blocks.set(i, all[i].value);
    return kj::READY_NOW;
  });
}

kj::Promise<void> AdminAccess::status(StatusContext context) {
  return calls_->run([this, context]() mutable -> kj::Promise<void> {
    context.getResults().setJson(status_());
    return kj::READY_NOW;
  });
}

kj::Promise<void> AdminAccess::blocks(BlocksContext context) {
  return calls_->run([this, context]() mutable -> kj::Promise<void> {
    auto params = context.getParams();
    auto page = pageOf(parts_.store, params.getAbove(), params.getBlocksMax());
    auto& all = page.blocks;
    auto results = context.getResults();
    results.setAtEnd(page.atEnd);
    auto blocks = results.initBlocks(static_cast<uint32_t>(all.size()));
    for (uint32_t i = 0; i < all.size(); ++i) {
      KJ_IF_MAYBE(stored, parts_.store.find(all[i])) {
        describe(parts_.store, all[i], *stored, blocks[i]);
      }
    }
    return kj::READY_NOW;
  });
}

kj::Promise<void> AdminAccess::verify(VerifyContext context) {
  return calls_->run(
      [this, context]() -> kj::Promise<void> { return verifyOne(&parts_, context); });
}

}  // namespace dfs
