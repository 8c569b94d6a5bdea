#pragma once
// How the name servers of a group talk (L3): whole messages, in order for each pair. A message may
// be lost, never overtaken: libraft starves a follower otherwise.
//
// Thread: the loop's. Owner: Server. A group of one has none.

#include "nameserver/raft/raft_core.h"

#include <kj/array.h>
#include <kj/function.h>

namespace dfs {

struct PeerEntry {
  uint64_t term;
  uint32_t type;
  kj::Array<kj::byte> body;
};

struct PeerMessage {
  RaftCoreMessage fields;  // `entries` in it means nothing here; `peer`: to whom, or from whom
  kj::Array<PeerEntry> entries;
};

class PeerTransport {
 public:
  virtual ~PeerTransport() noexcept(false) {}
  virtual void send(PeerMessage message) = 0;
  // Queues it. Its bound is the transport's: the oldest whole messages go first.
  virtual void onMessage(kj::Function<void(PeerMessage)> receiver) = 0;
  // Called once, before the first send().
};

}  // namespace dfs
