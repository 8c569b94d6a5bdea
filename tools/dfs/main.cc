// dfs: looks after a cluster. One file for each verb.

#include "common/log.h"
#include "common/process.h"
#include "common/sentence.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>

namespace dfs {
namespace {

void addVersion(Tool& tool) {
  auto json = std::make_shared<bool>(false);
  auto verb = tool.app.add_subcommand("version", "Which DFS this is");
  verb->add_flag("--json", *json, "One object for programs");
  verb->callback([&tool, json]() {
    tool.action = [json]() {
      if (*json) {
        std::cout << nlohmann::json{{"schema", 1}, {"version", versionText()}}.dump() << "\n";
      } else {
        std::cout << "dfs " << versionText() << "\n";
      }
      return kExitOk;
    };
  });
}

int run(int argc, char** argv) {
  CLI::App app("dfs: looks after a DFS cluster");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("dfs ") + versionText(),
                       "Print the version and end");
  app.footer(
      "A cluster is found by --root, --nameserver, a path inside a mount, or nameserver in "
      "/etc/dfs/client.toml.\n"
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 partial, 4 not found, 5 denied, 6 unreachable, 7 "
      "timeout.\n"
      "`dfs VERB --help` says more.");
  Tool tool{app, {}, {}};
  addStatus(tool);
  addHealth(tool);
  addWhere(tool);
  addFsck(tool);
  addUmount(tool);
  addDev(tool);
  addVersion(tool);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::cerr << "dfs: " << e.what() << "\nTry 'dfs --help'.\n";
    return kExitUsage;
  }
  int code = kExitFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = tool.action(); })) {
    std::cerr << "dfs: " << sentenceOf(*e) << "\n";
    return e->getType() == kj::Exception::Type::DISCONNECTED ? kExitUnreachable : kExitFailed;
  }
  return code;
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareProcess();
  dfs::Log log({"error", "", "dfs"});
  return dfs::run(argc, argv);
}
