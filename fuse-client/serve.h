#pragma once
// The life of one mount in its process: mounted, served, and saved when it ends.
//
// Thread: main's; makes the loop and blocks until the end.

#include "fuse-client/background.h"
#include "fuse-client/mount.h"

namespace dfs {

int serveMount(const MountOptions& wanted, Report report);
// The exit code. Says through `report` that the mount answers, or why there is none.

}  // namespace dfs
