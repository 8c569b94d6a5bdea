#pragma once
// What the verbs of `dfs` share: the command's frame, and how they find and reach a cluster.
//
// Thread: main's. Each verb is one file that adds itself to the command line with add...(); the chosen one's action runs after
// parsing and returns the exit code (dfs(1): 0 ok, 1 failed, 2 usage, 3 partial, 4 not found, 5 denied, 6 unreachable, 7 timeout).

#include "common/config.h"
#include "common/env.h"
#include "common/limits.h"
#include "common/view.h"
#include "common/wire.h"

#include <kj/async-io.h>
#include <kj/debug.h>
#include <rpc-schema/cluster.capnp.h>
#include <rpc-schema/storage.capnp.h>
#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <vector>

namespace dfs {

struct Where {
  // How a cluster is named, in order of precedence: --root, --nameserver, a path inside a mount, the configuration.
  std::string root;
  std::vector<std::string> nameservers;
  std::string path;
};

struct Tool {
  CLI::App& app;
  Where where;
  std::function<int()> action;  // of the verb that was chosen
};

void addStatus(Tool& tool);
void addHealth(Tool& tool);
void addWhere(Tool& tool);
void addFsck(Tool& tool);
void addTransfer(Tool& tool);
void addSync(Tool& tool);
void addLocks(Tool& tool);
void addUmount(Tool& tool);
void addDev(Tool& tool);

CLI::App* addClusterOptions(Tool& tool, CLI::App* verb, bool withPath);
// --root, --nameserver and, withPath, a path inside a mount as an optional argument.

std::vector<std::string> findNameservers(const Where& where);
// Throws with a sentence that says how to name one. Asks no mount anything: its servers may be away.

std::string placeOf(const std::string& path);
// The path as the kernel names it, up to the mount of DFS that it lies in. Throws (not found) if it is in none.

inline constexpr uint64_t kAnswerMs = 30'000;  // how long a command waits for one answer
inline constexpr uint64_t kGlanceMs =
    5'000;  // how long it takes to say that nobody answers, if a person wants no more than to see

class ClusterClient {
  // A connection to the name server of a cluster, for one command.
 public:
  explicit ClusterClient(const Where& where, uint64_t wholeMs = 0);
  // Throws DISCONNECTED (exit code 6) if it cannot be reached within some seconds. `wholeMs`: for all that this client does; 0: no
  // such limit.
  ~ClusterClient() noexcept(false);
  KJ_DISALLOW_COPY(ClusterClient);

  schema::Admin::Client& admin();
  kj::WaitScope& scope();
  Env& env();
  View view();
  schema::StoreDoor::Client store(const NodeInfo& node);
  // Throws DISCONNECTED if that daemon cannot be reached.
  template <typename T> capnp::Response<T> ask(capnp::RemotePromise<T> answer) {
    // Throws DISCONNECTED when none comes in kAnswerMs, or the whole time is over.
    return withPatience(kj::Promise<capnp::Response<T>>(kj::mv(answer))).wait(scope());
  }

 private:
  template <typename T> kj::Promise<T> withPatience(kj::Promise<T> promise) {
    return promise.exclusiveJoin(late().then([]() -> T { KJ_UNREACHABLE; }));
  }
  kj::Promise<void> late();

  struct Impl;
  kj::Own<Impl> impl_;
};

}  // namespace dfs
