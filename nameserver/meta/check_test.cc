// The check finds each kind of damage, in pieces too, and is not misled by commands between them.

#include "nameserver/meta/store.h"
#include "nameserver/meta/test_world.h"

namespace dfs {
namespace {

using meta::key;
using meta::Store;
using meta::Table;

struct Damage {
  const char* what;  // part of what the check has to say
  void (*make)(Store& store, uint64_t d, uint64_t f, uint64_t block);
};

template <typename Change> void change(Store& store, uint64_t ino, Change&& how) {
  auto inode = KJ_ASSERT_NONNULL(store.inode(InodeId(ino)));
  how(inode);
  store.putInode(inode);
}

uint64_t cookieOf(Store& store, uint64_t parent, const char* name) {
  return KJ_ASSERT_NONNULL(store.findName(InodeId(parent), bytesOf(name))).cookie;
}

const Damage kDamages[] = {
    {"has 1 names and should have 2",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { change(s, f, [](auto& i) { i.nlink = 2; }); }},
    {"subdirectories and a link count",
     [](Store& s, uint64_t d, uint64_t, uint64_t) { change(s, d, [](auto& i) { i.nlink = 4; }); }},
    {"takes 55 for its parent",
     [](Store& s, uint64_t d, uint64_t, uint64_t) {
       change(s, d, [](auto& i) { i.parent = InodeId(55); });
     }},
    {"that is not there", [](Store& s, uint64_t d, uint64_t,
                             uint64_t) { s.erase(Table::DIRENT, key(d, cookieOf(s, d, "f"))); }},
    {"is not known to its inode",
     [](Store& s, uint64_t d, uint64_t f, uint64_t) {
       s.erase(Table::LINK, key(f, d, cookieOf(s, d, "f")));
     }},
    {"which is gone",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { s.erase(Table::INODE, key(f)); }},
    {"is no orphan",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { change(s, f, [](auto& i) { i.nlink = 0; }); }},
    {"is an orphan", [](Store& s, uint64_t, uint64_t f, uint64_t) { s.addOrphan(InodeId(f)); }},
    {"its rows say", [](Store& s, uint64_t, uint64_t f,
                        uint64_t) { change(s, f, [](auto& i) { i.allocated += 1; }); }},
    {"does not fit its size",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { change(s, f, [](auto& i) { i.size = 1; }); }},
    {"no row names it",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { s.erase(Table::ROW, key(f, 0)); }},
    {"is not known as named",
     [](Store& s, uint64_t, uint64_t f, uint64_t b) { s.erase(Table::BLOCK, key(b, f, 0)); }},
    {"is shared and its row does not say so",
     [](Store& s, uint64_t, uint64_t f, uint64_t b) {
       s.putRow(InodeId(f), 1, meta::RowRecord{BlockId(b), 1, true, 0});
     }},
    {"is not the one in its row",
     [](Store& s, uint64_t, uint64_t f, uint64_t b) {
       s.put(Table::ROW, key(f, 0), meta::RowRecord{BlockId(b + 1), 4096, false, 0}.encode());
     }},
    {"named and being reclaimed",
     [](Store& s, uint64_t, uint64_t, uint64_t b) { s.addReclaim(BlockId(b), 0); }},
    {"never handed out",
     [](Store& s, uint64_t, uint64_t, uint64_t) { s.erase(Table::SEQUENCE, key(7)); }},
    {"do not agree", [](Store& s, uint64_t, uint64_t f,
                        uint64_t) { change(s, f, [](auto& i) { i.trimming = true; }); }},
    {"that trim has passed",
     [](Store& s, uint64_t, uint64_t f, uint64_t) {
       change(s, f, [](auto& i) { i.trimming = true; });
       s.put(Table::TRIM, key(f), meta::TrimRecord{false, 5, {{0, 1}}}.encode());
     }},
    {"is not known to its session",
     [](Store& s, uint64_t, uint64_t, uint64_t b) {
       s.erase(Table::OWNED, key(100, static_cast<uint64_t>(meta::RangeKind::BLOCKS), b + 4));
     }},
    {"stands where its name does not belong",
     [](Store& s, uint64_t d, uint64_t f, uint64_t) {
       s.eraseName(InodeId(d), cookieOf(s, d, "f"), InodeId(f));
       s.putName(InodeId(d), 1000, {InodeId(f), meta::Kind::FILE, "f"});
     }},
    {"attribute of inode 99, which is gone",
     [](Store& s, uint64_t, uint64_t, uint64_t) { s.putXattr(InodeId(99), "user.a", ""); }},
    {"are not what their sums say",
     [](Store& s, uint64_t, uint64_t f, uint64_t) {
       s.putXattr(InodeId(f), "user.a", "");
       s.put(Table::XATTR, key(f, meta::kCookieHead), meta::XattrSums{1, 7, 7}.encode());
     }},
    {"are not what their sums say",
     [](Store& s, uint64_t, uint64_t f, uint64_t) {
       s.putXattr(InodeId(f), "user.a", "");
       s.erase(Table::XATTR, key(f, meta::kCookieHead));
     }},
    {"attribute that none may have",
     [](Store& s, uint64_t, uint64_t f, uint64_t) { s.putXattr(InodeId(f), "other", ""); }},
    {"does not fit its mode", [](Store& s, uint64_t, uint64_t f,
                                 uint64_t) { s.putXattr(InodeId(f), kAccessAclName, "nonsense"); }},
    {"inodes are there",
     [](Store& s, uint64_t, uint64_t, uint64_t) {
       s.changeCounts([](meta::CountsRecord& c) { c.inodes += 1; });
     }},
    {"wait for reclaim",
     [](Store& s, uint64_t, uint64_t, uint64_t) {
       s.changeCounts([](meta::CountsRecord& c) { c.reclaimBlocks += 1; });
     }},
};

TEST(Check, FindsEachKindOfDamage) {
  for (auto& damage : kDamages) {
    TestWorld w;
    w.storage();
    auto d = w.mkdir(1, "d").ino;
    w.mkdir(d, "e");
    auto f = w.create(d, "f").ino;
    auto b = w.allot(100, 0, 7, 5).firsts[0];
    w.publish(f, 8000, {{0, BlockId(b), 4096, false}});
    ASSERT_EQ(w.problems(), "");
    Store store(w.kv);
    damage.make(store, d, f, b);
    EXPECT_NE(w.problems().find(damage.what), std::string::npos)
        << damage.what << " in: " << w.problems();
  }
}

TEST(Check, IsBoundedAndNotMisledByCommandsBetweenItsPieces) {
  TestWorld w;
  w.watch = false;
  w.storage();
  auto d = w.mkdir(1, "d").ino;
  for (int i = 0; i < 10000; ++i) w.mkdir(d, "x" + std::to_string(i));
  EXPECT_EQ(w.problems(), "");
  std::string cursor;
  uint64_t inodes = 0;
  int pieces = 0;
  do {
    auto step = check(w.kv, bytesOf(cursor));
    EXPECT_TRUE(step.problems.empty()) << step.problems[0].text;
    EXPECT_LE(step.inodes, 4096u);
    inodes += step.inodes;
    cursor = step.next;
    w.mkdir(d, "more" + std::to_string(pieces));
    w.rmdir(d, "x" + std::to_string(pieces));
    pieces += 1;
  } while (!cursor.empty());
  EXPECT_GT(pieces, 5);
  EXPECT_GE(inodes, 10002u);
  EXPECT_ANY_THROW(check(w.kv, bytesOf("nonsense")));
}

}  // namespace
}  // namespace dfs
