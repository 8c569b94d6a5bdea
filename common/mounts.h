#pragma once
// What is mounted where, as the kernel has it, and taking a FUSE mount out of the tree.
//
// Thread: any. Nothing here asks the file system that is mounted: it may be dead, or wait for the caller.

#include <kj/common.h>

#include <cstdint>
#include <string>

namespace dfs {

std::string mountPath(const std::string& given);
// Absolute and without symbolic links, as the kernel names mounts. Of a path in a mount of DFS what lies inside is taken as it is
// written: to look at it would be to ask the servers.

struct MountLine {
  uint32_t major = 0, minor = 0;  // the device number that stat() shows there
  uint32_t owner = 0;             // who has mounted it, if it is a FUSE mount
  std::string point;
  std::string type;
  std::string options;    // of this mount: "ro,nosuid,..."
  bool readOnly = false;  // the file system itself, at whichever place it is mounted

  bool isDfs() const { return type == "fuse.dfs"; }
};

kj::Maybe<MountLine> mountedAt(const std::string& path);
// The topmost mount at that absolute path without symbolic links; null if it is no mount point.

kj::Maybe<MountLine> dfsMountHolding(const std::string& path);
// The innermost mount of DFS in which the path lies (or which it is). REQUIRES: as mountPath() returns it.

int detachMount(const std::string& path, bool lazy);
// Unmounts it: as root by itself, otherwise through fusermount3. 0, or the errno (EBUSY: it is used, and `lazy` is false; EPERM:
// it is somebody else's; ENOPKG: there is no fusermount3).
// Blocks while the kernel writes back, so the one who serves the mount must not call it from the thread that serves.

}  // namespace dfs
