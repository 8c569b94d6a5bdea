#include "nameserver/server.h"

#include "nameserver/raft/vote_file.h"

#include <rpc-schema/cluster.capnp.h>

#include <nlohmann/json.hpp>

namespace dfs {

struct NameServer::Leader {
  // In this order: each uses those above it.
  Leader(Env& env, Kv& kv, Queries& queries, RaftReplicator& replicator,
         const NameServerOptions& options)
      : cluster(newCluster(env, queries, replicator, ClusterOptions{options.nodesExpected})),
        sessions(env, queries, replicator, *cluster),
        admin(env, kv, queries, replicator, *cluster, sessions,
              AdminOptions{options.id, options.http}) {}

  kj::Own<Cluster> cluster;
  Sessions sessions;
  Admin admin;
};

class NameServer::Door final : public schema::NameDoor::Server {
  // One connection. Its end detaches the sessions that came through it.
 public:
  Door(NameServer& server, uint64_t connection) : server_(server), connection_(connection) {}
  ~Door() noexcept(false) {
    if (server_.leader_.get() != nullptr) server_.leader_->sessions.connectionGone(connection_);
  }

 protected:
  kj::Promise<void> nameServer(NameServerContext context) override {
    context.getResults().setNameServer(leader().sessions.nameServer(connection_));
    return kj::READY_NOW;
  }
  kj::Promise<void> registry(RegistryContext context) override {
    context.getResults().setRegistry(leader().cluster->registry());
    return kj::READY_NOW;
  }
  kj::Promise<void> admin(AdminContext context) override {
    context.getResults().setAdmin(leader().admin.client());
    return kj::READY_NOW;
  }
  kj::Promise<void> raft(RaftContext context) override {
    return KJ_EXCEPTION(FAILED, "this name server is a group of its own: it has no peers");
  }

 private:
  Leader& leader() {
    if (server_.leader_.get() == nullptr) {
      kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "this name server does not lead"));
    }
    return *server_.leader_;
  }

  NameServer& server_;
  const uint64_t connection_;
};

NameServer::NameServer(Env& env, NameServerOptions options)
    : env_(env), options_(kj::mv(options)), failed_(nullptr) {
  auto pair = kj::newPromiseAndFulfiller<void>();
  failFulfiller_ = kj::mv(pair.fulfiller);
  failed_ = pair.promise.fork();
}

NameServer::~NameServer() noexcept(false) {
  run_ = nullptr;
  doors_.clear();
  leader_ = nullptr;
}

kj::Promise<void> NameServer::start() {
  return open();
}

kj::Promise<void> NameServer::failed() {
  return failed_.addBranch();
}

Task<void> NameServer::open() {
  auto votes = co_await VoteFile::open(env_.disk);
  if (options_.create) {
    co_await createLog(env_, options_.log);  // refuses where there is one
  } else {
    KJ_REQUIRE(votes != nullptr,
               "there is no cluster in this data directory; --create makes one "
               "(if there should be one, look whether its disk is mounted)");
  }
  votes = nullptr;
  kv_ = co_await env_.disk.openKv("store");
  machine_ = kj::heap<StateMachine>(*kv_);
  applier_ = kj::heap<StateMachineApplier>(*machine_);
  queries_ = kj::heap<Queries>(*kv_);
  replicator_ = co_await RaftReplicator::open(env_, *kv_, *applier_, options_.log, nullptr);
  while (!replicator_->leading()) {
    co_await replicator_->nextTerm();
  }
  co_await replicator_->confirm();
  if (options_.create) {
    co_await makeCluster();
  }
  KJ_REQUIRE(queries_->cluster() != nullptr,
             "the creation of this cluster did not get to its end: empty the data directory and "
             "use --create again");
  co_await serve();
  run_ = kj::Promise<void>(run()).eagerlyEvaluate(
      [this](kj::Exception&& e) { failFulfiller_->reject(kj::mv(e)); });
}

Task<void> NameServer::makeCluster() {
  auto command = kj::heap<capnp::MallocMessageBuilder>();
  auto root = command->initRoot<schema::Command>();
  toWire(env_.clock.wallTime(), root.initTime());
  auto create = root.getDo().initCreateCluster();
  Uuid uuid{env_.random.next(), env_.random.next()};
  toWire(uuid, create.initUuid());
  create.setRootUid(options_.rootUid);
  create.setRootGid(options_.rootGid);
  create.setRootMode(options_.rootMode);
  create.setReplicas(options_.replicas);
  create.setBlockBytes(options_.blockBytes);
  auto message = co_await replicator_->propose(kj::mv(command));
  auto err = message->getRoot<schema::Outcome>().getErr();
  KJ_REQUIRE(err == Errno::OK, "the cluster cannot be made", nameOf(err));
  KJ_LOG(INFO, "a cluster was made", toString(uuid));
}

Task<void> NameServer::serve() {
  // For the term in which it leads now.
  leader_ = kj::heap<Leader>(env_, *kv_, *queries_, *replicator_, options_);
  for (auto& address : options_.listen) {
    auto door = co_await serveRpc(env_, address.c_str(), [this]() { return newDoor(); });
    KJ_LOG(INFO, "listening", door->address());
    doors_.add(kj::mv(door));
  }
}

capnp::Capability::Client NameServer::newDoor() {
  return schema::NameDoor::Client(kj::heap<Door>(*this, ++connections_));
}

Task<void> NameServer::run() {
  for (;;) {
    auto sessionsFailed =
        leader_.get() == nullptr ? kj::Promise<void>(kj::NEVER_DONE) : leader_->sessions.failed();
    auto change = replicator_->nextTerm()
                      .exclusiveJoin(replicator_->failed())
                      .exclusiveJoin(kj::mv(sessionsFailed));
    co_await kj::mv(change);
    doors_.clear();
    leader_ = nullptr;
    if (!replicator_->leading()) continue;
    co_await replicator_->confirm();
    co_await serve();
  }
}

kj::Promise<void> NameServer::stop() {
  run_ = kj::READY_NOW;
  doors_.clear();
  leader_ = nullptr;
  return replicator_->stop();
}

bool NameServer::ready() {
  return leader_.get() != nullptr && leader_->cluster->ready() && leader_->sessions.serving();
}

std::string NameServer::statusJson() {
  if (leader_.get() != nullptr) return leader_->admin.statusJson();
  nlohmann::ordered_json status = {
      {"schema", 1},
      {"ready", false},
      {"health", {{"state", "critical"}, {"issues", nlohmann::ordered_json::array()}}},
      {"nameservers", nlohmann::ordered_json::array({{{"id", options_.id}, {"leading", false}}})}};
  return status.dump(2) + "\n";
}

std::string NameServer::metrics() {
  if (leader_.get() == nullptr) return "";
  return leader_->admin.metrics();
}

std::vector<std::string> NameServer::addresses() {
  std::vector<std::string> all;
  for (auto& door : doors_) all.push_back(door->address().cStr());
  return all;
}

}  // namespace dfs
