#include "nameserver/cluster/fence.h"

namespace dfs {
namespace {

bool inUse(MemberState state) {
  return state == MemberState::SERVING || state == MemberState::SYNCING;
}

std::string chainText(const ChainInfo& chain) {
  return "chain " + std::to_string(chain.id.value);
}

std::string goneUnsettled(const View& view, const NodeBook& book, const NodeInfo& node) {
  auto heard = book.find(node.id);
  uint64_t outAt = heard == nullptr ? 0 : heard->outAt;
  if (outAt == 0) return node.name + " is silent and its chains have not yet moved on";
  for (auto& [id, chain] : view.chains) {
    bool member = false;
    for (auto& m : chain.members) {
      if (m.node != node.id) continue;
      if (inUse(m.state)) return node.name + " is silent and still stands in " + chainText(chain);
      member = true;
    }
    if (!member) continue;
    for (auto& m : chain.members) {
      if (!inUse(m.state)) continue;
      auto other = book.find(m.node);
      if (other != nullptr && other->viewInstalled >= outAt) continue;
      auto info = view.node(m.node);
      return (info == nullptr ? "a daemon" : info->name) + " has not yet installed that " +
             node.name + " left " + chainText(chain);
    }
  }
  return {};
}

}  // namespace

std::string unsettled(const View& view, const NodeBook& book, uint64_t version) {
  for (auto& [id, node] : view.nodes) {
    auto presence = book.presence(node);
    if (presence == Presence::GONE) {
      auto why = goneUnsettled(view, book, node);
      if (!why.empty()) return why;
      continue;
    }
    auto heard = book.find(id);
    if (heard == nullptr || heard->registration == 0) {
      return node.name + " has not yet registered with this name server";
    }
    if (heard->viewSettled < version) {
      return node.name + " has not yet settled what ended sessions wrote";
    }
  }
  return {};
}

}  // namespace dfs
