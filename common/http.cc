#include "common/http.h"

#include <arpa/inet.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <microhttpd.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace dfs {
namespace {

constexpr unsigned kConnectionsMax = 64;
constexpr unsigned kIdleSeconds = 30;

kj::AutoCloseFd listenUnix(const std::string& path) {
  sockaddr_un addr{};
  KJ_REQUIRE(path.size() < sizeof addr.sun_path,
             "the path of a Unix socket is too long; use a shorter directory", path);
  addr.sun_family = AF_UNIX;
  memcpy(addr.sun_path, path.c_str(), path.size() + 1);
  int fd;
  KJ_SYSCALL(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  kj::AutoCloseFd own(fd);
  unlink(
      path.c_str());  // what a crash left; a live owner holds its data directory's lock, not this
  KJ_SYSCALL(bind(own, reinterpret_cast<sockaddr*>(&addr), sizeof addr), "cannot listen for HTTP",
             path);
  KJ_SYSCALL(listen(own, 64));
  return own;
}

kj::AutoCloseFd listenTcp(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int rc = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  KJ_REQUIRE(rc == 0, "an HTTP address is a numeric host and a port, like 127.0.0.1:7480", host,
             port);
  KJ_DEFER(freeaddrinfo(found));
  int fd;
  KJ_SYSCALL(fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  kj::AutoCloseFd own(fd);
  int one = 1;
  KJ_SYSCALL(setsockopt(own, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  KJ_SYSCALL(bind(own, found->ai_addr, found->ai_addrlen), "cannot listen for HTTP", host, port);
  KJ_SYSCALL(listen(own, 64));
  return own;
}

kj::String portOf(int fd, const std::string& host) {
  sockaddr_storage addr{};
  socklen_t size = sizeof addr;
  KJ_SYSCALL(getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &size));
  uint16_t port = addr.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&addr)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&addr)->sin_port;
  return kj::str(host, ":", ntohs(port));
}

class MicroHttpd final : public HttpServer {
 public:
  MicroHttpd(kj::UnixEventPort& port, kj::Timer& timer, kj::StringPtr address, HttpPages pages)
      : timer_(timer), pages_(kj::mv(pages)) {
    std::string text = address.cStr();
    kj::AutoCloseFd fd;
    if (text.starts_with("unix:")) {
      fd = listenUnix(text.substr(5));
      address_ = kj::str(address);
    } else {
      auto colon = text.rfind(':');
      KJ_REQUIRE(colon != std::string::npos, "an HTTP address needs a port, like 127.0.0.1:7480",
                 text);
      auto host = text.substr(0, colon);
      auto plain =
          host.starts_with("[") && host.ends_with("]") ? host.substr(1, host.size() - 2) : host;
      fd = listenTcp(plain, text.substr(colon + 1));
      address_ = portOf(fd, host);
    }
    daemon_ = MHD_start_daemon(MHD_USE_EPOLL, 0, nullptr, nullptr, &answer, this,
                               MHD_OPTION_LISTEN_SOCKET, fd.release(), MHD_OPTION_CONNECTION_LIMIT,
                               kConnectionsMax, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,
                               MHD_OPTION_END);
    KJ_REQUIRE(daemon_ != nullptr, "the HTTP server does not start", address);
    auto info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
    observer_ = kj::heap<kj::UnixEventPort::FdObserver>(
        port, info->epoll_fd, kj::UnixEventPort::FdObserver::OBSERVE_READ);
    running_ = run().eagerlyEvaluate([](kj::Exception&& e) {
      KJ_LOG(ERROR, "the HTTP server has stopped", e);
    });
  }
  ~MicroHttpd() noexcept(false) {
    // The observer must go before the daemon closes its descriptor.
    running_ = nullptr;
    observer_ = nullptr;
    MHD_stop_daemon(daemon_);
    std::string text = address_.cStr();
    if (text.starts_with("unix:")) unlink(text.c_str() + 5);
  }

  kj::StringPtr address() override { return address_; }

 private:
  kj::Promise<void> run() {
    MHD_run(daemon_);
    MHD_UNSIGNED_LONG_LONG ms = 0;
    bool hasTimeout = MHD_get_timeout(daemon_, &ms) == MHD_YES;
    kj::Promise<void> next = nullptr;
    if (hasTimeout && ms == 0) {
      next = kj::evalLater([]() {});
    } else if (hasTimeout) {
      next =
          observer_->whenBecomesReadable().exclusiveJoin(timer_.afterDelay(ms * kj::MILLISECONDS));
    } else {
      next = observer_->whenBecomesReadable();
    }
    return next.then([this]() { return run(); });
  }

  static MHD_Result answer(void* self, MHD_Connection* connection, const char* url,
                           const char* method, const char*, const char*, size_t* bodyBytes,
                           void** state) {
    if (*bodyBytes != 0) return MHD_NO;
    static char seen;  // a mark, not state: only its address means something
    if (*state == nullptr) {
      *state = &seen;
      return MHD_YES;
    }
    auto reply = static_cast<MicroHttpd*>(self)->page(url, method);
    auto response = MHD_create_response_from_buffer(reply.body.size(), reply.body.data(),
                                                    MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "Content-Type", reply.type.c_str());
    MHD_add_response_header(response, "Cache-Control", "no-store");
    auto result = MHD_queue_response(connection, reply.status, response);
    MHD_destroy_response(response);
    return result;
  }

  HttpAnswer page(const std::string& url, const std::string& method) {
    if (method != "GET" && method != "HEAD") return {405, "text/plain", "only GET and HEAD\n"};
    auto found = pages_.find(url);
    if (found == pages_.end()) {
      std::string all;
      for (auto& [path, handler] : pages_) all += path + "\n";
      return {404, "text/plain", "there is:\n" + all};
    }
    HttpAnswer reply;
    KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { reply = found->second(); })) {
      KJ_LOG(ERROR, "a status page failed", url, *e);
      return {500, "text/plain", "an error; the log says more\n"};
    }
    return reply;
  }

  kj::Timer& timer_;
  HttpPages pages_;
  kj::String address_;
  MHD_Daemon* daemon_ = nullptr;
  kj::Own<kj::UnixEventPort::FdObserver> observer_;
  kj::Promise<void> running_ = nullptr;
};

}  // namespace

HttpPages pagesOf(StatusPages pages) {
  HttpPages all;
  all.emplace("/status", [f = kj::mv(pages.statusJson)]() mutable -> HttpAnswer {
    return {200, "application/json", f() + "\n"};
  });
  all.emplace("/healthz", []() -> HttpAnswer { return {200, "text/plain", "ok\n"}; });
  all.emplace("/readyz", [f = kj::mv(pages.ready)]() mutable -> HttpAnswer {
    if (f()) return {200, "text/plain", "ready\n"};
    return {503, "text/plain", "not ready; /status says why\n"};
  });
  all.emplace("/metrics", [f = kj::mv(pages.metrics)]() mutable -> HttpAnswer {
    return {200, "text/plain; version=0.0.4", f()};
  });
  return all;
}

kj::Own<HttpServer> serveHttp(kj::UnixEventPort& port, kj::Timer& timer, kj::StringPtr address,
                              HttpPages pages) {
  return kj::heap<MicroHttpd>(port, timer, address, kj::mv(pages));
}

}  // namespace dfs
