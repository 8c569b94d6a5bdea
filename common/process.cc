#include "common/process.h"

#include <kj/debug.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>

namespace dfs {

void prepareCommand() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    // A lower limit only means fewer connections: EMFILE is handled where it is met.
    (void)setrlimit(RLIMIT_NOFILE, &files);
  }
}

void prepareProcess() {
  prepareCommand();
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

kj::Maybe<kj::String> wrongAddress(kj::StringPtr address) {
  std::string text = address.cStr();
  if (text.starts_with("unix:") && text.size() > 5) return nullptr;
  auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return kj::str("an address is HOST:PORT or unix:PATH, not \"", address, "\"");
  }
  if (text[0] == '[' && text[colon - 1] != ']') {
    return kj::str("an address of IPv6 is [ADDRESS]:PORT, not \"", address, "\"");
  }
  auto port = text.substr(colon + 1);
  bool number = !port.empty() && port.size() <= 5 &&
                port.find_first_not_of("0123456789") == std::string::npos;
  if (!number || std::stoul(port) < 1 || std::stoul(port) > 65535) {
    return kj::str("the port in \"", address, "\" is no number from 1 to 65535");
  }
  return nullptr;
}

}  // namespace dfs
