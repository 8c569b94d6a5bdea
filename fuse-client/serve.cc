#include "fuse-client/serve.h"

#include "common/config.h"
#include "common/process.h"
#include "common/sentence.h"
#include "common/wire.h"
#include "fuse-client/arguments.h"

#include <kj/debug.h>

namespace dfs {
namespace {

constexpr uint64_t kUsersMs = 10'000;  // how long programs may use a mount that was asked to end
constexpr uint64_t kLateMs = 2'000;    // more than a name server's time, to say which one is silent

Task<bool> serveUntilEnd(kj::AsyncIoContext& io, kj::Timer& timer, Mount& mount) {
  // Until somebody unmounts it (false), or asks this process to end (true). Then programs that still use it get some time.
  auto served = kj::Promise<void>(mount.serve()).fork();
  auto first = endSignal(io.unixEventPort).then([](int) { return true; });
  auto gone = served.addBranch().then([]() { return false; });
  auto asked = co_await first.exclusiveJoin(kj::mv(gone));
  if (!asked) co_return false;
  KJ_LOG(INFO, "asked to end: unmounting");
  mount.unmount();
  auto late = timer.afterDelay(kUsersMs * kj::MILLISECONDS).then([]() { return true; });
  auto again = endSignal(io.unixEventPort).then([](int) { return true; });
  auto free = served.addBranch().then([]() { return false; });
  auto used = co_await free.exclusiveJoin(kj::mv(late)).exclusiveJoin(kj::mv(again));
  if (used) KJ_LOG(WARNING, "programs still use the mount: from now on they get errors");
  co_return true;
}

Task<void> givenUp(kj::UnixEventPort& port, bool asked) {
  // The signal that means: lose what cannot be saved. Who stops all processes of a mount that has just
  // been unmounted, as systemd does, does not mean that yet.
  if (!asked) {
    co_await endSignal(port);
    KJ_LOG(INFO, "asked to end: as soon as all is saved");
  }
  co_await endSignal(port);
}

std::string whySilent(Env& env, kj::WaitScope& scope, const MountOptions& options) {
  // For a person who has waited in vain: which address, and what is wrong with it.
  std::string names;
  for (auto& n : options.nameservers) names += (names.empty() ? "" : ", ") + n;
  auto addresses = KJ_MAP(n, options.nameservers) {
    return kj::str(n.c_str());
  };
  std::string why = "it takes connections and answers nothing: is it stopped, or no name server?";
  auto refused = kj::runCatchingExceptions([&]() {
    auto dialed = dial(env, addresses, kLateMs);
    kj::mv(dialed).wait(scope);
  });
  KJ_IF_MAYBE(e, refused) why = sentenceOf(*e);
  return "the name server has not answered within " + std::to_string(options.attachMsMax / 1000) +
         " seconds: " + names + " (" + why +
         "). Check the address, and that dfs-nameserver runs there; `dfs status --nameserver " +
         options.nameservers.front() + "` asks it";
}

}  // namespace

int serveMount(const MountOptions& wanted, Report report) {
  auto io = kj::setupAsyncIo();
  RealEnv real(io, {"", "", 1});
  bool late = false, mounted = false;
  auto failed = kj::runCatchingExceptions([&]() {
    auto options = wanted;
    options.attachMsMax += kLateMs;
    Mount mount(io, real.env, options);
    auto cancelled = endSignal(io.unixEventPort).then([](int) { return false; });
    // The mount's own limit comes later: its sentence names no address.
    auto silent =
        real.env.clock.timer().afterDelay(wanted.attachMsMax * kj::MILLISECONDS).then([&late]() {
          late = true;
          return false;
        });
    cancelled = cancelled.exclusiveJoin(kj::mv(silent));
    auto started = kj::Promise<void>(mount.start()).then([]() { return true; });
    auto done = started.exclusiveJoin(kj::mv(cancelled)).wait(io.waitScope);
    KJ_REQUIRE(done || late, "interrupted before it was mounted");
    if (!done) return;
    mounted = true;
    report.send("");
    bool asked = serveUntilEnd(io, real.env.clock.timer(), mount).wait(io.waitScope);
    KJ_LOG(INFO, "unmounted: saving what is left");
    auto given = kj::Promise<void>(givenUp(io.unixEventPort, asked)).then([]() { return false; });
    auto saved = kj::Promise<void>(mount.finish()).then([]() { return true; });
    KJ_REQUIRE(saved.exclusiveJoin(kj::mv(given)).wait(io.waitScope),
               "asked once more to end while data was being saved: what was not synced is lost");
  });
  KJ_IF_MAYBE(e, failed) {
    KJ_LOG(ERROR, "the mount has ended", *e);
    report.send(sentenceOf(*e));
    return mounted ? kExitFailed : kMountFailed;
  }
  if (late) {
    auto why = whySilent(real.env, io.waitScope, wanted);
    KJ_LOG(ERROR, "not mounted", why.c_str());
    report.send(why);
    return kMountFailed;
  }
  return kExitOk;
}

}  // namespace dfs
