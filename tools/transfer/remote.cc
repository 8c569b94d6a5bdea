#include "tools/transfer/remote.h"

#include "common/config.h"
#include "common/process.h"
#include "common/retry.h"
#include "common/sentence.h"
#include "common/wire.h"
#include "tools/dev/command_failure.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <iostream>
#include <sstream>

namespace dfs {
namespace {

constexpr uint64_t kDialMs = 5'000;      // to find somebody at the address
constexpr uint64_t kAttachMs = 15'000;   // for a session: a name server that starts lets one wait
constexpr uint64_t kSilenceMs = 45'000;  // of one call
constexpr uint64_t kCleanMs = 5'000;     // for removing what is temporary
constexpr uint64_t kSaveMs = 60'000;     // at the end
constexpr uint32_t kFileThreads = 4;
constexpr uint32_t kSymlinksMax = 40;  // as the kernel

kj::AsyncIoContext makeLoop() {
  // Before any thread is there.
  kj::UnixEventPort::captureSignal(SIGINT);
  kj::UnixEventPort::captureSignal(SIGTERM);
  return kj::setupAsyncIo();
}

Caller self() {
  Caller caller;
  caller.uid = geteuid();
  caller.gid = getegid();
  int count = getgroups(0, nullptr);
  std::vector<gid_t> groups(static_cast<size_t>(std::max(count, 0)));
  count = getgroups(static_cast<int>(groups.size()), groups.data());
  caller.groups.assign(groups.begin(), groups.begin() + std::max(count, 0));
  caller.umask = umask(0);
  umask(caller.umask);
  return caller;
}

std::deque<std::string> partsOf(const std::string& path) {
  std::deque<std::string> parts;
  std::istringstream stream(path);
  for (std::string part; std::getline(stream, part, '/');) {
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  return parts;
}

kj::Promise<void> silence(Env& env, uint64_t limitMs) {
  // Throws when the time is over.
  return env.clock.timer().afterDelay(limitMs * kj::MILLISECONDS).then([limitMs]() {
    auto sentence = kj::str("no answer within ", limitMs / 1000,
                            " seconds; it is stopped, starting, or cut off");
    kj::throwFatalException(
        kj::Exception(kj::Exception::Type::DISCONNECTED, __FILE__, __LINE__, kj::mv(sentence)));
  });
}

[[noreturn]] void endBy(int number) {
  signal(number, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  sigprocmask(SIG_UNBLOCK, &one, nullptr);
  raise(number);
  _exit(128 + number);
}

}  // namespace

void failErrno(const std::string& path, Errno err) {
  int number = toHost(err);
  failCommand(exitCodeOf(number), path + ": " + strerror(number));
}

void sayOrEnd(kj::Exception&& failure, Progress& progress, size_t& next, size_t entries) {
  auto code = exitCodeOf(failure);
  if (code == kExitUnreachable || code == kExitTimeout) {
    next = entries;
    kj::throwFatalException(kj::mv(failure));
  }
  progress.say("dfs: " + sentenceOf(failure));
}

bool permits(const Attr& attr, const Caller& caller, uint32_t bits) {
  if (caller.uid == 0) return true;
  uint32_t shift = 0;
  auto& groups = caller.groups;
  if (caller.uid == attr.uid) {
    shift = 6;
  } else if (caller.gid == attr.gid ||
             std::find(groups.begin(), groups.end(), attr.gid) != groups.end()) {
    shift = 3;
  }
  return ((attr.mode >> shift) & bits) == bits;
}

Remote::Remote(const std::vector<std::string>& nameservers, const char* what)
    : io_(makeLoop()), real_(io_, {"", "", 1}), pool_(kFileThreads, "files"), caller_(self()) {
  for (auto& n : nameservers) names_ += (names_.empty() ? "" : ", ") + n;
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  VfsOptions options;
  options.nameservers = nameservers;
  options.host = host;
  options.what = what;
  options.softTimeoutMs = kSilenceMs;
  auto addresses = KJ_MAP(n, nameservers) {
    return kj::str(n.c_str());
  };
  auto failed = kj::runCatchingExceptions([&]() {
    // First whether anybody is there: to a session a silent address says nothing for long.
    auto door = dial(env(), addresses, kDialMs).then([](kj::Own<Connection>&&) {});
    door.exclusiveJoin(silence(env(), kDialMs)).wait(io_.waitScope);
    vfs_ = newVfs(env(), options);
    auto attached = vfs_->attach().exclusiveJoin(silence(env(), kAttachMs));
    auto interrupted = endSignal(io_.unixEventPort).then([](int number) { endBy(number); });
    attached.exclusiveJoin(kj::mv(interrupted)).wait(io_.waitScope);
  });
  KJ_IF_MAYBE(e, failed) {
    if (e->getType() != kj::Exception::Type::DISCONNECTED) kj::throwFatalException(kj::mv(*e));
    failCommand(kExitUnreachable,
                "the cluster's name server at " + names_ + " cannot be reached (" + sentenceOf(*e) +
                    "); `dfs status --nameserver " + nameservers.front() + "` asks it");
  }
}

Remote::~Remote() noexcept(false) {}

void Remote::refuseSilence(uint64_t beganMs) {
  if (env().clock.bootMs() - beganMs < kSilenceMs) return;
  failCommand(kExitTimeout, "the cluster has not answered for " +
                                std::to_string(kSilenceMs / 1000) +
                                " seconds; `dfs status` says which servers are away");
}

void Remote::run(kj::Promise<void> work) {
  // Kept while the process ends: to drop it might mean to wait for a thread that reads a terminal.
  auto forked = work.fork();
  auto done = forked.addBranch().then([]() { return 0; });
  int number = 0;
  auto failed = kj::runCatchingExceptions(
      [&]() { number = done.exclusiveJoin(endSignal(io_.unixEventPort)).wait(io_.waitScope); });
  if (number != 0) std::cerr << std::endl;
  for (auto& path : localTemporaries) unlink(path.c_str());
  auto cleaned = kj::runCatchingExceptions([&]() {
    auto cleaning = kj::Promise<void>(removeTemporaries());
    withTimeout(env(), kCleanMs, kj::mv(cleaning)).wait(io_.waitScope);
  });
  KJ_IF_MAYBE(e, cleaned) {
    // What it leaves is hidden and says by its name what it is.
    std::cerr << "dfs: a temporary file could not be removed: " << sentenceOf(*e) << "\n";
  }
  if (number != 0 || failed != nullptr) {
    auto ended = kj::runCatchingExceptions(
        [&]() { withTimeout(env(), kCleanMs, vfs_->detach()).wait(io_.waitScope); });
    (void)ended;  // the first failure is the one to tell; the session ends by itself
  }
  if (number != 0) endBy(number);
  KJ_IF_MAYBE(e, failed) kj::throwFatalException(kj::mv(*e));
  withTimeout(env(), kSaveMs, vfs_->detach()).wait(io_.waitScope);
}

Task<void> Remote::removeTemporaries() {
  for (auto& [directory, name] : temporaries) {
    auto err = co_await answered(vfs_->unlink(directory, name, caller_));
    KJ_REQUIRE(err == Errno::OK || err == Errno::NO_ENT, "unlink", nameOf(err));
  }
}

Task<kj::Maybe<Attr>> Remote::find(std::string path) {
  auto root = co_await answered(vfs_->getattr(vfs_->root()));
  if (!root.ok()) failErrno("/", root.err());
  std::vector<Attr> way = {*root};
  auto parts = partsOf(path);
  uint32_t links = 0;
  while (!parts.empty()) {
    auto name = parts.front();
    parts.pop_front();
    if (name == "..") {
      if (way.size() > 1) way.pop_back();
      continue;
    }
    auto directory = way.back();
    if (directory.kind != schema::Kind::DIRECTORY) failErrno(path, Errno::NOT_DIR);
    if (!permits(directory, caller_, 1)) failErrno(path, Errno::ACCESS);
    auto found = co_await answered(vfs_->lookup(directory.ino, name));
    if (found.err() == Errno::NO_ENT && parts.empty()) co_return nullptr;
    if (!found.ok()) failErrno(path, found.err());
    if (found->kind != schema::Kind::SYMLINK) {
      way.push_back(*found);
      continue;
    }
    auto target = co_await answered(vfs_->readlink(found->ino));
    if (!target.ok()) failErrno(path, target.err());
    if (++links > kSymlinksMax) failErrno(path, Errno::LOOP);
    if (target->starts_with("/")) {
      failCommand(kExitNotFound, path + ": " + name + " is a symbolic link to " + *target +
                                     ", which says where it leads only inside a mount");
    }
    auto more = partsOf(*target);
    parts.insert(parts.begin(), more.begin(), more.end());
  }
  co_return kj::Maybe<Attr>(way.back());
}

Task<Attr> Remote::directory(std::string path) {
  auto found = co_await find(path);
  KJ_IF_MAYBE(attr, found) {
    if (attr->kind != schema::Kind::DIRECTORY) failErrno(path, Errno::NOT_DIR);
    if (!permits(*attr, caller_, 3)) failErrno(path, Errno::ACCESS);
    co_return kj::mv(*attr);
  }
  failErrno(path, Errno::NO_ENT);
}

}  // namespace dfs
