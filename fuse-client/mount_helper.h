#pragma once
// What mount(8) calls: mount.dfs SOURCE TARGET [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS], and the
// change of a mount that is there (`mount -o remount`).
//
// Thread: main's, before the loop.

#include "fuse-client/arguments.h"

#include <string>
#include <vector>

namespace dfs {

bool isHelperName(const std::string& program);
// "mount.dfs", "mount.fuse.dfs", in whichever directory.

struct HelperCall {
  std::vector<std::string> args;  // the same for dfs-mount, without its name
  std::string source;
  bool sloppy = false;
  bool checkOnly = false;
  bool verbose = false;
  std::string wrong;  // a sentence; empty: it can be read
  bool help = false;
};

HelperCall readHelperCall(const std::vector<std::string>& args);
// Of what stands after the name of the program.

void remount(const Arguments& a);
// Read-only or not, and the flags that the kernel keeps for each mount. Throws with a sentence if
// anything else would have to change, or the kernel refuses.

}  // namespace dfs
