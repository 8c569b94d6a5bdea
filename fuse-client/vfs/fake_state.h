#pragma once
// What the fake cluster of the client's tests is: state in plain maps, and switches for what may go wrong.
//
// Thread: the test's. Owner: the test; before the world, after the clients.

#include "common/view.h"
#include "common/waiting.h"
#include "common/wire.h"
#include "fuse-client/vfs/block_map.h"
#include "fuse-client/vfs/fake_locks.h"
#include "tests/sim/world/world.h"

#include <rpc-schema/namespace.capnp.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace dfs::fake {

constexpr uint32_t kSmallBlock = 16384;

struct Inode {
  uint32_t blockBytes = kSmallBlock;
  schema::Kind kind = schema::Kind::FILE;
  uint32_t mode = 0644;
  uint64_t size = 0;
  uint64_t version = 1;
  Time mtime{1, 0};
  std::map<uint64_t, FileRow> rows;
  std::map<std::string, uint64_t> names;
  std::map<std::string, std::string> xattrs;
  uint64_t holder = 0;  // session
  uint64_t sequence = 0;
};

class Cluster {
 public:
  explicit Cluster(SimWorld& simWorld);

  void serve();
  void stopNames() { nameServer_ = nullptr; }
  void endSession(uint64_t id);
  void powerCut(size_t store);  // loses what was not synced, and with it `since`
  kj::Promise<void> others(uint64_t ino, uint64_t session);  // recalls another's lease

  struct Store {
    std::map<uint64_t, std::vector<kj::byte>> blocks, synced;
    uint64_t since = 0;
    uint64_t servedFrom = 1;  // begins anew with since, as the view's does
    uint64_t reads = 0;
  };
  struct Session {
    kj::Maybe<schema::Callback::Client> callback;
    uint64_t attach = 0;
  };

  SimWorld& world;
  kj::Own<SimProcess> process;
  View view;
  std::map<uint64_t, Inode> inodes;
  std::map<uint64_t, Session> sessions;
  std::map<std::pair<uint64_t, uint64_t>, std::pair<Errno, uint64_t>> answers;
  std::vector<Store> stores;
  FileLocks locks;
  std::map<uint64_t, uint64_t> nextBlock;  // by chain
  std::set<uint64_t> full;                 // chains without room
  uint32_t blockBytes = kSmallBlock;       // of files that are made from now on
  uint64_t bytesFree = 1u << 30;           // as statfs says
  bool roomy = false;                      // said in the answers to writes
  bool holdWrites = false;                 // until writesGo
  Signal writesGo;
  Signal changed;

  uint64_t creates = 0;
  uint64_t claimed = 0, rowsCalls = 0, published = 0, xattrCalls = 0;
  bool loseNextAnswer = false;  // of a mutation: applied, and then the connection goes
  kj::Function<void()> onRows = []() {};
  kj::Function<void()> onSync = []() {};
  uint64_t nextIno = 2;
  uint64_t nextSequence = 1;
  uint64_t nextAttach = 1;

 private:
  kj::Own<RpcServer> nameServer_;
  std::vector<kj::Own<RpcServer>> storeServers_;
};

}  // namespace dfs::fake
