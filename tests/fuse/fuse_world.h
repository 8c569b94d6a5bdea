#pragma once
// The FUSE edge between a fake kernel and a fake file system, for tests.
//
// Thread: the test's. Owner: the test.

#include "fuse-client/fuse/channel.h"
#include "fuse-client/fuse/ops.h"
#include "tests/fuse/fake_kernel.h"
#include "tests/fuse/fake_vfs.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace dfs {

struct FakeCallers final : CallerStatus {
  std::set<int32_t> doomed;
  uint32_t asked = 0;
  bool dying(int32_t tid) override {
    ++asked;
    return doomed.count(tid) != 0;
  }
  std::vector<uint32_t> groups(int32_t) override { return {100, 27}; }
  kj::Maybe<ThreadState> thread(int32_t) override { return nullptr; }
};

inline const std::string nul(1, '\0');

struct World {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  FakeVfs vfs;
  FakeCallers callers;
  FuseOps ops{vfs, timer, callers};
  FuseChannel channel{io.unixEventPort, FuseOps::table(), &ops, {}};
  FakeKernel kernel{io.waitScope};
  kj::Promise<void> running = nullptr;
  bool ended = false;
  FakeReply hello;

  World() {
    channel.attach(kernel.other());
    running = channel.run().then([this]() { ended = true; }).eagerlyEvaluate(nullptr);
    hello = kernel.init();
  }
  ~World() { ops.stop(); }

  void pass(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 10) {
      timer.advanceTo(timer.now() + 10 * kj::MILLISECONDS);
      kernel.settle();
    }
  }
  uint64_t getattr(uint64_t ino) {
    return kernel.send(FUSE_GETATTR, ino, bytesOf(fuse_getattr_in{}));
  }
  FakeReply ask(uint32_t opcode, uint64_t node, const std::string& body) {
    return kernel.call(opcode, node, body);
  }
};

template <typename T> std::string in(T value) {
  return bytesOf(value);
}

}  // namespace dfs
