// dfs locks: who has locked which files, and who waits for that.

#include "common/file_lock.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <iomanip>
#include <iostream>
#include <memory>

namespace dfs {
namespace {

using Json = nlohmann::ordered_json;

std::string timeText(uint64_t ms) {
  auto sec = static_cast<time_t>(ms / 1000);
  struct tm parts {};
  char text[32] = "";
  if (gmtime_r(&sec, &parts) != nullptr) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string rangeText(const Json& lock) {
  auto start = lock["start"].get<uint64_t>();
  if (lock["end"].is_null()) return start == 0 ? "all" : std::to_string(start) + "-";
  return std::to_string(start) + "-" + std::to_string(lock["end"].get<uint64_t>());
}

Json jsonOf(schema::Admin::Lock::Reader lock, const std::string& path) {
  Json end = nullptr;  // to the end of the file, however far
  if (lock.getEnd() < kLockEnd) end = lock.getEnd();
  return {{"ino", lock.getIno()},
          {"path", path},
          {"host", lock.getHost().cStr()},
          {"mount", lock.getMount().cStr()},
          {"pid", lock.getPid()},
          {"call", lock.getFlock() ? "flock" : "fcntl"},
          {"kind", lock.getWrite() ? "write" : "read"},
          {"start", lock.getStart()},
          {"end", end},
          {"waiting", lock.getWaiting()},
          {"since", timeText(lock.getSinceMs())}};
}

Json allLocks(ClusterClient& cluster, uint64_t only) {
  // only: an inode; 0: all.
  auto all = Json::array();
  uint64_t above = only == 0 ? 0 : only - 1;
  for (;;) {
    auto request = cluster.admin().locksRequest();
    request.setAbove(above);
    request.setLocksMax(only == 0 ? 0 : 1);
    auto answer = cluster.ask(request.send());
    std::string path;
    for (auto lock : answer.getLocks()) {
      if (lock.getIno() != above) path = lock.getPath().cStr();
      above = lock.getIno();
      if (only == 0 || above == only) all.push_back(jsonOf(lock, path));
    }
    if (answer.getAtEnd() || answer.getLocks().size() == 0 || only != 0) return all;
  }
}

void print(const Json& locks) {
  if (locks.empty()) {
    std::cout << "no file is locked\n";
    return;
  }
  std::cout << std::left << std::setw(7) << "CALL" << std::setw(7) << "KIND" << std::setw(7)
            << "STATE" << std::setw(22) << "RANGE" << std::setw(8) << "PID" << std::setw(22)
            << "SINCE" << std::setw(24) << "MOUNT"
            << "PATH\n";
  for (auto& lock : locks) {
    auto path = lock["path"].get<std::string>();
    auto place = lock["host"].get<std::string>() + ":" + lock["mount"].get<std::string>();
    if (path.empty()) path = "(removed, inode " + std::to_string(lock["ino"].get<uint64_t>()) + ")";
    std::cout << std::setw(7) << lock["call"].get<std::string>() << std::setw(7)
              << lock["kind"].get<std::string>() << std::setw(7)
              << (lock["waiting"].get<bool>() ? "waits" : "held") << std::setw(22)
              << rangeText(lock) << std::setw(8) << lock["pid"].get<uint32_t>() << std::setw(22)
              << lock["since"].get<std::string>() << std::setw(24) << place << path << "\n";
  }
}

uint64_t inodeOf(ClusterClient& cluster, const Where& where) {
  // 0: of a directory, or none was named: everything. REQUIRES: the cluster answers, or stat() may not.
  if (where.path.empty()) return 0;
  if (where.root.empty() && where.nameservers.empty()) {
    auto place = placeOf(where.path);
    struct stat st {};
    KJ_SYSCALL(stat(place.c_str(), &st), where.path.c_str());
    return S_ISDIR(st.st_mode) ? 0 : st.st_ino;
  }
  auto request = cluster.admin().resolveRequest();
  request.setPath(kj::StringPtr(where.path.c_str()).asBytes());
  auto answer = cluster.ask(request.send());
  if (answer.getErr() != Errno::OK) failCommand(kExitNotFound, "there is no " + where.path);
  auto attr = answer.getAttr();
  return attr.getKind() == schema::Kind::DIRECTORY ? 0 : attr.getIno();
}

}  // namespace

void addLocks(Tool& tool) {
  auto json = std::make_shared<bool>(false);
  auto verb = addClusterOptions(
      tool, tool.app.add_subcommand("locks", "Who has locked which files, and who waits"), true);
  verb->add_flag("--json", *json, "One object for programs: {\"schema\": 1, \"locks\": [...]}");
  verb->footer(
      "A path of a file shows those of that file; a directory, or none, all of the cluster.\n"
      "Example:\n  dfs locks /mnt/dfs\n  dfs locks /mnt/dfs/locks/nightly --json");
  verb->callback([&tool, json]() {
    tool.action = [&tool, json]() {
      ClusterClient cluster(tool.where, kGlanceMs);
      auto locks = allLocks(cluster, inodeOf(cluster, tool.where));
      if (*json) {
        std::cout << Json{{"schema", 1}, {"locks", locks}}.dump() << "\n";
      } else {
        print(locks);
      }
      return kExitOk;
    };
  });
}

}  // namespace dfs
