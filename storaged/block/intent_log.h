#pragma once
// The intent log: files `intents/NNNNNNNN`, one after the other. Each update of a block appends a record before it counts.
//
// Thread: the loop's. Owner: DiskBlockStore.
// Invariants:
//   1. Records reach the file in the order of append(): one write at a time, with all that wait in it. So a killed process leaves
//      no gap before a record that was answered.
//   2. What sync() promises was in the file before it began.
// A crash leaves a torn or missing tail of what was not synced; replay (disk_start.cc) tells it from damage.

#include "common/env.h"
#include "common/task.h"
#include "storaged/block/format.h"

#include <deque>

namespace dfs::block {

class IntentLog {
 public:
  explicit IntentLog(Env& env) : env_(env) {}
  KJ_DISALLOW_COPY(IntentLog);

  static kj::String nameOf(uint64_t number);

  Task<Errno> prepare(uint64_t number, uint64_t bytes);
  // Makes the next file, preallocated and with a durable name; not yet used. NO_SPACE, IO.
  void use();
  // The prepared file takes records from now on. REQUIRES: idle().
  bool idle() const { return queue_.empty() && !writing_; }
  kj::Promise<void> whenIdle();

  kj::Promise<Errno> append(std::string record);
  // When it is in the page cache. Not to be dropped, but with the log.
  kj::Promise<Errno> sync();
  // Everything whose append() has resolved is on the disk. Calls during one share the next.

  uint64_t number() const { return number_; }
  uint64_t bytes() const { return at_; }

 private:
  struct Waiting {
    std::string record;
    kj::Own<kj::PromiseFulfiller<Errno>> fulfiller;
  };
  Task<void> pump();
  Task<Errno> syncNow();

  Env& env_;
  uint64_t number_ = 0;
  uint64_t at_ = 0;
  kj::Own<DiskFile> file_;
  uint64_t preparedNumber_ = 0;
  kj::Own<DiskFile> prepared_;
  std::deque<Waiting> queue_;
  bool writing_ = false;
  Errno failed_ = Errno::OK;
  kj::Promise<void> pumping_ = nullptr;
  std::deque<kj::Own<kj::PromiseFulfiller<void>>> idleWaiters_;
  kj::Maybe<kj::ForkedPromise<Errno>> syncing_;   // under way
  kj::Maybe<kj::ForkedPromise<Errno>> nextSync_;  // begins when that ends
};

}  // namespace dfs::block
