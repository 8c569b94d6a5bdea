#include "common/launch.h"
#include "common/mount_note.h"
#include "common/mounts.h"
#include "tools/dev/dev_cluster.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>

namespace dfs {
namespace {

constexpr uint32_t kEndMs = 60'000;  // for what is not yet synced

int run(const std::string& given, bool lazy) {
  auto path = mountPath(given);
  if (!isMountPoint(path)) {
    std::cerr << "dfs: nothing is mounted at " << path << "\n";
    return kExitNotFound;
  }
  auto note = mountNoteOf(path);
  int failure = detachMount(path, lazy);
  if (failure != 0) {
    std::cerr << "dfs: " << path << " cannot be unmounted: " << strerror(failure)
              << (failure == EBUSY ? ". Programs use it (`fuser -vm " + path +
                                         "` lists them); --lazy detaches it now and ends it "
                                         "when they are done"
                                   : "")
              << "\n";
    return failure == EPERM ? kExitDenied : kExitFailed;
  }
  // The mount's process publishes what is left and ends its session: then nothing waits for it at the next start.
  KJ_IF_MAYBE(n, note) {
    ProcessId process{n->pid, bornAt(n->pid)};
    for (uint32_t waited = 0; !lazy && isAlive(process); waited += 20) {
      if (waited > kEndMs) {
        std::cerr << "dfs: unmounted, but its process " << n->pid
                  << " has not ended; its log says what it waits for\n";
        return kExitTimeout;
      }
      usleep(20'000);
    }
  }
  return kExitOk;
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
