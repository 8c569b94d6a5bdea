#include "storaged/server.h"

#include "common/checksum.h"
#include "common/metrics.h"
#include "common/wire.h"
#include "storaged/service/control.h"
#include "storaged/service/heartbeat.h"

#include <sstream>

namespace dfs {
namespace {

class Door final : public schema::StoreDoor::Server {
 public:
  Door(AccessParts& parts, kj::Own<Calls> calls, schema::StoreAdmin::Client admin)
      : parts_(parts), calls_(kj::mv(calls)), admin_(kj::mv(admin)) {}

  kj::Promise<void> storage(StorageContext context) override {
    context.getResults().setStorage(kj::heap<BlockAccess>(parts_, kj::addRef(*calls_)));
    return kj::READY_NOW;
  }
  kj::Promise<void> replica(ReplicaContext context) override {
    context.getResults().setReplica(kj::heap<BlockReplica>(parts_, kj::addRef(*calls_)));
    return kj::READY_NOW;
  }
  kj::Promise<void> admin(AdminContext context) override {
    context.getResults().setAdmin(admin_);
    return kj::READY_NOW;
  }

 private:
  AccessParts& parts_;
  kj::Own<Calls> calls_;
  schema::StoreAdmin::Client admin_;
};

Task<uint64_t> nextIncarnation(Env* env) {
  // The wall clock in milliseconds, but always above the last one, which is kept in the file
  // `incarnation`: two copies of the number, so that a torn one is told from a good one.
  uint64_t last = 0;
  auto opened = co_await env->disk.open("incarnation", OpenMode::CREATE);
  KJ_REQUIRE(opened.ok(), "cannot open the file `incarnation`", opened.err());
  uint64_t words[2] = {0, 0};
  auto bytes = kj::arrayPtr(reinterpret_cast<kj::byte*>(words), sizeof(words));
  auto got = co_await (*opened)->read(0, bytes);
  bool whole = got.ok() && *got == sizeof(words) && words[0] == words[1];
  if (whole) last = words[0];
  auto wall = env->clock.wallTime();
  uint64_t now = static_cast<uint64_t>(wall.sec) * 1000 + wall.nsec / 1'000'000;
  uint64_t next = kj::max(last + 1, now);
  words[0] = words[1] = next;
  auto err = co_await (*opened)->write(0, bytes);
  KJ_REQUIRE(err == Errno::OK, "cannot write the file `incarnation`", err);
  err = co_await (*opened)->sync();
  KJ_REQUIRE(err == Errno::OK, "cannot sync the file `incarnation`", err);
  err = co_await env->disk.syncDirectory("");
  KJ_REQUIRE(err == Errno::OK, "cannot sync the data directory", err);
  co_return next;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      out += ' ';
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

}  // namespace

struct StorageServer::Impl final : private kj::TaskSet::ErrorHandler {
  Impl(Env& e, StorageOptions o, StoreSeam s)
      : env(e), options(kj::mv(o)), seam(kj::mv(s)), keeper(e) {}
  ~Impl() noexcept(false) { calls->close(); }

  Task<void> start();
  Task<void> watchStore();
  Task<void> watchRegistry();
  Task<void> stop();
  void fail(kj::Exception e);
  void taskFailed(kj::Exception&& e) override { fail(kj::mv(e)); }
  std::string statusJson();
  std::string metrics();

  Env& env;
  StorageOptions options;
  StoreSeam seam;
  StoreIdentity identity;
  uint64_t incarnation = 0;
  std::string broken;
  kj::PromiseFulfillerPair<void> failed = kj::newPromiseAndFulfiller<void>();

  // Destroyed from the last to the first: first who calls us, then who works, then the store.
  kj::Own<BlockStore> store;
  ViewKeeper keeper;
  BlockTurns turns;
  Admission admission{kAdmissionBytesMax, kAdmissionWaitersMax};
  AccessCounts counts;
  kj::Own<Peers> peers;
  kj::Own<Forward> forward;
  kj::Own<Updates> updates;
  kj::Own<Resync> resync;
  kj::Own<AccessParts> parts;
  kj::Own<Calls> calls = kj::refcounted<Calls>();
  kj::Own<Heartbeat> heartbeat;
  std::vector<kj::Own<RpcServer>> servers;
  kj::Own<kj::TaskSet> tasks = kj::heap<kj::TaskSet>(static_cast<kj::TaskSet::ErrorHandler&>(*this));
};

void StorageServer::Impl::fail(kj::Exception e) {
  if (broken.empty()) broken = e.getDescription().cStr();
  KJ_LOG(ERROR, "this storage daemon is out of service", e);
  if (heartbeat.get() != nullptr) heartbeat->storeBroke(broken);
  if (failed.fulfiller->isWaiting()) failed.fulfiller->reject(kj::mv(e));
}

Task<void> StorageServer::Impl::start() {
  KJ_REQUIRE(!options.listen.empty(), "a storage daemon needs an address to listen on");
  KJ_REQUIRE(!options.nameserver.empty(), "a storage daemon needs a name server's address");
  auto found = co_await seam.readIdentity(env);
  KJ_IF_MAYBE(id, found) {
    identity = *id;
  } else {
    identity.store = Uuid{env.random.next(), env.random.next() | 1};
    KJ_LOG(INFO, "an empty directory becomes a new store", toString(identity.store));
    co_await seam.writeIdentity(env, identity);
  }
  auto number = co_await nextIncarnation(&env);
  incarnation = number;
  auto opened = co_await seam.open(env);
  store = kj::mv(opened);
  peers = kj::heap<Peers>(env, keeper);
  forward = kj::heap<Forward>(env, keeper, *peers, *store);
  updates = kj::heap<Updates>(env, keeper, *store, *forward, turns);
  resync = kj::heap<Resync>(env, keeper, *store, *forward, *peers, turns);
  parts = kj::heap<AccessParts>(
      AccessParts{env, keeper, *store, *updates, *resync, turns, admission, counts});
  schema::StoreAdmin::Client admin = kj::heap<AdminAccess>(
      *parts, kj::addRef(*calls), kj::Function<std::string()>([this]() { return statusJson(); }));

  Announcement a;
  for (auto& address : options.listen) {
    auto bootstrap = Bootstrap([this, admin]() mutable -> capnp::Capability::Client {
      return schema::StoreDoor::Client(kj::heap<Door>(*parts, kj::addRef(*calls), admin));
    });
    auto text = kj::heapString(address.data(), address.size());
    auto server = co_await serveRpc(env, text, kj::mv(bootstrap));
    a.addresses.push_back(server->address().cStr());
    KJ_LOG(INFO, "listening", server->address());
    servers.push_back(kj::mv(server));
  }
  a.identity = identity;
  a.incarnation = incarnation;
  a.name = options.name;
  a.host = options.host;
  a.http = options.http;
  a.nameservers = options.nameserver;
  a.sharers = options.sharers;
  auto adopt = [this](Uuid cluster) -> kj::Promise<void> {
    identity.cluster = cluster;
    return seam.writeIdentity(env, identity);
  };
  schema::NodeControl::Client control = kj::heap<Control>(*parts, kj::addRef(*calls));
  heartbeat = kj::heap<Heartbeat>(env, kj::mv(a), keeper, *store, *updates, *resync,
                                  kj::mv(control), kj::mv(adopt));
  tasks->add(watchStore());
  tasks->add(watchRegistry());
}

Task<void> StorageServer::Impl::watchStore() {
  co_await store->broken();
}

Task<void> StorageServer::Impl::watchRegistry() {
  co_await heartbeat->failed();
}

Task<void> StorageServer::Impl::stop() {
  servers.clear();
  calls->close();
  keeper.loseRight();
  tasks = nullptr;
  heartbeat = nullptr;
  resync = nullptr;
  updates = nullptr;
  if (store.get() != nullptr) {
    co_await store->close();
  }
}

std::string StorageServer::Impl::statusJson() {
  std::ostringstream out;
  bool open = heartbeat.get() != nullptr;
  SpaceInfo space{0, 0};
  if (open) space = store->space();
  size_t serving = 0, syncing = 0, head = 0;
  for (auto& c : keeper.view().chains) {
    auto state = keeper.stateIn(c.first);
    serving += state == MemberState::SERVING;
    syncing += state == MemberState::SYNCING;
    head += c.second.head().orDefault(NodeId()) == keeper.self() && keeper.self();
  }
  out << "{\"schema\":1,\"what\":\"store\",\"name\":" << quoted(options.name)
      << ",\"store\":" << quoted(toString(identity.store).cStr())
      << ",\"cluster\":" << quoted(toString(identity.cluster).cStr())
      << ",\"node\":" << keeper.self().value << ",\"incarnation\":" << incarnation
      << ",\"registered\":" << (open && heartbeat->registered() ? "true" : "false")
      << ",\"mayServe\":" << (keeper.mayServe() ? "true" : "false")
      << ",\"view\":" << keeper.view().version
      << ",\"viewSettled\":" << (open ? heartbeat->settledView() : 0)
      << ",\"broken\":" << quoted(broken)
      << ",\"trouble\":" << quoted(open ? heartbeat->lastError() : "")
      << ",\"bytes\":" << space.totalBytes << ",\"bytesFree\":" << space.freeBytes
      << ",\"blocks\":" << (open ? store->blockCount() : 0)
      << ",\"chains\":{\"serving\":" << serving << ",\"syncing\":" << syncing
      << ",\"head\":" << head << ",\"recovering\":" << keeper.recovering().size()
      << ",\"bringingUp\":" << (open ? resync->running() : 0)
      << "},\"uncommitted\":" << (open ? updates->pendingCount() : 0)
      << ",\"bytesInMemory\":" << admission.bytesHeld() << "}";
  return out.str();
}

std::string StorageServer::Impl::metrics() {
  MetricsWriter w;
  w.counter("dfs_store_reads_total", "Reads answered.", counts.reads);
  w.counter("dfs_store_read_bytes_total", "Bytes of reads answered.", counts.readBytes);
  w.counter("dfs_store_writes_total", "Writes answered as head.", counts.writes);
  w.counter("dfs_store_write_bytes_total", "Bytes of writes answered.", counts.writeBytes);
  w.counter("dfs_store_syncs_total", "Syncs answered.", counts.syncs);
  w.counter("dfs_store_refused_total", "Requests refused.", counts.refused);
  w.counter("dfs_store_corrupt_total", "Reads of bytes that do not match their sums.",
            counts.corrupt);
  w.counter("dfs_store_unknown_total", "Writes whose outcome could not be told.",
            counts.outcomesUnknown);
  w.gauge("dfs_store_admission_bytes", "Client writes in memory.",
          static_cast<double>(admission.bytesHeld()));
  w.gauge("dfs_store_view_version", "Of the installed view.",
          static_cast<double>(keeper.view().version));
  if (heartbeat.get() == nullptr) return w.finish();
  w.counter("dfs_store_committed_total", "Updates committed.", updates->committedCount());
  w.counter("dfs_store_whole_blocks_total", "Live updates sent as whole blocks.",
            updates->wholeBlockCount());
  w.counter("dfs_store_resync_blocks_total", "Blocks sent by resync.", resync->installedBlocks());
  w.counter("dfs_store_resync_skipped_total", "Blocks that were equal.", resync->skippedBlocks());
  w.counter("dfs_store_repaired_total", "Bad copies replaced.", resync->repairedBlocks());
  w.gauge("dfs_store_uncommitted", "Updates applied and not committed.",
          static_cast<double>(updates->pendingCount()));
  auto space = store->space();
  w.gauge("dfs_store_bytes", "Size of the disk.", static_cast<double>(space.totalBytes));
  w.gauge("dfs_store_free_bytes", "Free on the disk.", static_cast<double>(space.freeBytes));
  w.gauge("dfs_store_blocks", "Blocks here.", static_cast<double>(store->blockCount()));
  return w.finish();
}

StorageServer::StorageServer(Env& env, StorageOptions options, StoreSeam seam)
    : impl_(kj::heap<Impl>(env, kj::mv(options), kj::mv(seam))) {}
StorageServer::~StorageServer() noexcept(false) {}

kj::Promise<void> StorageServer::start() {
  return impl_->start();
}
bool StorageServer::ready() {
  return impl_->heartbeat.get() != nullptr && impl_->heartbeat->registered() &&
         impl_->keeper.mayServe() && impl_->broken.empty();
}
std::string StorageServer::statusJson() {
  return impl_->statusJson();
}
std::string StorageServer::metrics() {
  return impl_->metrics();
}
kj::Promise<void> StorageServer::failed() {
  return kj::mv(impl_->failed.promise);
}
kj::Promise<void> StorageServer::stop() {
  return impl_->stop();
}
BlockStore& StorageServer::store() {
  return *impl_->store;
}

}  // namespace dfs
