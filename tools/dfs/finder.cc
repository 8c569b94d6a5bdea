// How a command finds its cluster.

#include "common/mount_note.h"
#include "common/mounts.h"
#include "common/process.h"
#include "common/split.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace dfs {
namespace {

constexpr const char* kClientConfig = "/etc/dfs/client.toml";

std::vector<std::string> fromRoot(const std::string& root) {
  std::ifstream file(root + "/cluster.json");
  if (!file) {
    int reason = errno;
    auto code = exitCodeOf(reason);
    failCommand(code, code == kExitNotFound
                          ? "there is no cluster.json in this directory; `dfs dev up --root DIR` "
                            "makes a cluster: " +
                                root
                          : root + "/cluster.json: " + strerror(reason));
  }
  auto json = nlohmann::json::parse(file, nullptr, false);
  KJ_REQUIRE(json.is_object() && json.contains("nameservers"), "cluster.json is damaged",
             root.c_str());
  std::vector<std::string> all;
  for (auto& n : json["nameservers"]) all.push_back(n["address"]);
  return all;
}

std::vector<std::string> fromConfig() {
  if (const char* value = getenv("DFS_NAMESERVER")) return split(value, ',');
  if (!std::filesystem::exists(kClientConfig)) return {};
  try {
    auto table = toml::parse_file(kClientConfig);
    auto node = table["nameserver"];
    if (auto text = node.value<std::string>()) return split(*text, ',');
    std::vector<std::string> all;
    if (auto list = node.as_array()) {
      for (auto& item : *list) {
        if (auto text = item.value<std::string>()) all.push_back(*text);
      }
    }
    return all;
  } catch (const toml::parse_error& e) {
    KJ_FAIL_REQUIRE("the configuration cannot be read", kClientConfig,
                    std::string(e.description()).c_str());
  }
}

std::vector<std::string> checked(const std::vector<std::string>& addresses) {
  for (auto& address : addresses) {
    auto wrong = wrongAddress(address.c_str());
    KJ_IF_MAYBE(why, wrong) failCommand(kExitUsage, why->cStr());
  }
  return addresses;
}

}  // namespace

std::string placeOf(const std::string& path) {
  // Where a person's path is, in a mount of DFS; refuses others: what they would be told would be about something else.
  auto place = mountPath(path);
  if (dfsMountHolding(place) != nullptr) return place;
  struct stat st {};
  if (lstat(place.c_str(), &st) != 0) {
    failCommand(exitCodeOf(errno), path + ": " + strerror(errno));
  }
  failCommand(kExitNotFound, "no DFS is mounted at " + path);
}

std::vector<std::string> findNameservers(const Where& where) {
  if (!where.root.empty()) return fromRoot(where.root);
  if (!where.nameservers.empty()) return checked(where.nameservers);
  if (!where.path.empty()) {
    auto found = mountNoteOf(placeOf(where.path));
    KJ_IF_MAYBE(note, found) return note->nameservers;
    failCommand(kExitUsage, "the mount of " + where.path +
                                " does not say to you which cluster it is of; name it with "
                                "--nameserver HOST:PORT");
  }
  auto configured = checked(fromConfig());
  if (!configured.empty()) return configured;
  auto here = mountNoteOf(".");
  KJ_IF_MAYBE(note, here) return note->nameservers;
  failCommand(kExitUsage,
              "which cluster? Name a path inside a mount, or --nameserver HOST:PORT, or --root DIR "
              "of a dev cluster, or set nameserver in /etc/dfs/client.toml");
}

CLI::App* addClusterOptions(Tool& tool, CLI::App* verb, bool withPath) {
  verb->add_option("--root", tool.where.root, "A cluster of `dfs dev up`: its directory")
      ->type_name("DIR");
  verb->add_option("--nameserver", tool.where.nameservers, "A name server; several with commas")
      ->delimiter(',')
      ->type_name("HOST:PORT");
  if (withPath)
    verb->add_option("path", tool.where.path, "A path inside a mount of the cluster")
        ->type_name("PATH");
  return verb;
}

}  // namespace dfs
