#include "fuse-client/fuse/channel.h"

#include "fuse-client/fuse/newer_requests.h"

#define FUSE_USE_VERSION 314
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <kj/debug.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace dfs {
namespace {

constexpr uint32_t kRequestsPerTurn = 16;  // then the loop's other work has its turn

// Set while libfuse answers INIT: what it does not know of and is said in its name. HANDLE_KILLPRIV_V2: whoever writes to a file
// loses set-id bits and capabilities by our work, and the kernel need not ask for security.capability before each write(2), but only
// after it was told attributes.
thread_local uint32_t initFlags = 0;
constexpr uint32_t kInitFlagsWanted = FUSE_HANDLE_KILLPRIV_V2;

ssize_t writeAnswer(int fd, iovec* pieces, int count, void*) {
  bool whole = count == 2 && pieces[1].iov_len >= offsetof(fuse_init_out, max_background);
  if (initFlags != 0 && whole) static_cast<fuse_init_out*>(pieces[1].iov_base)->flags |= initFlags;
  return writev(fd, pieces, count);
}
ssize_t readRequest(int fd, void* into, size_t bytes, void*) {
  return read(fd, into, bytes);
}

uint32_t offeredIn(const fuse_buf& buf) {
  // Of kInitFlagsWanted, if this is INIT.
  fuse_in_header head;
  fuse_init_in init;
  if (buf.size < sizeof head + offsetof(fuse_init_in, flags2)) return 0;
  memcpy(&head, buf.mem, sizeof head);
  if (head.opcode != FUSE_INIT) return 0;
  memcpy(&init, static_cast<char*>(buf.mem) + sizeof head, offsetof(fuse_init_in, flags2));
  return init.flags & kInitFlagsWanted;
}

}  // namespace

struct FuseChannel::Buffer {
  fuse_buf buf{};
  ~Buffer() { free(buf.mem); }
};

FuseChannel::FuseChannel(kj::UnixEventPort& port, const fuse_lowlevel_ops& ops, void* userdata,
                         const MountFlags& flags)
    : port_(port), buffer_(kj::heap<Buffer>()) {
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  KJ_DEFER(fuse_opt_free_args(&args));
  KJ_REQUIRE(fuse_opt_add_arg(&args, "dfs-mount") == 0);
  for (auto& option : flags.options) {
    KJ_REQUIRE(fuse_opt_add_arg(&args, ("-o" + option).c_str()) == 0);
  }
  session_ = fuse_session_new(&args, &ops, sizeof ops, userdata);
  KJ_REQUIRE(session_ != nullptr, "a mount option is not known to FUSE (its message is above)");
}

FuseChannel::~FuseChannel() noexcept(false) {
  // The observer must go before libfuse closes the descriptor.
  observer_ = nullptr;
  if (!mountpoint_.empty()) {
    // Closes the descriptor and detaches; but not if the connection was cut before (umount -f, an abort
    // through /sys), and then a dead mount would stay.
    fuse_session_unmount(session_);
    if (isOurs()) detachMount(mountpoint_, true);
  }
  fuse_session_destroy(session_);
  // Without root it may still run fusermount3; init reaps it then.
  if (unmounter_ > 0) waitpid(unmounter_, nullptr, WNOHANG);
}

bool FuseChannel::isOurs() const {
  KJ_IF_MAYBE(mine, line_) {
    auto now = mountedAt(mountpoint_);
    KJ_IF_MAYBE(there, now) {
      return there->major == mine->major && there->minor == mine->minor;
    }
  }
  return false;
}

void FuseChannel::mount(kj::StringPtr mountpoint) {
  KJ_REQUIRE(fuse_session_mount(session_, mountpoint.cStr()) == 0,
             "mounting failed (FUSE's own message is above); is /dev/fuse there, and are you "
             "allowed to mount?",
             mountpoint);
  mountpoint_ = mountpoint.cStr();
  line_ = mountedAt(mountpoint_);
  serveOn(fuse_session_fd(session_));
  watch();
}

void FuseChannel::attach(kj::AutoCloseFd fd) {
  serveOn(fd.release());
  watch();
}

void FuseChannel::serveOn(int fd) {
  static const fuse_custom_io io = {
    writeAnswer,
    readRequest,
    nullptr,
    nullptr
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    ,
    nullptr
#endif
  };
  int rc = fuse_session_custom_io(session_, &io, fd);
  KJ_REQUIRE(rc == 0, "libfuse does not take the descriptor", rc);
}

void FuseChannel::watch() {
  int fd = fuse_session_fd(session_);
  int flags;
  KJ_SYSCALL(flags = fcntl(fd, F_GETFL));
  KJ_SYSCALL(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
  observer_ = kj::heap<kj::UnixEventPort::FdObserver>(port_, fd,
                                                      kj::UnixEventPort::FdObserver::OBSERVE_READ);
}

bool FuseChannel::receive() {
  auto& buf = buffer_->buf;
  int n = fuse_session_receive_buf(session_, &buf);
  if (n == -EAGAIN || n == -EINTR) return false;
  if (n <= 0) {
    // 0 and ENODEV: unmounted. Anything else is an end too: nothing can be served over such a channel.
    if (n != 0 && n != -ENODEV) KJ_LOG(ERROR, "the FUSE channel has failed", n);
    ended_ = true;
    // From now on its number and its place may be another mount's.
    if (!isOurs()) line_ = nullptr;
    return false;
  }
  initFlags = offeredIn(buf);
  if ((buf.flags & FUSE_BUF_IS_FD) == 0) {
    translateNewer(kj::arrayPtr(static_cast<kj::byte*>(buf.mem), buf.size));
  }
  fuse_session_process_buf(session_, &buf);
  initFlags = 0;
  if (fuse_session_exited(session_)) ended_ = true;
  return true;
}

kj::Promise<void> FuseChannel::run() {
  for (uint32_t i = 0; i < kRequestsPerTurn; ++i) {
    bool more = receive();
    if (ended_) return kj::READY_NOW;
    if (!more) return observer_->whenBecomesReadable().then([this]() { return run(); });
  }
  return kj::evalLater([this]() { return run(); });
}

void FuseChannel::unmount() {
  if (ended_ || unmounter_ > 0 || !isOurs()) return;
  auto path = mountpoint_.c_str();
  bool root = geteuid() == 0;
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid != 0) {
    unmounter_ = pid;
    return;
  }
  // Only what is safe in the child of a process with threads. It must not hold the FUSE descriptor: if we
  // die, the kernel has to notice.
  close_range(3, ~0u, 0);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)!syncfs(fd);  // what cannot be saved has been told by the WRITE that failed
    close(fd);
  }
  if (root) _exit(umount2(path, MNT_DETACH) == 0 ? 0 : 1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", path, nullptr);
  _exit(127);
}

void FuseChannel::drain(uint32_t waitMs) {
  pollfd p{fuse_session_fd(session_), POLLIN, 0};
  if (ended_ || poll(&p, 1, static_cast<int>(waitMs)) <= 0) {
    if (ended_) usleep(waitMs * 1000);
    return;
  }
  while (!ended_ && receive()) {
  }
}

}  // namespace dfs
