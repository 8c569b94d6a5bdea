// dfs-storaged: keeps blocks and serves them.
//
// Thread: main's, which runs the loop. Flags: --help.

#include "common/config.h"
#include "common/http.h"
#include "common/log.h"
#include "common/process.h"
#include "common/real_env.h"
#include "common/sentence.h"
#include "storaged/disk_share.h"
#include "storaged/server.h"

#include <kj/async-io.h>

#include <unistd.h>

#include <iostream>

namespace {

struct Options {
  std::string data;
  std::vector<std::string> nameserver;
  std::vector<std::string> listen;
  std::string http;
  std::string name = "store1";
  std::string host;
  dfs::LogOptions log;
};

kj::Maybe<int> readSettings(Options& o, int argc, char** argv) {
  dfs::Settings settings("dfs-storaged",
                         "Keeps the blocks of a DFS cluster on this machine's disk.",
                         "/etc/dfs/store.toml");
  settings.text(o.data, "data", "DIR", "where blocks lie");
  settings.list(o.nameserver, "nameserver", "ADDR", "a name server: HOST:PORT or unix:/path");
  settings.list(o.listen, "listen", "ADDR",
                "where clients and other stores reach this one (127.0.0.1:7410)");
  settings.text(o.http, "http", "ADDR", "status pages and metrics; none if empty");
  settings.text(o.name, "name", "NAME", "as people call this store");
  settings.text(o.host, "host", "HOST", "failure domain: no two copies on one (the host's name)");
  settings.text(o.log.level, "log-level", "LEVEL", "debug, info, warning or error");
  settings.text(o.log.file, "log-file", "FILE", "instead of stderr");
  settings.examples("  dfs-storaged --data /srv/dfs/store1 --nameserver 127.0.0.1:7400\n");
  KJ_IF_MAYBE(code, settings.parse(argc, argv)) {
    return *code;
  }
  if (o.data.empty() || o.nameserver.empty()) {
    std::cerr << "dfs-storaged: --data and --nameserver are needed; see --help\n";
    return dfs::kExitUsage;
  }
  if (o.listen.empty()) o.listen.push_back("127.0.0.1:7410");
  if (o.host.empty()) {
    char name[256] = {};
    KJ_SYSCALL(gethostname(name, sizeof(name) - 1));
    o.host = name;
  }
  o.log.who = o.name;
  return nullptr;
}

int serve(Options& o) {
  dfs::Log log(o.log);
  auto io = kj::setupAsyncIo();
  dfs::RealEnvOptions place;
  place.directory = o.data;
  dfs::RealEnv real(io, place);
  for (auto& address : o.listen) {
    if (dfs::isLoopback(address.c_str())) continue;
    KJ_LOG(WARNING,
           "there is no authentication yet: whoever reaches this address can read and "
           "write every block",
           address.c_str());
    break;
  }
  dfs::StorageOptions options{o.name,       o.host, o.listen,
                              o.nameserver, o.http, [&o]() { return dfs::storesOnDisk(o.data); }};
  dfs::StorageServer server(real.env, kj::mv(options));
  kj::Own<dfs::HttpServer> http;
  if (!o.http.empty()) {
    dfs::StatusPages pages{[&server]() { return server.statusJson(); },
                           [&server]() { return server.ready(); },
                           [&server]() { return server.metrics(); }};
    http = dfs::serveHttp(io.unixEventPort, io.provider->getTimer(), o.http.c_str(),
                          dfs::pagesOf(kj::mv(pages)));
  }
  auto ended = dfs::endSignal(io.unixEventPort);
  server.start().wait(io.waitScope);
  // A failed store stays up to say so; only a signal ends the process.
  int failed = dfs::kExitOk;
  auto watch = server.failed()
                   .catch_([&failed](kj::Exception&&) { failed = dfs::kExitFailed; })
                   .eagerlyEvaluate(nullptr);
  auto signal = ended.wait(io.waitScope);
  KJ_LOG(INFO, "stopping", signal);
  if (failed == dfs::kExitOk) server.stop().wait(io.waitScope);
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  dfs::prepareProcess();
  Options options;
  KJ_IF_MAYBE(code, readSettings(options, argc, argv)) {
    return *code;
  }
  int code = dfs::kExitFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = serve(options); })) {
    std::cerr << "dfs-storaged: " << dfs::sentenceOf(*e) << "\n";
    return dfs::kExitFailed;
  }
  return code;
}
