#pragma once
// A whole cluster in one process and in virtual time: one name server, some stores and some
// clients, each on a machine of its own, with everything that can befall them.
//
// Thread: the simulator's. Owner: a run (run.h) or a test.
// Invariants:
//   1. Processes are dropped only from here, on the bare stack, never from within their own work.
//   2. A client's unanswered operations are cancelled before it goes.
//   3. A process that ends by itself is started again a second later, as by systemd, and noted.

#include "fuse-client/vfs/vfs.h"
#include "nameserver/server.h"
#include "storaged/server.h"
#include "tests/sim/kernel_model.h"
#include "tests/sim/world/world.h"

#include <rpc-schema/admin.capnp.h>

#include <vector>

namespace dfs {

struct SimShape {
  uint32_t stores = 2;
  uint32_t clients = 2;
  uint8_t replicas = 0;  // 0: auto
  uint32_t blockBytes = kBlockBytes;
  uint64_t storeDiskBytes = uint64_t(1) << 40;
};

struct SimClient {
  std::string machine;
  kj::Own<SimProcess> process;
  kj::Own<KernelModel> kernel;
  kj::Own<kj::Canceler> calls;
  kj::Own<Vfs> vfs;  // null: not running
  bool attached = false;
  uint64_t starts = 0;
  kj::Promise<void> attaching = nullptr;

  template <typename T> kj::Promise<T> call(kj::Promise<T> promise) {
    return calls->wrap(kj::mv(promise));
  }
};

class SimCluster {
 public:
  SimCluster(uint64_t seed, SimShape shape);
  ~SimCluster() noexcept(false);
  KJ_DISALLOW_COPY(SimCluster);

  void create();  // makes the cluster, starts everything, waits until it is healthy

  // Each does nothing if it is so already.
  void startNames();
  void killNames();
  void startStore(uint32_t i);
  void killStore(uint32_t i);
  void startClient(uint32_t i);
  void killClient(uint32_t i);
  void startAll();
  void powerCutNames();  // kills and takes what was not synced; starts nothing
  void powerCutStore(uint32_t i);
  void powerCutAll();  // every machine, the clients' too

  bool namesRun() const { return names_.server.get() != nullptr; }
  bool storeRuns(uint32_t i) const { return stores_[i].server.get() != nullptr; }
  StorageServer& store(uint32_t i) { return *stores_[i].server; }
  SimClient& client(uint32_t i) { return clients_[i]; }
  SimMachine& machineOf(const std::string& name) { return world.machine(name); }
  uint32_t stores() const { return shape_.stores; }
  uint32_t clients() const { return shape_.clients; }
  const SimShape& shape() const { return shape_; }
  std::string storeName(uint32_t i) const { return "store" + std::to_string(i + 1); }
  std::string clientName(uint32_t i) const { return "client" + std::to_string(i + 1); }
  std::vector<std::string> servers() const;
  void isolate(const std::string& machine);  // from everybody, both ways
  void unisolate(const std::string& machine);

  void pass(uint64_t ms);
  bool passUntil(kj::Function<bool()> done, uint64_t ms);
  template <typename T> kj::Maybe<T> within(uint64_t ms, kj::Promise<T> promise);
  // Null: it was not there in time. What it throws is thrown.
  bool done(uint64_t ms, kj::Promise<void> promise);

  std::string trouble();  // why it is not healthy; empty: it is
  bool waitHealthy(uint64_t ms);
  kj::Maybe<View> view();  // null: no answer within a second
  std::vector<std::string> fsck();
  // The name server's check, copies of every block on the serving members, blocks that nobody
  // names.

  void expectEnds(bool on) { endsExpected_ = on; }
  std::vector<std::string> unexpectedEnds;
  SimWorld world;

 private:
  template <typename S> struct Daemon {
    kj::Own<SimProcess> process;
    kj::Own<S> server;
    kj::Promise<void> run = nullptr;
    bool started = false;
    bool ended = false;
    uint64_t endedNs = 0;
  };
  template <typename S> void watch(Daemon<S>& daemon, std::string name);
  template <typename S> static void drop(Daemon<S>& daemon);
  void tend();
  Task<kj::Own<Connection>> dialNames();
  Task<View> askView();
  Task<void> askCheck(std::vector<std::string>& problems);
  Task<void> askNamed(std::map<uint64_t, schema::Admin::Use>& named);

  const SimShape shape_;
  bool created_ = false;
  bool endsExpected_ = false;
  kj::Own<SimProcess> admin_;
  Daemon<NameServer> names_;
  std::vector<Daemon<StorageServer>> stores_;
  std::vector<SimClient> clients_;
};

template <typename T> kj::Maybe<T> SimCluster::within(uint64_t ms, kj::Promise<T> promise) {
  kj::Maybe<T> value;
  if (!done(ms, promise.then([&value](T&& t) { value = kj::mv(t); }))) return nullptr;
  return kj::mv(value);
}

}  // namespace dfs
