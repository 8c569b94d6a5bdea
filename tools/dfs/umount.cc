#include "common/launch.h"
#include "common/mount_note.h"
#include "common/mounts.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <errno.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <memory>

namespace dfs {
namespace {

constexpr uint32_t kEndMs = 60'000;  // for what is not yet synced
constexpr uint32_t kSayMs = 3'000;   // then a person wants to know what this waits for
constexpr uint32_t kLookEveryMs = 20;

void refuse(const std::string& path, int reason) {
  std::string text = path + " cannot be unmounted: ";
  if (reason == EBUSY) {
    failCommand(kExitFailed, text + "programs use it (`fuser -vm " + path +
                                 "` lists them); --lazy detaches it now and ends it when they are "
                                 "done");
  }
  if (reason == EPERM) failCommand(kExitDenied, text + "only root and who has mounted it may");
  if (reason == ENOPKG) failCommand(kExitFailed, text + "there is no fusermount3 (package fuse3)");
  failCommand(exitCodeOf(reason), text + strerror(reason));
}

int awaitEnd(const ProcessId& process) {
  // The mount's process publishes what is left and ends its session: then nothing waits for it at the next start.
  for (uint32_t waited = 0; isAlive(process); waited += kLookEveryMs) {
    if (waited == kSayMs) {
      std::cerr << "dfs: unmounted; its process " << process.pid
                << " still saves what was written, and goes on if you interrupt this" << std::endl;
    }
    if (waited > kEndMs) {
      std::cerr << "dfs: unmounted, but its process " << process.pid
                << " has not ended; its log says what it waits for\n";
      return kExitTimeout;
    }
    usleep(kLookEveryMs * 1000);
  }
  return kExitOk;
}

int run(const std::string& given, bool lazy) {
  // Nothing here asks the mount: this is for when its servers are away, too.
  auto path = given.empty() ? given : mountPath(given);
  auto there = mountedAt(path);
  KJ_IF_MAYBE(mount, there) {
    if (mount->isDfs()) {
      auto note = mountNoteAt(makedev(mount->major, mount->minor));
      ProcessId process;
      KJ_IF_MAYBE(n, note) process = {n->pid, bornAt(n->pid)};
      int reason = detachMount(path, lazy);
      if (reason != 0) refuse(path, reason);
      return lazy ? kExitOk : awaitEnd(process);
    }
  }
  failCommand(kExitNotFound, "no DFS is mounted at " + (path.empty() ? "\"\"" : path));
}

}  // namespace

void addUmount(Tool& tool) {
  auto lazy = std::make_shared<bool>(false);
  auto path = std::make_shared<std::string>();
  auto verb = tool.app.add_subcommand("umount", "Unmount, and wait until all is saved");
  verb->add_option("mountpoint", *path, "Where it is mounted")->required();
  verb->add_flag("--lazy", *lazy, "Detach it now although programs use it");
  verb->footer(
      "The last mount of an embedded cluster stops it; the data stays.\nExample:\n  dfs umount "
      "/mnt/dfs");
  verb->callback(
      [&tool, path, lazy]() { tool.action = [path, lazy]() { return run(*path, *lazy); }; });
}

}  // namespace dfs
