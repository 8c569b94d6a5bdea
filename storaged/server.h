#pragma once
// A storage daemon, put together. Only Env, so that it runs in the simulator.
//
// Thread: the loop's. Owner: main(), or a test. Dropping it is kill -9: nothing is flushed.

#include "common/env.h"
#include "storaged/block/block_store.h"

#include <kj/function.h>

#include <functional>
#include <string>
#include <vector>

namespace dfs {

struct StorageOptions {
  std::string name = "store1";
  std::string host;                     // failure domain
  std::vector<std::string> listen;      // "HOST:PORT", "unix:/path"; announced in this order
  std::vector<std::string> nameserver;  // addresses, any of the group
  std::string http;                     // HOST:PORT to announce, or empty
  std::function<uint32_t()> sharers;    // how many stores lie on its disk; none: it alone
};

struct StoreSeam {
  // Where blocks and identity lie; a test may put something else here.
  kj::Function<kj::Promise<kj::Own<BlockStore>>(Env&)> open;
  kj::Function<kj::Promise<kj::Maybe<StoreIdentity>>(Env&)> readIdentity;
  kj::Function<kj::Promise<void>(Env&, StoreIdentity)> writeIdentity;
};
StoreSeam diskStore();

class StorageServer {
 public:
  StorageServer(Env& env, StorageOptions options, StoreSeam seam = diskStore());
  ~StorageServer() noexcept(false);
  KJ_DISALLOW_COPY(StorageServer);

  kj::Promise<void> start();
  // Opens the store, listens, and begins to register. Throws with a sentence. The identity is made
  // at the first start in an empty directory; the cluster is taken over at the first registration.
  bool ready();
  // Registered, with the right to serve.
  std::string statusJson();
  std::string metrics();
  kj::Promise<void> failed();
  // Throws when this daemon can serve no more: the store is out of service (it goes on telling the
  // name server so until it is stopped), or it belongs to another cluster.
  kj::Promise<void> stop();
  // A clean end: no new work, what is there is on the disk.

  BlockStore& store();
  // REQUIRES: start() has resolved. For tests and the simulator's checks.

 private:
  struct Impl;
  kj::Own<Impl> impl_;
};

}  // namespace dfs
