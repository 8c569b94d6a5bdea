// Names: what creates, links, removes and moves them, and each of its refusals. That a refusal
// changes nothing is seen by TestWorld at every one of them.

#include "nameserver/meta/context.h"
#include "nameserver/meta/store.h"
#include "nameserver/meta/test_world.h"

namespace dfs {
namespace {

using meta::key;
using schema::Kind;

std::string name256() {
  return std::string(256, 'n');
}

TEST(Create, MakesWhatLookupReaddirAndPathsFind) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto f = w.create(d, "f").ino;
  auto s = w.create(d, "s", Kind::SYMLINK, 0, 0, "x/y").ino;
  EXPECT_EQ(w.at(1, "d"), d);
  EXPECT_EQ(w.at(d, "f"), f);
  EXPECT_EQ(w.at(d, ".."), 1u);
  EXPECT_EQ(w.at(d, "."), d);
  EXPECT_EQ(*w.q.readlink(InodeId(s)), "x/y");
  EXPECT_EQ(w.attr(s).size, 3u);
  EXPECT_EQ(w.q.readlink(InodeId(f)).err(), Errno::INVAL);
  EXPECT_EQ(*w.q.paths(InodeId(f)), std::vector<std::string>{"/d/f"});
  EXPECT_EQ(w.attr(1).nlink, 3u);
  EXPECT_EQ(w.attr(d).nlink, 2u);
  auto all = w.q.readdir(InodeId(d), 0, 10);
  ASSERT_EQ(all->size(), 2u);
  EXPECT_GT((*all)[0].cookie, 2u);
  auto rest = w.q.readdir(InodeId(d), (*all)[0].cookie, 10);
  ASSERT_EQ(rest->size(), 1u);
  EXPECT_EQ((*rest)[0].name, (*all)[1].name);
  EXPECT_EQ(w.q.counts().inodes, 4u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Create, RefusesAsLinuxDoes) {
  TestWorld w;
  auto d = w.mkdir(1, "d", 0755).ino;
  auto f = w.create(d, "f").ino;
  EXPECT_EQ(w.create(999, "x").err, Errno::STALE);
  EXPECT_EQ(w.create(f, "x").err, Errno::NOT_DIR);
  EXPECT_EQ(w.create(d, "").err, Errno::NO_ENT);
  EXPECT_EQ(w.create(d, name256()).err, Errno::NAME_TOO_LONG);
  EXPECT_EQ(w.create(d, "a/b").err, Errno::INVAL);
  EXPECT_EQ(w.create(d, std::string("a\0b", 3)).err, Errno::INVAL);
  EXPECT_EQ(w.create(d, ".").err, Errno::EXIST);
  EXPECT_EQ(w.create(d, "..").err, Errno::EXIST);
  EXPECT_EQ(w.create(d, "f").err, Errno::EXIST);
  EXPECT_EQ(w.create(d, "x", Kind::NONE).err, Errno::INVAL);
  EXPECT_EQ(w.create(d, "x", static_cast<Kind>(99)).err, Errno::INVAL);
  EXPECT_EQ(w.create(d, "x", Kind::SYMLINK, 0, 0, "").err, Errno::NO_ENT);
  EXPECT_EQ(w.create(d, "x", Kind::SYMLINK, 0, 0, std::string(4096, 't')).err,
            Errno::NAME_TOO_LONG);
  EXPECT_EQ(w.create(d, "x", Kind::FILE, 0644, f).err, Errno::INVAL);  // a number in use
  w.uid = w.gid = 1000;
  EXPECT_EQ(w.create(d, "f").err, Errno::EXIST);  // before the lack of permission
  EXPECT_EQ(w.create(d, "x").err, Errno::ACCESS);
  w.uid = 0;
  w.chmod(d, 0777);
  w.uid = 1000;
  EXPECT_EQ(w.create(d, "x", Kind::BLOCK_DEVICE).err, Errno::PERM);
  EXPECT_EQ(w.create(d, "x").err, Errno::OK);
  w.uid = 0;
  w.chmod(d, 0776);
  w.uid = 1000;
  EXPECT_EQ(w.create(d, "f").err, Errno::ACCESS);  // no search: not even EXIST
  w.uid = 0;
  w.unlink(d, "f");
  w.unlink(d, "x");
  EXPECT_EQ(w.rmdir(1, "d").err, Errno::OK);
  EXPECT_EQ(w.create(d, "x").err, Errno::NO_ENT);  // removed, and not yet reaped
  EXPECT_EQ(w.reap(d).err, Errno::OK);
  EXPECT_EQ(w.create(d, "x").err, Errno::STALE);
  EXPECT_EQ(w.problems(), "");
}

TEST(Create, TakesGroupAndBitFromASetGidDirectory) {
  TestWorld w;
  auto d = w.mkdir(1, "d", 02777).ino;
  w.chown(d, -1, 50);
  w.chmod(d, 02777);
  w.uid = w.gid = 1000;
  auto f = w.attr(w.create(d, "f", Kind::FILE, 02755).ino);
  EXPECT_EQ(f.gid, 50u);
  EXPECT_EQ(f.mode, 0755u);  // not a member of 50
  auto e = w.attr(w.mkdir(d, "e", 0700).ino);
  EXPECT_EQ(e.gid, 50u);
  EXPECT_EQ(e.mode, 02700u);
  w.groups = {50};
  EXPECT_EQ(w.attr(w.create(d, "g", Kind::FILE, 02755).ino).mode, 02755u);
}

TEST(Create, RefusesANameWhoseHashIsFull) {
  // Method: 128 entries are put under the hash of a name by hand.
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto first = meta::firstCookie(bytesOf("x"));
  meta::Store store(w.kv);
  for (uint64_t i = 0; i < meta::kTiebreaks; ++i) {
    store.putName(InodeId(d), first + i, {InodeId(77), Kind::FILE, std::to_string(i)});
  }
  EXPECT_EQ(w.create(d, "x").err, Errno::NO_SPACE);
  store.eraseName(InodeId(d), first + 5, InodeId(77));
  EXPECT_EQ(w.create(d, "x").err, Errno::OK);
  EXPECT_EQ(w.q.lookup(InodeId(d), bytesOf("x"))->cookie, first + 5);
}

TEST(Create, NeverUsesAnInodeNumberTwice) {
  TestWorld w;
  w.storage();
  auto first = w.allot(100, 10).firstInode;
  auto other = w.create(1, "other").ino;
  EXPECT_GE(other, first + 10);
  EXPECT_EQ(w.create(1, "a", Kind::FILE, 0, first + 3).err, Errno::OK);
  EXPECT_EQ(w.create(1, "b", Kind::FILE, 0, first + 3).err, Errno::INVAL);
  EXPECT_EQ(w.create(1, "b", Kind::FILE, 0, first).err, Errno::OK);
  EXPECT_EQ(w.create(1, "c", Kind::FILE, 0, first + 9).err, Errno::OK);
  w.unlink(1, "a");
  w.reap(first + 3);
  EXPECT_EQ(w.create(1, "d", Kind::FILE, 0, first + 3).err, Errno::INVAL);
  EXPECT_EQ(w.create(1, "d", Kind::FILE, 0, uint64_t(1) << 60).err, Errno::INVAL);
  w.startSession(200);
  w.client = 200;
  EXPECT_EQ(w.create(1, "d", Kind::FILE, 0, first + 1).err, Errno::INVAL);  // another session's
  w.client = 100;
  w.sequence = 0;
  EXPECT_EQ(w.create(1, "d", Kind::FILE, 0, first + 1).err, Errno::OK);
  EXPECT_EQ(w.problems(), "");
}

TEST(Link, CountsAndRefuses) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto f = w.create(1, "f").ino;
  EXPECT_EQ(w.link(f, d, "g").err, Errno::OK);
  EXPECT_EQ(w.attr(f).nlink, 2u);
  EXPECT_EQ(w.link(f, d, "g").err, Errno::EXIST);
  EXPECT_EQ(w.link(f, d, ".").err, Errno::EXIST);
  EXPECT_EQ(w.link(f, d, "").err, Errno::NO_ENT);
  EXPECT_EQ(w.link(d, 1, "e").err, Errno::PERM);
  EXPECT_EQ(w.link(999, d, "e").err, Errno::STALE);
  EXPECT_EQ(w.link(f, 999, "e").err, Errno::STALE);
  EXPECT_EQ(w.link(f, f, "e").err, Errno::NOT_DIR);
  w.uid = 1000;
  EXPECT_EQ(w.link(f, d, "e").err, Errno::ACCESS);
  w.uid = 0;
  auto gone = w.create(1, "gone").ino;
  w.unlink(1, "gone");
  EXPECT_EQ(w.link(gone, d, "e").err, Errno::NO_ENT);
  meta::Store store(w.kv);
  auto inode = KJ_ASSERT_NONNULL(store.inode(InodeId(f)));
  inode.nlink = kLinksMax;
  store.putInode(inode);
  EXPECT_EQ(w.link(f, d, "e").err, Errno::MANY_LINKS);
  inode = KJ_ASSERT_NONNULL(store.inode(InodeId(d)));
  inode.nlink = meta::kDirectoryLinksMax - 1;
  store.putInode(inode);
  EXPECT_EQ(w.mkdir(d, "more than of a file").err, Errno::OK);
  EXPECT_EQ(w.mkdir(d, "e").err, Errno::MANY_LINKS);
  auto moved = w.mkdir(1, "moved");
  EXPECT_EQ(moved.err, Errno::OK);
  EXPECT_EQ(w.rename(1, "moved", d, "m").err, Errno::MANY_LINKS);
}

TEST(Unlink, MakesOrphansAndRefuses) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto f = w.create(d, "f").ino;
  w.link(f, d, "g");
  EXPECT_EQ(w.unlink(1, "d").err, Errno::IS_DIR);
  EXPECT_EQ(w.rmdir(1, "d").err, Errno::NOT_EMPTY);
  EXPECT_EQ(w.rmdir(d, "f").err, Errno::NOT_DIR);
  EXPECT_EQ(w.unlink(d, "none").err, Errno::NO_ENT);
  EXPECT_EQ(w.unlink(d, ".").err, Errno::IS_DIR);
  EXPECT_EQ(w.rmdir(d, ".").err, Errno::INVAL);
  EXPECT_EQ(w.rmdir(d, "..").err, Errno::NOT_EMPTY);
  EXPECT_EQ(w.unlink(f, "x").err, Errno::NOT_DIR);
  EXPECT_EQ(w.unlink(999, "x").err, Errno::STALE);
  EXPECT_EQ(w.unlink(d, name256()).err, Errno::NAME_TOO_LONG);
  w.uid = 1000;
  EXPECT_EQ(w.unlink(d, "f").err, Errno::ACCESS);
  w.uid = 0;
  w.chmod(d, 01777);
  w.uid = 1000;
  EXPECT_EQ(w.unlink(d, "f").err, Errno::PERM);  // sticky
  w.uid = 0;
  auto r = w.unlink(d, "f");
  EXPECT_EQ(r.ino, f);
  EXPECT_EQ(r.links, 1u);
  EXPECT_FALSE(w.q.isOrphan(InodeId(f)));
  r = w.unlink(d, "g");
  EXPECT_EQ(r.links, 0u);
  EXPECT_TRUE(w.q.isOrphan(InodeId(f)));
  EXPECT_TRUE(w.q.paths(InodeId(f))->empty());
  EXPECT_EQ(w.chmod(f, 0600).err, Errno::OK);
  EXPECT_EQ(w.rmdir(1, "d").ino, d);
  EXPECT_EQ(w.attr(1).nlink, 2u);
  EXPECT_EQ(w.q.orphans(InodeId(), 10), (std::vector<InodeId>{InodeId(d), InodeId(f)}));
  EXPECT_EQ(w.problems(), "");
  w.reap(f);
  w.reap(d);
  w.reap(d);  // a repeat
  EXPECT_EQ(w.q.getattr(InodeId(f)).err(), Errno::STALE);
  EXPECT_EQ(w.q.counts().inodes, 1u);
  EXPECT_EQ(w.q.counts().orphans, 0u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Rename, MovesReplacesAndExchanges) {
  TestWorld w;
  auto a = w.mkdir(1, "a").ino;
  auto b = w.mkdir(1, "b").ino;
  auto f = w.create(a, "f").ino;
  auto g = w.create(b, "g").ino;
  auto r = w.rename(a, "f", b, "g");
  EXPECT_EQ(r.ino, g);
  EXPECT_EQ(r.links, 0u);
  EXPECT_EQ(w.at(b, "g"), f);
  EXPECT_EQ(w.at(a, "f"), 0u);
  EXPECT_TRUE(w.q.isOrphan(InodeId(g)));
  auto s = w.mkdir(a, "s").ino;
  EXPECT_EQ(w.rename(a, "s", b, "t").err, Errno::OK);
  EXPECT_EQ(w.attr(a).nlink, 2u);
  EXPECT_EQ(w.attr(b).nlink, 3u);
  EXPECT_EQ(w.at(s, ".."), b);
  EXPECT_EQ(w.rename(1, "a", b, "t").ino, s);  // over an empty directory
  EXPECT_EQ(w.attr(1).nlink, 3u);
  EXPECT_EQ(w.attr(b).nlink, 3u);
  auto h = w.create(1, "h").ino;
  EXPECT_EQ(w.rename(1, "h", b, "t", false, true).err, Errno::OK);
  EXPECT_EQ(w.at(1, "h"), a);
  EXPECT_EQ(w.at(b, "t"), h);
  EXPECT_EQ(w.at(a, ".."), 1u);
  EXPECT_EQ(w.attr(b).nlink, 2u);
  EXPECT_EQ(w.attr(1).nlink, 4u);
  w.link(h, 1, "h2");
  EXPECT_EQ(w.rename(1, "h2", b, "t").err, Errno::OK);  // two names of one inode
  EXPECT_EQ(w.attr(h).nlink, 2u);
  EXPECT_EQ(w.rename(b, "t", b, "t").err, Errno::OK);
  EXPECT_EQ(w.rename(b, "t", b, "u").err, Errno::OK);
  EXPECT_EQ(w.problems(), "");
}

TEST(Rename, RefusesAsLinuxDoes) {
  TestWorld w;
  auto a = w.mkdir(1, "a").ino;
  auto b = w.mkdir(a, "b").ino;
  auto f = w.create(1, "f").ino;
  auto e = w.mkdir(1, "e").ino;
  EXPECT_EQ(w.rename(1, "a", b, "x").err, Errno::INVAL);
  EXPECT_EQ(w.rename(1, "a", a, "x").err, Errno::INVAL);
  EXPECT_EQ(w.rename(a, "b", 1, "a").err, Errno::NOT_EMPTY);
  EXPECT_EQ(w.rename(a, "b", 1, "a", false, true).err, Errno::INVAL);
  EXPECT_EQ(w.rename(1, "e", 1, "a").err, Errno::NOT_EMPTY);
  EXPECT_EQ(w.rename(1, "e", 1, "f").err, Errno::NOT_DIR);
  EXPECT_EQ(w.rename(1, "f", 1, "e").err, Errno::IS_DIR);
  EXPECT_EQ(w.rename(1, "f", 1, "e", true).err, Errno::EXIST);
  EXPECT_EQ(w.rename(1, "f", 1, "z", false, true).err, Errno::NO_ENT);
  EXPECT_EQ(w.rename(1, "z", 1, "f").err, Errno::NO_ENT);
  EXPECT_EQ(w.rename(1, "f", 1, "z", true, true).err, Errno::INVAL);
  EXPECT_EQ(w.rename(1, "f", 1, ".").err, Errno::BUSY);
  EXPECT_EQ(w.rename(1, "f", 1, "..", true).err, Errno::EXIST);
  EXPECT_EQ(w.rename(1, ".", 1, "q").err, Errno::BUSY);
  EXPECT_EQ(w.rename(1, "f", 1, "").err, Errno::NO_ENT);
  EXPECT_EQ(w.rename(1, "f", 1, name256()).err, Errno::NAME_TOO_LONG);
  EXPECT_EQ(w.rename(f, "f", 1, "x").err, Errno::NOT_DIR);
  EXPECT_EQ(w.rename(1, "f", 999, "x").err, Errno::STALE);
  w.chmod(e, 0777);
  w.uid = 1000;
  EXPECT_EQ(w.rename(1, "f", e, "f").err, Errno::ACCESS);
  w.uid = 0;
  w.chmod(1, 01777);
  w.uid = 1000;
  EXPECT_EQ(w.rename(1, "f", e, "f").err, Errno::PERM);  // sticky
  w.uid = 0;
  w.chmod(1, 0777);
  w.uid = 1000;
  EXPECT_EQ(w.rename(1, "a", e, "a").err, Errno::ACCESS);  // its `..` is written
  EXPECT_EQ(w.rename(1, "f", e, "f").err, Errno::OK);
  w.uid = 0;
  EXPECT_EQ(w.problems(), "");
}

TEST(Rename, LeavesAWhiteoutIfAsked) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto f = w.create(1, "f").ino;
  auto whiteout = [&](const std::string& from, uint64_t to, const std::string& name,
                      bool exchange) {
    return w.run([&](auto c) {
      auto r = c.initRename();
      r.setFromParent(1);
      r.setFromName(bytesOf(from));
      r.setToParent(to);
      r.setToName(bytesOf(name));
      r.setWhiteout(true);
      r.setExchange(exchange);
    });
  };
  EXPECT_EQ(whiteout("f", 1, "d", true).err, Errno::INVAL);
  EXPECT_EQ(whiteout("f", d, "g", false).err, Errno::OK);
  EXPECT_EQ(w.at(d, "g"), f);
  auto left = w.attr(w.at(1, "f"));
  EXPECT_EQ(left.kind, Kind::CHAR_DEVICE);
  EXPECT_EQ(left.rdev, 0u);
  EXPECT_EQ(left.mode, 0u);
  EXPECT_EQ(whiteout("f", 1, "h", false).err, Errno::OK);  // of a whiteout, too
  w.uid = 1000;
  w.chmod(d, 0777);
  EXPECT_EQ(w.create(d, "w", Kind::CHAR_DEVICE).err, Errno::ACCESS);
  w.uid = 0;
  w.chmod(d, 0777);
  w.uid = 1000;
  EXPECT_EQ(w.create(d, "w", Kind::CHAR_DEVICE).err, Errno::OK);  // it is 0:0
  EXPECT_EQ(w.create(d, "v", Kind::BLOCK_DEVICE).err, Errno::PERM);
  EXPECT_EQ(w.problems(), "");
}

TEST(Create, AnUnnamedFileIsAnOrphanUntilItIsLinked) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto before = w.attr(d);
  auto unnamed = [&](Kind kind) {
    return w.run([&](auto c) {
      auto r = c.initCreate();
      r.setParent(d);
      r.setKind(kind);
      r.setMode(0600);
      r.setUnnamed(true);
    });
  };
  EXPECT_EQ(unnamed(Kind::DIRECTORY).err, Errno::INVAL);
  auto f = unnamed(Kind::FILE).ino, g = unnamed(Kind::FILE).ino;
  EXPECT_EQ(w.attr(f).nlink, 0u);
  EXPECT_EQ(w.attr(d).mtime, before.mtime);
  EXPECT_EQ(w.q.counts().orphans, 2u);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.link(f, d, "f").err, Errno::OK);
  EXPECT_EQ(w.attr(f).nlink, 1u);
  EXPECT_EQ(w.q.counts().orphans, 1u);
  w.reap(f);  // decided before the link
  EXPECT_EQ(w.at(d, "f"), f);
  EXPECT_EQ(w.unlink(d, "f").err, Errno::OK);
  EXPECT_EQ(w.link(f, d, "again").err, Errno::NO_ENT);  // it had a name: gone is gone
  w.reap(g);
  EXPECT_EQ(w.q.counts().orphans, 1u);
  w.uid = 1000;
  EXPECT_EQ(unnamed(Kind::FILE).err, Errno::ACCESS);
  EXPECT_EQ(w.problems(), "");
}

TEST(Times, AnAccessNeedsNoRightAndMovesNothingElse) {
  TestWorld w;
  auto f = w.create(1, "f", Kind::FILE, 0).ino;
  auto access = [&] {
    return w.setattr(f, [](schema::Setattr::Builder c) {
      c.getSet().setAtimeNow(true);
      c.setAccess(true);
    });
  };
  w.uid = 1000;
  auto before = w.attr(f);
  EXPECT_EQ(access().err, Errno::OK);
  EXPECT_GT(w.attr(f).atime, before.atime);
  EXPECT_EQ(w.attr(f).ctime, before.ctime);
  w.now = {500'000, 0};  // an earlier clock: later than the other times all the same
  EXPECT_EQ(access().err, Errno::OK);
  EXPECT_GT(w.attr(f).atime, w.attr(f).ctime);
  EXPECT_GT(w.attr(f).atime, w.attr(f).mtime);
}

TEST(Times, MoveForwardWhenStampedAndStandWhenSet) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto f = w.create(d, "f").ino;
  w.now = {500'000, 0};  // an earlier clock
  auto before = w.attr(d);
  w.create(d, "g");
  auto after = w.attr(d);
  EXPECT_GT(after.mtime, before.mtime);
  EXPECT_GT(after.ctime, before.ctime);
  auto ctime = w.attr(f).ctime;
  w.setattr(f, [](schema::Setattr::Builder c) {
    c.getSet().setMtime(true);
    toWire(Time{9'000'000, 5}, c.initMtime());
  });
  EXPECT_EQ(w.attr(f).mtime, (Time{9'000'000, 5}));
  EXPECT_GT(w.attr(f).ctime, ctime);
  w.now = {1'500'000, 0};
  w.truncate(f, 10);
  EXPECT_EQ(w.attr(f).mtime, (Time{1'500'000, 0}));  // not ahead of the clock for ever
}

}  // namespace
}  // namespace dfs
