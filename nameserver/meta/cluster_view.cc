// Nodes and chains: the view. What a change means is chain_rules' business; here it only has to be
// newer than what stands.

#include "common/limits.h"
#include "nameserver/meta/operations.h"

#include <set>

namespace dfs::meta {
namespace {

constexpr size_t kNodeTextBytesMax = 4096;
constexpr uint32_t kAddressesMax = 64;
constexpr uint32_t kMembersMax = 64;
constexpr uint32_t kChainsPerPutMax = 65536;
constexpr uint32_t kChainIdMax = (1u << 24) - 1;

bool wellFormed(schema::Node::Reader r) {
  if (!fromWire(r.getUuid()) || r.getAddresses().size() > kAddressesMax) return false;
  for (auto address : r.getAddresses()) {
    if (address.size() > kNodeTextBytesMax) return false;
  }
  return r.getHost().size() <= kNodeTextBytesMax && r.getName().size() <= kNodeTextBytesMax &&
         r.getHttp().size() <= kNodeTextBytesMax;
}

kj::Maybe<NodeId> nodeOfStore(Store& store, const Uuid& uuid) {
  auto cursor = store.from(Table::NODE, key(0));  // at most kNodesMax
  for (; cursor->valid(); cursor->next()) {
    NodeId id(keyNumber(cursor->key(), 0));
    if (decodeNode(id, cursor->value()).uuid == uuid) return id;
  }
  return nullptr;
}

bool wellFormed(Store& store, schema::Chain::Reader r) {
  if (r.getId() == 0 || r.getId() > kChainIdMax || r.getEpoch() == 0) return false;
  if (r.getReplicas() > kReplicasMax || r.getMembers().size() > kMembersMax) return false;
  std::set<uint32_t> nodes;
  for (auto m : r.getMembers()) {
    if (m.getState() > MemberState::LAST_SERVING) return false;
    if (!nodes.insert(m.getNode()).second) return false;
    if (!store.has(Table::NODE, key(m.getNode()))) return false;
  }
  return true;
}

}  // namespace

Errno applyPutNode(Context& c, schema::Node::Reader r, Answer& out) {
  if (!wellFormed(r)) return Errno::INVAL;
  auto node = fromWire(r);
  auto known = nodeOfStore(c.store, node.uuid);
  if (node.id) {
    // A store keeps its id, an id its store.
    KJ_IF_MAYBE(id, known) {
      if (*id != node.id) return Errno::INVAL;
    } else {
      return Errno::INVAL;
    }
  } else {
    KJ_IF_MAYBE(id, known) {
      node.id = *id;  // a repeat
    } else {
      if (c.store.counts().nodes >= kNodesMax) return Errno::OVERLOADED;
      auto next = c.store.next();
      node.id = NodeId(next.node);
      next.node += 1;
      c.store.putMeta(MetaKey::NEXT, next);
      c.store.changeCounts([](CountsRecord& counts) { counts.nodes += 1; });
    }
  }
  c.store.put(Table::NODE, key(node.id.value), encodeNode(node));
  c.store.moveView();
  out.ino = InodeId(node.id.value);
  return Errno::OK;
}

Errno applyPutChains(Context& c, schema::PutChains::Reader r) {
  if (r.getChains().size() == 0 || r.getChains().size() > kChainsPerPutMax) return Errno::INVAL;
  std::set<uint32_t> ids;
  for (auto chain : r.getChains()) {
    if (!wellFormed(c.store, chain)) return Errno::INVAL;
    if (!ids.insert(chain.getId()).second) return Errno::INVAL;
  }
  for (auto chain : r.getChains()) {
    KJ_IF_MAYBE(value, c.store.get(Table::CHAIN, key(chain.getId()))) {
      auto standing = decodeChain(ChainId(chain.getId()), *value);
      if (chain.getEpoch() <= standing.epoch) return Errno::STALE;
    }
  }

  for (auto chain : r.getChains()) {
    c.store.put(Table::CHAIN, key(chain.getId()), encodeChain(fromWire(chain)));
  }
  c.store.moveView();
  return Errno::OK;
}

}  // namespace dfs::meta
