#include "common/http.h"

#include "common/metrics.h"
#include "common/process.h"

#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <kj/debug.h>

namespace dfs {
namespace {

std::string get(kj::AsyncIoContext& io, kj::StringPtr address, kj::StringPtr request) {
  // One request by hand; the answer until the server closes.
  auto stream = io.provider->getNetwork()
                    .parseAddress(address)
                    .then([](kj::Own<kj::NetworkAddress> a) {
                      auto connected = a->connect();
                      return connected.attach(kj::mv(a));
                    })
                    .wait(io.waitScope);
  stream->write(request.begin(), request.size()).wait(io.waitScope);
  return stream->readAllText().wait(io.waitScope).cStr();
}

TEST(Http, TheFourEndpointsAnswer) {
  auto io = kj::setupAsyncIo();
  bool ready = false;
  auto server = serveHttp(
      io.unixEventPort, io.provider->getTimer(), "127.0.0.1:0",
      pagesOf({[]() -> std::string { return "{\"schema\":1}"; }, [&ready]() { return ready; },
               []() -> std::string { return "dfs_x 1\n"; }}));
  auto ask = [&](const char* path) {
    return get(io, server->address(), kj::str("GET ", path, " HTTP/1.0\r\n\r\n"));
  };
  EXPECT_NE(ask("/status").find("{\"schema\":1}"), std::string::npos);
  EXPECT_NE(ask("/healthz").find("200"), std::string::npos);
  EXPECT_NE(ask("/readyz").find("503"), std::string::npos);
  ready = true;
  EXPECT_NE(ask("/readyz").find("200"), std::string::npos);
  EXPECT_NE(ask("/metrics").find("dfs_x 1"), std::string::npos);
  EXPECT_NE(ask("/nothing").find("404"), std::string::npos);
  EXPECT_NE(get(io, server->address(), "DELETE /status HTTP/1.0\r\n\r\n").find("405"),
            std::string::npos);
}

TEST(Http, AnAddressWithoutAPortIsRefusedWithASentence) {
  auto io = kj::setupAsyncIo();
  auto failed = kj::runCatchingExceptions(
      [&]() { serveHttp(io.unixEventPort, io.provider->getTimer(), "localhost", HttpPages()); });
  EXPECT_NE(failed, nullptr);
}

TEST(Metrics, TextIsWhatPrometheusReads) {
  MetricsWriter writer;
  writer.counter("dfs_x_total", "What x is", 3, MetricsWriter::label("who", "a\"b"));
  writer.counter("dfs_x_total", "What x is", 4, MetricsWriter::label("who", "c"));
  Histogram h;
  h.record(10);
  h.record(100);
  writer.histogram("dfs_y_seconds", "y", h);
  auto text = writer.finish();
  EXPECT_NE(
      text.find(
          "# TYPE dfs_x_total counter\ndfs_x_total{who=\"a\\\"b\"} 3\ndfs_x_total{who=\"c\"} 4\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("dfs_y_seconds_bucket{le=\"+Inf\"} 2"), std::string::npos) << text;
  EXPECT_NE(text.find("dfs_y_seconds_count 2"), std::string::npos);
}

TEST(Process, LoopbackIsRecognised) {
  EXPECT_TRUE(isLoopback("127.0.0.1:7400"));
  EXPECT_TRUE(isLoopback("unix:/run/x"));
  EXPECT_FALSE(isLoopback("10.0.0.1:7400"));
  EXPECT_FALSE(isLoopback("0.0.0.0:7400"));
}

}  // namespace
}  // namespace dfs
