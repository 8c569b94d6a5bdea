#pragma once
// How a history begins, goes on and ends: a small cluster, its clients' files, and what befalls the servers.

#include "tests/sim/sim_cluster.h"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace dfs {

struct History : SimCluster {
  explicit History(SimShape shape = {.stores = 2, .clients = 2, .replicas = 2})
      : SimCluster(7, shape) {
    create();
  }
  template <typename T> T get(kj::Promise<T> promise, uint64_t ms = 60'000) {
    return KJ_REQUIRE_NONNULL(within<T>(ms, kj::mv(promise)), "it does not end");
  }
  Vfs& vfs(uint32_t i) { return *client(i).vfs; }
  Vfs::Created make(uint32_t i, const char* name) {
    auto made = get(vfs(i).create(kRootInode, name, 0644, O_RDWR | O_CREAT, {}));
    KJ_REQUIRE(made.ok());
    return *made;
  }
  FileHandle open(uint32_t i, const char* name) {
    auto attr = get(vfs(i).lookup(kRootInode, name));
    KJ_REQUIRE(attr.ok());
    return get(vfs(i).open(attr->ino, O_RDWR, {}))->handle;
  }
  kj::Promise<Outcome<uint32_t>> writing(uint32_t i, FileHandle h, std::string text) {
    auto data = kj::heapArray<kj::byte>(text.size());
    memcpy(data.begin(), text.data(), text.size());
    return vfs(i).write(h, 0, kj::mv(data), {}, nullptr);
  }
  Errno write(uint32_t i, FileHandle h, std::string text) {
    return get(writing(i, h, kj::mv(text))).err();
  }
  std::string read(uint32_t i, FileHandle h) {
    auto got = get(vfs(i).read(h, 0, 100));
    if (!got.ok()) return nameOf(got.err()).cStr();
    return std::string(reinterpret_cast<const char*>(got->begin()), got->size());
  }
  Vfs::Created makeWritten(const char* name, std::string text) {
    auto made = make(0, name);
    KJ_REQUIRE(write(0, made.opened.handle, kj::mv(text)) == Errno::OK);
    return made;
  }
  bool lossTold(const Vfs::Created& made) {
    // By fsync or by close.
    auto synced = get(vfs(0).fsync(made.attr.ino, false));
    auto flushed = get(vfs(0).flush(made.opened.handle));
    return synced != Errno::OK || flushed != Errno::OK;
  }
  void loseMemoryAndComeBack(uint32_t store) {
    powerCutStore(store);
    startStore(store);
    KJ_REQUIRE(waitHealthy(60'000), trouble());
  }
  void killServers() {
    killNames();
    for (uint32_t i = 0; i < stores(); ++i) killStore(i);
  }
  void restartAfterPowerCut() {
    powerCutAll();
    startAll();
    ASSERT_TRUE(waitHealthy(120'000)) << trouble();
  }
};

}  // namespace dfs
