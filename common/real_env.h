#pragma once
// The host's clock, random numbers, network and disk.
//
// Thread: the loop's. Owner: main(), before everything that it makes with the Env.

#include "common/env.h"
#include "common/worker_pool.h"

#include <kj/async-io.h>
#include <kj/io.h>

#include <string>

namespace dfs {

struct RealEnvOptions {
  std::string directory;  // the process's data directory; empty: it has no disk
  std::string memoryDirectory;
  // On tmpfs: what survives the process and not the machine (Y8). Empty: /run/dfs, or without root a
  // directory of the user's own in /dev/shm.
  uint32_t diskThreads = 8;
};

class RealClock final : public Clock {
 public:
  explicit RealClock(kj::Timer& timer) : timer_(timer) {}
  kj::Timer& timer() override { return timer_; }
  uint64_t bootMs() override;
  Time wallTime() override;

 private:
  kj::Timer& timer_;
};

class RealRandom final : public Random {
  // xoshiro256** (Blackman, Vigna 2018), seeded by getrandom(2). Not for secrets.
 public:
  RealRandom();
  uint64_t next() override;

 private:
  uint64_t state_[4];
};

kj::Own<Network> newRealNetwork(kj::AsyncIoContext& io);
// TCP without delay and with keep-alive; a Unix socket is made with mode 0600, and a file that a crash left in its place
// is removed if nobody answers there.

kj::Own<Disk> newRealDisk(WorkerPool& pool, std::string directory, std::string memoryDirectory);
// The directory must exist.

class RealEnv {
 public:
  RealEnv(kj::AsyncIoContext& io, const RealEnvOptions& options);
  // Makes the directory if it is not there and takes it: no other process can as long as this lives.
  // Waits some seconds for one that is just ending. Throws with a sentence.
  ~RealEnv() noexcept(false);
  KJ_DISALLOW_COPY(RealEnv);

 private:
  kj::AutoCloseFd directory_;
  RealClock clock_;
  RealRandom random_;
  WorkerPool pool_;
  kj::Own<Network> network_;
  kj::Own<Disk> disk_;

 public:
  Env env;
};

}  // namespace dfs
