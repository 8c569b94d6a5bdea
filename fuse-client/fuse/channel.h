#pragma once
// The kernel's end: a libfuse session on the KJ loop.
//
// Thread: the loop's; callbacks run on it. Owner: Mount (or a test with one end of a socket pair for /dev/fuse).
// One hot thread serves /dev/fuse: a pool makes small requests slower.

#include "common/mounts.h"
#include "common/outcome.h"

#include <kj/async-unix.h>
#include <kj/io.h>
#include <kj/memory.h>
#include <kj/string.h>

#include <string>
#include <vector>

struct fuse_session;
struct fuse_lowlevel_ops;

namespace dfs {

struct MountFlags {
  std::vector<std::string> options;  // as after -o, for libfuse and the kernel
};

class FuseChannel {
 public:
  FuseChannel(kj::UnixEventPort& port, const fuse_lowlevel_ops& ops, void* userdata,
              const MountFlags& flags);
  ~FuseChannel() noexcept(false);
  // Unmounts, if it is mounted still: whoever uses it gets errors.
  KJ_DISALLOW_COPY(FuseChannel);

  void mount(kj::StringPtr mountpoint);
  // Throws with the reason. After it run() must be called for anything to be answered.
  void attach(kj::AutoCloseFd fd);
  // Instead of mount(): one end of a SOCK_SEQPACKET pair whose other end speaks FUSE.
  kj::Promise<void> run();
  // Serves until the file system is unmounted (or the other end closes).
  void unmount();
  // Saves what the kernel holds in pages and detaches from the tree, in a process of its own: both need
  // answers from run(), which ends when the last user is gone. Afterwards new calls see the directory below.
  void drain(uint32_t waitMs);
  // Serves what is there, without the loop; waits for it so long. For the end, when every request is answered at once.
  kj::Maybe<MountLine> line() const { return line_; }
  // Null if it is not mounted, or mounted where this process cannot see it.
  fuse_session* session() { return session_; }

 private:
  bool isOurs() const;
  // What is mounted there now is this session.
  bool receive();
  // One request; false when there is none now.
  void serveOn(int fd);
  void watch();

  kj::UnixEventPort& port_;
  fuse_session* session_;
  std::string mountpoint_;  // empty: never mounted
  kj::Maybe<MountLine> line_;
  pid_t unmounter_ = 0;
  bool ended_ = false;
  kj::Own<kj::UnixEventPort::FdObserver> observer_;
  struct Buffer;
  kj::Own<Buffer> buffer_;
};

}  // namespace dfs
