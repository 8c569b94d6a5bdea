#pragma once
// Which requests this member has seen, per session, so that each is done once (C6).
//
// A client names with each update the request from which on it lacks answers; what is below has
// been answered and is refused for ever. At the head an entry holds the running update or its
// answer; at the other members it is made when an update is applied, so that they know it should
// they become the head. After a restart the block's own record of its last request does the same.
//
// Thread: the loop's. Owner: Updates. Invariants:
//   1. A session has at most kBlockWindow entries: a sequence further up is refused.
//   2. An entry without a running update stands for bytes that are in this member's store. When a
//      chain is lost to this member its entries go: resync may take the bytes back.

#include "common/limits.h"
#include "common/view.h"

#include <kj/async.h>

#include <map>

namespace dfs {

struct WriteAnswer {
  schema::Errno err = schema::Errno::OK;
  uint64_t version = 0;
};

class RequestWindows {
 public:
  struct Entry {
    BlockId block;
    uint64_t version = 0;                               // of the block, once it is applied
    kj::Maybe<kj::ForkedPromise<WriteAnswer>> running;  // at the head
  };
  enum class Place { BELOW, WITHIN, ABOVE };

  Place place(RequestId request, uint64_t windowFrom);
  // Moves the session's window up to `windowFrom`, forgets what is below it, and says where the
  // request lies.
  Entry* find(RequestId request);  // null: not seen. Lives until the next call.
  Entry& add(RequestId request, BlockId block);
  // REQUIRES: WITHIN.
  void applied(RequestId request, BlockId block, uint64_t version, uint64_t windowFrom);
  void drop(RequestId request);
  void dropChain(ChainId chain);
  void keepLive(const View& view);  // forgets sessions that have ended

 private:
  struct Window {
    uint64_t from = 0;
    std::map<uint64_t, Entry> entries;
  };
  std::map<uint64_t, Window> sessions_;
};

}  // namespace dfs
