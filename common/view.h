#pragma once
// The view as it is kept in memory: all nodes, chains and live sessions under one version number.
//
// A value: whoever holds one holds a state of the cluster that was committed. Chains are found by
// id, nodes too; both are walked in order of id.

#include "common/ids.h"

#include <kj/map.h>
#include <kj/vector.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace dfs {

using schema::MemberState;

struct ChainMember {
  NodeId node;
  MemberState state = MemberState::OFFLINE;
  uint64_t servedFrom = 0;  // epoch; 0: does not serve
  bool operator==(const ChainMember&) const = default;
};

struct ChainInfo {
  ChainId id;
  uint64_t epoch = 0;
  uint8_t replicas = 0;  // wanted
  std::vector<ChainMember>
      members;  // serving first, head first; then at most one syncing; then others
  bool operator==(const ChainInfo&) const = default;

  size_t servingCount() const;
  kj::Maybe<NodeId> head() const;  // the first serving one
  kj::Maybe<NodeId> tail() const;  // the last serving one
  kj::Maybe<NodeId> successorOf(NodeId node) const;
  // Whom `node` forwards to: the next serving or syncing member. Null for the last, and for a node
  // that neither serves nor syncs.
  kj::Maybe<NodeId> predecessorOf(NodeId node) const;
  kj::Maybe<MemberState> stateOf(NodeId node) const;  // null: not a member
};

struct NodeInfo {
  NodeId id;
  Uuid uuid;
  std::string host;                    // failure domain
  std::vector<std::string> addresses;  // best first
  uint64_t incarnation = 0;
  bool online = false;
  std::string name;
  std::string http;
  uint64_t since = 0;
  bool operator==(const NodeInfo&) const = default;
};

struct View {
  uint64_t version = 0;  // 0: none yet
  Uuid cluster;
  std::map<NodeId, NodeInfo> nodes;
  std::map<ChainId, ChainInfo> chains;
  std::set<SessionId> sessions;

  const ChainInfo* chain(ChainId id) const;  // null: none
  const NodeInfo* node(NodeId id) const;     // null: none
  bool live(SessionId session) const { return sessions.count(session) != 0; }
};

ChainInfo fromWire(schema::Chain::Reader r);
void toWire(const ChainInfo& chain, schema::Chain::Builder b);
NodeInfo fromWire(schema::Node::Reader r);
void toWire(const NodeInfo& node, schema::Node::Builder b);
View fromWire(schema::View::Reader r);
void toWire(const View& view, schema::View::Builder b);

}  // namespace dfs
