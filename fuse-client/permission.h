#pragma once
// Whether this user may mount there, asked before anything is started: what fusermount3 and the kernel
// would say is hard to understand, and comes late.
//
// Thread: main's, before the loop.

#include "fuse-client/mount.h"

namespace dfs {

void refuseIfNotAllowed(const MountOptions& options);
// Throws with a sentence that says what is missing and what to do: /dev/fuse, fusermount3, the right to
// the mount point, allow_other, suid and dev. REQUIRES: the mount point is a directory, live.

bool allowsOthers(const std::string& fuseConf);
// Whether a line of that text (/etc/fuse.conf) says user_allow_other.

}  // namespace dfs
