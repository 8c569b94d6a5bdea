#pragma once
// Times of access: which reads are told to the name server, and when.
//
// Thread: the loop's. Owner: the Client.
// Invariants:
//   1. A reader waits for nothing here, and no access is told that the rule does not ask for.
//   2. Of one inode one time is told at once, further ones a second later in one; of all, kAccessesAtOnce at a time.
//      More than kAccessesWaitingMax are not told: their next read is due again.
//   3. Who asks for attributes, or sets them, waits until what was read before has been told: known().

#include "common/env.h"
#include "common/ids.h"
#include "common/task.h"
#include "common/waiting.h"
#include "fuse-client/vfs/vfs.h"

#include <kj/async.h>
#include <kj/refcount.h>

#include <map>
#include <set>

namespace dfs {

class Accesses : private kj::TaskSet::ErrorHandler {
 public:
  using Tell = kj::Function<kj::Promise<void>(InodeId)>;
  // One time of access, to the name server. Its errors are its own matter.

  Accesses(Clock& clock, AccessTimes rule, bool ofDirectories, Tell tell);

  void seen(const Attr& attr);
  // What the kernel is told: whether the next access is due, as relatime decides it (mount(8)).
  void forget(InodeId ino) { due_.erase(ino); }
  void accessed(InodeId ino);
  kj::Promise<void> known(InodeId ino);
  kj::Promise<void> allKnown();

 private:
  struct Access : public kj::Refcounted {
    bool untold = true;  // an access that is not told yet
    bool telling = false;
    Signal asked;    // somebody waits for it
    Signal changed;  // the above have changed
    bool done() const { return !untold && !telling; }
  };
  void taskFailed(kj::Exception&& e) override;
  Task<void> run(InodeId ino, kj::Own<Access> access);
  Task<void> awaitKnown(kj::Own<Access> access);
  Task<void> awaitAll();

  Clock& clock_;
  const AccessTimes rule_;
  const bool ofDirectories_;
  Tell tell_;
  std::set<InodeId> due_;
  std::map<InodeId, kj::Own<Access>> accesses_;
  uint32_t telling_ = 0;
  Signal freed_;
  kj::TaskSet tasks_;
};

}  // namespace dfs
