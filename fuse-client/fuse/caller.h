#pragma once
// What the host knows of a process that called.
//
// Thread: the loop's. Owner: Mount. Behind an interface because a fake kernel's callers have no /proc.

#include "fuse-client/vfs/vfs.h"

#include <cstdint>
#include <vector>

namespace dfs {

class CallerStatus : public Callers {
 public:
  virtual bool dying(int32_t tid) = 0;
  // SIGKILL is pending, or the thread is gone. True for tid 0 (a caller of another pid namespace): its signals
  // cannot be seen, and one that cannot be killed would be worse than one that is interrupted.
};

class ProcCallerStatus final : public CallerStatus {
  // From /proc/TID/status and schedstat.
 public:
  bool dying(int32_t tid) override;
  std::vector<uint32_t> groups(int32_t tid) override;
  kj::Maybe<ThreadState> thread(int32_t tid) override;
};

}  // namespace dfs
