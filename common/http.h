#pragma once
// Status pages over HTTP: libmicrohttpd on the KJ loop, by its epoll descriptor. GET and HEAD only;
// a body that a client sends is refused. No authentication: it listens on loopback unless told
// otherwise.
//
// Thread: the loop's: handlers run there. Owner: main(); before the server whose state the handlers
// show.

#include <kj/async-unix.h>
#include <kj/function.h>
#include <kj/memory.h>
#include <kj/string.h>
#include <kj/timer.h>

#include <map>
#include <string>

namespace dfs {

struct HttpAnswer {
  uint32_t status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  virtual ~HttpServer() noexcept(false) {}
  virtual kj::StringPtr address() = 0;  // with the port that was chosen
};

using HttpPages = std::map<std::string, kj::Function<HttpAnswer()>>;

struct StatusPages {
  // The four endpoints that every daemon has.
  kj::Function<std::string()> statusJson;
  kj::Function<bool()> ready;
  kj::Function<std::string()> metrics;
};
HttpPages pagesOf(StatusPages pages);
// /status, /healthz (the process answers), /readyz (503 until it serves), /metrics.

kj::Own<HttpServer> serveHttp(kj::UnixEventPort& port, kj::Timer& timer, kj::StringPtr address,
                              HttpPages pages);
// "HOST:PORT" (numeric host; port 0 picks one) or "unix:/path". Throws with a sentence if it cannot
// listen there.

}  // namespace dfs
