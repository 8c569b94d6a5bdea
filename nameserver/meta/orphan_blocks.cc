// Blocks that are nobody's: those that daemons have deleted leave `reclaim`; those that a daemon
// has and nobody names enter it (R3).

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {

Errno applyReclaimed(Context& c, schema::Reclaimed::Reader r, Answer& out) {
  if (r.getBlocks().size() > kBlocksPerReclaimMax) return Errno::INVAL;
  for (auto block : r.getBlocks()) out.count += c.store.eraseReclaim(BlockId(block));
  return Errno::OK;
}

Errno applyDeleteOrphans(Context& c, capnp::List<uint64_t>::Reader blocks, Answer& out) {
  if (blocks.size() > kBlocksPerReclaimMax) return Errno::INVAL;
  for (auto number : blocks) {
    BlockId block(number);
    if (!c.store.everAllotted(block)) continue;           // perhaps another cluster's
    if (c.store.isNamed(block)) continue;                 // somebody's
    if (c.store.handedOutTo(block) != nullptr) continue;  // perhaps soon somebody's
    if (c.store.has(Table::RECLAIM, key(block.value))) continue;
    c.store.addReclaim(block, c.nowMs());
    out.count += 1;
  }
  return Errno::OK;
}

}  // namespace dfs::meta
