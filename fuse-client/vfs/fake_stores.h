#pragma once
// The storage daemons of the fake cluster: each holds all blocks.
//
// Thread: the test's. Owner: the RPC system.

#include "common/checksum.h"
#include "fuse-client/vfs/fake_state.h"

#include <rpc-schema/storage.capnp.h>

#include <string.h>

namespace dfs::fake {

class StoreServer final : public schema::StorageDaemon::Server {
 public:
  StoreServer(Cluster& c, size_t number) : c_(c), number_(number) {}
  kj::Promise<void> read(ReadContext x) override {
    auto p = x.getParams();
    auto& store = c_.stores[number_];
    ++store.reads;
    auto found = store.blocks.find(p.getBlock());
    if (found == store.blocks.end()) {
      x.getResults().setErr(Errno::NO_BLOCK);
      return kj::READY_NOW;
    }
    auto& bytes = found->second;
    size_t from = kj::min(size_t(p.getOffset()), bytes.size());
    size_t end = kj::min(from + p.getBytes(), bytes.size());
    auto data = kj::arrayPtr(bytes.data() + from, end - from);
    x.getResults().setData(data);
    if (data.size() > 0) {
      auto sums = unitSums(p.getOffset(), data);
      auto list = x.getResults().initSums(sums.size());
      for (size_t i = 0; i < sums.size(); ++i) list.set(i, sums[i]);
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> write(WriteContext x) override {
    if (!c_.holdWrites) return writeNow(x);
    return c_.writesGo.next().then([this, x]() mutable { return writeNow(x); });
  }
  kj::Promise<void> writeNow(WriteContext x) {
    auto update = x.getParams().getUpdate();
    BlockId block(update.getBlock());
    if (c_.full.count(block.chain().value) != 0) {
      x.getResults().setErr(Errno::NO_SPACE);
      return kj::READY_NOW;
    }
    auto data = update.getData();
    x.getResults().setRoomy(c_.roomy);
    auto list = x.getResults().initStamps(c_.stores.size());
    for (size_t n = 0; n < c_.stores.size(); ++n) {
      auto& bytes = c_.stores[n].blocks[block.value];
      if (update.getClearFrom() < bytes.size()) {
        memset(bytes.data() + update.getClearFrom(), 0, bytes.size() - update.getClearFrom());
      }
      if (bytes.size() < update.getOffset() + data.size()) {
        bytes.resize(update.getOffset() + data.size());
      }
      memcpy(bytes.data() + update.getOffset(), data.begin(), data.size());
      list[n].setNode(n + 1);
      list[n].setSince(c_.stores[n].since);
      list[n].setServedFrom(c_.stores[n].servedFrom);
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> sync(SyncContext x) override {
    c_.onSync();
    auto& store = c_.stores[number_];
    store.synced = store.blocks;
    x.getResults().setSince(store.since);
    auto count = x.getParams().getChains().size();
    auto from = x.getResults().initServedFrom(count);
    for (uint32_t i = 0; i < count; ++i) from.set(i, store.servedFrom);
    return kj::READY_NOW;
  }

 private:
  Cluster& c_;
  const size_t number_;
};

class StoreDoorServer final : public schema::StoreDoor::Server {
 public:
  StoreDoorServer(Cluster& c, size_t number) : c_(c), number_(number) {}
  kj::Promise<void> storage(StorageContext x) override {
    x.getResults().setStorage(kj::heap<StoreServer>(c_, number_));
    return kj::READY_NOW;
  }

 private:
  Cluster& c_;
  const size_t number_;
};

}  // namespace dfs::fake
