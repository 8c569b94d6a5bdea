// dfs sync: everything that was written through a mount is on the disks of its copies (Y5).

#include "common/mounts.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <memory>

namespace dfs {
namespace {

constexpr int kSayMs = 5'000;  // then a person wants to know what this waits for
constexpr int kWholeMs = static_cast<int>(kAnswerMs);

int syncMount(const std::string& point) {
  // The kernel's dirty pages of mappings, then what the mount itself has not synced.
  int fd = open(point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  if (syncfs(fd) != 0) return errno;
  return fsync(fd) == 0 ? 0 : errno;
}

int run(const std::string& path) {
  auto mount = dfsMountHolding(placeOf(path));
  auto point = KJ_ASSERT_NONNULL(mount).point;
  // By a process of its own: while servers are away a call waits.
  int ends[2];
  KJ_SYSCALL(pipe2(ends, O_CLOEXEC));
  kj::AutoCloseFd readEnd(ends[0]), writeEnd(ends[1]);
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid == 0) {
    int reason = syncMount(point);
    _exit(write(ends[1], &reason, sizeof reason) == sizeof reason ? 0 : 1);
  }
  writeEnd = nullptr;
  pollfd ready{readEnd, POLLIN, 0};
  if (poll(&ready, 1, kSayMs) == 0) {
    std::cerr << "dfs: waiting for " << point << "; `dfs status` says whether servers are away"
              << std::endl;
    poll(&ready, 1, kWholeMs - kSayMs);
  }
  int reason = 0;
  bool told = ready.revents != 0 && read(readEnd, &reason, sizeof reason) == sizeof reason;
  if (!told) {
    // Not waited for: until the mount answers it may not even die.
    kill(pid, SIGKILL);
    failCommand(kExitTimeout, "not everything written at " + point + " is saved yet; `dfs status " +
                                  point + "` says which servers are away");
  }
  waitpid(pid, nullptr, 0);
  if (reason != 0) failCommand(exitCodeOf(reason), point + ": " + strerror(reason));
  return kExitOk;
}

}  // namespace

void addSync(Tool& tool) {
  auto path = std::make_shared<std::string>();
  auto verb = tool.app.add_subcommand("sync", "Save everything that was written through a mount");
  verb->add_option("path", *path, "A path inside the mount")->required();
  verb->footer(
      "sync(1) does not reach a FUSE file system. What other mounts have not saved yet stays so.\n"
      "Example:\n  dfs sync /mnt/dfs");
  verb->callback([&tool, path]() { tool.action = [path]() { return run(*path); }; });
}

}  // namespace dfs
