#include "common/process.h"

#include <kj/debug.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>

namespace dfs {

void prepareProcess() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    // A lower limit only means fewer connections: EMFILE is handled where it is met.
    (void)setrlimit(RLIMIT_NOFILE, &files);
  }
  kj::UnixEventPort::captureSignal(SIGTERM);
  kj::UnixEventPort::captureSignal(SIGINT);
}

kj::Promise<int> endSignal(kj::UnixEventPort& port) {
  return port.onSignal(SIGTERM).exclusiveJoin(port.onSignal(SIGINT)).then([](siginfo_t&& info) {
    return info.si_signo;
  });
}

bool isLoopback(kj::StringPtr address) {
  std::string text = address.cStr();
  return text.starts_with("unix:") || text.starts_with("127.") || text.starts_with("[::1]") ||
         text.starts_with("localhost:");
}

}  // namespace dfs
