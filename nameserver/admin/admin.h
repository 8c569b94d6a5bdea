#pragma once
// What people and tools ask of a name server: the status object, metrics, and the Admin capability.
//
// Thread: the loop's. Owner: Server; lives as long as the Sessions and the Cluster that it shows.

#include "common/env.h"
#include "common/task.h"
#include "nameserver/cluster/cluster.h"
#include "nameserver/meta/queries.h"
#include "nameserver/raft/replicator.h"
#include "nameserver/session/sessions.h"

#include <rpc-schema/admin.capnp.h>

#include <kj/refcount.h>

#include <string>

namespace dfs {

struct AdminOptions {
  std::string id;    // of this name server
  std::string http;  // where its status pages are, or empty
};

class Admin {
 public:
  Admin(Env& env, Kv& kv, Queries& queries, Replicator& replicator, Cluster& cluster,
        Sessions& sessions, AdminOptions options);
  ~Admin() noexcept(false);
  KJ_DISALLOW_COPY(Admin);

  schema::Admin::Client client();
  std::string statusJson();
  // Schema number 1.
  std::string metrics();

 private:
  class Server;
  struct Link final : public kj::Refcounted {
    explicit Link(Admin& target) : admin(&target) {}
    Admin* admin;
  };
  template <typename P, typename R> using Ctx = capnp::CallContext<P, R>;

  Task<void> view(Ctx<schema::Admin::ViewParams, schema::Admin::ViewResults> context);
  Task<void> resolve(Ctx<schema::Admin::ResolveParams, schema::Admin::ResolveResults> context);
  Task<void> rows(Ctx<schema::Admin::RowsParams, schema::Admin::RowsResults> context);
  Task<void> check(Ctx<schema::Admin::CheckParams, schema::Admin::CheckResults> context);
  Task<void> namedBlocks(
      Ctx<schema::Admin::NamedBlocksParams, schema::Admin::NamedBlocksResults> context);
  Task<void> paths(Ctx<schema::Admin::PathsParams, schema::Admin::PathsResults> context);
  Task<void> settle(Ctx<schema::Admin::SettleParams, schema::Admin::SettleResults> context);
  Task<void> locks(Ctx<schema::Admin::LocksParams, schema::Admin::LocksResults> context);

  Env& env_;
  Kv& kv_;
  Queries& queries_;
  Replicator& replicator_;
  Cluster& cluster_;
  Sessions& sessions_;
  const AdminOptions options_;
  kj::Own<Link> link_;
  kj::Canceler calls_;
};

}  // namespace dfs
