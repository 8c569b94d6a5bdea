#pragma once
// What dfs-mount was asked to do.
//
// Thread: main's, before the loop. Owner: main().

#include "common/log.h"
#include "fuse-client/embedded.h"
#include "fuse-client/mount.h"

#include <string>
#include <vector>

namespace dfs {

inline constexpr int kMountUsage = 1;  // as mount(8) has them
inline constexpr int kMountFailed = 32;

struct Arguments {
  MountOptions mount;
  EmbeddedOptions embedded;
  LogOptions log;
  std::vector<std::string> options;  // -o
  bool foreground = false;
  bool remount = false;    // change what is mounted there
  bool sloppy = false;     // unknown options are passed over
  bool checkOnly = false;  // do not mount
  bool verbose = false;
};

}  // namespace dfs
