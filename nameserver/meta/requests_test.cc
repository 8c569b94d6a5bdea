// Requests that happen once, sessions, ranges, and the view.

#include "nameserver/meta/test_world.h"

#include <capnp/any.h>

namespace dfs {
namespace {

TEST(Requests, AreRefusedBeforeThereIsACluster) {
  TestWorld w(false);
  EXPECT_TRUE(w.q.cluster() == nullptr);
  EXPECT_EQ(w.mkdir(1, "d").err, Errno::REFUSED);
  EXPECT_EQ(w.startSession(1).err, Errno::REFUSED);
  w.client = 5;
  EXPECT_EQ(w.mkdir(1, "d").err, Errno::REFUSED);
  w.client = 0;
  EXPECT_EQ(w.createCluster().err, Errno::OK);
  EXPECT_EQ(w.createCluster().err, Errno::EXIST);
  EXPECT_TRUE(w.q.cluster() != nullptr);
  EXPECT_EQ(w.problems(), "");
}

TEST(Requests, RepeatedGetTheSameAnswerAndNoSecondEffect) {
  TestWorld w;
  w.storage();
  w.client = 100;
  auto make = w.command([](auto d) {
    auto c = d.initCreate();
    c.setParent(1);
    c.setName(bytesOf("f"));
    c.setKind(schema::Kind::FILE);
  });
  auto fail = w.command([](auto d) {
    auto c = d.initUnlink();
    c.setParent(1);
    c.setName(bytesOf("none"));
  });
  auto allot = w.command([](auto d) {
    auto c = d.initAllot();
    c.setSession(100);
    c.setInodes(3);
    auto want = c.initBlocks(1)[0];
    want.setChain(7);
    want.setCount(5);
  });
  auto first = w.apply(*make);
  auto second = w.apply(*fail);
  auto third = w.apply(*allot);
  EXPECT_EQ(second.err, Errno::NO_ENT);
  w.create(1, "none");
  auto digest = w.kv.digest();
  EXPECT_EQ(w.apply(*make), first);
  EXPECT_EQ(w.apply(*fail), second);
  EXPECT_EQ(w.apply(*allot), third);
  EXPECT_EQ(w.kv.digest(), digest);
}

TEST(Requests, AcknowledgedOrOfNoSessionAreStaleAndDoNothing) {
  TestWorld w;
  w.storage();
  w.client = 100;
  auto make = w.command([](auto d) {
    auto c = d.initCreate();
    c.setParent(1);
    c.setName(bytesOf("f"));
    c.setKind(schema::Kind::FILE);
  });
  EXPECT_EQ(w.apply(*make).err, Errno::OK);
  EXPECT_EQ(w.kv.size(meta::Table::ANSWER), 1u);
  w.acked = 1;
  w.unlink(1, "f");
  EXPECT_EQ(w.kv.size(meta::Table::ANSWER), 1u);
  EXPECT_EQ(w.apply(*make).err, Errno::STALE);
  EXPECT_EQ(w.at(1, "f"), 0u);
  w.sequence = kAnswerWindow + 1;
  EXPECT_EQ(w.mkdir(1, "far").err, Errno::OVERLOADED);  // kAnswerWindow + 2
  EXPECT_EQ(w.kv.size(meta::Table::ANSWER), 1u);
  w.sequence = kAnswerWindow;
  EXPECT_EQ(w.mkdir(1, "near").err, Errno::OK);
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.session(SessionId(100))).lastSequence, kAnswerWindow + 1);
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.session(SessionId(100))).acknowledgedSequence, 1u);
  w.client = 777;
  EXPECT_EQ(w.mkdir(1, "x").err, Errno::STALE);
  w.client = 0;
  EXPECT_EQ(w.endSession(100).err, Errno::OK);
  EXPECT_EQ(w.kv.size(meta::Table::ANSWER), 0u);
  w.client = 100;
  EXPECT_EQ(w.mkdir(1, "x").err, Errno::STALE);
  EXPECT_EQ(w.problems(), "");
}

TEST(Requests, BelowTheAppliedIndexAreSkipped) {
  TestWorld w;
  w.storage();
  auto make = w.command([](auto d) {
    auto c = d.initCreate();
    c.setParent(1);
    c.setName(bytesOf("f"));
    c.setKind(schema::Kind::FILE);
  });
  StateMachine again(w.kv);
  EXPECT_EQ(again.appliedIndex(), w.index);
  EXPECT_EQ(again.appliedTerm(), 1u);
  auto digest = w.kv.digest();
  again.apply(w.index, 1, make->getRoot<schema::Entry>().asReader(),
              [](uint32_t, schema::Outcome::Reader) { ADD_FAILURE(); });
  EXPECT_EQ(w.kv.digest(), digest);
  again.skip(w.index + 5, 2);
  StateMachine later(w.kv);
  EXPECT_EQ(later.appliedIndex(), w.index + 5);
  EXPECT_EQ(later.appliedTerm(), 2u);
}

TEST(Requests, OfAKindThatThisVersionDoesNotKnowStopTheServer) {
  // Method: the number of the union's member is overwritten with one that has no name.
  TestWorld w;
  auto message = w.command([](auto d) { d.setNothing(); });
  auto command = message->getRoot<schema::Entry>().getCommands()[0];
  constexpr size_t kDiscriminant = 8;  // bytes into the data of a Command
  auto data = capnp::toAny(command).getDataSection();
  data[kDiscriminant] = 200;
  auto index = w.machine.appliedIndex();
  EXPECT_ANY_THROW(w.machine.apply(index + 1, 1, message->getRoot<schema::Entry>().asReader(),
                                   [](uint32_t, schema::Outcome::Reader) {}));
  EXPECT_EQ(w.machine.appliedIndex(), index);
}

TEST(Sessions, WithManyRangesAreForgottenInSteps) {
  TestWorld w;
  w.watch = false;
  w.storage();
  w.startSession(200);
  for (int i = 0; i < 5000; ++i) {
    w.allot(100, 0, 7, 1);
    w.allot(200, 0, 7, 1);
  }
  w.endSession(100);
  EXPECT_EQ(w.forgetSession(100).count, 1u);
  EXPECT_EQ(w.q.endedSessions().size(), 1u);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.forgetSession(100).count, 0u);
  EXPECT_TRUE(w.q.endedSessions().empty());
  EXPECT_EQ(w.kv.size(meta::Table::BLOCK_RANGE), 5000u);
  EXPECT_EQ(w.problems(), "");
}

TEST(Sessions, LiveEndAndAreForgotten) {
  TestWorld w;
  w.storage();
  auto version = w.q.viewVersion();
  EXPECT_EQ(w.startSession(100).err, Errno::OK);  // a repeat
  EXPECT_EQ(w.q.viewVersion(), version);
  EXPECT_EQ(w.startSession(0).err, Errno::INVAL);
  EXPECT_EQ(w.startSession(200).err, Errno::OK);
  EXPECT_EQ(w.q.viewVersion(), version + 1);
  EXPECT_EQ(w.forgetSession(100).err, Errno::REFUSED);
  EXPECT_TRUE(w.q.view().live(SessionId(100)));
  auto b = w.allot(100, 5, 7, 3).firsts[0];
  auto b2 = w.allot(200, 5, 7, 3).firsts[0];
  EXPECT_EQ(b2, b + 3);
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.handedOutTo(BlockId(b + 2))), SessionId(100));
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.handedOutTo(BlockId(b2))), SessionId(200));
  EXPECT_TRUE(w.q.handedOutTo(BlockId(b2 + 3)) == nullptr);
  EXPECT_TRUE(w.q.everAllotted(BlockId(b2 + 2)));
  EXPECT_FALSE(w.q.everAllotted(BlockId(b2 + 3)));
  EXPECT_FALSE(w.q.everAllotted(BlockId(ChainId(7), 0)));
  EXPECT_EQ(w.endSession(100).err, Errno::OK);
  EXPECT_EQ(w.q.viewVersion(), version + 2);
  EXPECT_EQ(w.endSession(100).err, Errno::OK);  // a repeat
  EXPECT_EQ(w.q.viewVersion(), version + 2);
  EXPECT_EQ(w.endSession(300).err, Errno::STALE);
  EXPECT_EQ(w.startSession(100).err, Errno::STALE);
  EXPECT_EQ(w.allot(100, 1).err, Errno::STALE);
  EXPECT_EQ(w.allot(200, 1, 9, 1).err, Errno::INVAL);  // no such chain
  EXPECT_EQ(w.q.endedSessions(), std::vector<SessionId>{SessionId(100)});
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.handedOutTo(BlockId(b))), SessionId(100));
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.forgetSession(100).err, Errno::OK);
  EXPECT_EQ(w.forgetSession(100).err, Errno::OK);
  EXPECT_TRUE(w.q.handedOutTo(BlockId(b)) == nullptr);
  EXPECT_TRUE(w.q.endedSessions().empty());
  EXPECT_EQ(w.q.sessions().size(), 1u);
  EXPECT_EQ(w.allot(200, 0, 7, 2).firsts[0], b2 + 3);  // and one range with the one before
  EXPECT_EQ(w.kv.size(meta::Table::BLOCK_RANGE), 1u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(w.q.handedOutTo(BlockId(b2))), SessionId(200));
  EXPECT_EQ(w.problems(), "");
}

TEST(View, MovesForwardOnly) {
  TestWorld w;
  auto version = w.q.viewVersion();
  EXPECT_EQ(version, 1u);
  EXPECT_EQ(w.putNode(9, Uuid{5, 5}).err, Errno::INVAL);
  EXPECT_EQ(w.putNode(0, Uuid{}).err, Errno::INVAL);
  EXPECT_EQ(w.putNode(0, Uuid{5, 5}).ino, 1u);
  EXPECT_EQ(w.putNode(0, Uuid{6, 6}).ino, 2u);
  EXPECT_EQ(w.putNode(0, Uuid{5, 5}).ino, 1u);  // a repeat
  EXPECT_EQ(w.putNode(1, Uuid{6, 6}).err, Errno::INVAL);
  EXPECT_EQ(w.putNode(1, Uuid{5, 5}).err, Errno::OK);
  EXPECT_EQ(w.putChain(7, 0).err, Errno::INVAL);
  EXPECT_EQ(w.putChain(1 << 24, 1).err, Errno::INVAL);
  EXPECT_EQ(w.putChain(7, 1, 3).err, Errno::INVAL);  // no such node
  EXPECT_EQ(w.putChain(7, 3).err, Errno::OK);
  EXPECT_EQ(w.putChain(7, 3).err, Errno::STALE);
  EXPECT_EQ(w.putChain(7, 2).err, Errno::STALE);
  EXPECT_EQ(w.putChain(7, 4).err, Errno::OK);
  auto view = w.q.view();
  EXPECT_EQ(view.version, version + 6);
  EXPECT_EQ(view.cluster, (Uuid{1, 2}));
  EXPECT_EQ(view.nodes.size(), 2u);
  EXPECT_EQ(view.chain(ChainId(7))->epoch, 4u);
}

}  // namespace
}  // namespace dfs
