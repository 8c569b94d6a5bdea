#pragma once
// Blocks on the storage daemons: read from any serving member, written at the head, synced at each.
//
// Thread: the loop's. Owner: the Vfs; NameClient outlives it.
// Invariants:
//   1. A write has one request id through all its tries, and block ids of requests in flight stay
//      within kBlockWindow (C6).
//   2. What a call returns has matched its sums here.
//   3. Everything ends with IO when the session does (S3), and otherwise goes on until it works.
//   4. A sync counts only what every serving member of the chain's epoch has answered.

#include "common/checksum.h"
#include "fuse-client/remote/name_client.h"

#include <rpc-schema/storage.capnp.h>

#include <map>

namespace dfs {

struct BlockStamp {
  NodeId node;
  uint64_t since = 0;
  uint64_t servedFrom = 0;
  auto operator<=>(const BlockStamp&) const = default;
};

struct WriteStamp {
  // Of one write, for Y3. Equal ones need keeping once.
  ChainId chain;
  uint64_t epoch = 0;
  std::vector<BlockStamp> members;
  auto operator<=>(const WriteStamp&) const = default;
};

using SyncStamps = std::map<ChainId, std::vector<BlockStamp>>;

bool covered(const WriteStamp& write, const SyncStamps& sync);
// Y3: a member that answered the sync has the `since` that it had at the write, and has served since
// the write's epoch or longer.

class StorageClient final : private kj::TaskSet::ErrorHandler {
 public:
  StorageClient(Env& env, NameClient& names);
  ~StorageClient() noexcept(false);
  KJ_DISALLOW_COPY(StorageClient);

  kj::Promise<Outcome<kj::Array<kj::byte>>> read(BlockId block, uint32_t offset, uint32_t bytes,
                                                 uint64_t viewMin);
  // Shorter than asked for: never written beyond. NO_BLOCK: no serving member has it (C9). IO: every
  // copy is bad, or the session ended.

  kj::Promise<Outcome<WriteStamp>> write(BlockId block, uint32_t offset,
                                         kj::ArrayPtr<const kj::byte> data, uint32_t clearFrom);
  // At most kWriteBytesMax, which live until it resolves. One at a time for a block: the caller's
  // work. REQUIRES: not dropped while somebody may write the block again. NO_SPACE: nothing was
  // done.

  kj::Promise<Outcome<SyncStamps>> sync(std::vector<ChainId> chains);
  // All that was answered on these chains before this call is on every serving member's disk.

  bool roomy(ChainId chain);
  bool roomyAnywhere();
  // All members of the chain, or some daemons and none that denied it, have said in the last kRoomyForMs
  // that they have plenty of room: a write need not be expected to fail.

  std::string waitsFor() const;
  // "chain 12", or empty: for G5 and `dfs why`.

 private:
  struct Daemon;
  struct SyncBatch;
  struct SyncOne;

  Task<Outcome<kj::Array<kj::byte>>> readLoop(BlockId block, uint32_t offset, uint32_t bytes,
                                              uint64_t viewMin);
  Task<Outcome<kj::Array<kj::byte>>> readFrom(NodeId node, BlockId block, uint32_t offset,
                                              uint32_t bytes, uint64_t epoch, uint64_t timeoutMs);
  Task<Outcome<WriteStamp>> writeLoop(BlockId block, uint32_t offset,
                                      kj::ArrayPtr<const kj::byte> data, uint32_t clearFrom);
  Task<Outcome<SyncStamps>> syncLoop(std::vector<ChainId> chains);
  kj::Promise<SyncOne> syncNode(NodeId node, std::vector<std::pair<ChainId, uint64_t>> chains);
  Task<void> runSyncs(NodeId node, Daemon& daemon);
  Task<SyncOne> syncCall(NodeId node, std::map<ChainId, uint64_t> chains);

  std::vector<NodeId> readOrder(const ChainInfo& chain, BlockId block);
  Daemon& daemon(NodeId node);
  kj::Promise<schema::StorageDaemon::Client> door(NodeId node, bool bulk);
  Task<void> watchSilence(NodeId node, bool bulk);
  void fillAt(schema::At::Builder at, uint64_t epoch);
  Task<void> recover(Errno err, uint64_t viewSeen);
  // After WRONG_EPOCH or NOT_LIVE: until there is a reason to try again.
  void noteRoom(const WriteStamp& stamp, bool roomy);
  void noteFull(ChainId id);
  void taskFailed(kj::Exception&& exception) override;

  Env& env_;
  NameClient& names_;
  std::map<NodeId, kj::Own<Daemon>> daemons_;
  uint64_t numberingEra_ = 0;
  uint64_t nextSequence_ = 1;
  std::set<uint64_t> unanswered_;
  Signal windowMoved_;
  std::multiset<ChainId> waiting_;
  std::map<NodeId, uint64_t> roomyUntilMs_;  // 0: it has said the opposite
  kj::TaskSet tasks_;
};

}  // namespace dfs
