#include "tools/dev/command_failure.h"
#include "tools/dev/dev_cluster.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>

#include <iostream>
#include <memory>

namespace dfs {
namespace {

struct DevArguments {
  std::string root;
  std::string id;
  DevShape shape;
};

DevCluster openExisting(const std::string& root) {
  DevCluster cluster(root);
  if (!cluster.exists()) {
    failCommand(
        kExitNotFound,
        "there is no cluster in this directory; `dfs dev up --root DIR` makes one: " + root);
  }
  return cluster;
}

using Action = void (DevCluster::*)(const std::string&);

void addSignal(Tool& tool, CLI::App* dev, std::shared_ptr<DevArguments> arguments, const char* name,
               const char* help, Action action) {
  auto verb = dev->add_subcommand(name, help);
  verb->add_option("--root", arguments->root, "The cluster's directory")
      ->required()
      ->type_name("DIR");
  verb->add_option("id", arguments->id, "name1, store2, mount1 ...")->required();
  verb->callback([&tool, arguments, action]() {
    tool.action = [arguments, action]() {
      auto cluster = openExisting(arguments->root);
      (cluster.*action)(arguments->id);
      return kExitOk;
    };
  });
}

}  // namespace

void addDev(Tool& tool) {
  auto arguments = std::make_shared<DevArguments>();
  auto dev = tool.app.add_subcommand(
      "dev", "A cluster of real processes on this machine, to try and to test");
  dev->require_subcommand(1);
  dev->footer(
      "Example:\n  dfs dev up --root /tmp/c --nameservers 1 --stores 3 --mounts 2 --replicas 2\n"
      "  echo hello > /tmp/c/mount1/f; cat /tmp/c/mount2/f\n"
      "  dfs dev kill --root /tmp/c store2; dfs status --root /tmp/c; dfs dev start --root /tmp/c "
      "store2\n"
      "  dfs dev down --root /tmp/c");

  auto up = dev->add_subcommand("up", "Make a cluster, or start again what does not run of one");
  up->add_option("--root", arguments->root, "Where everything of it lies")
      ->required()
      ->type_name("DIR");
  auto names =
      up->add_option("--nameservers", arguments->shape.nameservers, "Name servers (1 for now)");
  auto stores =
      up->add_option("--stores", arguments->shape.stores, "Storage daemons")->capture_default_str();
  auto mounts = up->add_option("--mounts", arguments->shape.mounts, "Mounts, at DIR/mount1 ...")
                    ->capture_default_str();
  auto copies = up->add_option("--replicas", arguments->shape.replicas,
                               "Copies of everything (default 2, or 1 with one store)");
  (void)names;
  up->callback([&tool, arguments, stores, mounts, copies]() {
    bool given = stores->count() + mounts->count() + copies->count() > 0;
    bool copiesGiven = copies->count() > 0;
    tool.action = [arguments, given, copiesGiven]() {
      if (!copiesGiven) arguments->shape.replicas = std::min(2u, arguments->shape.stores);
      DevCluster cluster(arguments->root);
      cluster.up(arguments->shape, given);
      std::cout << cluster.table();
      return kExitOk;
    };
  });

  auto down = dev->add_subcommand("down", "Unmount and stop all of it; the data stays");
  down->add_option("--root", arguments->root, "The cluster's directory")
      ->required()
      ->type_name("DIR");
  down->callback([&tool, arguments]() {
    tool.action = [arguments]() {
      openExisting(arguments->root).down();
      return kExitOk;
    };
  });

  auto status = dev->add_subcommand("status", "Which processes run");
  status->add_option("--root", arguments->root, "The cluster's directory")
      ->required()
      ->type_name("DIR");
  status->callback([&tool, arguments]() {
    tool.action = [arguments]() {
      std::cout << openExisting(arguments->root).table();
      return kExitOk;
    };
  });

  addSignal(tool, dev, arguments, "kill", "SIGKILL to one process", &DevCluster::kill);
  addSignal(tool, dev, arguments, "stop", "SIGSTOP to one process: it is there and answers nothing",
            &DevCluster::stop);
  addSignal(tool, dev, arguments, "cont", "SIGCONT to one that was stopped", &DevCluster::resume);
  addSignal(tool, dev, arguments, "start", "Run one again that has ended", &DevCluster::start);
}

}  // namespace dfs
