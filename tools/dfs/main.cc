// dfs: looks after a cluster. One file for each verb.

#include "common/log.h"
#include "common/process.h"
#include "common/sentence.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <filesystem>
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

std::string unknownVerb(const CLI::App& app, int argc, char** argv) {
  // A sentence about the first word that stands where a verb must, and is none; empty: there is no such word.
  const CLI::App* at = &app;
  for (int i = 1; i < argc && at->get_require_subcommand_min() > 0; ++i) {
    std::string word = argv[i];
    if (word.starts_with("-")) continue;
    const CLI::App* next = nullptr;
    std::vector<std::string> known;
    std::string list;
    for (auto verb : at->get_subcommands(nullptr)) {
      if (verb->get_name() == word) next = verb;
      known.push_back(verb->get_name());
      list += (list.empty() ? "" : ", ") + verb->get_name();
    }
    if (next == nullptr) {
      auto near = nearest(word, known);
      return "there is no verb \"" + word + "\"" +
             (near.empty() ? "; there are " + list : "; did you mean \"" + near + "\"?");
    }
    at = next;
  }
  return "";
}

int perform(const std::function<int()>& action) {
  try {
    return action();
  } catch (const std::filesystem::filesystem_error& e) {
    // Of the library's sentence a person needs the path and the reason.
    failCommand(exitCodeOf(e.code().value()), e.path1().string() + ": " + e.code().message());
  }
}

int run(int argc, char** argv) {
  CLI::App app("dfs: looks after a DFS cluster, and copies files into and out of it");
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
  addTransfer(tool);
  addSync(tool);
  addLocks(tool);
  addUmount(tool);
  addDev(tool);
  addVersion(tool);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    auto unknown = unknownVerb(app, argc, argv);
    std::cerr << "dfs: " << (unknown.empty() ? e.what() : unknown) << "\nTry 'dfs --help'.\n";
    return kExitUsage;
  }
  int code = kExitFailed;
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = perform(tool.action); })) {
    std::cerr << "dfs: " << sentenceOf(*e) << "\n";
    return exitCodeOf(*e);
  }
  return code;
}

int runUmountHelper(int argc, char** argv) {
  // What umount(8) calls: umount.fuse.dfs DIRECTORY [-flnrv] [-N NAMESPACE] [-t TYPE].
  std::vector<std::string> words = {"dfs", "umount"};
  bool force = false;
  std::string directory;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.size() < 2 || word[0] != '-') {
      directory = word;
    } else if (word[1] == 'N' || word[1] == 't') {
      i += word.size() == 2 ? 1 : 0;
    } else {
      if (word.find('l') != std::string::npos) words.push_back("--lazy");
      force = force || word.find('f') != std::string::npos;
    }
  }
  if (force) {
    // The kernel cuts the connection: no work for a helper.
    execlp("umount", "umount", "-i", words.size() > 2 ? "-fl" : "-f", directory.c_str(), nullptr);
    std::cerr << "dfs: umount cannot be started\n";
    return kExitFailed;
  }
  words.push_back(directory);
  std::vector<char*> all;
  for (auto& word : words) all.push_back(word.data());
  return run(static_cast<int>(all.size()), all.data());
}

bool isUmountHelper(const std::string& program) {
  auto name = program.substr(program.rfind('/') + 1);
  return name == "umount.dfs" || name == "umount.fuse.dfs";
}

}  // namespace
}  // namespace dfs

int main(int argc, char** argv) {
  dfs::prepareCommand();
  dfs::Log log({"error", "", "dfs"});
  if (argc > 0 && dfs::isUmountHelper(argv[0])) return dfs::runUmountHelper(argc, argv);
  return dfs::run(argc, argv);
}
