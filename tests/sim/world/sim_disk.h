#pragma once
// The disk of one simulated machine: what a process has written lies in the page cache until it is
// synced. A killed process loses nothing of it; a power cut keeps, drops or tears (by 512 byte
// sectors) each write that was not synced, and keeps a random prefix of the names that were made,
// moved or removed since the last sync of a directory.
//
// Thread: the simulator's. Owner: SimMachine; outlives the processes on it.

#include "common/env.h"
#include "tests/sim/world/sim_random.h"
#include "tests/sim/world/virtual_time.h"

#include <kj/refcount.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dfs {

class SimFile;  // the inode; sim_disk.cc

struct MemoryKvState;  // memory_kv.h: what a store keeps on this disk

class SimDisk {
 public:
  SimDisk(VirtualTime& time, SimRandom& random);
  ~SimDisk() noexcept(false);
  KJ_DISALLOW_COPY(SimDisk);

  kj::Own<Disk> open(std::string directory);
  // As a process sees it whose data directory that is. To be dropped with the process.

  void powerCut();
  // REQUIRES: the machine's processes are gone. What a crash keeps is drawn from the world's random
  // numbers.

  // Faults.
  void setCapacity(uint64_t bytes) { capacity_ = bytes; }
  void failSyncs(bool on) { failSyncs_ = on; }    // EIO
  void failWrites(bool on) { failWrites_ = on; }  // EIO
  void setDelayUs(uint64_t low, uint64_t high, uint64_t syncLow, uint64_t syncHigh);
  bool flipBit(const std::string& path, uint64_t offset,
               uint8_t bit);         // on the platter; false: no such byte
  std::vector<std::string> files();  // all paths
  kj::Array<kj::byte> contents(const std::string& path);
  uint64_t syncCount() const { return syncs_; }
  uint64_t usedBytes();

 private:
  friend class SimFile;
  friend class SimDiskFile;
  friend class SimDirectory;
  friend class SimSinceCell;

  struct Op;  // an operation under way: applied in part if its process is killed meanwhile
  struct Since {
    uint64_t since;
    uint64_t sequence;
  };
  using Names = std::map<std::string, std::shared_ptr<SimFile>>;

  kj::Promise<void> delay();
  kj::Promise<void> syncDelay();
  void rename(std::function<void(Names&)> change);
  // Changes names_ now, and remembers the step for a power cut.

  VirtualTime& time_;
  SimRandom& random_;
  uint64_t capacity_ = uint64_t(1) << 40;
  bool failSyncs_ = false;
  bool failWrites_ = false;
  uint64_t delayUs_[2] = {5, 60};
  uint64_t syncDelayUs_[2] = {100, 3000};
  uint64_t syncs_ = 0;
  Names names_;
  Names durableNames_;
  std::vector<std::function<void(Names&)>> unsyncedSteps_;
  std::map<Uuid, Since> memory_;
  std::map<std::string, std::shared_ptr<MemoryKvState>> kvs_;
};

}  // namespace dfs
