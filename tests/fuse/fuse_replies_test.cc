// What every request has in common at the FUSE edge: INIT, one answer for each, requests newer than libfuse, interrupts, the end.

#include "tests/fuse/fuse_world.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace dfs {
namespace {

TEST(FuseInit, TheKernelKeepsNoWritesBackAndDropsPagesByThemselves) {
  World w;
  auto out = w.hello.as<fuse_init_out>();
  EXPECT_EQ(w.hello.error, 0);
  EXPECT_EQ(out.flags & FUSE_WRITEBACK_CACHE, 0u);
  EXPECT_EQ(out.flags & FUSE_EXPLICIT_INVAL_DATA, 0u);
  EXPECT_EQ(out.flags & FUSE_HANDLE_KILLPRIV, 0u);
  EXPECT_NE(out.flags & FUSE_AUTO_INVAL_DATA, 0u);
  EXPECT_NE(out.flags & FUSE_ATOMIC_O_TRUNC, 0u);
  EXPECT_NE(out.flags & FUSE_DO_READDIRPLUS, 0u);
  // Parallel look-ups are asked for too; libfuse 3.14 does not pass that on.
  EXPECT_EQ(out.max_write, 1u << 20);
  EXPECT_EQ(out.time_gran, 1u);
}

TEST(FuseReplies, AnAnswerIsSentOnceAndOutlivesNoQuestion) {
  World w;
  auto r = w.ask(FUSE_GETATTR, 40, in(fuse_getattr_in{}));
  auto out = r.as<fuse_attr_out>();
  EXPECT_EQ(r.error, 0);
  EXPECT_EQ(out.attr_valid, 0u);
  EXPECT_EQ(out.attr_valid_nsec, 0u);
  EXPECT_EQ(out.attr.ino, 40u);
  EXPECT_EQ(out.attr.mode, static_cast<uint32_t>(S_IFREG | 0644));
  EXPECT_EQ(out.attr.size, 4096u);
  EXPECT_EQ(out.attr.blocks, 8u);
  EXPECT_EQ(out.attr.mtimensec, 567u);
  w.kernel.settle();
  EXPECT_EQ(w.kernel.count(), 0u);
}

TEST(FuseNewer, AStatxTellsTheTimeOfBirth) {
  World w;
  auto attr = fileAttr(40, 4096);
  attr.btime = {77, 88};
  w.vfs.attrs.add(Outcome<Attr>(kj::mv(attr)));
  auto r = w.ask(52, 40, std::string(32, '\0'));
  ASSERT_EQ(r.error, 0);
  ASSERT_EQ(r.body.size(), 32 + sizeof(struct statx));
  auto out = r.as<struct statx>(32);
  EXPECT_EQ(out.stx_mask, static_cast<uint32_t>(STATX_BASIC_STATS | STATX_BTIME));
  EXPECT_EQ(out.stx_btime.tv_sec, 77);
  EXPECT_EQ(out.stx_btime.tv_nsec, 88u);
  EXPECT_EQ(out.stx_size, 4096u);
  EXPECT_EQ(out.stx_mode, S_IFREG | 0644);
}

TEST(FuseNewer, ATmpfileIsACreateWithoutAName) {
  World w;
  auto r = w.ask(51, 1, in(fuse_create_in{}) + "/" + nul);
  EXPECT_EQ(r.error, 0);
  EXPECT_EQ(w.vfs.last().find("create 1 / "), std::string::npos) << w.vfs.last();
}

TEST(FuseNewer, AGetattrWithADescriptorIsTheBeginningOfARead) {
  World w;
  fuse_getattr_in get{};
  get.getattr_flags = FUSE_GETATTR_FH;
  get.fh = 9;
  EXPECT_EQ(w.ask(FUSE_GETATTR, 40, in(get)).error, 0);
  EXPECT_NE(w.vfs.last().find("getattrToRead"), std::string::npos) << w.vfs.last();
}

TEST(FuseReplies, AnExceptionBeforeOrAfterTheFirstWaitIsAnErrorForTheCallerAlone) {
  World w;
  w.vfs.throwAtOnce = true;
  EXPECT_EQ(w.ask(FUSE_GETATTR, 40, in(fuse_getattr_in{})).error, EIO);
  w.vfs.throwAtOnce = false;
  w.vfs.attrs.fail(KJ_EXCEPTION(FAILED, "lost"));
  EXPECT_EQ(w.ask(FUSE_GETATTR, 40, in(fuse_getattr_in{})).error, EIO);
  auto held = w.vfs.attrs.hold();
  auto late = w.getattr(40);
  EXPECT_FALSE(w.kernel.has(late));
  held->reject(KJ_EXCEPTION(UNIMPLEMENTED, "an older peer"));
  EXPECT_EQ(w.kernel.reply(late).error, EOPNOTSUPP);
  EXPECT_EQ(w.ask(FUSE_GETATTR, 40, in(fuse_getattr_in{})).error, 0);
}

TEST(FuseReplies, WorkThatForgetsToAnswerAnswersWithAnError) {
  World w;
  static FuseOps* ops;
  ops = &w.ops;
  fuse_lowlevel_ops table = FuseOps::table();
  table.getattr = [](fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
    serve(ops->serving(), req, [ino](Request& r) -> kj::Promise<void> {
      if (ino == 1) return kj::READY_NOW;
      return kj::evalLater([]() {});
    });
  };
  FuseChannel channel(w.io.unixEventPort, table, &w.ops, {});
  FakeKernel kernel(w.io.waitScope);
  channel.attach(kernel.other());
  auto running = channel.run().eagerlyEvaluate(nullptr);
  kernel.init();
  EXPECT_EQ(kernel.call(FUSE_GETATTR, 1, in(fuse_getattr_in{})).error, EIO);
  EXPECT_EQ(kernel.call(FUSE_GETATTR, 2, in(fuse_getattr_in{})).error, EIO);
}

TEST(FuseReplies, ASecondAnswerIsABugThatIsSeen) {
  World w;
  static FuseOps* ops;
  static bool thrown;
  ops = &w.ops;
  thrown = false;
  fuse_lowlevel_ops table = FuseOps::table();
  table.getattr = [](fuse_req_t req, fuse_ino_t, fuse_file_info*) {
    serve(ops->serving(), req, [](Request& r) -> kj::Promise<void> {
      r.error(Errno::NO_ENT);
      thrown = kj::runCatchingExceptions([&]() { r.error(Errno::IO); }) != nullptr;
      return kj::READY_NOW;
    });
  };
  FuseChannel channel(w.io.unixEventPort, table, &w.ops, {});
  FakeKernel kernel(w.io.waitScope);
  channel.attach(kernel.other());
  auto running = channel.run().eagerlyEvaluate(nullptr);
  kernel.init();
  EXPECT_EQ(kernel.call(FUSE_GETATTR, 1, in(fuse_getattr_in{})).error, ENOENT);
  EXPECT_TRUE(thrown);
}

TEST(FuseReplies, StopAnswersWhatWaitsAndWhatComesLater) {
  World w;
  auto held = w.vfs.attrs.hold();
  auto waiting = w.getattr(40);
  EXPECT_FALSE(w.kernel.has(waiting));
  w.ops.stop();
  EXPECT_EQ(w.kernel.reply(waiting).error, EIO);
  EXPECT_FALSE(held->isWaiting());
  auto before = w.vfs.calls.size();
  EXPECT_EQ(w.kernel.reply(w.getattr(40)).error, EIO);
  EXPECT_EQ(w.vfs.calls.size(), before);
}

TEST(FuseReplies, TwoHundredInFlightEachGetTheirOwnInAnyOrder) {
  World w;
  std::vector<kj::Own<kj::PromiseFulfiller<Outcome<Attr>>>> held;
  std::vector<uint64_t> asked;
  for (uint64_t i = 0; i < 200; ++i) {
    held.push_back(w.vfs.attrs.hold());
    asked.push_back(w.getattr(1000 + i));
  }
  w.kernel.settle();
  EXPECT_EQ(w.vfs.calls.size(), 200u);
  for (size_t i = 200; i-- > 0;) held[i]->fulfill(Outcome<Attr>(fileAttr(1000 + i)));
  for (size_t i = 0; i < 200; ++i) {
    EXPECT_EQ(w.kernel.reply(asked[i]).as<fuse_attr_out>().attr.ino, 1000 + i);
  }
}

TEST(FuseChannelEnd, RunEndsWhenTheOtherSideHangsUp) {
  World w;
  w.kernel.hangUp();
  w.kernel.settle();
  EXPECT_TRUE(w.ended);
}

TEST(FuseInterrupt, ALivingCallerGoesOnWaitingAndGetsItsRealAnswer) {
  World w;
  auto held = w.vfs.attrs.hold();
  auto asked = w.getattr(40);
  w.kernel.settle();
  w.kernel.interrupt(asked);
  w.pass(1000);
  EXPECT_GE(w.callers.asked, 10u);
  EXPECT_FALSE(w.kernel.has(asked));
  EXPECT_TRUE(held->isWaiting());
  held->fulfill(Outcome<Attr>(fileAttr(40)));
  EXPECT_EQ(w.kernel.reply(asked).error, 0);
  auto so_far = w.callers.asked;
  w.pass(200);
  EXPECT_EQ(w.callers.asked, so_far);
}

TEST(FuseInterrupt, ADyingCallerIsLetGoAndItsWorkIsDropped) {
  World w;
  auto held = w.vfs.attrs.hold();
  auto asked = w.getattr(40);
  w.kernel.settle();
  w.kernel.interrupt(asked);
  w.pass(100);
  EXPECT_FALSE(w.kernel.has(asked));
  w.callers.doomed.insert(77);
  w.pass(100);
  EXPECT_EQ(w.kernel.reply(asked).error, EINTR);
  EXPECT_FALSE(held->isWaiting());
}

TEST(FuseInterrupt, OneThatOvertakesItsRequestCountsToo) {
  World w;
  auto held = w.vfs.attrs.hold();
  w.callers.doomed.insert(77);
  w.kernel.interrupt(w.kernel.upcoming());
  w.kernel.settle();
  auto asked = w.getattr(40);
  w.pass(100);
  EXPECT_EQ(w.kernel.reply(asked).error, EINTR);
  EXPECT_FALSE(held->isWaiting());
}

TEST(FuseInterrupt, AfterTheAnswerItIsOfNoAccount) {
  World w;
  auto asked = w.getattr(40);
  EXPECT_EQ(w.kernel.reply(asked).error, 0);
  w.kernel.interrupt(asked);
  w.pass(100);
  EXPECT_EQ(w.kernel.reply(w.getattr(41)).error, 0);
}

}  // namespace
}  // namespace dfs
