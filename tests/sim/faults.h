#pragma once
// What befalls a cluster in a run. Each class of fault is on in half of the runs (swarm), so that
// one kind does not hide another.
//
// Thread: the simulator's. Owner: a run.

#include "tests/sim/workload.h"

#include <functional>
#include <map>

namespace dfs {

class Faults {
 public:
  Faults(SimCluster& cluster, Workload& workload, Journal& journal);

  void rage(uint64_t ms);  // faults come and go for so long
  void heal();             // everything runs, nothing is cut, full or slow; waits for nothing
  std::string kinds() const;

 private:
  using Step = std::function<void()>;
  void one();
  void later(uint64_t ms, Step step);
  void passing(uint64_t ms);
  bool quiet(kj::Promise<void> promise);
  bool lossPossible(uint32_t cutStore);
  void noteStore(uint32_t i) { troubledNs_[i] = cluster_.world.time.nowNs(); }

  void killNames();
  void killStore(bool powerToo);
  void killAll(bool powerToo);
  void cutLink();
  void loseAnswers();
  void loseClient(bool killed);
  void slowDisk();
  void fullDisk();

  SimCluster& cluster_;
  Workload& workload_;
  Journal& journal_;
  SimRandom random_;
  std::vector<bool> on_;
  std::multimap<uint64_t, Step> due_;
  std::map<uint32_t, uint64_t> troubledNs_;  // when a store was last not all right
  std::map<uint32_t, uint64_t> away_;        // clients that are lost at the moment
};

}  // namespace dfs
