// Which reads become times of access: the rule, and how few commands it takes.

#include "fuse-client/vfs/accesses.h"

#include "fuse-client/vfs/client_world.h"

namespace dfs::fake {
namespace {

struct Told {
  SimWorld world{1};
  kj::Own<SimProcess> process = world.machine("m").process("/data");
  Clock& clock = process->env.clock;
  std::vector<uint64_t> told;
  bool hold = false;
  Signal go;
  Accesses times;

  explicit Told(AccessTimes rule = AccessTimes::RELATIME, bool ofDirectories = true)
      : times(clock, rule, ofDirectories, [this](InodeId ino) -> kj::Promise<void> {
          told.push_back(ino.value);
          if (hold) return go.next();
          return kj::READY_NOW;
        }) {}

  Attr attr(int64_t accessSecAgo, int64_t changeSecAgo, schema::Kind kind = schema::Kind::FILE) {
    Attr a;
    a.ino = InodeId(5);
    a.kind = kind;
    auto now = clock.wallTime().sec;
    a.atime = {now - accessSecAgo, 0};
    a.mtime = a.ctime = {now - changeSecAgo, 0};
    return a;
  }
  void read() { times.accessed(InodeId(5)); }
};

TEST(Accesses, RelatimeTellsTheFirstReadAfterAChangeOrADay) {
  Told t;
  t.read();  // nothing known of it
  t.times.seen(t.attr(10, 20));
  t.read();
  EXPECT_EQ(t.told.size(), 0u);
  t.times.seen(t.attr(20, 10));
  t.read();
  t.read();
  t.world.pass(2000);
  EXPECT_EQ(t.told.size(), 1u);
  t.times.seen(t.attr(20, 20));
  t.read();
  t.world.pass(2000);
  EXPECT_EQ(t.told.size(), 2u);
  t.times.seen(t.attr(24 * 3600, 24 * 3600 + 50));
  t.read();
  t.world.pass(2000);
  EXPECT_EQ(t.told.size(), 3u);
}

TEST(Accesses, NoatimeTellsNothing) {
  Told never(AccessTimes::NEVER);
  never.times.seen(never.attr(20, 10));
  never.read();
  EXPECT_EQ(never.told.size(), 0u);
}

TEST(Accesses, NodiratimeTellsNothingOfDirectories) {
  Told files(AccessTimes::STRICT, false);
  files.times.seen(files.attr(20, 10, schema::Kind::DIRECTORY));
  files.read();
  EXPECT_EQ(files.told.size(), 0u);
}

TEST(Accesses, ManyReadsWithinASecondAreToldOnceMore) {
  Told t(AccessTimes::STRICT);
  t.times.seen(t.attr(10, 20));
  for (int i = 0; i < 100; ++i) t.read();
  t.world.pass(500);
  for (int i = 0; i < 100; ++i) t.read();
  EXPECT_EQ(t.told.size(), 1u);
  t.world.pass(2000);
  EXPECT_EQ(t.told.size(), 2u);
}

TEST(Accesses, WhoAsksForAttributesWaitsForWhatWasRead) {
  Told t(AccessTimes::STRICT);
  t.times.seen(t.attr(10, 20));
  t.hold = true;
  t.read();
  auto known = t.times.known(InodeId(5));
  EXPECT_FALSE(known.poll(t.world.scope));
  t.hold = false;
  t.go.wake();
  t.world.wait(kj::mv(known));
  t.read();  // goes at once if asked for, not a second later
  t.world.wait(t.times.known(InodeId(5)));
  EXPECT_EQ(t.told.size(), 2u);
  t.world.wait(t.times.allKnown());
}

}  // namespace
}  // namespace dfs::fake
