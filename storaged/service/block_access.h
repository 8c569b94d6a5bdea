#pragma once
// StorageDaemon: what clients ask. Every field that comes in is checked here; past the check it is
// trusted.
//
// Thread: the loop's. Owner: its connection. Refusals are Errnos; a full queue, a lost peer and an
// unknown outcome are exceptions of a type that says whether to repeat. The right to serve is
// compared once more at each reply (C4).

#include "storaged/chain/resync.h"
#include "storaged/chain/update.h"
#include "storaged/service/admission.h"
#include "storaged/service/calls.h"

#include <rpc-schema/storage.capnp.h>

namespace dfs {

struct AccessCounts {
  uint64_t reads = 0, readBytes = 0, writes = 0, writeBytes = 0, syncs = 0;
  uint64_t refused = 0, corrupt = 0, outcomesUnknown = 0;
};

struct AccessParts {
  // What the service works with. All outlive Calls.
  Env& env;
  ViewKeeper& keeper;
  BlockStore& store;
  Updates& updates;
  Resync& resync;
  BlockTurns& turns;
  Admission& admission;
  AccessCounts& counts;
};

class BlockAccess final : public schema::StorageDaemon::Server {
 public:
  BlockAccess(AccessParts& parts, kj::Own<Calls> calls) : parts_(parts), calls_(kj::mv(calls)) {}

  kj::Promise<void> read(ReadContext context) override;
  kj::Promise<void> write(WriteContext context) override;
  kj::Promise<void> sync(SyncContext context) override;

 private:
  AccessParts& parts_;
  kj::Own<Calls> calls_;
};

}  // namespace dfs
