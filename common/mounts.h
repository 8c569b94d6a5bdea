#pragma once
// What is mounted where, as the kernel has it, and taking a FUSE mount out of the tree.
//
// Thread: any. Nothing here asks the file system that is mounted: it may be dead, or wait for the caller.

#include <kj/common.h>

#include <cstdint>
#include <string>

namespace dfs {

std::string mountPath(const std::string& given);
// Absolute and without symbolic links, as the kernel names mounts. The last part may be a dead mount, which cannot be looked at.

struct MountLine {
  uint32_t major = 0, minor = 0;
  std::string type;
};

kj::Maybe<MountLine> mountedAt(const std::string& path);
// The topmost mount at that absolute path without symbolic links; null if it is no mount point.

int detachMount(const std::string& path, bool lazy);
// Unmounts it: as root by itself, otherwise through fusermount3. 0, or the errno (EBUSY: it is used, and `lazy` is false).
// Blocks while the kernel writes back, so the one who serves the mount must not call it from the thread that serves.

}  // namespace dfs
