#pragma once
// One peer process that we want to stay connected to: dials, notices the end, dials again with
// back-off.
//
// Thread: the loop's. Owner: whoever talks to that peer. Dropping it ends the connection and fails
// the waiting. Retrying what was in flight is the caller's work (retry.h): only it knows whether
// that is right.

#include "common/wire.h"

namespace dfs {

class Peer {
 public:
  Peer(Env& env, kj::Array<kj::String> addresses);
  KJ_DISALLOW_COPY(Peer);
  ~Peer() noexcept(false);

  kj::Promise<capnp::Capability::Client> connected();
  // The bootstrap capability of the live connection: at once if there is one, otherwise as soon as
  // dialing succeeds; dialing goes on for ever, with jitter, from 20 ms to 1 s between tries.

  bool isConnected() const;
  uint64_t connectionNumber() const;
  // Grows with each new connection: compare it to know whether what was made of an older one is
  // still good.
  void setAddresses(kj::Array<kj::String> addresses);
  // For the next dialing; ends the connection if its address is not among them.
  void disconnect();
  // For a peer that answers nothing: the next connected() dials anew.
  kj::StringPtr lastError() const;
  // Why the last dialing failed, for `dfs status`; empty if it did not.

 private:
  struct Impl;
  kj::Own<Impl> impl_;
};

}  // namespace dfs
