// Namespace, block lists and daemons against each other.
//
// The cluster goes on working meanwhile, so what looks wrong is looked at again: daemons are listed before the name server's
// list is read, suspects of both kinds are asked about once more at the end, and only what is still wrong then is told.

#include "common/sentence.h"
#include "tools/dfs/verb.h"

#include <kj/debug.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <map>
#include <memory>
#include <set>

namespace dfs {
namespace {

using Json = nlohmann::json;

// fsck(8)
constexpr int kFsckOk = 0;
constexpr int kFsckErrorsLeft = 4;
constexpr int kFsckFailed = 8;
constexpr int kRounds = 3;
constexpr uint64_t kRoundPauseMs = 1500;

struct Copy {
  uint64_t epoch = 0;
  uint64_t version = 0;
  bool committed = false;
  uint64_t digest = 0;
  bool operator==(const Copy&) const = default;
};

struct Named {
  uint64_t ino;
  uint64_t index;
  schema::Admin::Use use;
};

struct Picture {
  // One look at the whole cluster.
  View view;
  std::map<NodeId, std::map<BlockId, Copy>> stores;  // of those that answered
  std::map<BlockId, Named> named;
  std::set<NodeId> silent;
};

struct Problem {
  bool error;
  std::string text;
  auto operator<=>(const Problem&) const = default;
};
using Problems = std::map<std::string, Problem>;  // by a stable key, so that rounds can be compared

std::map<BlockId, Copy> listStore(ClusterClient& cluster, const NodeInfo& node) {
  std::map<BlockId, Copy> blocks;
  auto admin = cluster.store(node).adminRequest().send().getAdmin();
  uint64_t above = 0;
  for (bool atEnd = false; !atEnd;) {
    auto request = admin.blocksRequest();
    request.setAbove(above);
    request.setBlocksMax(kInventoryBlocksMax);
    auto answer = cluster.ask(request.send());
    for (auto b : answer.getBlocks()) {
      above = b.getBlock();
      blocks[BlockId(above)] = {b.getEpoch(), b.getVersion(), b.getCommitted(), b.getDigest()};
    }
    atEnd = answer.getAtEnd() || answer.getBlocks().size() == 0;
  }
  return blocks;
}

Picture look(ClusterClient& cluster) {
  Picture picture;
  picture.view = cluster.view();
  for (auto& entry : picture.view.nodes) {
    auto failed = kj::runCatchingExceptions(
        [&]() { picture.stores[entry.first] = listStore(cluster, entry.second); });
    if (failed != nullptr) picture.silent.insert(entry.first);
  }
  uint64_t above = 0;
  for (bool atEnd = false; !atEnd;) {
    auto request = cluster.admin().namedBlocksRequest();
    request.setAbove(above);
    request.setBlocksMax(kInventoryBlocksMax);
    auto answer = cluster.ask(request.send());
    for (auto b : answer.getBlocks()) {
      above = b.getBlock();
      // A row's word outweighs that of the range which the block was handed out from.
      auto [it, fresh] =
          picture.named.try_emplace(BlockId(above), Named{b.getIno(), b.getIndex(), b.getUse()});
      if (!fresh && b.getUse() == schema::Admin::Use::ROW)
        it->second = {b.getIno(), b.getIndex(), b.getUse()};
    }
    atEnd = answer.getAtEnd() || answer.getBlocks().size() == 0;
  }
  return picture;
}

std::string nameOf(ClusterClient& cluster, uint64_t ino) {
  auto request = cluster.admin().pathsRequest();
  request.setIno(ino);
  auto answer = cluster.ask(request.send());
  if (answer.getErr() != Errno::OK || answer.getPaths().size() == 0)
    return "inode " + std::to_string(ino);
  auto path = answer.getPaths()[0];
  return std::string(path.asChars().begin(), path.size());
}

std::string text(BlockId block) {
  return "block " + std::to_string(block.value);
}

void compareNamed(ClusterClient& cluster, const Picture& picture, Problems& problems) {
  for (auto& entry : picture.named) {
    auto block = entry.first;
    auto& named = entry.second;
    if (named.use != schema::Admin::Use::ROW) continue;
    auto chain = picture.view.chain(block.chain());
    auto who = [&]() {
      return text(block) + " of " + nameOf(cluster, named.ino) + " (piece " +
             std::to_string(named.index) + ")";
    };
    auto key = std::to_string(block.value);
    if (chain == nullptr) {
      problems["lost" + key] = {
          true,
          who() + " is on chain " + std::to_string(block.chain().value) + ", which does not exist"};
      continue;
    }
    uint32_t whole = 0, away = 0;
    std::set<std::string> lacking;
    kj::Maybe<Copy> first;
    bool differ = false;
    for (auto& m : chain->members) {
      auto store = picture.stores.find(m.node);
      if (store == picture.stores.end() || m.state != MemberState::SERVING) {
        ++away;
        continue;
      }
      auto copy = store->second.find(block);
      if (copy == store->second.end()) {
        lacking.insert(picture.view.node(m.node) == nullptr ? "?"
                                                            : picture.view.node(m.node)->name);
        continue;
      }
      ++whole;
      KJ_IF_MAYBE(f, first) {
        differ = differ || !(*f == copy->second);
      } else {
        first = copy->second;
      }
    }
    if (whole == 0 && away == 0) {
      problems["lost" + key] = {true, who() + " is lost: no store has it"};
    } else if (whole == 0) {
      problems["away" + key] = {false, who() + " cannot be checked: no store that has it serves"};
    } else if (!lacking.empty()) {
      problems["lack" + key] = {false, who() + " lacks a copy on " + *lacking.begin()};
    } else if (whole < chain->replicas) {
      problems["few" + key] = {false, who() + " has " + std::to_string(whole) + " of " +
                                          std::to_string(chain->replicas) + " copies"};
    }
    if (differ) problems["differ" + key] = {true, who() + " has copies that differ"};
  }
}

void compareStores(const Picture& picture, Problems& problems) {
  for (auto& [id, blocks] : picture.stores) {
    auto node = picture.view.node(id);
    for (auto& [block, copy] : blocks) {
      if (picture.named.count(block) != 0) continue;
      auto key = "dangling" + std::to_string(block.value) + "@" + std::to_string(id.value);
      problems[key] = {true, text(block) + " lies on " + node->name + " and nothing names it"};
    }
  }
}

Problems checkNames(ClusterClient& cluster, uint64_t& inodes, uint64_t& rows) {
  // The name server's store against itself, in pieces.
  Problems problems;
  std::string cursor;
  inodes = rows = 0;
  do {
    auto request = cluster.admin().checkRequest();
    request.setCursor(kj::StringPtr(cursor.c_str(), cursor.size()).asBytes());
    auto answer = cluster.ask(request.send());
    for (auto p : answer.getProblems()) {
      problems["names" + std::string(p.getText().cStr())] = {
          p.getSeverity() == schema::Admin::Severity::ERROR, p.getText().cStr()};
    }
    inodes += answer.getInodes();
    rows += answer.getRows();
    auto next = answer.getNext();
    cursor.assign(next.asChars().begin(), next.size());
  } while (!cursor.empty());
  return problems;
}

void keepRepeated(Problems& before, const Problems& now) {
  for (auto it = before.begin(); it != before.end();) {
    it = now.count(it->first) == 0 ? before.erase(it) : std::next(it);
  }
}

int report(const Problems& problems, const Picture& picture, uint64_t inodes, uint64_t rows,
           bool json) {
  size_t errors = 0;
  for (auto& [key, p] : problems) errors += p.error;
  size_t warnings = problems.size() - errors;
  if (json) {
    Json all = {{"schema", 1},      {"inodes", inodes},     {"rows", rows},
                {"errors", errors}, {"warnings", warnings}, {"problems", Json::array()}};
    for (auto& [key, p] : problems)
      all["problems"].push_back({{"severity", p.error ? "error" : "warning"}, {"text", p.text}});
    std::cout << all.dump() << "\n";
  } else {
    for (auto& [key, p] : problems)
      std::cout << (p.error ? "error: " : "warning: ") << p.text << "\n";
    std::cout << inodes << " inodes, " << rows << " blocks named, " << picture.stores.size()
              << " stores: " << errors << " errors, " << warnings << " warnings\n";
  }
  return errors > 0 ? kFsckErrorsLeft : kFsckOk;
}

int run(const Where& where, bool json) {
  ClusterClient cluster(where);
  auto settled = cluster.ask(cluster.admin().settleRequest().send());
  KJ_REQUIRE(settled.getErr() == Errno::OK,
             "clients could not publish what they have written; `dfs status` says why");
  Problems problems;
  Picture picture;
  uint64_t inodes = 0, rows = 0;
  for (int round = 0; round < kRounds; ++round) {
    picture = look(cluster);
    auto found = checkNames(cluster, inodes, rows);
    compareNamed(cluster, picture, found);
    compareStores(picture, found);
    for (auto id : picture.silent) {
      auto node = picture.view.node(id);
      found["silent" + std::to_string(id.value)] = {
          false, node->name + " does not answer: its copies are not checked"};
    }
    if (round == 0) {
      problems = kj::mv(found);
    } else {
      keepRepeated(problems, found);
    }
    if (problems.empty()) break;
    if (round + 1 < kRounds)
      cluster.env()
          .clock.timer()
          .afterDelay(kRoundPauseMs * kj::MILLISECONDS)
          .wait(cluster.scope());
  }
  return report(problems, picture, inodes, rows, json);
}

}  // namespace

void addFsck(Tool& tool) {
  auto json = std::make_shared<bool>(false);
  auto verb = addClusterOptions(
      tool,
      tool.app.add_subcommand("fsck", "Namespace, block lists and daemons against each other"),
      true);
  verb->add_flag("--json", *json, "One object for programs");
  verb->footer(
      "Reads only; the cluster goes on working. A missing copy is a warning; lost, differing or "
      "dangling data is an error.\n"
      "Exit codes as fsck(8): 0 no errors, 4 errors, 8 the check itself failed.\nExample:\n  dfs "
      "fsck /mnt/dfs");
  verb->callback([&tool, json]() {
    tool.action = [&tool, json]() {
      int code = kFsckFailed;
      KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { code = run(tool.where, *json); })) {
        std::cerr << "dfs: " << sentenceOf(*e) << "\n";
        return kFsckFailed;
      }
      return code;
    };
  });
}

}  // namespace dfs
