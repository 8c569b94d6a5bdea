#pragma once
// What clients do in a run, and what must be true of the answers.
//
// Thread: the simulator's. Owner: a run; outlives the cluster's clients' operations.
// A workload hears of what may cost data (losses) from the faults, and demands everything else.

#include "tests/sim/sim_cluster.h"

#include <string>
#include <vector>

namespace dfs {

class Journal {
  // What happened, for the trace and for whoever reads a failed run.
 public:
  explicit Journal(VirtualTime& time) : time_(time) {}
  void note(const std::string& what);
  void fail(const std::string& what);
  bool failed() const { return !failures_.empty(); }
  const std::vector<std::string>& failures() const { return failures_; }
  const std::vector<std::string>& lines() const { return lines_; }
  uint64_t hash() const { return hash_; }

 private:
  VirtualTime& time_;
  std::vector<std::string> lines_;
  std::vector<std::string> failures_;
  uint64_t hash_ = 0xcbf29ce484222325;
};

class Workload {
 public:
  virtual ~Workload() noexcept(false) {}
  virtual void prepare() = 0;           // on a healthy cluster
  virtual kj::Promise<void> run() = 0;  // until stop()
  virtual void stop() = 0;
  virtual std::string waitsFor() = 0;  // of an operation that does not end
  virtual void finalCheck() = 0;       // on a healthy cluster, all operations have ended
  virtual void afterPowerCut() = 0;    // of every machine, on a healthy cluster again

  // Losses. Each before it happens.
  virtual kj::Promise<void> beforeClientLoss(uint32_t client) = 0;
  // Resolves when the workload does not mind that what this client has not synced is lost.
  virtual void clientLossBegins(uint32_t client) = 0;
  virtual void clientLossEnds(uint32_t client) = 0;  // it is back, with whatever session
  virtual kj::Promise<void> beforeStoreLoss() = 0;
  virtual void storeLoss() = 0;  // unsynced data of everybody may have gone
  virtual kj::Promise<void> beforeFullDisk() = 0;
  virtual void fullDiskEnds() = 0;  // until then writes may be refused: NO_SPACE
};

kj::Own<Workload> newModelWorkload(SimCluster& cluster, Journal& journal);
// One operation at a time, each on any of the clients, against the model (model.h).
kj::Own<Workload> newSharedWorkload(SimCluster& cluster, Journal& journal);
// Many at once: registers, an append log, a directory as a set, tokens that are renamed.

}  // namespace dfs
