#pragma once
// Term and vote (L6): two slots that are written by turns, each twice, in sectors of their own.
//
// PERSISTED, format 1. Thread: the loop's. Owner: RaftReplicator.
// Invariants:
//   1. What write() has promised is found by the next open(), or open() throws.
//   2. A crash during a write spoils at most the slot that is older; one damaged sector at most one
//      of two equal copies. So a slot of which neither copy is good is damage, and open() refuses.

#include "common/env.h"
#include "common/task.h"

namespace dfs {

class VoteFile {
 public:
  struct Vote {
    uint64_t server;  // whose file this is
    uint64_t term;
    uint64_t votedFor;  // 0: nobody
  };

  static Task<void> create(Disk& disk, Vote vote);
  // Throws if there is one. Durable after the caller's syncDirectory("").
  static Task<kj::Maybe<kj::Own<VoteFile>>> open(Disk& disk);
  // nullptr: there is none. Throws a sentence if it is damaged.

  explicit VoteFile(kj::Own<DiskFile> file) : file_(kj::mv(file)) {}

  const Vote& vote() const { return vote_; }
  Task<void> settle();
  // Once after open(), when it is sure that nothing else keeps this server from starting: writes
  // both copies of the newest slot again, for what was found may be half of a write that a killed
  // process began, and is believed from here on. vote() holds only after it.
  Task<void> write(uint64_t term, uint64_t votedFor);
  // Durable when it resolves. One at a time. Throws if the disk fails: then the process ends.

 private:
  Task<void> writeSlot(uint64_t sequence);

  kj::Own<DiskFile> file_;
  Vote vote_{0, 0, 0};
  uint64_t sequence_ = 0;
};

}  // namespace dfs
