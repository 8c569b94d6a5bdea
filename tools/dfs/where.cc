#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <iostream>
#include <memory>

namespace dfs {
namespace {

using Json = nlohmann::json;

const char* wordOf(MemberState state) {
  switch (state) {
    case MemberState::SERVING:
      return "serving";
    case MemberState::SYNCING:
      return "catching up";
    case MemberState::WAITING:
      return "waiting to catch up";
    case MemberState::OFFLINE:
      return "away";
    case MemberState::LAST_SERVING:
      return "away, and the only one with all of it";
  }
  return "in a state of a newer version";
}

constexpr uint64_t kNone = 0;  // no inode has that number

uint64_t inodeInMount(const std::string& path) {
  // By a process of its own: while servers are away the mount does not answer, and whoever asks it waits.
  int ends[2];
  KJ_SYSCALL(pipe2(ends, O_CLOEXEC));
  kj::AutoCloseFd readEnd(ends[0]), writeEnd(ends[1]);
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid == 0) {
    struct stat st {};
    int64_t answer = lstat(path.c_str(), &st) == 0 ? static_cast<int64_t>(st.st_ino) : -errno;
    _exit(write(ends[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
  }
  writeEnd = nullptr;
  pollfd ready{readEnd, POLLIN, 0};
  int64_t answer = 0;
  if (poll(&ready, 1, kGlanceMs) != 1 || read(readEnd, &answer, sizeof answer) != sizeof answer) {
    // Not waited for: until the mount answers it may not even die.
    kill(pid, SIGKILL);
    failCommand(kExitTimeout, "the mount of " + path +
                                  " does not answer; `dfs status` says which servers are away");
  }
  waitpid(pid, nullptr, 0);
  if (answer == -ENOENT || answer == -ENOTDIR) return kNone;
  if (answer < 0) {
    int reason = static_cast<int>(-answer);
    failCommand(exitCodeOf(reason), path + ": " + strerror(reason));
  }
  return static_cast<uint64_t>(answer);
}

uint64_t inodeOf(ClusterClient& cluster, const Where& where) {
  // Inside a mount the inode number is the file's own; otherwise the path is one of the cluster, from its root.
  if (where.root.empty() && where.nameservers.empty()) return inodeInMount(placeOf(where.path));
  auto request = cluster.admin().resolveRequest();
  request.setPath(kj::StringPtr(where.path.c_str()).asBytes());
  auto answer = cluster.ask(request.send());
  if (answer.getErr() == Errno::NO_ENT || answer.getErr() == Errno::NOT_DIR) return kNone;
  KJ_REQUIRE(answer.getErr() == Errno::OK, "the name server refuses this path", where.path.c_str(),
             nameOf(answer.getErr()));
  return answer.getAttr().getIno();
}

Json describe(const View& view, schema::Row::Reader row) {
  BlockId id(row.getBlock());
  Json block = {{"index", row.getIndex()},
                {"block", id.value},
                {"chain", id.chain().value},
                {"bytes", row.getEnd()},
                {"copies", Json::array()}};
  if (auto chain = view.chain(id.chain())) {
    block["epoch"] = chain->epoch;
    for (auto& m : chain->members) {
      auto node = view.node(m.node);
      block["copies"].push_back({{"store", node == nullptr ? "?" : node->name},
                                 {"host", node == nullptr ? "?" : node->host},
                                 {"state", wordOf(m.state)}});
    }
  }
  return block;
}

int run(const Where& where, bool json) {
  ClusterClient cluster(where);
  auto ino = inodeOf(cluster, where);
  if (ino == kNone) {
    std::cerr << "dfs: there is no " << where.path << "\n";
    return kExitNotFound;
  }
  auto view = cluster.view();
  Json all = {{"schema", 1}, {"path", where.path}, {"inode", ino}, {"blocks", Json::array()}};
  uint64_t next = 0;
  for (bool atEnd = false; !atEnd;) {
    auto request = cluster.admin().rowsRequest();
    request.setIno(ino);
    request.setFirst(next);
    request.setCount(kRowsPerAnswerMax);
    auto answer = cluster.ask(request.send());
    if (answer.getErr() == Errno::NO_ENT || answer.getErr() == Errno::STALE) {
      failCommand(kExitNotFound,
                  "the name server does not know " + where.path + " (yet); `sync` it");
    }
    KJ_REQUIRE(answer.getErr() == Errno::OK, "the name server does not know this inode", ino);
    for (auto row : answer.getRows()) {
      all["blocks"].push_back(describe(view, row));
      next = row.getIndex() + 1;
    }
    atEnd = answer.getAtEnd() || answer.getRows().size() == 0;
  }
  if (json) {
    std::cout << all.dump() << "\n";
    return kExitOk;
  }
  std::cout << where.path << ": inode " << ino << ", " << all["blocks"].size() << " blocks\n";
  for (auto& b : all["blocks"]) {
    std::cout << "  block " << b["index"] << "  id " << b["block"] << "  " << b["bytes"]
              << " bytes  chain " << b["chain"];
    for (auto& c : b["copies"]) {
      std::cout << "  " << c["store"].get<std::string>() << " (" << c["state"].get<std::string>()
                << ")";
    }
    std::cout << "\n";
  }
  return kExitOk;
}

}  // namespace

void addWhere(Tool& tool) {
  auto json = std::make_shared<bool>(false);
  auto verb = tool.app.add_subcommand(
      "where", "The blocks of a file, their chains, and the daemons that hold them");
  addClusterOptions(tool, verb, false);
  verb->add_option(
          "path", tool.where.path,
          "A file inside a mount; with --root or --nameserver, a path from the cluster's root")
      ->required();
  verb->add_flag("--json", *json, "One object for programs");
  verb->footer("What has not been synced yet is not shown.\nExample:\n  dfs where /mnt/dfs/file");
  verb->callback(
      [&tool, json]() { tool.action = [&tool, json]() { return run(tool.where, *json); }; });
}

}  // namespace dfs
