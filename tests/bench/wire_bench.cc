// What our frames cost under RPC: small calls and writes of 1 MiB over a Unix socket pair between two
// threads' loops, with our stream and with Cap'n Proto's own.
//
//   wire_bench [SECONDS]     prints calls a second, and MiB a second, for both.

#include "common/process.h"
#include "common/wire.h"
#include "rpc-schema/admin.capnp.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/debug.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace dfs {
namespace {

constexpr uint32_t kInFlight = 16;

class Service final : public schema::Admin::Server {
 protected:
  kj::Promise<void> resolve(ResolveContext context) override {
    context.getResults().initAttr().setSize(context.getParams().getPath().size());
    return kj::READY_NOW;
  }
};

struct End {
  // One end of a connection, over either kind of stream.
  End(kj::LowLevelAsyncIoProvider& provider, int fd, bool framed, capnp::rpc::twoparty::Side side) {
    auto io = provider.wrapSocketFd(fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
    if (framed) {
      stream = newFramedStream(kj::mv(io));
    } else {
      stream = kj::heap<capnp::AsyncIoMessageStream>(*io).attach(kj::mv(io));
    }
    network = kj::heap<capnp::TwoPartyVatNetwork>(*stream, side);
  }
  kj::Own<capnp::MessageStream> stream;
  kj::Own<capnp::TwoPartyVatNetwork> network;
};

void serve(int fd, bool framed) {
  auto io = kj::setupAsyncIo();
  End end(*io.lowLevelProvider, fd, framed, capnp::rpc::twoparty::Side::SERVER);
  auto rpc = capnp::makeRpcServer(*end.network, kj::heap<Service>());
  end.network->onDisconnect().wait(io.waitScope);
}

struct Load {
  schema::Admin::Client admin;
  size_t bytes;
  std::chrono::steady_clock::time_point end;
  uint64_t calls = 0;

  kj::Promise<void> run() {
    if (std::chrono::steady_clock::now() >= end) return kj::READY_NOW;
    auto request = admin.resolveRequest(capnp::MessageSize{bytes / 8 + 64, 1});
    memset(request.initPath(unsigned(bytes)).begin(), 1, bytes);
    return request.send().then([this](auto&& answer) {
      KJ_ASSERT(answer.getAttr().getSize() == bytes);
      ++calls;
      return run();
    });
  }
};

double callsPerSecond(bool framed, size_t bytes, uint32_t inFlight, double seconds) {
  int ends[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  std::thread server([fd = ends[1], framed]() { serve(fd, framed); });
  double rate = 0;
  {
    auto io = kj::setupAsyncIo();
    End end(*io.lowLevelProvider, ends[0], framed, capnp::rpc::twoparty::Side::CLIENT);
    auto rpc = capnp::makeRpcClient(*end.network);
    capnp::MallocMessageBuilder message(4);
    auto id = message.initRoot<capnp::rpc::twoparty::VatId>();
    id.setSide(capnp::rpc::twoparty::Side::SERVER);
    auto start = std::chrono::steady_clock::now();
    auto length = std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
    Load load{rpc.bootstrap(id).castAs<schema::Admin>(), bytes, start + length};
    kj::Vector<kj::Promise<void>> all;
    for (uint32_t i = 0; i < inFlight; ++i) all.add(load.run());
    kj::joinPromises(all.releaseAsArray()).wait(io.waitScope);
    auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start);
    rate = static_cast<double>(load.calls) / took.count();
  }
  server.join();
  return rate;
}

void compare(const char* what, size_t bytes, uint32_t inFlight, double seconds) {
  // In turns, so that both meet the same machine; the best of each.
  double best[2] = {0, 0};
  for (int round = 0; round < 5; ++round) {
    for (bool framed : {false, true}) {
      double rate = callsPerSecond(framed, bytes, inFlight, seconds);
      if (rate > best[framed]) best[framed] = rate;
    }
  }
  std::printf("%-34s capnp %9.0f/s   framed %9.0f/s   %+.1f %%\n", what, best[0], best[1],
              (best[1] / best[0] - 1) * 100);
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  dfs::prepareProcess();
  dfs::compare("small calls, one at a time", 16, 1, seconds);
  dfs::compare("small calls, 16 in flight", 16, dfs::kInFlight, seconds);
  dfs::compare("writes of 64 KiB, 16 in flight", 64 << 10, dfs::kInFlight, seconds);
  dfs::compare("writes of 1 MiB, one at a time", 1 << 20, 1, seconds);
  dfs::compare("writes of 1 MiB, 16 in flight", 1 << 20, dfs::kInFlight, seconds);
}
