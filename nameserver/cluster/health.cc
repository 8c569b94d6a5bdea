#include "nameserver/cluster/health.h"

#include <algorithm>

namespace dfs {
namespace {

struct Effect {
  size_t chains = 0;
  size_t fewer = 0;    // serve with fewer copies than members
  size_t waiting = 0;  // serve nobody
};

Effect effectOf(const View& view, NodeId node) {
  Effect effect;
  for (auto& [id, chain] : view.chains) {
    if (chain.stateOf(node) == nullptr) continue;
    effect.chains += 1;
    effect.waiting += chain.servingCount() == 0;
    effect.fewer += chain.servingCount() != 0 && chain.servingCount() < chain.members.size();
  }
  return effect;
}

std::string effectText(const Effect& e) {
  auto of = " of " + std::to_string(e.chains) + " chains ";
  std::string text;
  if (e.fewer != 0) text = std::to_string(e.fewer) + of + "have fewer copies";
  if (e.waiting != 0) {
    if (!text.empty()) text += "; ";
    return text + std::to_string(e.waiting) + of + "are unavailable";
  }
  return text.empty() ? "all data available" : text + "; all data available";
}

void outOfService(std::vector<HealthSentence>& all, const View& view, const NodeBook& book,
                  const NodeInfo& node) {
  auto heard = book.find(node.id);
  auto effect = effectOf(view, node.id);
  uint64_t since = book.nowMs() - book.silentMs(node.id);
  HealthSentence s;
  s.critical = effect.waiting != 0;
  s.effect = effectText(effect);
  if (heard != nullptr && !heard->broken.empty()) {
    s.code = "STORE_BROKEN";
    s.what = "the store of " + node.name + " is out of service: " + heard->broken;
    s.doing = "the other members of its chains go on without it";
    s.advice = "look at the disk of " + node.name + " on " + node.host;
    since = heard->silentSinceMs != 0 ? heard->silentSinceMs : since;
  } else {
    s.code = "STORE_DOWN";
    s.what = node.name + " is silent";
    s.doing = "when it is back it gets what it has missed and serves again";
    s.advice = "start dfs-storaged on " + node.host + ", or look at the network to it";
  }
  s.sinceMs = since;
  all.push_back(kj::mv(s));
}

void unheard(std::vector<HealthSentence>& all, const View& view, const NodeBook& book,
             const NodeInfo& node) {
  // A short silence is nothing yet; but after a start of this server nobody can say that all is well before the store has spoken.
  auto heard = book.find(node.id);
  if (heard != nullptr && heard->lastBeatMs != 0) return;
  all.push_back({false, "STORE_UNHEARD",
                 node.name + " has not been heard of since this name server started",
                 effectText(effectOf(view, node.id)),
                 "it counts as down " + std::to_string(kNodesSettleMs / 1000) +
                     " s after the start if it does not come",
                 "wait", book.startMs()});
}

void inService(std::vector<HealthSentence>& all, const View& view, const NodeBook& book,
               const NodeInfo& node) {
  size_t toGo = 0;
  for (auto& [id, chain] : view.chains) {
    KJ_IF_MAYBE(state, chain.stateOf(node.id)) {
      toGo += *state == MemberState::SYNCING || *state == MemberState::WAITING;
    }
  }
  if (toGo != 0) {
    all.push_back({false, "STORE_SYNCING",
                   node.name + " is being brought up: " + std::to_string(toGo) + " chains to go",
                   effectText(effectOf(view, node.id)), "it catches up by itself", "wait",
                   book.nowMs()});
  }
  auto heard = book.find(node.id);
  if (heard != nullptr && heard->registration != 0 && heard->space.usable() == 0) {
    all.push_back({true, "STORE_FULL",
                   node.name + " is full: " + std::to_string(heard->space.free >> 20) +
                       " MiB are free, all of them reserved",
                   "writes to its chains that need room are refused",
                   "freed blocks are deleted without delay",
                   "remove files, or add a storage daemon", book.nowMs()});
  }
}

void waitingChains(std::vector<HealthSentence>& all, const View& view, const NodeBook& book) {
  size_t waiting = 0;
  std::set<NodeId> awaited;
  for (auto& [id, chain] : view.chains) {
    if (chain.servingCount() != 0) continue;
    waiting += 1;
    for (auto& m : chain.members) {
      if (m.state == MemberState::LAST_SERVING) awaited.insert(m.node);
    }
  }
  if (waiting == 0) return;
  std::string names;
  uint64_t since = book.nowMs();
  for (auto node : awaited) {
    auto info = view.node(node);
    if (info == nullptr) continue;
    names += (names.empty() ? "" : ", ") + info->name;
    since = std::min(since, book.nowMs() - book.silentMs(node));
  }
  all.push_back({true, "CHAINS_WAITING",
                 std::to_string(waiting) + " of " + std::to_string(view.chains.size()) +
                     " chains have no serving member",
                 "reads and writes of their blocks wait",
                 "they go on when one of those that served last is back: " + names,
                 "start these daemons with their data; nothing older is ever used instead", since});
}

}  // namespace

std::vector<HealthSentence> clusterHealth(const View& view, const NodeBook& book,
                                          const ChainPlan& plan, const ClusterOptions& options) {
  std::vector<HealthSentence> all;
  waitingChains(all, view, book);
  for (auto& [id, node] : view.nodes) {
    switch (book.presence(node)) {
      case Presence::GONE:
        outOfService(all, view, book, node);
        break;
      case Presence::UNKNOWN:
        unheard(all, view, book, node);
        break;
      default:
        inService(all, view, book, node);
        break;
    }
  }
  bool none = view.chains.empty();
  if (plan.members < plan.replicas || none) {
    auto wanted = std::max<size_t>(plan.replicas, none ? options.nodesExpected : 0);
    all.push_back({none, "FEW_STORES",
                   std::to_string(view.nodes.size()) + " storage daemons have registered, " +
                       std::to_string(wanted) + " are wanted",
                   none ? "no file can be written yet" : "new blocks have fewer copies than wanted",
                   "chains are made when more daemons register", "start more storage daemons",
                   book.startMs()});
  }
  return all;
}

}  // namespace dfs
