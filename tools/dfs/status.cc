#include "common/sentence.h"
#include "common/size_text.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <nlohmann/json.hpp>

#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

namespace dfs {
namespace {

using Json = nlohmann::json;

std::string upper(std::string text) {
  for (auto& c : text) c = static_cast<char>(toupper(c));
  return text;
}

uint64_t number(const Json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}

void printStores(const Json& status) {
  for (auto& s : status.value("stores", Json::array())) {
    auto chains = s.value("chains", Json::object());
    std::cout << "  " << std::left << std::setw(10) << s.value("name", "?") << std::setw(10)
              << s.value("state", "?") << std::setw(30)
              << sizeText(static_cast<double>(number(s, "freeBytes"))) + " of " +
                     sizeText(static_cast<double>(number(s, "totalBytes"))) + " free"
              << "serves " << number(chains, "serving") << " chains";
    if (auto syncing = number(chains, "syncing")) std::cout << ", catching up on " << syncing;
    std::cout << "\n";
  }
}

void printIssues(const Json& issues) {
  for (auto& i : issues) {
    std::cout << "\n"
              << upper(i.value("severity", "warn")) << "  " << i.value("code", "?") << "  "
              << i.value("what", "");
    if (i.contains("since") && i["since"].is_string())
      std::cout << " (since " << i["since"].get<std::string>() << ")";
    std::cout << "\n";
    for (auto& [key, label] : {std::pair<const char*, const char*>{"effect", "effect : "},
                               {"doing", "doing  : "},
                               {"advice", "you can: "}}) {
      auto text = i.value(key, "");
      if (!text.empty()) std::cout << "      " << label << text << "\n";
    }
  }
}

void print(const Json& status) {
  auto& health = status["health"];
  auto& issues = health["issues"];
  auto& cluster = status["cluster"];
  auto& chains = status["chains"];
  auto& counts = status["counts"];
  std::cout << "cluster  " << cluster.value("uuid", "?") << "   version "
            << status.value("version", "?") << "   HEALTH " << upper(health.value("state", "?"));
  if (!issues.empty())
    std::cout << "  " << issues.size() << (issues.size() == 1 ? " issue" : " issues");
  std::cout << "\n";
  for (auto& n : status.value("nameservers", Json::array())) {
    std::cout << "names    " << n.value("id", "?") << (n.value("leading", false) ? ", leads" : "")
              << ", term " << number(n, "term") << ", " << number(n, "applied")
              << " entries applied\n";
  }
  std::cout << "chains   " << number(chains, "total") << ": " << number(chains, "full") << " full, "
            << number(chains, "degraded") << " with fewer copies, " << number(chains, "waiting")
            << " waiting\n"
            << "data     " << number(counts, "inodes") << " inodes, "
            << number(counts, "reclaimBlocks") << " freed blocks to delete\n"
            << "clients  " << status.value("sessions", Json::array()).size() << "\n"
            << "stores\n";
  printStores(status);
  printIssues(issues);
}

}  // namespace

void addStatus(Tool& tool) {
  auto json = std::make_shared<bool>(false);
  auto verb = addClusterOptions(
      tool, tool.app.add_subcommand("status", "How the cluster is, in sentences"), true);
  verb->add_flag("--json", *json,
                 "One object for programs, the same as /status of the name server");
  verb->footer("Example:\n  dfs status /mnt/dfs\n  dfs status --nameserver host1:7400 --json");
  verb->callback([&tool, json]() {
    tool.action = [&tool, json]() {
      ClusterClient cluster(tool.where, kGlanceMs);
      auto answer = cluster.ask(cluster.admin().statusRequest().send());
      std::string text(answer.getJson().cStr());
      if (*json) {
        std::cout << text << "\n";
      } else {
        print(Json::parse(text));
      }
      return kExitOk;
    };
  });
}

void addHealth(Tool& tool) {
  auto verb = addClusterOptions(
      tool,
      tool.app.add_subcommand(
          "health",
          "One word, and an exit code for scripts: 0 ok, 1 warning, 2 critical, 3 unknown"),
      true);
  verb->footer("Example:\n  dfs health /mnt/dfs || mail -s 'dfs' root");
  verb->callback([&tool]() {
    tool.action = [&tool]() {
      std::string state = "unknown";
      KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() {
                    ClusterClient cluster(tool.where, kGlanceMs);
                    auto answer = cluster.ask(cluster.admin().statusRequest().send());
                    auto status = Json::parse(answer.getJson().cStr());
                    state = status["health"].value("state", "unknown");
                    for (auto& i : status["health"]["issues"])
                      std::cerr << i.value("what", "") << "; " << i.value("effect", "") << "\n";
                  })) {
        std::cerr << "dfs: " << sentenceOf(*e) << "\n";
      }
      std::cout << state << "\n";
      return state == "ok" ? 0 : state == "warn" ? 1 : state == "critical" ? 2 : 3;
    };
  });
}

}  // namespace dfs
