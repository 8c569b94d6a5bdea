#include "nameserver/cluster/chain_rules.h"

#include <algorithm>

namespace dfs {
namespace {

bool here(Presence presence) {
  return presence == Presence::ALIVE || presence == Presence::RESTARTED;
}

class Step {
  // One transition in the making.
 public:
  Step(const ChainInfo& chain, const ChainReports& reports) : next_(chain), reports_(reports) {}

  ChainInfo run(const ChainInfo& before) {
    forgetLostMemory();
    bool moved = judgeServing();
    moved |= chooseSole();
    judgeOthers(moved);
    startSyncing();
    return finish(before);
  }

 private:
  const MemberReport& report(NodeId node) const {
    static constexpr MemberReport kUnknown;
    auto found = reports_.find(node);
    return found == reports_.end() ? kUnknown : found->second;
  }
  Presence presence(const ChainMember& m) const { return report(m.node).presence; }

  bool any(MemberState state) const {
    return std::any_of(next_.members.begin(), next_.members.end(),
                       [&](auto& m) { return m.state == state; });
  }

  void retire(ChainMember& m) {
    m.state = here(presence(m)) ? MemberState::WAITING : MemberState::OFFLINE;
    m.servedFrom = 0;
  }

  void forgetLostMemory() {
    for (auto& m : next_.members) {
      if (presence(m) == Presence::RESTARTED && report(m.node).sinceChanged) m.servedFrom = 0;
    }
  }

  bool judgeServing() {
    // True if the set of serving members is no longer the same.
    size_t alive = 0;
    size_t lost = 0;
    for (auto& m : next_.members) {
      if (m.state != MemberState::SERVING) continue;
      alive += presence(m) == Presence::ALIVE;
      lost += presence(m) == Presence::GONE || presence(m) == Presence::RESTARTED;
    }
    if (lost == 0) return false;
    for (auto& m : next_.members) {
      if (m.state != MemberState::SERVING) continue;
      if (alive == 0) {
        m.state = MemberState::LAST_SERVING;
      } else if (presence(m) == Presence::GONE || presence(m) == Presence::RESTARTED) {
        retire(m);
      }
    }
    return true;
  }

  bool chooseSole() {
    if (any(MemberState::SERVING)) return false;
    ChainMember* chosen = nullptr;
    for (auto& m : next_.members) {
      if (m.state != MemberState::LAST_SERVING) continue;
      if (presence(m) == Presence::UNKNOWN) return false;  // invariant 3: not too early
      if (!here(presence(m))) continue;
      // Who has served longest covers most of what is not yet synced (Y3); 0 has lost its memory.
      auto rank = [](const ChainMember& x) { return std::pair(x.servedFrom - 1, x.node); };
      bool better = chosen == nullptr || rank(m) < rank(*chosen);
      if (better) chosen = &m;
    }
    if (chosen == nullptr) return false;
    for (auto& m : next_.members) {
      if (&m != chosen && m.state == MemberState::LAST_SERVING) retire(m);
    }
    chosen->state = MemberState::SERVING;
    return true;
  }

  void judgeOthers(bool servingMoved) {
    bool served = any(MemberState::SERVING);
    uint64_t tailServedFrom = 0;
    for (auto& m : next_.members) {
      switch (m.state) {
        case MemberState::SERVING:
          tailServedFrom = m.servedFrom;
          break;
        case MemberState::SYNCING:
          if (presence(m) == Presence::GONE || presence(m) == Presence::RESTARTED) {
            retire(m);
          } else if (!served) {
            m.state = MemberState::WAITING;  // whoever fed it is away
          } else if (!servingMoved && presence(m) == Presence::ALIVE &&
                     report(m.node).asksToServe) {
            m.state = MemberState::SERVING;  // what it asks for is of this epoch, as that stood
            m.servedFrom = tailServedFrom;   // it has on its disk all that its predecessor had (Y6)
          }
          break;
        case MemberState::WAITING:
          if (presence(m) == Presence::GONE) retire(m);
          break;
        case MemberState::OFFLINE:
          if (here(presence(m))) retire(m);
          break;
        default:
          break;
      }
    }
  }

  void startSyncing() {
    if (!any(MemberState::SERVING) || any(MemberState::SYNCING)) return;
    for (auto& m : next_.members) {
      if (m.state != MemberState::WAITING || !here(presence(m))) continue;
      m.state = MemberState::SYNCING;
      return;
    }
  }

  ChainInfo finish(const ChainInfo& before) {
    auto rank = [](const ChainMember& m) {
      return m.state == MemberState::SERVING ? 0 : m.state == MemberState::SYNCING ? 1 : 2;
    };
    std::stable_sort(next_.members.begin(), next_.members.end(),
                     [&](auto& a, auto& b) { return rank(a) < rank(b); });
    bool restarted = std::any_of(next_.members.begin(), next_.members.end(),
                                 [&](auto& m) { return presence(m) == Presence::RESTARTED; });
    if (!restarted && next_ == before) return before;
    next_.epoch = before.epoch + 1;
    for (auto& m : next_.members) {
      if (m.state == MemberState::SERVING && m.servedFrom == 0) m.servedFrom = next_.epoch;
    }
    return kj::mv(next_);
  }

  ChainInfo next_;
  const ChainReports& reports_;
};

}  // namespace

ChainInfo nextChain(const ChainInfo& chain, const ChainReports& reports) {
  return Step(chain, reports).run(chain);
}

}  // namespace dfs
