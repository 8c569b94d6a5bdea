#pragma once
// Mounts without a kernel, against the fake cluster, for tests of the client.
//
// Thread: the test's. Owner: the test.

#include "fuse-client/vfs/fake_cluster.h"
#include "fuse-client/vfs/vfs.h"

#include <gtest/gtest.h>

#include <fcntl.h>

namespace dfs::fake {

struct Kernel final : public KernelCaches {
  // Answers drops when told to, and remembers them.
  kj::Promise<void> dropAttributes(InodeId) override { return kj::READY_NOW; }
  kj::Promise<void> dropPages(InodeId, uint64_t, uint64_t) override {
    ++drops;
    if (!hold) return kj::READY_NOW;
    return held.next();
  }
  kj::Promise<void> storePages(InodeId, uint64_t offset, kj::Array<kj::byte> data) override {
    size = kj::max(size, offset + data.size());
    stored += std::string(reinterpret_cast<char*>(data.begin()), data.size());
    return kj::READY_NOW;
  }
  uint64_t drops = 0;
  uint64_t size = 0;
  std::string stored;
  bool hold = false;
  Signal held;
};

struct Mount {
  Mount(SimWorld& w, const char* name) : world(w), process(w.machine(name).process("/data")) {
    VfsOptions options;
    options.nameservers = {"servers:7000"};
    options.host = name;
    vfs = newVfs(process->env, options);
    vfs->setKernel(kernel);
    w.wait(vfs->attach());
  }

  Vfs::Created create(const char* name, int flags = O_RDWR) {
    auto made = world.wait(vfs->create(kRootInode, name, 0644, flags | O_CREAT, {}));
    EXPECT_EQ(made.err(), Errno::OK);
    return *made;
  }
  FileHandle open(const char* name) {
    auto attr = world.wait(vfs->lookup(kRootInode, name));
    EXPECT_EQ(attr.err(), Errno::OK);
    return world.wait(vfs->open(attr->ino, O_RDWR, {}))->handle;
  }
  kj::Promise<Outcome<uint32_t>> writing(FileHandle h, uint64_t at, std::string text,
                                         bool append = false) {
    auto data = kj::heapArray<kj::byte>(text.size());
    memcpy(data.begin(), text.data(), text.size());
    return vfs->write(h, at, kj::mv(data), {.append = append}, nullptr);
  }
  Errno write(FileHandle h, uint64_t at, std::string text) {
    return world.wait(writing(h, at, kj::mv(text))).err();
  }
  Outcome<std::string> read(FileHandle h, uint64_t at, uint32_t bytes) {
    auto got = world.wait(vfs->read(h, at, bytes));
    if (!got.ok()) return got.err();
    return std::string(reinterpret_cast<char*>(got->begin()), got->size());
  }

  SimWorld& world;
  kj::Own<SimProcess> process;
  Kernel kernel;
  kj::Own<Vfs> vfs;
};

struct World {
  SimWorld world{1};
  Cluster cluster{world};
  Mount a{world, "a"};
};

struct EarlyWorld : World {
  // A file of one byte, written so that the client knows of the room; then writes are held up.
  EarlyWorld() {
    cluster.roomy = true;
    made = a.create("f");
    EXPECT_EQ(a.write(made.opened.handle, 0, "0"), Errno::OK);
    cluster.holdWrites = true;
  }
  void go() {
    cluster.holdWrites = false;
    cluster.writesGo.wake();
  }
  template <typename T> bool waits(kj::Promise<T>& promise) {
    world.pass(500);
    return !promise.poll(world.scope);
  }
  FileHandle handle() { return made.opened.handle; }
  Vfs::Created made;
};

}  // namespace dfs::fake
