// Questions about the view, sessions and blocks.

#include "nameserver/meta/queries.h"
#include "nameserver/meta/store.h"

#include <algorithm>

namespace dfs {

using meta::key;
using meta::keyNumber;
using meta::Store;
using meta::Table;

namespace {

SessionInfo infoOf(SessionId id, meta::SessionRecord record) {
  return {id, kj::mv(record.host), kj::mv(record.what), record.acknowledged, record.last};
}

}  // namespace

kj::Maybe<ClusterInfo> Queries::cluster() {
  auto record = Store(kv_).cluster();
  KJ_IF_MAYBE(c, record) {
    return ClusterInfo{c->uuid, c->replicas, c->blockBytes};
  }
  return nullptr;
}

uint64_t Queries::viewVersion() {
  return Store(kv_).next().view;
}

View Queries::view() {
  // As large as the view: kNodesMax nodes, their chains, kSessionsMax sessions.
  Store store(kv_);
  View view;
  view.version = viewVersion();
  auto record = store.cluster();
  KJ_IF_MAYBE(c, record) {
    view.cluster = c->uuid;
  }
  for (auto cursor = store.from(Table::NODE, key(0)); cursor->valid(); cursor->next()) {
    NodeId id(keyNumber(cursor->key(), 0));
    view.nodes.emplace(id, meta::decodeNode(id, cursor->value()));
  }
  for (auto cursor = store.from(Table::CHAIN, key(0)); cursor->valid(); cursor->next()) {
    ChainId id(keyNumber(cursor->key(), 0));
    view.chains.emplace(id, meta::decodeChain(id, cursor->value()));
  }
  for (auto cursor = store.from(Table::SESSION, key(0)); cursor->valid(); cursor->next()) {
    view.sessions.insert(SessionId(keyNumber(cursor->key(), 0)));
  }
  return view;
}

kj::Maybe<SessionInfo> Queries::session(SessionId id) {
  KJ_IF_MAYBE(value, Store(kv_).get(Table::SESSION, key(id.value))) {
    return infoOf(id, meta::SessionRecord::decode(*value));
  }
  return nullptr;
}

std::vector<SessionInfo> Queries::sessions() {
  std::vector<SessionInfo> sessions;
  auto cursor = Store(kv_).from(Table::SESSION, key(0));
  for (; cursor->valid(); cursor->next()) {
    sessions.push_back(infoOf(SessionId(keyNumber(cursor->key(), 0)),
                              meta::SessionRecord::decode(cursor->value())));
  }
  return sessions;
}

std::vector<SessionId> Queries::endedSessions() {
  std::vector<SessionId> sessions;
  auto cursor = Store(kv_).from(Table::ENDED, key(0));
  for (; cursor->valid(); cursor->next()) sessions.emplace_back(keyNumber(cursor->key(), 0));
  return sessions;
}

std::vector<Queries::ReclaimBlock> Queries::reclaims(BlockId above, uint32_t blocksMax) {
  std::vector<ReclaimBlock> blocks;
  auto cursor = Store(kv_).from(Table::RECLAIM, key(above.value + 1));
  for (; cursor->valid() && blocks.size() < blocksMax; cursor->next()) {
    blocks.push_back({BlockId(keyNumber(cursor->key(), 0)),
                      meta::ReclaimRecord::decode(cursor->value()).freedMs});
  }
  return blocks;
}

std::vector<Queries::NamedBlock> Queries::namedBlocks(BlockId above, uint32_t blocksMax) {
  // Two tables, each in order of block; no block is in both. Of a block's names the first.
  Store store(kv_);
  std::vector<NamedBlock> blocks;
  auto rows = store.from(Table::BLOCK, key(above.value + 1));
  auto freed = store.from(Table::RECLAIM, key(above.value + 1));
  while (blocks.size() < blocksMax && (rows->valid() || freed->valid())) {
    bool row = rows->valid() &&
               (!freed->valid() || keyNumber(rows->key(), 0) < keyNumber(freed->key(), 0));
    if (!row) {
      blocks.push_back(
          {BlockId(keyNumber(freed->key(), 0)), InodeId(), 0, 0, schema::Admin::Use::RECLAIM});
      freed->next();
      continue;
    }
    BlockId block(keyNumber(rows->key(), 0));
    InodeId ino(keyNumber(rows->key(), 1));
    auto index = keyNumber(rows->key(), 2);
    auto named = KJ_REQUIRE_NONNULL(store.row(ino, index), "a block whose row is not there", block);
    blocks.push_back({block, ino, index, named.end, schema::Admin::Use::ROW});
    rows = store.from(Table::BLOCK, key(block.value + 1));
  }
  return blocks;
}

bool Queries::isNamed(BlockId block) {
  return Store(kv_).isNamed(block);
}

std::vector<BlockId> Queries::handedOut(BlockId above, uint32_t blocksMax) {
  Store store(kv_);
  std::vector<BlockId> blocks;
  auto ranges = store.from(Table::BLOCK_RANGE, key(above.value + 1));
  for (; ranges->valid() && blocks.size() < blocksMax; ranges->next()) {
    auto last = keyNumber(ranges->key(), 0);
    auto first = std::max(meta::RangeRecord::decode(ranges->value()).first, above.value + 1);
    for (auto id = first; id <= last && blocks.size() < blocksMax; ++id) {
      blocks.push_back(BlockId(id));
    }
  }
  return blocks;
}

kj::Maybe<SessionId> Queries::handedOutTo(BlockId block) {
  return Store(kv_).handedOutTo(block);
}

bool Queries::everAllotted(BlockId block) {
  return Store(kv_).everAllotted(block);
}

}  // namespace dfs
