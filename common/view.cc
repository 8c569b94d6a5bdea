#include "common/view.h"

namespace dfs {
namespace {

bool takesUpdates(MemberState state) {
  return state == MemberState::SERVING || state == MemberState::SYNCING;
}

std::string text(capnp::Text::Reader r) {
  return std::string(r.begin(), r.size());
}

}  // namespace

size_t ChainInfo::servingCount() const {
  size_t count = 0;
  for (auto& m : members) count += m.state == MemberState::SERVING;
  return count;
}

kj::Maybe<NodeId> ChainInfo::head() const {
  for (auto& m : members) {
    if (m.state == MemberState::SERVING) return m.node;
  }
  return nullptr;
}

kj::Maybe<NodeId> ChainInfo::tail() const {
  kj::Maybe<NodeId> last;
  for (auto& m : members) {
    if (m.state == MemberState::SERVING) last = m.node;
  }
  return last;
}

kj::Maybe<NodeId> ChainInfo::successorOf(NodeId node) const {
  bool found = false;
  for (auto& m : members) {
    if (!takesUpdates(m.state)) continue;
    if (found) return m.node;
    found = m.node == node;
  }
  return nullptr;
}

kj::Maybe<NodeId> ChainInfo::predecessorOf(NodeId node) const {
  kj::Maybe<NodeId> before;
  for (auto& m : members) {
    if (!takesUpdates(m.state)) continue;
    if (m.node == node) return before;
    before = m.node;
  }
  return nullptr;
}

kj::Maybe<MemberState> ChainInfo::stateOf(NodeId node) const {
  for (auto& m : members) {
    if (m.node == node) return m.state;
  }
  return nullptr;
}

const ChainInfo* View::chain(ChainId id) const {
  auto found = chains.find(id);
  return found == chains.end() ? nullptr : &found->second;
}

const NodeInfo* View::node(NodeId id) const {
  auto found = nodes.find(id);
  return found == nodes.end() ? nullptr : &found->second;
}

ChainInfo fromWire(schema::Chain::Reader r) {
  ChainInfo chain{ChainId(r.getId()), r.getEpoch(), r.getReplicas(), {}};
  for (auto m : r.getMembers()) {
    chain.members.push_back({NodeId(m.getNode()), m.getState(), m.getServedFrom()});
  }
  return chain;
}

void toWire(const ChainInfo& chain, schema::Chain::Builder b) {
  b.setId(static_cast<uint32_t>(chain.id.value));
  b.setEpoch(chain.epoch);
  b.setReplicas(chain.replicas);
  auto members = b.initMembers(static_cast<uint32_t>(chain.members.size()));
  for (uint32_t i = 0; i < members.size(); ++i) {
    members[i].setNode(static_cast<uint32_t>(chain.members[i].node.value));
    members[i].setState(chain.members[i].state);
    members[i].setServedFrom(chain.members[i].servedFrom);
  }
}

NodeInfo fromWire(schema::Node::Reader r) {
  NodeInfo node;
  node.id = NodeId(r.getId());
  node.uuid = fromWire(r.getUuid());
  node.host = text(r.getHost());
  for (auto a : r.getAddresses()) node.addresses.push_back(text(a));
  node.incarnation = r.getIncarnation();
  node.online = r.getOnline();
  node.name = text(r.getName());
  node.http = text(r.getHttp());
  node.since = r.getSince();
  return node;
}

void toWire(const NodeInfo& node, schema::Node::Builder b) {
  b.setId(static_cast<uint32_t>(node.id.value));
  toWire(node.uuid, b.initUuid());
  b.setHost(node.host.c_str());
  auto addresses = b.initAddresses(static_cast<uint32_t>(node.addresses.size()));
  for (uint32_t i = 0; i < addresses.size(); ++i) addresses.set(i, node.addresses[i].c_str());
  b.setIncarnation(node.incarnation);
  b.setOnline(node.online);
  b.setName(node.name.c_str());
  b.setHttp(node.http.c_str());
  b.setSince(node.since);
}

View fromWire(schema::View::Reader r) {
  View view;
  view.version = r.getVersion();
  view.cluster = fromWire(r.getCluster());
  for (auto n : r.getNodes()) view.nodes.emplace(NodeId(n.getId()), fromWire(n));
  for (auto c : r.getChains()) view.chains.emplace(ChainId(c.getId()), fromWire(c));
  for (auto s : r.getSessions()) view.sessions.insert(SessionId(s));
  return view;
}

void toWire(const View& view, schema::View::Builder b) {
  b.setVersion(view.version);
  toWire(view.cluster, b.initCluster());
  uint32_t i = 0;
  auto nodes = b.initNodes(static_cast<uint32_t>(view.nodes.size()));
  for (auto& [id, node] : view.nodes) toWire(node, nodes[i++]);
  i = 0;
  auto chains = b.initChains(static_cast<uint32_t>(view.chains.size()));
  for (auto& [id, chain] : view.chains) toWire(chain, chains[i++]);
  i = 0;
  auto sessions = b.initSessions(static_cast<uint32_t>(view.sessions.size()));
  for (auto session : view.sessions) sessions.set(i++, session.value);
}

}  // namespace dfs
