#pragma once
// Writes that are answered before the storage daemons have them: how much of that there may be, over
// all files of the mount. Whoever finds no room is answered as soon as there is some, in order of
// arrival, or when it is done, whatever comes first.
//
// Thread: the loop's. Owner: Client, for longer than any Place.
// Invariant: the bytes of places that were answered never exceed kEarlyBytesMax.

#include "common/limits.h"

#include <kj/common.h>
#include <kj/function.h>

#include <list>

namespace dfs {

class WriteWindow {
 public:
  class Place {
    // Of one write, from when it may be answered until it is done.
   public:
    Place(WriteWindow& window, uint64_t bytes, kj::Function<void()> answer);
    ~Place() noexcept(false);
    KJ_DISALLOW_COPY(Place);

   private:
    friend class WriteWindow;
    WriteWindow& window_;
    const uint64_t bytes_;
    kj::Function<void()> answer_;
    bool answered_ = false;
    std::list<Place*>::iterator at_;  // while it is not answered
  };

  WriteWindow() = default;
  KJ_DISALLOW_COPY(WriteWindow);

 private:
  void pump();

  uint64_t bytes_ = 0;
  uint32_t places_ = 0;
  std::list<Place*> waiting_;
};

}  // namespace dfs
