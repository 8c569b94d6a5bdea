#pragma once
// How a chain moves on: a pure function of the chain and of what is known about its members.
//
// Invariants:
//   1. The epoch grows with every change, and with every new start of a member (C4).
//   2. A member whose state is OFFLINE, WAITING or SYNCING serves again only by way of SYNCING and
//      its own word that all it was given is on its disk (Y6). At most one is SYNCING.
//   3. LAST_SERVING members are exactly those that served together when service ended. Nothing was
//      acknowledged after that, for an acknowledgement needs each of them; so each is whole, and the
//      chain goes on with any one of them and with nobody else. They and SERVING ones never stand
//      side by side.
//   4. No member is SERVING when all that served are known to have restarted or gone.
//
// Why one whole member is enough after all have restarted (C5): what was published had been synced
// on each of them (Y1), and what was not is kept by its writers, whom Y3 tells to write it again.
// Why the chain stops while one of the others is in doubt: one that lives may hold memory that the
// restarted one lost, and to choose too early would throw that away.

#include "common/view.h"

namespace dfs {

enum class Presence {
  ALIVE,      // registered and beating
  RESTARTED,  // registers just now with a new incarnation: told once, then it is alive
  UNKNOWN,    // in doubt: late, or not yet registered with a name server that has just started
  GONE,       // silent for too long, or its store is broken
};

struct MemberReport {
  Presence presence = Presence::UNKNOWN;
  bool sinceChanged = false;  // with RESTARTED: what it had in memory is lost (Y8)
  bool asksToServe = false;   // it is synced, in this epoch of the chain (Y6)
};

using ChainReports = std::map<NodeId, MemberReport>;

ChainInfo nextChain(const ChainInfo& chain, const ChainReports& reports);
// The same if nothing changes, else with epoch + 1. A member without a report is UNKNOWN.
//
// servedFrom: of a SERVING member as in the schema; of a LAST_SERVING one kept while its since is
// unchanged and 0 after that; 0 otherwise.

}  // namespace dfs
