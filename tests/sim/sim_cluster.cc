#include "tests/sim/sim_cluster.h"

#include "common/limits.h"

#include <rpc-schema/cluster.capnp.h>

namespace dfs {
namespace {
constexpr const char* kNamesMachine = "names";
constexpr uint64_t kSliceMs = 20;
constexpr uint32_t kBlocksPerCall = 1000;
}  // namespace

SimCluster::SimCluster(uint64_t seed, SimShape shape)
    : world(seed), shape_(shape), stores_(shape.stores), clients_(shape.clients) {
  admin_ = world.machine("admin").process("/");
  // Clocks of machines are not equal, and run at rates that differ within what is promised (T2).
  for (uint32_t i = 0; i < shape_.clients; ++i) {
    auto& clock = world.machine(clientName(i)).clock;
    clock.offsetMs = world.random.below(100'000'000);
    clock.ratePpm = static_cast<int64_t>(world.random.below(401)) - 200;
    clients_[i].machine = clientName(i);
  }
  for (uint32_t i = 0; i < shape_.stores; ++i) {
    auto& clock = world.machine(storeName(i)).clock;
    clock.offsetMs = world.random.below(100'000'000);
    clock.ratePpm = static_cast<int64_t>(world.random.below(401)) - 200;
  }
}

SimCluster::~SimCluster() noexcept(false) {
  for (uint32_t i = 0; i < shape_.clients; ++i) killClient(i);
  for (uint32_t i = 0; i < shape_.stores; ++i) killStore(i);
  killNames();
}

void SimCluster::create() {
  for (uint32_t i = 0; i < shape_.stores; ++i) {
    world.machine(storeName(i)).disk.setCapacity(shape_.storeDiskBytes);
  }
  startAll();
  KJ_REQUIRE(waitHealthy(60'000), "the new cluster does not become healthy", trouble());
  created_ = true;
}

// --- processes ---

template <typename S> void SimCluster::watch(Daemon<S>& daemon, std::string name) {
  auto& server = *daemon.server;
  daemon.started = daemon.ended = false;
  auto ended = [this, &daemon, name](std::string why) {
    daemon.ended = true;
    daemon.endedNs = world.time.nowNs();
    if (!endsExpected_) unexpectedEnds.push_back(name + " ended by itself: " + why);
  };
  daemon.run = server.start()
                   .then([&daemon, &server]() {
                     daemon.started = true;
                     return server.failed();
                   })
                   .then([ended]() { ended("without a reason"); },
                         [ended](kj::Exception&& e) { ended(e.getDescription().cStr()); })
                   .eagerlyEvaluate(nullptr);
}

template <typename S> void SimCluster::drop(Daemon<S>& daemon) {
  daemon.run = nullptr;
  daemon.server = nullptr;
  daemon.process = nullptr;
  daemon.started = daemon.ended = false;
}

void SimCluster::startNames() {
  if (names_.server.get() != nullptr) return;
  names_.process = world.machine(kNamesMachine).process("/name");
  NameServerOptions o;
  o.listen = {"names:7400"};
  o.nodesExpected = shape_.stores;
  o.create = !created_;
  o.replicas = shape_.replicas;
  o.blockBytes = shape_.blockBytes;
  o.log.reserveBytes = 1 << 20;
  names_.server = kj::heap<NameServer>(names_.process->env, o);
  watch(names_, "the name server");
}

void SimCluster::killNames() {
  drop(names_);
}

void SimCluster::startStore(uint32_t i) {
  auto& s = stores_[i];
  if (s.server.get() != nullptr) return;
  s.process = world.machine(storeName(i)).process("/store");
  StorageOptions o;
  o.name = storeName(i);
  o.host = storeName(i);
  o.listen = {storeName(i) + ":7401"};
  o.nameserver = {"names:7400"};
  s.server = kj::heap<StorageServer>(s.process->env, o);
  watch(s, storeName(i));
}

void SimCluster::killStore(uint32_t i) {
  drop(stores_[i]);
}

void SimCluster::startClient(uint32_t i) {
  auto& c = clients_[i];
  if (c.vfs.get() != nullptr) return;
  c.process = world.machine(c.machine).process("/client");
  c.kernel = kj::heap<KernelModel>(world.time, world.random);
  c.calls = kj::heap<kj::Canceler>();
  VfsOptions o;
  o.nameservers = {"names:7400"};
  o.host = c.machine;
  o.what = "/mnt";
  c.vfs = newVfs(c.process->env, o);
  c.vfs->setKernel(*c.kernel);
  c.attached = false;
  ++c.starts;
  c.attaching = c.call(c.vfs->attach())
                    .then([&c]() { c.attached = true; },
                          [this, &c](kj::Exception&& e) {
                            if (c.vfs.get() != nullptr) {
                              unexpectedEnds.push_back(
                                  c.machine + " cannot attach: " + e.getDescription().cStr());
                            }
                          })
                    .eagerlyEvaluate(nullptr);
}

void SimCluster::killClient(uint32_t i) {
  auto& c = clients_[i];
  if (c.vfs.get() == nullptr) return;
  c.attached = false;
  c.attaching = nullptr;
  c.calls->cancel("the client was killed");
  c.vfs = nullptr;
  c.kernel = nullptr;
  c.process = nullptr;
}

void SimCluster::startAll() {
  startNames();
  for (uint32_t i = 0; i < shape_.stores; ++i) startStore(i);
  for (uint32_t i = 0; i < shape_.clients; ++i) startClient(i);
}

void SimCluster::powerCutNames() {
  killNames();
  world.machine(kNamesMachine).disk.powerCut();
}

void SimCluster::powerCutStore(uint32_t i) {
  killStore(i);
  world.machine(storeName(i)).disk.powerCut();
}

void SimCluster::powerCutAll() {
  for (uint32_t i = 0; i < shape_.clients; ++i) killClient(i);
  powerCutNames();
  for (uint32_t i = 0; i < shape_.stores; ++i) powerCutStore(i);
}

void SimCluster::tend() {
  auto due = [this](auto& d) {
    return d.ended && d.server.get() != nullptr && world.time.nowNs() >= d.endedNs + 1'000'000'000;
  };
  if (due(names_)) {
    killNames();
    startNames();
  }
  for (uint32_t i = 0; i < shape_.stores; ++i) {
    if (due(stores_[i])) {
      killStore(i);
      startStore(i);
    }
  }
}

std::vector<std::string> SimCluster::servers() const {
  std::vector<std::string> all = {kNamesMachine};
  for (uint32_t i = 0; i < shape_.stores; ++i) all.push_back(storeName(i));
  return all;
}

void SimCluster::isolate(const std::string& machine) {
  for (auto& s : servers()) {
    world.network.cut(machine, s);
    world.network.cut(s, machine);
  }
}

void SimCluster::unisolate(const std::string& machine) {
  for (auto& s : servers()) {
    world.network.heal(machine, s);
    world.network.heal(s, machine);
  }
}

// --- time ---

void SimCluster::pass(uint64_t ms) {
  while (ms > 0) {
    auto slice = kj::min(ms, kSliceMs);
    world.pass(slice);
    ms -= slice;
    tend();
  }
}

bool SimCluster::passUntil(kj::Function<bool()> until, uint64_t ms) {
  for (;;) {
    if (until()) return true;
    if (ms == 0) return false;
    auto slice = kj::min(ms, kSliceMs);
    pass(slice);
    ms -= slice;
  }
}

bool SimCluster::done(uint64_t ms, kj::Promise<void> promise) {
  bool is = false;
  kj::Maybe<kj::Exception> failure;
  auto running = promise
                     .then([&is]() { is = true; },
                           [&](kj::Exception&& e) {
                             is = true;
                             failure = kj::mv(e);
                           })
                     .eagerlyEvaluate(nullptr);
  passUntil([&is]() { return is; }, ms);
  KJ_IF_MAYBE(e, failure) kj::throwFatalException(kj::mv(*e));
  return is;
}

// --- questions from outside ---

Task<kj::Own<Connection>> SimCluster::dialNames() {
  auto addresses = kj::heapArrayBuilder<kj::String>(1);
  addresses.add(kj::str("names:7400"));
  auto list = addresses.finish();
  auto connection = co_await dial(admin_->env, list, 1000);
  co_return kj::mv(connection);
}

Task<View> SimCluster::askView() {
  auto connection = co_await dialNames();
  auto door = connection->bootstrap().castAs<schema::NameDoor>();
  auto answer = co_await door.adminRequest().send().getAdmin().viewRequest().send();
  co_return fromWire(answer.getView());
}

kj::Maybe<View> SimCluster::view() {
  kj::Maybe<View> result;
  auto failure = kj::runCatchingExceptions([&]() { result = within<View>(2000, askView()); });
  if (failure != nullptr) return nullptr;  // it does not answer: that is the answer
  return result;
}

std::string SimCluster::trouble() {
  if (!names_.started) return "the name server is not up";
  for (auto& c : clients_) {
    if (c.vfs.get() == nullptr || !c.attached) return c.machine + " is not attached";
  }
  for (uint32_t i = 0; i < shape_.stores; ++i) {
    if (!stores_[i].started || !stores_[i].server->ready()) return storeName(i) + " is not ready";
  }
  KJ_IF_MAYBE(v, view()) {
    if (v->nodes.size() != shape_.stores) return "stores are missing in the view";
    for (auto& [id, node] : v->nodes) {
      if (!node.online) return node.name + " is offline";
    }
    if (v->chains.empty()) return "there are no chains";
    for (auto& [id, chain] : v->chains) {
      if (chain.servingCount() != chain.members.size()) {
        return "chain " + std::to_string(id.value) + " is not whole";
      }
    }
    return "";
  }
  return "the name server does not answer";
}

bool SimCluster::waitHealthy(uint64_t ms) {
  auto end = world.time.nowNs() + ms * 1'000'000;
  while (!trouble().empty()) {
    if (world.time.nowNs() >= end) return false;
    pass(200);
  }
  return true;
}

Task<void> SimCluster::askCheck(std::vector<std::string>& problems) {
  auto connection = co_await dialNames();
  auto door = connection->bootstrap().castAs<schema::NameDoor>();
  auto admin = door.adminRequest().send().getAdmin();
  auto settled = co_await admin.settleRequest().send();
  if (settled.getErr() != Errno::OK) problems.push_back("settle is refused");
  std::string cursor;
  do {
    auto request = admin.checkRequest();
    request.setCursor(Bytes(reinterpret_cast<const kj::byte*>(cursor.data()), cursor.size()));
    auto answer = co_await request.send();
    for (auto p : answer.getProblems()) problems.push_back(p.getText().cStr());
    auto next = answer.getNext();
    cursor = std::string(reinterpret_cast<const char*>(next.begin()), next.size());
  } while (!cursor.empty());
}

Task<void> SimCluster::askNamed(std::map<uint64_t, schema::Admin::Use>& named) {
  auto connection = co_await dialNames();
  auto door = connection->bootstrap().castAs<schema::NameDoor>();
  auto admin = door.adminRequest().send().getAdmin();
  for (uint64_t above = 0;;) {
    auto request = admin.namedBlocksRequest();
    request.setAbove(above);
    request.setBlocksMax(kBlocksPerCall);
    auto answer = co_await request.send();
    for (auto b : answer.getBlocks()) {
      above = b.getBlock();
      auto& use = named.emplace(b.getBlock(), b.getUse()).first->second;
      if (b.getUse() == schema::Admin::Use::ROW) use = b.getUse();
    }
    if (answer.getAtEnd()) break;
  }
}

std::vector<std::string> SimCluster::fsck() {
  std::vector<std::string> problems;
  if (!done(60'000, askCheck(problems))) problems.push_back("the check does not end");
  std::map<uint64_t, schema::Admin::Use> named;
  if (!done(60'000, askNamed(named))) problems.push_back("namedBlocks does not end");
  auto v = KJ_REQUIRE_NONNULL(view(), "no view");
  std::map<NodeId, uint32_t> storeOf;
  for (auto& [id, node] : v.nodes) {
    for (uint32_t i = 0; i < shape_.stores; ++i) {
      if (node.name == storeName(i)) storeOf[id] = i;
    }
  }
  std::set<uint64_t> lying;
  for (uint32_t i = 0; i < shape_.stores; ++i) {
    for (auto block : store(i).store().list(BlockId(), UINT32_MAX)) lying.insert(block.value);
  }
  for (auto& [block, use] : named) {
    if (use == schema::Admin::Use::ROW && lying.count(block) == 0) {
      problems.push_back("a row names a block that lies nowhere: " + std::to_string(block));
    }
  }
  for (auto value : lying) {
    BlockId block(value);
    auto use = named.find(value);
    // What is being deleted goes from one member after the other.
    bool kept = use != named.end() && use->second != schema::Admin::Use::RECLAIM;
    if (use == named.end()) {
      problems.push_back("nobody names block " + std::to_string(value));
    }
    auto* chain = v.chain(block.chain());
    if (chain == nullptr) {
      problems.push_back("block without a chain: " + std::to_string(value));
      continue;
    }
    std::string first;
    for (auto& member : chain->members) {
      auto& blocks = store(storeOf[member.node]).store();
      std::string copy = "absent";
      KJ_IF_MAYBE(b, blocks.find(block)) {
        copy = "epoch " + std::to_string(b->at.epoch) + " version " +
               std::to_string(b->at.version) + " length " + std::to_string(b->length) + " digest " +
               std::to_string(blocks.digest(block));
        if (b->doubtful) copy += " doubtful";
        if (kept) {
          auto sound = within<Errno>(10'000, blocks.verify(block));
          if (sound == nullptr || KJ_ASSERT_NONNULL(sound) != Errno::OK) copy += " unsound";
        }
      }
      if (first.empty()) first = copy;
      if (copy != first && kept) {
        problems.push_back("copies of block " + std::to_string(value) + " differ: " + first +
                           " / " + copy);
      } else if (kept && (copy == "absent" || copy.find("unsound") != std::string::npos)) {
        problems.push_back("block " + std::to_string(value) + ": " + copy);
      }
    }
  }
  return problems;
}

}  // namespace dfs
