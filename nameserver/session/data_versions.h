#pragma once
// The versions of files' contents (V7): (term, count), where equal means that the bytes are equal.
//
// Thread: the loop's. Owner: Sessions. Bounded: what is forgotten raises the floor, which moves the
// versions of all that is not kept; spurious, and safe.

#include "common/ids.h"

#include <rpc-schema/types.capnp.h>

#include <map>

namespace dfs {

class DataVersions {
 public:
  explicit DataVersions(uint64_t term, size_t keptMax = 65536) : term_(term), keptMax_(keptMax) {}

  void moved(InodeId ino) { keep(ino).count = ++counter_; }
  void granted(InodeId ino, SessionId session) {
    auto& kept = keep(ino);
    if (kept.lastHolder == session) return;
    kept.lastHolder = session;
    kept.count = ++counter_;
  }
  void created(InodeId ino, SessionId session) { keep(ino).lastHolder = session; }

  void beginChange(InodeId ino) { changing_[ino] += 1; }
  void endChange(InodeId ino) {
    // Between them every answer has a version of its own: whether the change had been applied when
    // the answer was made is not known here.
    moved(ino);
    if (--changing_[ino] == 0) changing_.erase(ino);
  }

  void toWire(InodeId ino, schema::DataVersion::Builder b) {
    if (changing_.count(ino) != 0) moved(ino);
    auto found = kept_.find(ino);
    b.setTerm(term_);
    b.setCount(found == kept_.end() ? floor_ : found->second.count);
  }

 private:
  struct Kept {
    uint64_t count = 0;
    uint64_t age = 0;
    SessionId lastHolder;
  };

  Kept& keep(InodeId ino) {
    auto found = kept_.find(ino);
    if (found == kept_.end()) {
      if (kept_.size() >= keptMax_) forgetOldest();
      found = kept_.emplace(ino, Kept{floor_, 0, SessionId()}).first;
    } else {
      byAge_.erase(found->second.age);
    }
    found->second.age = ++ages_;
    byAge_[found->second.age] = ino;
    return found->second;
  }
  void forgetOldest() {
    auto oldest = byAge_.begin();
    kept_.erase(oldest->second);
    byAge_.erase(oldest);
    floor_ = ++counter_;  // above whatever was told of it
  }

  const uint64_t term_;
  const size_t keptMax_;
  uint64_t counter_ = 1;
  uint64_t floor_ = 1;
  uint64_t ages_ = 0;
  std::map<InodeId, Kept> kept_;
  std::map<uint64_t, InodeId> byAge_;
  std::map<InodeId, uint32_t> changing_;
};

}  // namespace dfs
