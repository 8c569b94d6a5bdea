// Random commands against a simple model of what POSIX says of names, links and sizes, and of which
// rows a file has. The check is clean all along; every second request is repeated.

#include "nameserver/meta/test_world.h"

#include <map>
#include <random>
#include <set>

namespace dfs {
namespace {

using schema::Kind;

struct Model {
  struct Node {
    bool directory = false;
    uint64_t size = 0;
    uint64_t parent = 0;
    std::map<std::string, uint64_t> entries;
  };
  std::map<uint64_t, Node> nodes{{1, {true, 0, 1, {}}}};
  std::set<uint64_t> orphans;

  uint32_t links(uint64_t ino) const {
    uint32_t count = 0;
    for (auto& [id, node] : nodes) {
      if (orphans.count(id) != 0) continue;
      for (auto& [name, child] : node.entries) {
        if (nodes.at(ino).directory ? (id == ino && nodes.at(child).directory) : child == ino) {
          count += 1;
        }
      }
    }
    if (!nodes.at(ino).directory) return count;
    return orphans.count(ino) != 0 ? 0 : 2 + count;
  }
  Errno parentError(uint64_t parent) const {
    auto found = nodes.find(parent);
    if (found == nodes.end()) return Errno::STALE;
    if (!found->second.directory) return Errno::NOT_DIR;
    return orphans.count(parent) != 0 ? Errno::NO_ENT : Errno::OK;
  }
  uint64_t at(uint64_t parent, const std::string& name) const {
    auto& entries = nodes.at(parent).entries;
    auto found = entries.find(name);
    return found == entries.end() ? 0 : found->second;
  }
  bool below(uint64_t directory, uint64_t ancestor) const {
    for (; directory != ancestor; directory = nodes.at(directory).parent) {
      if (directory == 1) return false;
    }
    return true;
  }
  void dropped(uint64_t ino) {
    auto& node = nodes.at(ino);
    if (node.directory || links(ino) == 0) orphans.insert(ino);
  }
  Errno renameError(uint64_t from, const std::string& a, uint64_t to, const std::string& b,
                    bool noReplace, bool exchange) const {
    for (auto parent : {from, to}) {
      auto err = parentError(parent);
      if (err != Errno::OK) return err;
    }
    auto source = at(from, a);
    auto target = at(to, b);
    if (source == 0) return Errno::NO_ENT;
    if (target != 0 && noReplace) return Errno::EXIST;
    if (target == 0 && exchange) return Errno::NO_ENT;
    if (from != to && nodes.at(source).directory && below(to, source)) return Errno::INVAL;
    if (from != to && target != 0 && nodes.at(target).directory && below(from, target)) {
      return exchange ? Errno::INVAL : Errno::NOT_EMPTY;
    }
    if (target == 0 || target == source || exchange) return Errno::OK;
    if (nodes.at(source).directory && !nodes.at(target).directory) return Errno::NOT_DIR;
    if (!nodes.at(source).directory && nodes.at(target).directory) return Errno::IS_DIR;
    return nodes.at(target).entries.empty() ? Errno::OK : Errno::NOT_EMPTY;
  }
  void rename(uint64_t from, const std::string& a, uint64_t to, const std::string& b,
              bool exchange) {
    auto source = at(from, a);
    auto target = at(to, b);
    if (source == target) return;
    nodes[from].entries.erase(a);
    nodes[to].entries[b] = source;
    if (nodes[source].directory) nodes[source].parent = to;
    if (exchange) {
      nodes[from].entries[a] = target;
      if (nodes[target].directory) nodes[target].parent = from;
    } else if (target != 0) {
      dropped(target);
    }
  }
};

struct Walk {
  TestWorld w;
  Model m;
  std::mt19937_64 random;
  std::vector<uint64_t> inos{1};

  explicit Walk(uint64_t seed) : random(seed) {
    w.storage();
    w.client = 100;
  }
  uint64_t below(uint64_t bound) { return random() % bound; }
  std::string name() { return std::string(1, static_cast<char>('a' + below(5))); }
  uint64_t any() { return inos[below(inos.size())]; }
  uint64_t directory() {
    for (int i = 0; i < 20; ++i) {
      auto ino = any();
      if (m.parentError(ino) == Errno::OK) return ino;
    }
    return any();
  }

  void make() {
    auto parent = directory();
    auto n = name();
    bool asDirectory = below(2) == 0;
    auto expected = m.parentError(parent);
    if (expected == Errno::OK && m.at(parent, n) != 0) expected = Errno::EXIST;
    auto r = asDirectory ? w.mkdir(parent, n) : w.create(parent, n);
    ASSERT_EQ(r.err, expected);
    if (r.err != Errno::OK) return;
    m.nodes[parent].entries[n] = r.ino;
    m.nodes[r.ino] = {asDirectory, 0, parent, {}};
    inos.push_back(r.ino);
  }
  void link() {
    auto parent = directory();
    auto n = name();
    auto ino = any();
    auto expected = m.nodes.count(ino) == 0 ? Errno::STALE : m.parentError(parent);
    if (expected == Errno::OK && m.at(parent, n) != 0) expected = Errno::EXIST;
    if (expected == Errno::OK && m.nodes[ino].directory) expected = Errno::PERM;
    if (expected == Errno::OK && m.orphans.count(ino) != 0) expected = Errno::NO_ENT;
    auto r = w.link(ino, parent, n);
    ASSERT_EQ(r.err, expected);
    if (r.err == Errno::OK) m.nodes[parent].entries[n] = ino;
  }
  void unlink() {
    auto parent = directory();
    auto n = name();
    bool asDirectory = below(2) == 0;
    auto expected = m.parentError(parent);
    auto victim = expected == Errno::OK ? m.at(parent, n) : 0;
    if (expected == Errno::OK && victim == 0) expected = Errno::NO_ENT;
    if (expected == Errno::OK) {
      bool is = m.nodes[victim].directory;
      if (asDirectory && !is) expected = Errno::NOT_DIR;
      if (!asDirectory && is) expected = Errno::IS_DIR;
      if (asDirectory && is && !m.nodes[victim].entries.empty()) expected = Errno::NOT_EMPTY;
    }
    auto r = w.unlink(parent, n, asDirectory);
    ASSERT_EQ(r.err, expected);
    if (r.err != Errno::OK) return;
    m.nodes[parent].entries.erase(n);
    m.dropped(victim);
    ASSERT_EQ(r.ino, victim);
    ASSERT_EQ(r.links, m.links(victim));
  }
  void rename() {
    auto from = directory();
    auto to = below(3) == 0 ? from : directory();
    auto a = name();
    auto b = name();
    bool noReplace = below(4) == 0;
    bool exchange = !noReplace && below(3) == 0;
    auto expected = m.renameError(from, a, to, b, noReplace, exchange);
    ASSERT_EQ(w.rename(from, a, to, b, noReplace, exchange).err, expected)
        << from << a << " " << to << b << noReplace << exchange;
    if (expected == Errno::OK) m.rename(from, a, to, b, exchange);
  }
  void truncate() {
    auto ino = any();
    auto size = below(100000);
    auto found = m.nodes.find(ino);
    auto expected = found == m.nodes.end()    ? Errno::STALE
                    : found->second.directory ? Errno::IS_DIR
                                              : Errno::OK;
    ASSERT_EQ(w.truncate(ino, size).err, expected);
    if (expected == Errno::OK) found->second.size = size;
  }
  void publish() {
    auto ino = any();
    auto found = m.nodes.find(ino);
    if (found == m.nodes.end() || found->second.directory) return;
    auto b = w.allot(100, 0, 7, 2).firsts.at(0);
    auto index = below(20);
    auto end = static_cast<uint32_t>(1 + below(TestWorld::kTestBlockBytes));
    auto size = (index + 1) * TestWorld::kTestBlockBytes + end;
    ASSERT_EQ(w.publish(ino, size,
                        {{index, BlockId(b), TestWorld::kTestBlockBytes, false},
                         {index + 1, BlockId(b + 1), end, false}})
                  .err,
              Errno::OK);
    found->second.size = std::max(found->second.size, size);
  }
  void reap() {
    auto ino = any();
    ASSERT_EQ(w.reap(ino).err, Errno::OK);
    if (m.orphans.erase(ino) != 0) m.nodes.erase(ino);
  }
  void step() {
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        return make();
      case 3:
        return link();
      case 4:
      case 5:
        return unlink();
      case 6:
      case 7:
      case 8:
        return rename();
      case 9:
        return truncate();
      case 10:
        return publish();
      default:
        return reap();
    }
  }
  void compare() {
    ASSERT_EQ(w.problems(), "");
    ASSERT_EQ(w.q.counts().inodes, m.nodes.size());
    ASSERT_EQ(w.q.counts().orphans, m.orphans.size());
    for (auto& [ino, node] : m.nodes) {
      auto attr = w.attr(ino);
      ASSERT_EQ(attr.nlink, m.links(ino)) << ino;
      ASSERT_EQ(attr.kind == Kind::DIRECTORY, node.directory);
      if (!node.directory) {
        ASSERT_EQ(attr.size, node.size);
        continue;
      }
      if (m.orphans.count(ino) == 0) {
        ASSERT_EQ(attr.parent.value, node.parent);
      }
      std::map<std::string, uint64_t> entries;
      uint64_t cookie = 0;
      while (m.orphans.count(ino) == 0) {
        auto some = w.q.readdir(InodeId(ino), cookie, 2);
        for (auto& e : *some) entries[e.name] = e.ino.value;
        if (some->size() < 2) break;
        cookie = some->back().cookie;
      }
      ASSERT_EQ(entries, node.entries) << ino;
    }
    for (auto ino : inos) {
      if (m.nodes.count(ino) == 0) {
        ASSERT_EQ(w.q.getattr(InodeId(ino)).err(), Errno::STALE);
      }
    }
  }
};

TEST(Property, RandomCommandsDoWhatTheModelDoes) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Walk run(seed);
    for (int i = 0; i < 400; ++i) {
      run.step();
      run.w.acked = run.w.sequence - std::min<uint64_t>(run.w.sequence, run.below(50));
      if (i % 20 == 19) run.compare();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Property, RepeatsInAnyOrderGiveTheAnswersOfTheFirstTime) {
  // Method: 300 random creates, links and removals under request ids; then all of them again,
  // shuffled. Nothing changes and every answer is the first one's.
  TestWorld w;
  w.watch = false;
  w.storage();
  w.client = 100;
  std::mt19937_64 random(5);
  std::vector<kj::Own<capnp::MallocMessageBuilder>> messages;
  std::vector<Result> results;
  for (int i = 0; i < 300; ++i) {
    std::string name(1, static_cast<char>('a' + random() % 6));
    auto what = random() % 3;
    messages.push_back(w.command([&](auto d) {
      if (what == 0) {
        auto c = d.initCreate();
        c.setParent(1);
        c.setName(bytesOf(name));
        c.setKind(Kind::FILE);
      } else if (what == 1) {
        auto c = d.initUnlink();
        c.setParent(1);
        c.setName(bytesOf(name));
      } else {
        d.initAllot().setSession(100);
        d.getAllot().setInodes(2);
      }
    }));
    results.push_back(w.apply(*messages.back()));
  }
  auto digest = w.kv.digest();
  for (int i = 0; i < 600; ++i) {
    auto which = random() % messages.size();
    ASSERT_EQ(w.apply(*messages[which]), results[which]);
  }
  EXPECT_EQ(w.kv.digest(), digest);
  EXPECT_EQ(w.problems(), "");
}

TEST(Property, CutsAndTrimsLeaveJustTheRowsOfTheModel) {
  // Method: one file of some ten thousand rows; random publishes, truncations and trims.
  TestWorld w;
  w.watch = false;
  w.storage();
  auto f = w.create(1, "f").ino;
  std::mt19937_64 random(11);
  std::map<uint64_t, uint64_t> model;
  constexpr uint64_t kB = TestWorld::kTestBlockBytes;
  uint64_t size = 0;
  for (int i = 0; i < 150; ++i) {
    auto what = random() % 4;
    if (what <= 1) {
      auto count = 1 + random() % kRowsPerPublishMax;
      auto index = random() % 9000;
      auto b = w.allot(100, 0, 7, static_cast<uint32_t>(count)).firsts.at(0);
      std::vector<RowInfo> rows;
      for (uint64_t n = 0; n < count; ++n) {
        rows.push_back({index + n, BlockId(b + n), static_cast<uint32_t>(kB), false});
        model[index + n] = b + n;
      }
      size = std::max(size, (index + count) * kB);
      ASSERT_EQ(w.publish(f, size, rows).err, Errno::OK);
    } else if (what == 2) {
      auto blocks = random() % 13000;
      size = blocks * kB;
      ASSERT_EQ(w.truncate(f, size).err, Errno::OK);
      model.erase(model.lower_bound(blocks), model.end());
    } else {
      ASSERT_EQ(w.trim(f, static_cast<uint32_t>(1 + random() % 3000)).err, Errno::OK);
    }
    std::map<uint64_t, uint64_t> there;
    auto rows = w.q.rows(InodeId(f), 0, 1u << 30, 1u << 30);
    for (auto& row : *rows) there[row.index] = row.block.value;
    ASSERT_EQ(there, model) << i;
    if (i % 15 == 0) {
      ASSERT_EQ(w.problems(), "") << i;
    }
  }
  while (w.trim(f).count != 0) continue;
  EXPECT_EQ(w.kv.size(meta::Table::ROW), model.size());
  EXPECT_EQ(w.attr(f).allocated, model.size() * kB);
  EXPECT_EQ(w.problems(), "");
}

}  // namespace
}  // namespace dfs
