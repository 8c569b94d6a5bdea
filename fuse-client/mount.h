#pragma once
// One mount: the composition root of dfs-mount.
//
// Thread: the loop's. Owner: main(). Order of members is order of construction; they go in the reverse: the kernel's channel
// first, then what answers it.

#include "common/real_env.h"
#include "fuse-client/fuse/channel.h"
#include "fuse-client/fuse/invalidator.h"
#include "fuse-client/fuse/ops.h"
#include "fuse-client/vfs/vfs.h"

#include <string>
#include <vector>

namespace dfs {

struct MountOptions {
  std::string mountpoint;  // absolute
  std::vector<std::string> nameservers;
  std::string source = "dfs";            // as the table of mounts shows it
  std::string subdir;                    // where it begins in the cluster; empty: at its root
  std::vector<std::string> fuseOptions;  // for libfuse and the kernel
  std::vector<std::string> words;        // of -o, that cannot be changed while it is mounted
  AccessTimes accessTimes = AccessTimes::RELATIME;
  bool accessTimesOfDirectories = true;
  bool readOnly = false;
  bool allowOther = false;
  uint64_t softTimeoutMs = 0;
  uint64_t attachMsMax = 30'000;  // how long a cluster may take to answer before mounting fails
};

class Mount {
 public:
  Mount(kj::AsyncIoContext& io, Env& env, const MountOptions& options);
  ~Mount() noexcept(false);
  KJ_DISALLOW_COPY(Mount);

  Task<void> start();
  // Attaches to the cluster and mounts. Throws with a sentence if either fails; then nothing is left behind.
  Task<void> serve();
  // Until it is unmounted, by whomever. REQUIRES: start() has resolved.
  Task<void> finish();
  // Saves everything and ends the session; from now on requests get EIO. Throws if something could not be saved.
  void unmount();
  // Makes serve() end when the last user is gone; soon if nobody uses it.

 private:
  const MountOptions options_;
  Env& env_;
  ProcCallerStatus callers_;
  kj::Own<Vfs> vfs_;
  FuseOps ops_;
  FuseChannel channel_;
  kj::Own<Invalidator> invalidator_;
  kj::Promise<void> ending_ = nullptr;  // answers what comes while finish() saves
  uint64_t device_ = 0;
  bool noted_ = false;
};

void cleanDeadMount(const std::string& mountpoint);
// Detaches what a crashed dfs-mount has left there ("Transport endpoint is not connected"). Throws with a sentence if something
// live is mounted there, or if it is no directory.

}  // namespace dfs
