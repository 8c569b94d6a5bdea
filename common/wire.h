#pragma once
// Framed messages under every RPC connection, and the two ends of a connection.
//
// A frame: magic 4 bytes ("DFS1"), protocol version 2, segment count 2, length of all that follows
// the header in bytes 4, checksum 8 (xxh3-64 of the rest of the header and of the body), then the
// segments' sizes in words (4 bytes each, padded to 8), then the segments. Little-endian. It bounds
// what a stranger can make us allocate (kFrameBytesMax, kFrameSegmentsMax), and catches what TCP's
// checksum misses. A bad frame ends the connection with an exception that says what was wrong;
// nothing of it reaches Cap'n Proto.
//
// Thread: the loop's.

#include "common/env.h"

#include <capnp/capability.h>
#include <capnp/serialize-async.h>
#include <kj/async-io.h>
#include <kj/function.h>

namespace dfs {

kj::Own<capnp::MessageStream> newFramedStream(kj::Own<kj::AsyncIoStream> stream);

class Connection {
  // One RPC connection that we dialed. Dropping it ends it: outstanding calls fail with
  // DISCONNECTED.
 public:
  virtual ~Connection() noexcept(false) {}
  virtual capnp::Capability::Client bootstrap() = 0;
  virtual kj::Promise<void> onDisconnect() = 0;
  virtual kj::StringPtr address() = 0;
};

kj::Promise<kj::Own<Connection>> dial(Env& env, kj::ArrayPtr<const kj::String> addresses,
                                      uint64_t timeoutMs);
// Tries the addresses in order. Throws DISCONNECTED (all refused, or the time is over) with all
// reasons. The array may go after the call.

class RpcServer {
  // Accepts connections for ever, and serves each from a bootstrap capability of its own. Dropping
  // it ends all of them.
 public:
  virtual ~RpcServer() noexcept(false) {}
  virtual kj::StringPtr address() = 0;
  virtual size_t connectionCount() = 0;
};

using Bootstrap = kj::Function<capnp::Capability::Client()>;
kj::Promise<kj::Own<RpcServer>> serveRpc(Env& env, kj::StringPtr address, Bootstrap bootstrap);
// Throws with a sentence if it cannot listen there.

}  // namespace dfs
