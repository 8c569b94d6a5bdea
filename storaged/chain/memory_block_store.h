#pragma once
// A BlockStore in memory, for tests. What it holds lies in a MemoryBlocks that outlives it, as a
// disk outlives a process: dropping the store is kill -9.
//
// Thread: the loop's. Owner: the test. Each call takes a little virtual time, so that others come in
// between.

#include "common/checksum.h"
#include "storaged/block/block_store.h"

#include <map>
#include <memory>
#include <set>
#include <string>

namespace dfs {

struct MemoryBlocks {
  struct Block {
    StoredBlock state;
    std::string bytes;
    bool synced = false;
    bool bad = false;  // reads are CORRUPT
  };
  std::map<BlockId, Block> blocks;
  std::set<BlockId> reserved;
  uint64_t since = 1;
  uint64_t capacity = uint64_t(1) << 40;
  uint64_t applies = 0;
  uint64_t syncs = 0;
  bool failed = false;

  uint64_t used() const { return (blocks.size() + reserved.size()) * uint64_t(kBlockBytes); }
};

class MemoryBlockStore final : public BlockStore {
 public:
  MemoryBlockStore(Env& env, std::shared_ptr<MemoryBlocks> disk) : env_(env), disk_(kj::mv(disk)) {
    disk_->reserved.clear();
  }

  kj::Maybe<StoredBlock> find(BlockId block) override {
    auto it = disk_->blocks.find(block);
    if (it == disk_->blocks.end()) return nullptr;
    return it->second.state;
  }
  kj::Promise<Errno> reserve(const BlockWrite& write) override {
    bool need = disk_->blocks.count(write.block) == 0 && disk_->reserved.count(write.block) == 0;
    if (need && disk_->used() + kBlockBytes > disk_->capacity) return Errno::NO_SPACE;
    if (need) disk_->reserved.insert(write.block);
    return soon(Errno::OK);
  }
  void unreserve(BlockId block) override { disk_->reserved.erase(block); }
  kj::Promise<Errno> apply(BlockWrite write) override {
    return delay().then([this, write]() -> Errno {
      if (disk_->failed) return Errno::IO;
      disk_->reserved.erase(write.block);
      bool need = disk_->blocks.count(write.block) == 0;
      if (need && disk_->used() + kBlockBytes > disk_->capacity) return Errno::NO_SPACE;
      auto& b = disk_->blocks[write.block];
      bool part = write.offset % kUnitBytes != 0 || write.data.size() % kUnitBytes != 0;
      if (b.bad && part) return Errno::CORRUPT;
      if (write.clearFrom < b.bytes.size()) {
        for (size_t i = write.clearFrom; i < b.bytes.size() && i < write.offset; ++i) {
          b.bytes[i] = 0;
        }
      }
      if (b.bytes.size() < write.offset + write.data.size()) {
        b.bytes.resize(write.offset + write.data.size());
      }
      for (size_t i = 0; i < write.data.size(); ++i) {
        b.bytes[write.offset + i] = static_cast<char>(write.data[i]);
      }
      b.state.at = write.at;
      b.state.committed = false;
      b.state.request = write.request;
      b.state.length = static_cast<uint32_t>(b.bytes.size());
      b.synced = false;
      ++disk_->applies;
      return Errno::OK;
    });
  }
  void commit(BlockId block, BlockVersion at) override {
    auto it = disk_->blocks.find(block);
    if (it != disk_->blocks.end() && it->second.state.at == at) it->second.state.committed = true;
  }
  kj::Promise<void> accept(BlockId block) override {
    disk_->blocks[block].state.doubtful = false;
    return kj::READY_NOW;
  }
  kj::Promise<Outcome<BlockPiece>> read(BlockId block, uint32_t offset, uint32_t bytes) override {
    return delay().then([this, block, offset, bytes]() -> Outcome<BlockPiece> {
      auto it = disk_->blocks.find(block);
      if (it == disk_->blocks.end()) return Errno::NO_BLOCK;
      if (it->second.bad || it->second.state.doubtful) return Errno::CORRUPT;
      auto& all = it->second.bytes;
      size_t from = kj::min(size_t(offset), all.size());
      size_t n = kj::min(size_t(bytes), all.size() - from);
      BlockPiece piece;
      piece.data = kj::heapArray<kj::byte>(reinterpret_cast<const kj::byte*>(all.data()) + from, n);
      if (n > 0) piece.sums = unitSums(offset, piece.data);
      return kj::mv(piece);
    });
  }
  kj::Promise<Errno> sync() override {
    std::set<BlockId> now;
    for (auto& b : disk_->blocks) now.insert(b.first);
    return delay().then([this, now]() -> Errno {
      if (disk_->failed) return Errno::IO;
      ++disk_->syncs;
      for (auto b : now) {
        auto it = disk_->blocks.find(b);
        if (it != disk_->blocks.end()) it->second.synced = true;
      }
      return Errno::OK;
    });
  }
  bool unsynced(BlockId block) override {
    auto it = disk_->blocks.find(block);
    return it != disk_->blocks.end() && !it->second.synced;
  }
  kj::Promise<Outcome<kj::Own<BlockInstall>>> install(BlockId block, uint32_t length) override {
    bool need = disk_->blocks.count(block) == 0;
    if (need && disk_->used() + kBlockBytes > disk_->capacity) {
      return Outcome<kj::Own<BlockInstall>>(Errno::NO_SPACE);
    }
    kj::Own<BlockInstall> own = kj::heap<Install>(*this, block);
    return Outcome<kj::Own<BlockInstall>>(kj::mv(own));
  }
  kj::Promise<Errno> erase(BlockId block) override {
    disk_->blocks.erase(block);
    return soon(Errno::OK);
  }
  std::vector<BlockId> list(BlockId above, uint32_t blocksMax) override {
    std::vector<BlockId> all;
    for (auto it = disk_->blocks.upper_bound(above); it != disk_->blocks.end(); ++it) {
      if (all.size() == blocksMax) break;
      all.push_back(it->first);
    }
    return all;
  }
  std::vector<BlockId> uncertain() override {
    std::vector<BlockId> all;
    for (auto& b : disk_->blocks) {
      if (!b.second.state.committed || b.second.state.doubtful) all.push_back(b.first);
    }
    return all;
  }
  uint64_t digest(BlockId block) override {
    auto& b = disk_->blocks.at(block);
    return checksum(Bytes(reinterpret_cast<const kj::byte*>(b.bytes.data()), b.bytes.size()));
  }
  kj::Promise<Errno> verify(BlockId block) override {
    auto it = disk_->blocks.find(block);
    if (it == disk_->blocks.end()) return Errno::NO_BLOCK;
    return it->second.bad ? Errno::CORRUPT : Errno::OK;
  }
  uint64_t since() override { return disk_->since; }
  SpaceInfo space() override {
    auto used = kj::min(disk_->used(), disk_->capacity);
    return {disk_->capacity, disk_->capacity - used};
  }
  uint64_t reserveBytes() override { return 0; }
  uint64_t blockCount() override { return disk_->blocks.size(); }
  kj::Promise<void> broken() override { return kj::NEVER_DONE; }
  kj::Promise<void> close() override { return kj::READY_NOW; }

 private:
  class Install final : public BlockInstall {
   public:
    Install(MemoryBlockStore& store, BlockId block) : store_(store), block_(block) {}
    kj::Promise<Errno> write(uint32_t offset, Bytes data,
                             kj::ArrayPtr<const uint64_t> sums) override {
      bytes_.resize(offset);
      bytes_.append(reinterpret_cast<const char*>(data.begin()), data.size());
      return store_.soon(Errno::OK);
    }
    kj::Promise<Errno> finish(BlockVersion at, bool committed, uint32_t length,
                              RequestId request) override {
      bytes_.resize(length);
      auto& b = store_.disk_->blocks[block_];
      b.bytes = bytes_;
      b.state = {at, committed, false, length, request};
      b.synced = false;
      b.bad = false;
      ++store_.disk_->applies;
      return store_.soon(Errno::OK);
    }

   private:
    MemoryBlockStore& store_;
    const BlockId block_;
    std::string bytes_;
  };

  kj::Promise<void> delay() {
    return env_.clock.timer().afterDelay((10 + env_.random.below(200)) * kj::MICROSECONDS);
  }
  kj::Promise<Errno> soon(Errno err) {
    return delay().then([err]() { return err; });
  }

  Env& env_;
  std::shared_ptr<MemoryBlocks> disk_;
};

}  // namespace dfs
