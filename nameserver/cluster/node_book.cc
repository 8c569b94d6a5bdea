#include "nameserver/cluster/node_book.h"

namespace dfs {
namespace {

constexpr uint64_t kInDoubtMs = 1'000;
// A daemon that missed so many beats is not taken for a witness that its chain is well.
constexpr uint64_t kLeaseOverMs = kNodeLeaseMs * (1000 + kDriftPerMille) / 1000 + kLeaseMarginMs;
static_assert(kInDoubtMs >= 4 * kBeatMs && kLeaseOverMs > kInDoubtMs);

}  // namespace

const Heard* NodeBook::find(NodeId node) const {
  auto found = heard_.find(node);
  return found == heard_.end() ? nullptr : &found->second;
}

Presence NodeBook::presence(const NodeInfo& node) const {
  auto heard = find(node.id);
  if (heard == nullptr || heard->lastBeatMs == 0) {
    if (!node.online) return Presence::GONE;
    bool settled = clock_.bootMs() - startMs_ >= kNodesSettleMs;
    return settled ? Presence::GONE : Presence::UNKNOWN;
  }
  if (heard->registration == 0 || !heard->broken.empty()) return Presence::GONE;
  auto silent = clock_.bootMs() - heard->lastBeatMs;
  if (silent >= (heard->connected ? kNodeSilentMs : kLeaseOverMs)) return Presence::GONE;
  return heard->connected && silent < kInDoubtMs ? Presence::ALIVE : Presence::UNKNOWN;
}

bool NodeBook::usable(const NodeInfo& node) const {
  return presence(node) == Presence::ALIVE;
}

uint64_t NodeBook::silentMs(NodeId node) const {
  auto heard = find(node);
  bool never = heard == nullptr || heard->lastBeatMs == 0;
  return clock_.bootMs() - (never ? startMs_ : heard->lastBeatMs);
}

uint64_t NodeBook::admit(NodeId node, const StoreSpace& space,
                         schema::NodeControl::Client control) {
  auto& heard = heard_[node];
  heard = Heard();
  heard.registration = ++lastRegistration_;
  heard.connected = true;
  heard.lastBeatMs = clock_.bootMs();
  heard.space = space;
  heard.control = kj::mv(control);
  return heard.registration;
}

Heard* NodeBook::registered(NodeId node, uint64_t registration) {
  auto found = heard_.find(node);
  if (found == heard_.end() || found->second.registration != registration) return nullptr;
  return &found->second;
}

void NodeBook::dropped(NodeId node, uint64_t registration) {
  auto heard = registered(node, registration);
  if (heard != nullptr) heard->connected = false;
}

void NodeBook::lose(NodeId node) {
  auto& heard = heard_[node];
  if (heard.silentSinceMs == 0) {
    heard.silentSinceMs = heard.lastBeatMs == 0 ? startMs_ : heard.lastBeatMs;
  }
  // A broken store may go on beating: it must learn that it is out, and may be whole again.
  if (!heard.broken.empty() && heard.connected &&
      clock_.bootMs() - heard.lastBeatMs < kNodeSilentMs) {
    return;
  }
  heard.registration = 0;
  heard.asks.clear();
  heard.control = nullptr;
}

}  // namespace dfs
