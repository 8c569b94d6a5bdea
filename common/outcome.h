#pragma once
// Errors that a caller is expected to meet are values (Errno); everything else is a kj::Exception.
//
// The line between them: if POSIX has a name for it, it is an Errno. A lost peer, a bug, a full
// queue is an exception, and only two places look inside one: retry.h, which decides whether to try
// again, and errnoOf() below, which decides what the kernel is told.

#include <rpc-schema/types.capnp.h>

#include <kj/debug.h>
#include <kj/exception.h>

namespace dfs {

using schema::Errno;

template <typename T> class [[nodiscard]] Outcome {
  // A T, or the Errno that says why there is none. What has no T to give returns an Errno.
 public:
  Outcome(T value) : value_(kj::mv(value)) {}
  Outcome(Errno err) : err_(err) { KJ_REQUIRE(err != Errno::OK, "an outcome without a value"); }

  bool ok() const { return err_ == Errno::OK; }
  Errno err() const { return err_; }
  T& operator*() { return KJ_ASSERT_NONNULL(value_, err_); }
  T* operator->() { return &**this; }

 private:
  Errno err_ = Errno::OK;
  kj::Maybe<T> value_;
};

int toHost(Errno err);
// The host's errno, for a reply to the kernel. Knows what to do with a number from a newer peer.

Errno fromHost(int hostErrno);
// For system calls on our own disks. What is not in the table becomes IO: a daemon's EBADF is not
// the user's.

Errno errnoOf(const kj::Exception& exception);
// What a user sees when a request died of an exception after all retries: NOT_SUP if the peer lacks
// the method, else IO. Never STALE for an exception: the kernel answers that by walking the path
// once more, which turns one outage into twice the load.

kj::StringPtr nameOf(Errno err);
// "NO_ENT", for logs.

}  // namespace dfs
