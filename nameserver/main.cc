// dfs-nameserver: settings, signals, status pages; everything else is NameServer.

#include "common/config.h"
#include "common/http.h"
#include "common/log.h"
#include "common/process.h"
#include "common/real_env.h"
#include "common/sentence.h"
#include "nameserver/server.h"

#include <cstdio>

namespace dfs {
namespace {

struct Flags {
  NameServerOptions server;
  LogOptions log;
  std::string data;
  std::string http = "127.0.0.1:7480";
  std::string replicas = "auto";
  uint64_t nodesExpected = 1;
  uint64_t rootUid = 0;
  uint64_t rootGid = 0;
};

kj::Maybe<int> parse(int argc, char** argv, Flags& f) {
  f.server.listen.clear();
  Settings s("dfs-nameserver", "Keeps the names of a DFS cluster, its sessions and its view.",
             "/etc/dfs/name.toml");
  s.text(f.data, "data", "DIR", "Where it keeps everything");
  s.flag(f.server.create, "create", "Make a new cluster in DIR, which holds none");
  s.text(f.replicas, "replicas", "N|auto", "Copies of everything in a new cluster");
  s.number(f.nodesExpected, "nodes-expected", "N", "Chains are made when so many stores are in");
  s.list(f.server.listen, "listen", "ADDR", "HOST:PORT or unix:PATH (127.0.0.1:7400)");
  s.text(f.http, "http", "ADDR", "Where the status pages are");
  s.text(f.server.id, "id", "NAME", "Its name in logs and in the status");
  s.number(f.rootUid, "root-uid", "UID", "Owner of a new cluster's root");
  s.number(f.rootGid, "root-gid", "GID", "Group of a new cluster's root");
  s.text(f.log.level, "log-level", "LEVEL", "debug, info, warning or error");
  s.text(f.log.file, "log-file", "FILE", "Instead of stderr");
  KJ_IF_MAYBE(code, s.parse(argc, argv)) {
    return *code;
  }
  auto usage = [](const char* sentence) {
    fprintf(stderr, "dfs-nameserver: %s\n", sentence);
    return kExitUsage;
  };
  if (f.data.empty()) return usage("--data DIR is missing");
  if (f.server.listen.empty()) f.server.listen.push_back("127.0.0.1:7400");
  if (f.replicas != "auto") {
    char* end = nullptr;
    auto n = strtoul(f.replicas.c_str(), &end, 10);
    if (*end != 0 || f.replicas.empty() || n > kReplicasMax) {
      return usage("--replicas takes a number up to 7, or auto");
    }
    f.server.replicas = static_cast<uint8_t>(n);
  }
  f.server.nodesExpected = static_cast<uint32_t>(f.nodesExpected);
  f.server.rootUid = static_cast<uint32_t>(f.rootUid);
  f.server.rootGid = static_cast<uint32_t>(f.rootGid);
  f.log.who = f.server.id;
  return nullptr;
}

int run(Flags& f) {
  auto io = kj::setupAsyncIo();
  RealEnvOptions envOptions;
  envOptions.directory = f.data;
  RealEnv real(io, envOptions);
  for (auto& address : f.server.listen) {
    if (!isLoopback(address.c_str())) {
      KJ_LOG(WARNING,
             "this address is not loopback, and there is no authentication yet: whoever "
             "reaches it can do everything",
             address.c_str());
    }
  }
  kj::Own<NameServer> server;
  StatusPages pages{[&server]() { return server->statusJson(); },
                    [&server]() { return server->ready(); },
                    [&server]() { return server->metrics(); }};
  f.server.http = f.http;
  server = kj::heap<NameServer>(real.env, f.server);
  auto http =
      serveHttp(io.unixEventPort, real.env.clock.timer(), f.http.c_str(), pagesOf(kj::mv(pages)));
  auto ended = endSignal(io.unixEventPort);
  auto started = server->start().then([]() { return 0; });
  auto signal =
      started.exclusiveJoin(ended.then([](int number) { return number; })).wait(io.waitScope);
  if (signal == 0) {
    auto failed = server->failed().then([]() { return 0; });
    signal = failed.exclusiveJoin(endSignal(io.unixEventPort)).wait(io.waitScope);
    KJ_LOG(INFO, "stopping", signal);
    server->stop().wait(io.waitScope);
  }
  http = nullptr;
  server = nullptr;
  return kExitOk;
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareProcess();
  dfs::Flags flags;
  KJ_IF_MAYBE(code, dfs::parse(argc, argv, flags)) {
    return *code;
  }
  int code = dfs::kExitFailed;
  auto failure = kj::runCatchingExceptions([&]() {
    dfs::Log log(flags.log);
    KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = dfs::run(flags); })) {
      KJ_LOG(ERROR, "the name server ends", dfs::sentenceOf(*e).c_str());
      kj::throwFatalException(kj::mv(*e));
    }
  });
  KJ_IF_MAYBE(e, failure) {
    fprintf(stderr, "dfs-nameserver: %s\n", dfs::sentenceOf(*e).c_str());
    return dfs::kExitFailed;
  }
  return code;
}
