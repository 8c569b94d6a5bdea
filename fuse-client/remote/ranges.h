#pragma once
// Ids for new blocks, fetched ahead, used round robin over chains so that the blocks of a file lie on
// different ones.
//
// Thread: the loop's. Owner: the Vfs; NameClient outlives it.
// Invariant: an id is given out once, and only under the session that it was handed to (R3).

#include "fuse-client/remote/name_client.h"

#include <deque>

namespace dfs {

class Ranges {
 public:
  explicit Ranges(NameClient& names) : names_(names) {}
  KJ_DISALLOW_COPY(Ranges);

  kj::Promise<Outcome<BlockId>> next(InodeId file, kj::Maybe<ChainId> notOn);
  // NO_SPACE: no chain has room (or only `notOn`). Waits while the name server is away.

 private:
  struct Range {
    ChainId chain;
    uint64_t first;
    uint32_t count;
  };
  static constexpr uint32_t kBatchMin = 16;
  static constexpr uint32_t kBatchMax = 256;

  Task<Outcome<BlockId>> take(InodeId file, kj::Maybe<ChainId> notOn);
  Task<Errno> fetch(InodeId file);
  kj::Maybe<BlockId> pop(kj::Maybe<ChainId> notOn);
  void forgetOldSession();

  NameClient& names_;
  uint64_t era_ = 0;
  std::deque<Range> ranges_;
  uint64_t left_ = 0;
  uint32_t batch_ = kBatchMin;
  FifoLock fetching_;
  bool aheadRuns_ = false;
};

}  // namespace dfs
