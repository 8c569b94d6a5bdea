#include "storaged/service/admission.h"

#include <kj/debug.h>

namespace dfs {

kj::Promise<kj::Own<Admission::Room>> Admission::reserve(size_t bytes) {
  KJ_REQUIRE(bytes <= bytesMax_);
  if (waiters_.empty() && bytes <= bytesFree_) {
    bytesFree_ -= bytes;
    return kj::heap<Room>(*this, bytes);
  }
  if (waiters_.size() >= waitersMax_) {
    return KJ_EXCEPTION(OVERLOADED, "too many writes wait for memory");
  }
  auto paf = kj::newPromiseAndFulfiller<kj::Own<Room>>();
  waiters_.push_back({bytes, kj::mv(paf.fulfiller)});
  return kj::mv(paf.promise);
}

void Admission::giveBack(size_t bytes) {
  bytesFree_ += bytes;
  while (!waiters_.empty()) {
    auto& first = waiters_.front();
    bool waits = first.fulfiller->isWaiting();
    if (waits && first.bytes > bytesFree_) return;
    auto next = kj::mv(first);
    waiters_.pop_front();
    if (!waits) continue;
    bytesFree_ -= next.bytes;
    next.fulfiller->fulfill(kj::heap<Room>(*this, next.bytes));
  }
}

}  // namespace dfs
