#pragma once
// NodeControl: what the name server asks of this store. And StoreAdmin: what tools ask.
//
// Thread: the loop's. Owner: the registration; connections.

#include "storaged/service/block_replica.h"

#include <rpc-schema/cluster.capnp.h>

namespace dfs {

class Control final : public schema::NodeControl::Server {
 public:
  Control(AccessParts& parts, kj::Own<Calls> calls) : parts_(parts), calls_(kj::mv(calls)) {}

  kj::Promise<void> remove(RemoveContext context) override;
  kj::Promise<void> inventory(InventoryContext context) override;

 private:
  AccessParts& parts_;
  kj::Own<Calls> calls_;
};

class AdminAccess final : public schema::StoreAdmin::Server {
 public:
  AdminAccess(AccessParts& parts, kj::Own<Calls> calls, kj::Function<std::string()> status)
      : parts_(parts), calls_(kj::mv(calls)), status_(kj::mv(status)) {}

  kj::Promise<void> status(StatusContext context) override;
  kj::Promise<void> blocks(BlocksContext context) override;
  kj::Promise<void> verify(VerifyContext context) override;

 private:
  AccessParts& parts_;
  kj::Own<Calls> calls_;
  kj::Function<std::string()> status_;
};

}  // namespace dfs
