// Attributes, sizes, rows, and what becomes of the blocks of what was cut off or removed.

#include "nameserver/meta/store.h"
#include "nameserver/meta/test_world.h"

namespace dfs {
namespace {

using schema::Kind;
using Setattr = schema::Setattr::Builder;
constexpr uint64_t kB = TestWorld::kTestBlockBytes;

std::vector<RowInfo> rowsOf(uint64_t firstIndex, uint64_t firstBlock, uint64_t count) {
  std::vector<RowInfo> rows;
  for (uint64_t i = 0; i < count; ++i) {
    rows.push_back({firstIndex + i, BlockId(firstBlock + i), static_cast<uint32_t>(kB), false});
  }
  return rows;
}

void publishMany(TestWorld& w, uint64_t ino, uint64_t firstIndex, uint64_t firstBlock,
                 uint64_t count) {
  for (uint64_t done = 0; done < count;) {
    auto n = std::min<uint64_t>(count - done, kRowsPerPublishMax);
    auto rows = rowsOf(firstIndex + done, firstBlock + done, n);
    ASSERT_EQ(w.publish(ino, (firstIndex + done + n) * kB, rows).err, Errno::OK);
    done += n;
  }
}

TEST(Setattr, ChmodAndChownKeepToTheRulesOfPosix) {
  TestWorld w;
  auto f = w.create(1, "f").ino;
  w.chown(f, 1000, 1000);
  w.uid = w.gid = 2000;
  EXPECT_EQ(w.chmod(f, 0777).err, Errno::PERM);
  EXPECT_EQ(w.chown(f, -1, 2000).err, Errno::PERM);
  w.uid = 1000;
  w.gid = 1000;
  EXPECT_EQ(w.chown(f, 1001, -1).err, Errno::PERM);
  EXPECT_EQ(w.chown(f, -1, 1001).err, Errno::PERM);
  EXPECT_EQ(w.chmod(f, 06755).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 06755u);
  w.groups = {1001};
  EXPECT_EQ(w.chown(f, 1000, 1001).err, Errno::OK);
  EXPECT_EQ(w.attr(f).gid, 1001u);
  EXPECT_EQ(w.attr(f).mode, 0755u);
  w.chmod(f, 06644);
  w.chown(f, -1, 1001);
  EXPECT_EQ(w.attr(f).mode, 02644u);  // no group execution: the bit means locking, not set-gid
  w.groups = {};
  w.chmod(f, 02755);
  EXPECT_EQ(w.attr(f).mode, 0755u);  // not a member of the file's group
  auto s = w.create(1, "s", Kind::SYMLINK);
  w.uid = 0;
  s = w.create(1, "s", Kind::SYMLINK);
  EXPECT_EQ(w.chmod(s.ino, 0700).err, Errno::NOT_SUP);
  EXPECT_EQ(w.chmod(999, 0700).err, Errno::STALE);
  auto d = w.mkdir(1, "d").ino;
  w.chmod(d, 02755);
  w.chown(d, 5, 5);
  EXPECT_EQ(w.attr(d).mode, 02755u);
}

TEST(Setattr, TimesNeedOwnershipOrForNowTheRightToWrite) {
  TestWorld w;
  auto f = w.create(1, "f", Kind::FILE, 0644).ino;
  auto nowBoth = [](Setattr c) {
    c.getSet().setAtimeNow(true);
    c.getSet().setMtimeNow(true);
  };
  auto nowOne = [](Setattr c) { c.getSet().setAtimeNow(true); };
  auto given = [](Setattr c) {
    c.getSet().setAtime(true);
    toWire(Time{-5, 1}, c.initAtime());
  };
  auto wrong = [](Setattr c) {
    c.getSet().setAtime(true);
    toWire(Time{0, 1'000'000'000}, c.initAtime());
  };
  w.uid = w.gid = 1000;
  EXPECT_EQ(w.setattr(f, nowBoth).err, Errno::ACCESS);
  EXPECT_EQ(w.setattr(f, given).err, Errno::PERM);
  w.uid = 0;
  EXPECT_EQ(w.setattr(f, wrong).err, Errno::INVAL);
  w.chmod(f, 0666);
  w.uid = 1000;
  EXPECT_EQ(w.setattr(f, nowBoth).err, Errno::OK);
  EXPECT_EQ(w.setattr(f, nowOne).err, Errno::PERM);
  EXPECT_EQ(w.setattr(f, given).err, Errno::PERM);
  w.uid = 0;
  EXPECT_EQ(w.setattr(f, given).err, Errno::OK);
  EXPECT_EQ(w.attr(f).atime, (Time{-5, 1}));
}

TEST(Setattr, SizeNeedsTheRightToWriteOrADescriptor) {
  TestWorld w;
  auto f = w.create(1, "f").ino;
  auto d = w.mkdir(1, "d").ino;
  auto p = w.create(1, "p", Kind::FIFO).ino;
  EXPECT_EQ(w.truncate(d, 1).err, Errno::IS_DIR);
  EXPECT_EQ(w.truncate(p, 1).err, Errno::INVAL);
  EXPECT_EQ(w.truncate(f, kFileBytesMax + 1).err, Errno::TOO_LARGE);
  EXPECT_EQ(w.truncate(f, kFileBytesMax).err, Errno::OK);
  w.uid = 1000;
  EXPECT_EQ(w.truncate(f, 5).err, Errno::ACCESS);
  EXPECT_EQ(w.truncate(f, 5, true).err, Errno::OK);
  EXPECT_EQ(w.attr(f).size, 5u);
  w.uid = 0;
  w.chmod(f, 06777);
  w.setattr(f, [](Setattr c) {
    c.getSet().setSize(true);
    c.setKillSetId(true);
  });
  EXPECT_EQ(w.attr(f).mode, 0777u);
  // In the name of whoever writes; nothing else of the mode is theirs to change.
  w.chmod(f, 06777);
  w.uid = 1000;
  EXPECT_EQ(w.chmod(f, 0776).err, Errno::PERM);
  EXPECT_EQ(w.chmod(f, 0777).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 0777u);
  EXPECT_EQ(w.chmod(f, 04777).err, Errno::PERM);
  w.uid = 0;
  w.chmod(f, 06755);
  w.uid = 1000;
  EXPECT_EQ(w.chmod(f, 0755).err, Errno::PERM);
  EXPECT_EQ(w.problems(), "");
}

TEST(Setattr, NothingAtAllIsTheOwnersOnlyWhereSetIdBitsWouldGo) {
  TestWorld w;
  auto f = w.create(1, "f").ino;
  auto nothing = [](Setattr c) { c.setKillSetId(true); };
  w.chmod(f, 06777);
  w.uid = 1000;
  EXPECT_EQ(w.setattr(f, nothing).err, Errno::PERM);
  EXPECT_EQ(w.attr(f).mode, 06777u);
  // A write through a descriptor, whoever it was handed to.
  auto write = [](Setattr c) {
    c.setKillSetId(true);
    c.setOpenForWrite(true);
  };
  EXPECT_EQ(w.setattr(f, write).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 0777u);
  auto before = w.attr(f).ctime;
  EXPECT_EQ(w.setattr(f, nothing).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 0777u);
  EXPECT_GT(w.attr(f).ctime, before);
  EXPECT_EQ(w.problems(), "");
}

TEST(Publish, NamesReplacesAndFreesBlocks) {
  TestWorld w;
  w.storage();
  w.client = 100;
  auto f = w.create(1, "f").ino;
  auto b = w.allot(100, 0, 7, 10).firsts[0];
  EXPECT_EQ(w.publish(f, 2 * kB, rowsOf(0, b, 2)).err, Errno::OK);
  EXPECT_EQ(w.attr(f).allocated, 2 * kB);
  EXPECT_EQ(w.attr(f).mtime, (Time{2'000'000, 0}));
  w.publish(f, 2 * kB, {});
  EXPECT_EQ(w.attr(f).mtime, (Time{2'000'000, 0}));  // the same last write
  EXPECT_EQ(w.publish(f, 0, {{0, BlockId(b + 2), 100, false}}).err, Errno::OK);
  EXPECT_EQ(w.attr(f).size, 2 * kB);
  EXPECT_EQ(w.attr(f).allocated, kB + 100);
  EXPECT_FALSE(w.q.isNamed(BlockId(b)));
  EXPECT_EQ(w.q.reclaims(BlockId(), 10)[0].block.value, b);
  auto rows = w.q.rows(InodeId(f), 0, 10, 10);
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].end, 100u);
  auto named = w.q.namedBlocks(BlockId(), 10);
  ASSERT_EQ(named.size(), 3u);
  EXPECT_EQ(named[0].use, schema::Admin::Use::RECLAIM);
  EXPECT_EQ(named[1].index, 1u);
  EXPECT_EQ(named[2].end, 100u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Publish, RefusesRowsThatBreakTheRules) {
  TestWorld w;
  w.storage();
  auto f = w.create(1, "f").ino;
  auto g = w.create(1, "g").ino;
  auto d = w.mkdir(1, "d").ino;
  w.startSession(200);
  auto foreign = w.allot(200, 0, 7, 1).firsts[0];
  auto b = w.allot(100, 0, 7, 10).firsts[0];
  w.client = 100;
  ASSERT_EQ(w.publish(g, kB, rowsOf(0, b, 1)).err, Errno::OK);
  ASSERT_EQ(w.publish(g, kB, rowsOf(0, b + 1, 1)).err, Errno::OK);
  auto one = [&](uint64_t index, uint64_t block, uint32_t end, uint64_t size = 8 * kB) {
    return w.publish(f, size, {{index, BlockId(block), end, false}}).err;
  };
  EXPECT_EQ(one(0, b + 2, 0), Errno::INVAL);
  EXPECT_EQ(one(0, b + 2, kB + 1), Errno::INVAL);
  EXPECT_EQ(one(0, b + 2, 10, 9), Errno::INVAL);
  EXPECT_EQ(one(8, b + 2, 1), Errno::INVAL);
  EXPECT_EQ(one(~uint64_t(0), b + 2, 1), Errno::INVAL);
  EXPECT_EQ(one(0, b, 1), Errno::INVAL);        // being reclaimed
  EXPECT_EQ(one(0, b + 1, 1), Errno::INVAL);    // another file's
  EXPECT_EQ(one(0, foreign, 1), Errno::INVAL);  // another session's
  EXPECT_EQ(one(0, b + 10, 1), Errno::INVAL);   // nobody's
  EXPECT_EQ(one(0, 0, 1), Errno::INVAL);
  EXPECT_EQ(one(0, b + 2, 1, kFileBytesMax + 1), Errno::TOO_LARGE);
  EXPECT_EQ(w.publish(f, 8 * kB, {rowsOf(1, b + 2, 1)[0], rowsOf(0, b + 3, 1)[0]}).err,
            Errno::INVAL);
  EXPECT_EQ(w.publish(f, 8 * kB, {rowsOf(0, b + 2, 1)[0], rowsOf(1, b + 2, 1)[0]}).err,
            Errno::INVAL);
  EXPECT_EQ(w.publish(d, 1, {}).err, Errno::IS_DIR);
  EXPECT_EQ(w.publish(999, 1, {}).err, Errno::STALE);
  EXPECT_EQ(one(0, b + 2, 1), Errno::OK);
  EXPECT_EQ(w.problems(), "");
}

TEST(Truncate, CutsTheLastRowAndFreesThosePastIt) {
  TestWorld w;
  w.storage();
  auto f = w.create(1, "f").ino;
  auto b = w.allot(100, 0, 7, 10).firsts[0];
  w.publish(f, 5 * kB, rowsOf(0, b, 5));
  w.truncate(f, 2 * kB + 10);
  auto rows = w.q.rows(InodeId(f), 0, 10, 10);
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[2].end, 10u);
  EXPECT_EQ(w.attr(f).allocated, 2 * kB + 10);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 2u);
  w.truncate(f, 5 * kB);  // longer again: what was cut off does not come back
  EXPECT_EQ(w.q.rows(InodeId(f), 0, 10, 10)->size(), 3u);
  EXPECT_EQ((*w.q.rows(InodeId(f), 2, 1, 10))[0].end, 10u);
  EXPECT_TRUE(w.q.trims(InodeId(), 10).empty());
  EXPECT_EQ(w.problems(), "");
}

TEST(Truncate, OfAHugeFileLeavesDeadRowsThatNobodySeesAndTrimTakes) {
  // Method: cut, grow, publish within the dead rows, cut further up, publish again; then trim in
  // small steps. At every step the file has just the rows that were published after the cuts.
  TestWorld w;
  w.storage();
  auto f = w.create(1, "f").ino;
  constexpr uint64_t kMany = 15000;
  auto b = w.allot(100, 0, 7, 60000).firsts[0];
  publishMany(w, f, 0, b, kMany);
  auto rows = [&]() {
    std::vector<uint64_t> indices;
    auto got = w.q.rows(InodeId(f), 0, 1u << 30, 1u << 30);
    for (auto& row : *got) indices.push_back(row.index);
    return indices;
  };
  w.truncate(f, 1 * kB);
  EXPECT_EQ(rows(), std::vector<uint64_t>{0});
  EXPECT_EQ(w.q.trims(InodeId(), 10), std::vector<InodeId>{InodeId(f)});
  EXPECT_EQ(w.problems(), "");
  w.truncate(f, kMany * kB);
  EXPECT_EQ(rows(), std::vector<uint64_t>{0});

  auto dead = w.q.namedBlocks(BlockId(b + 5000), 1)[0];
  EXPECT_EQ(w.publish(f, 0, {{dead.index, dead.block, 1, false}}).err, Errno::INVAL);
  EXPECT_EQ(w.publish(f, 0, rowsOf(9000, b + 20000, 2)).err, Errno::OK);
  EXPECT_EQ(rows(), (std::vector<uint64_t>{0, 9000, 9001}));
  publishMany(w, f, 9500, b + 30000, 6000);
  w.truncate(f, 9600 * kB + 7);
  EXPECT_EQ(rows().size(), 3u + 101u);
  EXPECT_EQ(w.problems(), "");
  w.truncate(f, 20000 * kB);
  w.publish(f, 0, rowsOf(15000, b + 21000, 1));
  auto live = rows();
  EXPECT_EQ(live.size(), 3u + 101u + 1u);
  uint64_t steps = 0;
  while (w.trim(f, 1000).count != 0) {
    EXPECT_EQ(rows(), live);
    steps += 1;
  }
  EXPECT_GT(steps, 5u);
  EXPECT_EQ(rows(), live);
  EXPECT_TRUE(w.q.trims(InodeId(), 10).empty());
  EXPECT_EQ(w.attr(f).allocated, 103 * kB + 7 + kB);
  EXPECT_EQ(w.kv.size(meta::Table::ROW), live.size());
  EXPECT_EQ(w.trim(f).err, Errno::OK);
  EXPECT_EQ(w.problems(), "");
}

TEST(Truncate, ManyTimesWithoutTrimKeepsFewCuts) {
  TestWorld w;
  w.watch = false;
  w.storage();
  auto f = w.create(1, "f").ino;
  auto b = w.allot(100, 0, 7, 1u << 20).firsts[0];
  uint64_t top = 0;
  for (int i = 0; i < 70; ++i) {
    publishMany(w, f, top, b, 4200);
    b += 4200;
    top += 10;
    w.truncate(f, top * kB);
  }
  EXPECT_EQ(w.q.rows(InodeId(f), 0, 1u << 30, 1u << 30)->size(), 700u);
  EXPECT_EQ(w.problems(), "");
  while (w.trim(f).count != 0) continue;
  EXPECT_EQ(w.kv.size(meta::Table::ROW), 700u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Reap, OfAHugeFileIsOneStepAndItsRowsGoByTrim) {
  TestWorld w;
  w.storage();
  auto f = w.create(1, "f").ino;
  auto b = w.allot(100, 0, 7, 20000).firsts[0];
  publishMany(w, f, 0, b, 10000);
  w.unlink(1, "f");
  EXPECT_EQ(w.publish(f, 0, rowsOf(10000 - 1, b + 12000, 1)).err, Errno::OK);  // an orphan lives on
  w.truncate(f, 9000 * kB);
  w.truncate(f, 1);
  EXPECT_EQ(w.problems(), "");
  w.reap(f);
  EXPECT_EQ(w.q.getattr(InodeId(f)).err(), Errno::STALE);
  EXPECT_EQ(w.q.trims(InodeId(), 9).size(), 1u);
  EXPECT_EQ(w.problems(), "");
  while (w.trim(f).count != 0) continue;
  EXPECT_EQ(w.kv.size(meta::Table::ROW), 0u);
  EXPECT_EQ(w.kv.size(meta::Table::BLOCK), 0u);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 10001u);
  EXPECT_TRUE(w.q.trims(InodeId(), 9).empty());
  auto some = w.q.reclaims(BlockId(), 3);
  EXPECT_EQ(w.blocksCommand({some[0].block.value, some[1].block.value, 1}, false).count, 2u);
  EXPECT_EQ(w.q.counts().reclaimBlocks, 9999u);
  EXPECT_EQ(w.problems(), "");
}

TEST(DeleteOrphans, TakesOnlyWhatIsNobodys) {
  TestWorld w;
  w.storage();
  auto f = w.create(1, "f").ino;
  auto b = w.allot(100, 0, 7, 10).firsts[0];
  w.publish(f, kB, rowsOf(0, b, 1));
  auto beyond = b + 10;
  auto otherChain = BlockId(ChainId(8), 1).value;
  EXPECT_EQ(w.blocksCommand({b, b + 1, beyond, otherChain}, true).count, 0u);
  w.endSession(100);
  EXPECT_EQ(w.blocksCommand({b, b + 1}, true).count, 0u);  // its range is still kept
  EXPECT_EQ(w.forgetSession(100).count, 0u);
  EXPECT_EQ(w.blocksCommand({b, b + 1, b + 1, beyond, otherChain}, true).count, 1u);
  EXPECT_EQ(w.q.reclaims(BlockId(), 9)[0].block.value, b + 1);
  EXPECT_EQ(w.problems(), "");
}

}  // namespace
}  // namespace dfs
