// Holes, and copies by reference: which rows stand where afterwards, and when a block is nobody's.

#include "nameserver/meta/store.h"
#include "nameserver/meta/test_world.h"

#include <map>
#include <random>
#include <set>

namespace dfs {
namespace {

using schema::Kind;
constexpr uint64_t kB = TestWorld::kTestBlockBytes;

struct SpaceWorld : TestWorld {
  SpaceWorld() { storage(); }

  uint64_t file(const std::string& name, uint64_t blocks) {
    auto ino = create(1, name).ino;
    if (blocks != 0) fill(ino, 0, blocks);
    return ino;
  }
  void fill(uint64_t ino, uint64_t first, uint64_t blocks) {
    auto b = allot(100, 0, 7, static_cast<uint32_t>(blocks)).firsts.at(0);
    for (uint64_t done = 0; done < blocks;) {
      auto n = std::min<uint64_t>(blocks - done, kRowsPerPublishMax);
      std::vector<RowInfo> rows;
      for (uint64_t i = done; i < done + n; ++i) {
        rows.push_back({first + i, BlockId(b + i), static_cast<uint32_t>(kB), false});
      }
      ASSERT_EQ(publish(ino, (first + done + n) * kB, rows).err, Errno::OK);
      done += n;
    }
  }
  std::map<uint64_t, std::pair<uint64_t, uint32_t>> rows(uint64_t ino) {
    std::map<uint64_t, std::pair<uint64_t, uint32_t>> all;
    auto got = q.rows(InodeId(ino), 0, 1u << 30, 1u << 30);
    for (auto& row : *got) all[row.index] = {row.block.value, row.end};
    return all;
  }
  RowInfo row(uint64_t ino, uint64_t index) { return q.rows(InodeId(ino), index, 1, 1)->at(0); }
};

TEST(Punch, TakesRowsAndFreesTheirBlocks) {
  SpaceWorld w;
  auto f = w.file("f", 5);
  EXPECT_EQ(w.punch(f, 1, 3).count, 0u);
  auto rows = w.rows(f);
  EXPECT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows.count(1) + rows.count(2), 0u);
  EXPECT_EQ(w.attr(f).size, 5 * kB);
  EXPECT_EQ(w.attr(f).allocated, 3 * kB);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 2u);
  EXPECT_EQ(w.punch(f, 0, UINT64_MAX).err, Errno::OK);
  EXPECT_EQ(w.attr(f).allocated, 0u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Punch, IsRefusedWhereThereIsNoFile) {
  SpaceWorld w;
  auto f = w.file("f", 1);
  EXPECT_EQ(w.punch(1, 0, 1).err, Errno::IS_DIR);
  EXPECT_EQ(w.punch(w.create(1, "p", Kind::FIFO).ino, 0, 1).err, Errno::INVAL);
  EXPECT_EQ(w.punch(999, 0, 1).err, Errno::STALE);
  EXPECT_EQ(w.punch(f, 2, 1).err, Errno::INVAL);
  EXPECT_EQ(w.punch(f, 0, 1, {1, 1'000'000'000}).err, Errno::INVAL);
}

TEST(Punch, OfManyRowsGoesInBoundedSteps) {
  SpaceWorld w;
  w.watch = false;
  auto f = w.file("f", 10'000);
  EXPECT_EQ(w.punch(f, 10, 9'990).count, 1u);
  EXPECT_EQ(w.rows(f).size(), 10'000u - kRowsPerTrim);
  EXPECT_EQ(w.punch(f, 10, 9'990).count, 1u);
  EXPECT_EQ(w.punch(f, 10, 9'990).count, 0u);
  EXPECT_EQ(w.rows(f).size(), 20u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Clone, NamesTheSameBlocksAndMarksBothSides) {
  SpaceWorld w;
  auto f = w.file("f", 4);
  auto g = w.file("g", 2);
  w.punch(f, 1, 2);
  EXPECT_EQ(w.clone(f, 0, 4, g, 0, 3 * kB + 10).err, Errno::OK);
  auto rows = w.rows(g);
  EXPECT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows.count(1), 0u);  // a hole takes the place of what stood there
  EXPECT_EQ(rows[0].first, w.rows(f)[0].first);
  EXPECT_EQ(rows[3].second, 10u);  // cut at the new size
  EXPECT_EQ(w.attr(g).size, 3 * kB + 10);
  EXPECT_EQ(w.attr(g).allocated, 2 * kB + 10);
  EXPECT_TRUE(w.row(f, 0).shared);
  EXPECT_TRUE(w.row(g, 0).shared);
  EXPECT_EQ(w.attr(f).allocated, 3 * kB);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 3u);  // the hole's, and both of g
  EXPECT_EQ(w.q.namedBlocks(BlockId(), 100).size(), 6u);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.clone(f, 0, 4, g, 0, 0).err, Errno::OK);  // once more: the same
  EXPECT_EQ(w.q.counts().reclaimBlocks, 3u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Clone, ABlockIsFreedWithItsLastRow) {
  SpaceWorld w;
  auto f = w.file("f", 6);
  auto g = w.file("g", 0);
  EXPECT_EQ(w.clone(f, 0, 6, g, 0, 6 * kB).err, Errno::OK);
  auto b = w.rows(f)[0].first;
  w.truncate(f, 5 * kB);  // 5: by truncation, then the other's by truncation
  w.truncate(g, 5 * kB);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 1u);
  w.punch(f, 4, 5);  // 4: by holes
  EXPECT_TRUE(w.q.isNamed(BlockId(b + 4)));
  w.punch(g, 4, 5);
  EXPECT_FALSE(w.q.isNamed(BlockId(b + 4)));
  auto fresh = w.allot(100, 0, 7, 1).firsts[0];  // 3: replaced by a copy
  EXPECT_EQ(w.publish(f, 0, {{3, BlockId(fresh), 7, false}}).err, Errno::OK);
  EXPECT_FALSE(w.row(f, 3).shared);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 2u);
  w.create(1, "h");
  w.rename(1, "h", 1, "g");  // the rest: renamed over, and reaped
  w.reap(g);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 3u);
  EXPECT_TRUE(w.q.isNamed(BlockId(b)));
  w.unlink(1, "f");
  w.reap(f);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 7u);
  EXPECT_EQ(w.kv.size(meta::Table::BLOCK), 0u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Clone, TrimOfOneSharerLeavesTheOther) {
  SpaceWorld w;
  w.watch = false;
  constexpr uint64_t kMany = 12'000;
  auto f = w.file("f", kMany);
  auto g = w.file("g", 0);
  for (uint64_t at = 0; at < kMany; at += kRowsPerTrim) {
    auto n = std::min<uint64_t>(kRowsPerTrim, kMany - at);
    ASSERT_EQ(w.clone(f, at, n, g, at, (at + n) * kB).err, Errno::OK);
  }
  w.truncate(f, kB);  // leaves dead rows
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.clone(f, 6'000, 10, g, 0, 0).err, Errno::OK);  // of them nothing is copied
  EXPECT_EQ(w.rows(g).size(), kMany - 10);
  while (w.trim(f).count != 0) continue;
  EXPECT_EQ(w.rows(g).size(), kMany - 10);
  EXPECT_EQ(w.problems(), "");
  w.unlink(1, "g");
  w.reap(g);
  while (w.trim(g).count != 0) continue;
  EXPECT_EQ(w.kv.size(meta::Table::BLOCK), 1u);
  EXPECT_EQ(w.q.counts().reclaimBlocks, kMany - 1);
  EXPECT_EQ(w.problems(), "");
}

TEST(Clone, WithinAFileMovesNothingAndMayNotOverlap) {
  SpaceWorld w;
  auto f = w.file("f", 4);
  EXPECT_EQ(w.clone(f, 0, 3, f, 2, 0).err, Errno::INVAL);
  EXPECT_EQ(w.clone(f, 0, 2, f, 2, 0).err, Errno::OK);
  auto rows = w.rows(f);
  EXPECT_EQ(rows[0].first, rows[2].first);
  EXPECT_EQ(w.attr(f).allocated, 4 * kB);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 2u);
  w.truncate(f, 0);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 4u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Clone, RefusesWhatBreaksTheRules) {
  SpaceWorld w;
  auto f = w.file("f", 2);
  auto g = w.file("g", 1);
  EXPECT_EQ(w.clone(f, 0, 1, 1, 0, kB).err, Errno::IS_DIR);
  EXPECT_EQ(w.clone(f, 0, 1, w.create(1, "p", Kind::FIFO).ino, 0, kB).err, Errno::INVAL);
  EXPECT_EQ(w.clone(999, 0, 1, g, 0, kB).err, Errno::STALE);
  EXPECT_EQ(w.clone(f, 0, 1, 999, 0, kB).err, Errno::STALE);
  EXPECT_EQ(w.clone(f, 0, 0, g, 0, kB).err, Errno::INVAL);
  EXPECT_EQ(w.clone(f, 0, kRowsPerTrim + 1, g, 0, kB).err, Errno::INVAL);
  EXPECT_EQ(w.clone(f, 0, 1, g, 0, kFileBytesMax + 1).err, Errno::TOO_LARGE);
  EXPECT_EQ(w.clone(f, ~uint64_t(0), 1, g, 0, kB).err, Errno::TOO_LARGE);
  EXPECT_EQ(w.clone(f, 0, 2, g, kFileBytesMax / kB - 1, kB).err, Errno::TOO_LARGE);
  EXPECT_EQ(w.clone(f, 0, 2, g, 0, 2 * kB).err, Errno::OK);
  // A shared block does not grow: that would be a write in place.
  w.truncate(g, kB + 10);
  auto b = w.rows(g)[1].first;
  w.client = 100;
  EXPECT_EQ(w.publish(g, 2 * kB, {{1, BlockId(b), 20, true}}).err, Errno::INVAL);
  EXPECT_EQ(w.publish(g, 2 * kB, {{1, BlockId(b), 5, true}}).err, Errno::OK);
  EXPECT_EQ(w.attr(g).allocated, kB + 5);
  EXPECT_EQ(w.publish(g, 4 * kB, {{3, BlockId(b), 5, true}}).err, Errno::INVAL);
  w.client = 0;
  w.chmod(g, 06755);
  EXPECT_EQ(w.clone(f, 0, 1, g, 0, 0, true).err, Errno::OK);
  EXPECT_EQ(w.attr(g).mode, 0755u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Store, OfAVersionBeforeSharedBlocksIsTakenOver) {
  // Method: the names of two blocks as they stood then; a state machine starts on them.
  SpaceWorld w;
  auto f = w.file("f", 300);
  meta::Store store(w.kv);
  for (auto& [index, row] : w.rows(f)) {
    store.erase(meta::Table::BLOCK, meta::key(row.first, f, index));
    store.put(meta::Table::BLOCK, meta::key(row.first),
              meta::BlockRecord{InodeId(f), index}.encode());
  }
  StateMachine again(w.kv);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.q.namedBlocks(BlockId(), 1000).size(), 300u);
}

struct SpaceModel {
  struct File {
    uint64_t size = 0;
    std::map<uint64_t, std::pair<uint64_t, uint32_t>> rows;
  };
  std::map<uint64_t, File> files;
  std::set<uint64_t> everNamed;

  std::set<uint64_t> named() const {
    std::set<uint64_t> all;
    for (auto& [ino, file] : files) {
      for (auto& [index, row] : file.rows) all.insert(row.first);
    }
    return all;
  }
};

struct SpaceWalk {
  SpaceWorld w;
  SpaceModel m;
  std::mt19937_64 random;
  uint64_t made = 0;

  explicit SpaceWalk(uint64_t seed) : random(seed) {
    for (int i = 0; i < 3; ++i) make();
  }
  uint64_t below(uint64_t bound) { return random() % bound; }
  void make() {
    auto n = "f" + std::to_string(made++);
    m.files[w.create(1, n).ino] = {};
  }
  uint64_t any() { return std::next(m.files.begin(), below(m.files.size()))->first; }

  void publish() {
    auto ino = any();
    auto& file = m.files[ino];
    auto index = below(12);
    auto end = static_cast<uint32_t>(1 + below(kB));
    auto b = w.allot(100, 0, 7, 1).firsts.at(0);
    auto size = std::max(file.size, index * kB + end);
    ASSERT_EQ(w.publish(ino, size, {{index, BlockId(b), end, false}}).err, Errno::OK);
    file.size = size;
    file.rows[index] = {b, end};
    m.everNamed.insert(b);
  }
  void truncate() {
    auto ino = any();
    auto& file = m.files[ino];
    file.size = below(13 * kB);
    ASSERT_EQ(w.truncate(ino, file.size).err, Errno::OK);
    for (auto i = file.rows.begin(); i != file.rows.end();) {
      auto start = i->first * kB;
      if (start < file.size) {
        i->second.second = std::min<uint64_t>(i->second.second, file.size - start);
      }
      i = start >= file.size ? file.rows.erase(i) : std::next(i);
    }
  }
  void punch() {
    auto ino = any();
    auto& rows = m.files[ino].rows;
    auto first = below(12), end = first + below(6);
    ASSERT_EQ(w.punch(ino, first, end).err, Errno::OK);
    rows.erase(rows.lower_bound(first), rows.lower_bound(end));
  }
  void clone() {
    auto from = any(), to = any();
    auto fromFirst = below(10), toFirst = below(10), count = 1 + below(5);
    auto size = below(16 * kB);
    bool overlap = from == to && fromFirst < toFirst + count && toFirst < fromFirst + count;
    auto err = w.clone(from, fromFirst, count, to, toFirst, size).err;
    ASSERT_EQ(err, overlap ? Errno::INVAL : Errno::OK);
    if (overlap) return;
    auto source = m.files[from].rows;
    auto& file = m.files[to];
    file.size = std::max(file.size, size);
    for (uint64_t i = 0; i < count; ++i) {
      file.rows.erase(toFirst + i);
      auto row = source.find(fromFirst + i);
      auto start = (toFirst + i) * kB;
      if (row == source.end() || start >= file.size) continue;
      auto end = std::min<uint64_t>(row->second.second, file.size - start);
      file.rows[toFirst + i] = {row->second.first, static_cast<uint32_t>(end)};
    }
  }
  void remove() {
    auto ino = any();
    auto paths = w.q.paths(InodeId(ino));
    ASSERT_EQ(w.unlink(1, (*paths)[0].substr(1)).err, Errno::OK);
    w.reap(ino);
    while (w.trim(ino).count != 0) continue;
    m.files.erase(ino);
    make();
  }
  void compare() {
    ASSERT_EQ(w.problems(), "");
    for (auto& [ino, file] : m.files) {
      ASSERT_EQ(w.rows(ino), file.rows);
      uint64_t bytes = 0;
      for (auto& [index, row] : file.rows) bytes += row.second;
      ASSERT_EQ(w.attr(ino).allocated, bytes);
      ASSERT_EQ(w.attr(ino).size, file.size);
    }
    auto named = m.named();
    for (auto block : m.everNamed) {
      ASSERT_EQ(w.q.isNamed(BlockId(block)), named.count(block) != 0);
    }
    ASSERT_EQ(w.q.counts().reclaimBlocks, m.everNamed.size() - named.size());
  }
};

TEST(Property, SharedRowsAreThoseOfTheModelAndBlocksGoWithTheLast) {
  // Method: random publishes, truncations, holes, copies and removals of a few files.
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SpaceWalk walk(seed);
    for (int i = 0; i < 250; ++i) {
      auto what = walk.below(10);
      if (what < 3)
        walk.publish();
      else if (what < 5)
        walk.punch();
      else if (what < 8)
        walk.clone();
      else if (what < 9)
        walk.truncate();
      else
        walk.remove();
      if (i % 10 == 9) walk.compare();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace dfs
