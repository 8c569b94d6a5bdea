#pragma once
// Bounds the bytes of client writes that this daemon holds in memory.
//
// Thread: the daemon's loop. Owner: Server; outlives every connection and every Room.
// Invariants:
//   1. The bytes of all live Rooms together never exceed bytesMax.
//   2. Room is given in order of arrival: small writes do not starve a large one.

#include <kj/async.h>
#include <kj/common.h>
#include <kj/memory.h>

#include <cstdint>
#include <deque>

namespace dfs {

class Admission {
 public:
  class Room {
   public:
    Room(Admission& admission, size_t bytes) : admission_(admission), bytes_(bytes) {}
    ~Room() noexcept(false) { admission_.giveBack(bytes_); }
    KJ_DISALLOW_COPY(Room);

   private:
    Admission& admission_;
    const size_t bytes_;
  };

  Admission(size_t bytesMax, uint32_t waitersMax)
      : bytesMax_(bytesMax), waitersMax_(waitersMax), bytesFree_(bytesMax) {}
  KJ_DISALLOW_COPY(Admission);

  kj::Promise<kj::Own<Room>> reserve(size_t bytes);
  // Resolves when there is room. Dropping the Room gives it back; dropping the promise gives up the
  // place in the queue. Throws OVERLOADED at once if the queue is full: the client backs off.
  // REQUIRES: bytes <= bytesMax.
  size_t bytesHeld() const { return bytesMax_ - bytesFree_; }
  size_t waiters() const { return waiters_.size(); }

 private:
  struct Waiter {
    size_t bytes;
    kj::Own<kj::PromiseFulfiller<kj::Own<Room>>> fulfiller;
  };

  void giveBack(size_t bytes);

  // Constant after construction.
  const size_t bytesMax_;
  const uint32_t waitersMax_;

  size_t bytesFree_;
  std::deque<Waiter> waiters_;  // oldest first
};

}  // namespace dfs
