#include "fuse-client/mount.h"

#include "common/limits.h"
#include "common/mount_note.h"
#include "common/mounts.h"
#include "common/retry.h"
#include "common/waiting.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace dfs {
namespace {

constexpr uint32_t kDrainMs = 5;
constexpr uint64_t kEndMs = 2'000;  // for the end of a session that came to nothing

void raiseReadAhead(const MountLine& m) {
  // Only root may; without it reads come in pieces of 128 KiB and all works.
  std::ofstream file("/sys/class/bdi/" + std::to_string(m.major) + ":" + std::to_string(m.minor) +
                     "/read_ahead_kb");
  file << (kReadAheadBytes >> 10);
}

MountFlags flagsOf(const MountOptions& options) {
  MountFlags flags;
  std::string name;  // commas separate options
  for (char c : options.source)
    name += c == ',' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  flags.options = {"fsname=" + name, "subtype=dfs", "default_permissions"};
  // As mount(8) does it for any file system: libfuse would take both away.
  if (geteuid() == 0) flags.options.insert(flags.options.end(), {"suid", "dev"});
  if (options.allowOther) flags.options.push_back("allow_other");
  if (options.readOnly) flags.options.push_back("ro");
  if (options.accessTimes == AccessTimes::NEVER) flags.options.push_back("noatime");
  for (auto& o : options.fuseOptions) flags.options.push_back(o);
  return flags;
}

VfsOptions vfsOptionsOf(const MountOptions& options) {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return {
      options.nameservers, host,           options.mountpoint,  options.softTimeoutMs,
      options.readOnly,    options.subdir, options.accessTimes, options.accessTimesOfDirectories};
}

}  // namespace

void cleanDeadMount(const std::string& mountpoint) {
  struct stat st {};
  if (stat(mountpoint.c_str(), &st) != 0) {
    int reason = errno;
    if (reason == ENOTCONN || reason == ECONNABORTED || reason == EIO) {
      // Lazily: that works whoever still stands in it.
      int failure = detachMount(mountpoint, true);
      KJ_REQUIRE(failure == 0, "a dead mount is there and cannot be detached", mountpoint.c_str(),
                 strerror(failure));
      KJ_LOG(WARNING, "detached a dead mount that a crash had left", mountpoint.c_str());
      KJ_REQUIRE(stat(mountpoint.c_str(), &st) == 0, "the mount point cannot be used",
                 mountpoint.c_str(), strerror(errno));
    } else {
      KJ_FAIL_REQUIRE("the mount point cannot be used", mountpoint.c_str(), strerror(reason));
    }
  }
  KJ_REQUIRE(S_ISDIR(st.st_mode), "the mount point is not a directory", mountpoint.c_str());
  auto found = mountedAt(mountpoint);
  KJ_IF_MAYBE(m, found) {
    KJ_REQUIRE(m->type != "fuse.dfs", "DFS is mounted there already; `dfs umount` ends that",
               mountpoint.c_str());
  }
}

Mount::Mount(kj::AsyncIoContext& io, Env& env, const MountOptions& options)
    : options_(options),
      env_(env),
      vfs_(newVfs(env, vfsOptionsOf(options))),
      ops_(*vfs_, env.clock.timer(), callers_),
      channel_(io.unixEventPort, FuseOps::table(), &ops_, flagsOf(options)),
      invalidator_(kj::heap<Invalidator>(channel_.session())) {
  vfs_->setKernel(*invalidator_);
  vfs_->setCallers(callers_);
  ops_.setKernel(*invalidator_);
}

Mount::~Mount() noexcept(false) {
  if (noted_) removeMountNote(device_, getpid());
  // What still waits is answered, and so is all that comes until the invalidator has ended: the kernel
  // may hold it up for one of these. Then the Vfs goes, whose drops the invalidator was to make.
  ending_ = nullptr;
  ops_.stop();
  invalidator_->end();
  while (!invalidator_->ended()) channel_.drain(kDrainMs);
  vfs_ = nullptr;
}

Task<void> Mount::start() {
  auto attached = withTimeout(env_, options_.attachMsMax, vfs_->attach());
  auto failure = co_await attempt(kj::mv(attached));
  if (failure == nullptr) {
    invalidator_->setRoot(vfs_->root());
    failure = kj::runCatchingExceptions([this]() { channel_.mount(options_.mountpoint.c_str()); });
  }
  KJ_IF_MAYBE(e, failure) {
    // Or this session would count as a client that has fallen silent. If that fails it does.
    auto ended = withTimeout(env_, kEndMs, vfs_->detach());
    (void)co_await attempt(kj::mv(ended));
    kj::throwFatalException(kj::mv(*e));
  }
  auto found = channel_.line();
  KJ_IF_MAYBE(m, found) {
    raiseReadAhead(*m);
    device_ = makedev(m->major, m->minor);
    auto words = options_.words;
    if (options_.readOnly) words.push_back("ro");
    writeMountNote({device_, options_.mountpoint, options_.nameservers, getpid(), options_.subdir,
                    kj::mv(words)});
    noted_ = true;
  }
}

Task<void> Mount::serve() {
  co_await channel_.run();
}

void Mount::unmount() {
  channel_.unmount();
}

Task<void> Mount::finish() {
  ops_.stop();
  invalidator_->end();
  // If it is still in use, those who use it must hear that it is over, while everything is saved.
  ending_ = channel_.run().eagerlyEvaluate(
      [](kj::Exception&& e) { KJ_LOG(ERROR, "the FUSE channel has failed", e); });
  auto saved = vfs_->detach();
  co_await kj::mv(saved);
}

}  // namespace dfs
