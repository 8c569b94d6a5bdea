#pragma once
// BlockReplica: what the other members of a chain ask.
//
// Thread: the loop's. Owner: its connection. No admission: what predecessors have in flight is
// bounded by theirs, and to make them wait for our clients' writes would let daemons wait in a ring.

#include "storaged/service/block_access.h"

namespace dfs {

class BlockReplica final : public schema::BlockReplica::Server {
 public:
  BlockReplica(AccessParts& parts, kj::Own<Calls> calls) : parts_(parts), calls_(kj::mv(calls)) {}

  kj::Promise<void> apply(ApplyContext context) override;
  kj::Promise<void> install(InstallContext context) override;
  kj::Promise<void> inventory(InventoryContext context) override;
  kj::Promise<void> remove(RemoveContext context) override;
  kj::Promise<void> fetch(FetchContext context) override;
  kj::Promise<void> synced(SyncedContext context) override;
  kj::Promise<void> reserve(ReserveContext context) override;

 private:
  AccessParts& parts_;
  kj::Own<Calls> calls_;
};

void describe(BlockStore& store, BlockId block, const StoredBlock& stored,
              schema::BlockState::Builder into);

}  // namespace dfs
