#pragma once
// A network between named machines: every chunk takes its own time, order holds within a connection
// and not between connections, and a direction between two machines can be cut (bytes wait, as
// TCP's do) and healed.
//
// Thread: the simulator's. Owner: SimWorld. Streams and listeners may outlive their process's Env,
// not the world. Addresses: "MACHINE:PORT" reaches that machine; "unix:/path" stays on the machine
// that dials.

#include "common/env.h"
#include "tests/sim/world/sim_random.h"
#include "tests/sim/world/virtual_time.h"

#include <kj/refcount.h>

#include <deque>
#include <map>
#include <set>
#include <string>

namespace dfs {

class SimNetwork {
 public:
  SimNetwork(VirtualTime& time, SimRandom& random) : time_(time), random_(random) {}
  KJ_DISALLOW_COPY(SimNetwork);

  void cut(const std::string& from, const std::string& to);  // one direction
  void heal(const std::string& from, const std::string& to);
  void healAll();
  bool isCut(const std::string& from, const std::string& to) const;
  void setDelayUs(uint64_t low, uint64_t high);  // of each chunk; 20..300 at first
  uint64_t traceHash() const { return trace_; }

  kj::Own<Network> on(std::string machine);
  // The network as a process on that machine sees it.

 private:
  friend class SimHalf;
  friend class SimStream;
  friend class SimListener;
  friend class SimMachineNetwork;

  uint64_t delayNs() { return random_.between(delayLowUs_, delayHighUs_) * 1000; }
  void note(uint64_t value) { trace_ = (trace_ ^ value) * 0x100000001b3; }

  VirtualTime& time_;
  SimRandom& random_;
  uint64_t delayLowUs_ = 20;
  uint64_t delayHighUs_ = 300;
  uint64_t trace_ = 0xcbf29ce484222325;
  uint16_t nextPort_ = 30000;
  std::set<std::pair<std::string, std::string>> cuts_;
  std::map<std::string, class SimListener*> listeners_;  // by "machine|address"
  std::set<std::pair<uint64_t, class SimHalf*>>
      halves_;  // by number of creation: an order for heal()
  uint64_t halfCount_ = 0;
};

}  // namespace dfs
