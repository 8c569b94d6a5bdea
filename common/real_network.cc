#include "common/real_env.h"

#include <errno.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace dfs {
namespace {

constexpr int kUserTimeoutMs = 10'000;  // unacknowledged for so long: the peer is gone
constexpr int kKeepIdleSec = 5;
constexpr int kKeepEverySec = 2;
constexpr int kKeepTries = 3;

void tune(kj::AsyncIoStream& stream) {
  // All are improvements: where one is refused (Unix sockets) the connection works without.
  auto set = [&](int level, int option, int value) {
    kj::runCatchingExceptions([&]() { stream.setsockopt(level, option, &value, sizeof value); });
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdleSec);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepEverySec);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepTries);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
}

bool isUnix(kj::StringPtr address) {
  return address.startsWith("unix:");
}

sockaddr_un unixAddress(kj::StringPtr path) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  KJ_REQUIRE(path.size() < sizeof addr.sun_path,
             "the path of a Unix socket is too long for its 107 bytes; use a shorter directory",
             path);
  memcpy(addr.sun_path, path.begin(), path.size());
  return addr;
}

void removeStale(kj::StringPtr path) {
  // A socket's file outlives its process. If nobody answers there it is of no use to anybody.
  auto addr = unixAddress(path);
  int fd;
  KJ_SYSCALL(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  kj::AutoCloseFd own(fd);
  int rc = connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr);
  // EAGAIN: it listens and has more callers than it can take at once.
  if (rc == 0 || errno == EAGAIN) KJ_FAIL_REQUIRE("another process listens there already", path);
  if (errno == ECONNREFUSED) unlink(path.cStr());
}

class RealListener final : public Listener {
 public:
  RealListener(kj::Own<kj::ConnectionReceiver> receiver, kj::String address)
      : receiver_(kj::mv(receiver)), address_(kj::mv(address)) {}
  ~RealListener() noexcept(false) {
    if (isUnix(address_)) unlink(address_.cStr() + 5);
  }

  kj::Promise<kj::Own<kj::AsyncIoStream>> accept() override {
    return receiver_->accept().then([unix = isUnix(address_)](kj::Own<kj::AsyncIoStream> stream) {
      if (!unix) tune(*stream);
      return stream;
    });
  }
  kj::StringPtr address() override { return address_; }

 private:
  kj::Own<kj::ConnectionReceiver> receiver_;
  kj::String address_;
};

class RealNetwork final : public Network {
 public:
  explicit RealNetwork(kj::AsyncIoContext& io) : io_(io), network_(io.provider->getNetwork()) {}

  kj::Promise<kj::Own<kj::AsyncIoStream>> connect(kj::StringPtr address) override {
    bool unix = isUnix(address);
    if (unix) unixAddress(address.slice(5));
    return network_.parseAddress(address)
        .then([](kj::Own<kj::NetworkAddress> a) {
          auto connected = a->connect();
          return connected.attach(kj::mv(a));
        })
        .then([unix](kj::Own<kj::AsyncIoStream> stream) {
          if (!unix) tune(*stream);
          return stream;
        })
        .catch_([text = kj::str(address)](kj::Exception&& e) -> kj::Own<kj::AsyncIoStream> {
          // Whatever the reason (refused, no such file, no such host), to try again may help.
          kj::throwFatalException(
              KJ_EXCEPTION(DISCONNECTED, "nobody answers", text, e.getDescription()));
        });
  }

  kj::Promise<kj::Own<Listener>> listen(kj::StringPtr address) override {
    if (isUnix(address)) {
      removeStale(address.slice(5));
      auto addr = unixAddress(address.slice(5));
      int fd;
      KJ_SYSCALL(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      kj::AutoCloseFd own(fd);
      KJ_SYSCALL(bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr), "cannot listen",
                 address);
      KJ_SYSCALL(chmod(addr.sun_path, 0600));
      KJ_SYSCALL(::listen(fd, SOMAXCONN));
      auto receiver = io_.lowLevelProvider->wrapListenSocketFd(
          kj::mv(own), kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                           kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK);
      return kj::Own<Listener>(kj::heap<RealListener>(kj::mv(receiver), kj::str(address)));
    }
    return network_.parseAddress(address).then(
        [text = kj::str(address)](kj::Own<kj::NetworkAddress> a) -> kj::Own<Listener> {
          auto receiver = a->listen();
          auto colon = KJ_REQUIRE_NONNULL(text.findLast(':'), "an address needs a port", text);
          auto chosen = kj::str(text.slice(0, colon), ":", receiver->getPort());
          return kj::heap<RealListener>(kj::mv(receiver), kj::mv(chosen));
        });
  }

 private:
  kj::AsyncIoContext& io_;
  kj::Network& network_;
};

}  // namespace

kj::Own<Network> newRealNetwork(kj::AsyncIoContext& io) {
  return kj::heap<RealNetwork>(io);
}

}  // namespace dfs
