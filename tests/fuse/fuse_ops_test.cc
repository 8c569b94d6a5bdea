// The FUSE edge against a kernel that is a few lines: each call of the kernel arrives as it was meant, and gets one answer.

#include "tests/fuse/fuse_world.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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

TEST(FuseNames, LookupGivesTheInodeWithoutATimeout) {
  World w;
  auto e = w.ask(FUSE_LOOKUP, 1, "a" + nul).as<fuse_entry_out>();
  EXPECT_EQ(w.vfs.last(), "lookup 1 a");
  EXPECT_EQ(e.nodeid, 40u);
  EXPECT_EQ(e.entry_valid + e.entry_valid_nsec + e.attr_valid + e.attr_valid_nsec, 0u);
  w.vfs.attrs.add(Errno::NO_ENT);
  EXPECT_EQ(w.ask(FUSE_LOOKUP, 1, "b" + nul).error, ENOENT);
}

TEST(FuseNames, ANameMayHaveEveryByte) {
  World w;
  std::string name;
  for (int c = 1; c < 256; ++c) {
    if (c != '/') name += static_cast<char>(c);
  }
  w.ask(FUSE_LOOKUP, 1, name + nul);
  EXPECT_EQ(w.vfs.last(), "lookup 1 " + name);
}

TEST(FuseNames, WhatMakesNamesCarriesModesOwnersAndMasks) {
  World w;
  fuse_mknod_in node{S_IFIFO | 0640, 0, 022, 0};
  w.ask(FUSE_MKNOD, 1, in(node) + "p" + nul);
  EXPECT_EQ(w.vfs.last(), "mknod 1 p " + std::to_string(static_cast<int>(schema::Kind::FIFO)) +
                              " " + std::to_string(0640) + " 0");
  EXPECT_EQ(w.vfs.caller.uid, 1000u);
  EXPECT_EQ(w.vfs.caller.gid, 100u);
  EXPECT_EQ(w.vfs.caller.tid, 77);
  EXPECT_EQ(w.vfs.caller.umask, 022u);
  EXPECT_EQ(w.vfs.caller.groups, (std::vector<uint32_t>{100, 27}));
  node.mode = S_IFDIR | 0755;
  EXPECT_EQ(w.ask(FUSE_MKNOD, 1, in(node) + "d" + nul).error, EINVAL);

  w.ask(FUSE_MKDIR, 3, in(fuse_mkdir_in{01755, 022}) + "d" + nul);
  EXPECT_EQ(w.vfs.last(), "mkdir 3 d " + std::to_string(01755));
  w.ask(FUSE_SYMLINK, 3, "l" + nul + "../to there" + nul);
  EXPECT_EQ(w.vfs.last(), "symlink 3 l ../to there");
  w.ask(FUSE_LINK, 3, in(fuse_link_in{9}) + "n" + nul);
  EXPECT_EQ(w.vfs.last(), "link 9 3 n");
  w.vfs.attrs.add(Errno::EXIST);
  EXPECT_EQ(w.ask(FUSE_MKDIR, 3, in(fuse_mkdir_in{0755, 0}) + "d" + nul).error, EEXIST);

  w.kernel.who.uid = 0;
  w.ask(FUSE_MKDIR, 3, in(fuse_mkdir_in{0755, 0}) + "r" + nul);
  EXPECT_TRUE(w.vfs.caller.groups.empty());
}

TEST(FuseNames, WhatTakesNamesAwayPassesErrorsOn) {
  World w;
  EXPECT_EQ(w.ask(FUSE_UNLINK, 2, "f" + nul).error, 0);
  EXPECT_EQ(w.vfs.last(), "unlink 2 f");
  w.vfs.errnos.add(Errno::NOT_EMPTY);
  EXPECT_EQ(w.ask(FUSE_RMDIR, 2, "d" + nul).error, ENOTEMPTY);
  EXPECT_EQ(w.vfs.last(), "rmdir 2 d");
  w.ask(FUSE_RENAME, 2, in(fuse_rename_in{3}) + "a" + nul + "b" + nul);
  EXPECT_EQ(w.vfs.last(), "rename 2 a 3 b 0");
  for (uint32_t flags : {1u, 2u}) {
    w.ask(FUSE_RENAME2, 2, in(fuse_rename2_in{3, flags, 0}) + "a" + nul + "b" + nul);
    EXPECT_EQ(w.vfs.last(), "rename 2 a 3 b " + std::to_string(flags));
  }
  EXPECT_EQ(w.ask(FUSE_READLINK, 2, "").body, "target");
}

TEST(FuseNames, ForgetsGiveLookupsBackWithoutAnAnswer) {
  World w;
  w.kernel.send(FUSE_FORGET, 40, in(fuse_forget_in{3}));
  w.kernel.send(
      FUSE_BATCH_FORGET, 0,
      in(fuse_batch_forget_in{2, 0}) + in(fuse_forget_one{40, 1}) + in(fuse_forget_one{41, 7}));
  w.kernel.settle();
  EXPECT_EQ(w.vfs.forgotten[40], 4u);
  EXPECT_EQ(w.vfs.forgotten[41], 7u);
  EXPECT_EQ(w.kernel.count(), 0u);
}

TEST(FuseAttributes, SetattrTakesWhatItsFlagsName) {
  World w;
  fuse_setattr_in s{};
  s.valid = FATTR_SIZE | FATTR_FH;
  s.fh = 6;
  s.size = 1ull << 40;
  s.mode = 0777;
  EXPECT_EQ(w.ask(FUSE_SETATTR, 40, in(s)).error, 0);
  EXPECT_EQ(w.vfs.last(), "setattr 40 6");
  EXPECT_TRUE(w.vfs.set.size);
  EXPECT_FALSE(w.vfs.set.mode || w.vfs.set.uid || w.vfs.set.gid || w.vfs.set.atime ||
               w.vfs.set.mtime || w.vfs.set.atimeNow || w.vfs.set.mtimeNow);
  EXPECT_EQ(w.vfs.set.to.size, 1ull << 40);

  s = {};
  s.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_MTIME | FATTR_ATIME | FATTR_ATIME_NOW;
  s.mode = S_IFREG | 04755;
  s.uid = 5;
  s.gid = 6;
  s.mtime = static_cast<uint64_t>(-3);  // before 1970
  s.mtimensec = 999'999'999;
  w.ask(FUSE_SETATTR, 40, in(s));
  auto& set = w.vfs.set;
  EXPECT_EQ(w.vfs.last(), "setattr 40 0");
  EXPECT_TRUE(set.mode && set.uid && set.gid && set.mtime && set.atimeNow);
  EXPECT_FALSE(set.atime || set.mtimeNow || set.size);
  EXPECT_EQ(set.to.mode, 04755u);
  EXPECT_EQ(set.to.uid, 5u);
  EXPECT_EQ(set.to.gid, 6u);
  EXPECT_EQ(set.to.mtime.sec, -3);
  EXPECT_EQ(set.to.mtime.nsec, 999'999'999u);

  s = {};
  s.valid = FATTR_MTIME | FATTR_MTIME_NOW;
  w.ask(FUSE_SETATTR, 40, in(s));
  EXPECT_TRUE(w.vfs.set.mtimeNow);
  EXPECT_FALSE(w.vfs.set.mtime);
  w.vfs.attrs.add(Errno::PERM);
  EXPECT_EQ(w.ask(FUSE_SETATTR, 40, in(s)).error, EPERM);
}

TEST(FuseAttributes, StatfsCountsInFragments) {
  World w;
  auto out = w.ask(FUSE_STATFS, 1, "").as<fuse_statfs_out>();
  EXPECT_EQ(out.st.blocks * out.st.frsize, 1u << 20);
  EXPECT_EQ(out.st.bavail * out.st.frsize, 1u << 19);
  EXPECT_EQ(out.st.ffree, 900u);
  EXPECT_EQ(out.st.namelen, 255u);
}

TEST(FuseFiles, OpenTellsTheKernelToKeepPagesAndFlushOnlyWhatCanBeWritten) {
  World w;
  auto out = w.ask(FUSE_OPEN, 40, in(fuse_open_in{O_RDONLY, 0})).as<fuse_open_out>();
  EXPECT_EQ(w.vfs.last(), "open 40 0");
  EXPECT_EQ(out.fh, 6u);
  EXPECT_EQ(out.open_flags, static_cast<uint32_t>(FOPEN_KEEP_CACHE));
  w.vfs.openeds.add(Vfs::Opened{8, false});
  out = w.ask(FUSE_OPEN, 40, in(fuse_open_in{O_RDWR | O_TRUNC, 0})).as<fuse_open_out>();
  EXPECT_EQ(w.vfs.last(), "open 40 " + std::to_string(O_RDWR | O_TRUNC));
  EXPECT_EQ(out.open_flags, 0u);
  w.vfs.openeds.add(Errno::STALE);
  EXPECT_EQ(w.ask(FUSE_OPEN, 40, in(fuse_open_in{O_RDONLY, 0})).error, ESTALE);
}

TEST(FuseFiles, CreateGivesTheInodeAndTheHandle) {
  World w;
  fuse_create_in c{O_RDWR | O_CREAT | O_EXCL, S_IFREG | 0600, 022, 0};
  auto r = w.ask(FUSE_CREATE, 1, in(c) + "new" + nul);
  EXPECT_EQ(w.vfs.last(), "create 1 new " + std::to_string(0600) + " " +
                              std::to_string(O_RDWR | O_CREAT | O_EXCL));
  EXPECT_EQ(w.vfs.caller.umask, 022u);
  auto e = r.as<fuse_entry_out>();
  EXPECT_EQ(e.nodeid, 50u);
  EXPECT_EQ(e.entry_valid + e.attr_valid, 0u);
  EXPECT_EQ(r.as<fuse_open_out>(sizeof e).fh, 5u);
  EXPECT_TRUE(w.vfs.forgotten.empty());
}

TEST(FuseFiles, SpaceIsChangedAsTheModeSays) {
  World w;
  auto fallocate = [&](uint32_t mode) {
    fuse_fallocate_in h{};
    h.fh = 6;
    h.offset = 1ull << 33;
    h.length = 4096;
    h.mode = mode;
    return w.kernel.call(FUSE_FALLOCATE, 40, in(h)).error;
  };
  EXPECT_EQ(fallocate(0), 0);
  EXPECT_EQ(w.vfs.last(), "fallocate 6 0 8589934592 4096 false true");
  EXPECT_EQ(fallocate(FALLOC_FL_KEEP_SIZE), 0);
  EXPECT_EQ(w.vfs.last(), "fallocate 6 0 8589934592 4096 true true");
  EXPECT_EQ(fallocate(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE), 0);
  EXPECT_EQ(w.vfs.last(), "fallocate 6 1 8589934592 4096 true true");
  EXPECT_EQ(fallocate(FALLOC_FL_ZERO_RANGE), 0);
  EXPECT_EQ(w.vfs.last(), "fallocate 6 2 8589934592 4096 false true");
  for (uint32_t mode : {FALLOC_FL_PUNCH_HOLE, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
                        FALLOC_FL_UNSHARE_RANGE}) {
    EXPECT_EQ(fallocate(mode), EOPNOTSUPP);
  }
}

TEST(FuseFiles, HolesAndDataAreFound) {
  World w;
  auto seek = [&](uint32_t whence) {
    fuse_lseek_in h{};
    h.fh = 6;
    h.offset = 5;
    h.whence = whence;
    return w.kernel.call(FUSE_LSEEK, 40, in(h));
  };
  EXPECT_EQ(seek(SEEK_DATA).as<fuse_lseek_out>().offset, 77u);
  EXPECT_EQ(w.vfs.last(), "seek 6 5 true");
  EXPECT_EQ(seek(SEEK_HOLE).as<fuse_lseek_out>().offset, 77u);
  EXPECT_EQ(w.vfs.last(), "seek 6 5 false");
  EXPECT_EQ(seek(SEEK_END).error, EINVAL);
  w.vfs.found = nullptr;
  EXPECT_EQ(seek(SEEK_DATA).error, ENXIO);
}

TEST(FuseFiles, ACopyMayBeShorterThanAsked) {
  World w;
  fuse_copy_file_range_in h{};
  h.fh_in = 6;
  h.off_in = 1;
  h.nodeid_out = 41;
  h.fh_out = 7;
  h.off_out = 2;
  h.len = 1ull << 40;
  auto r = w.kernel.call(FUSE_COPY_FILE_RANGE, 40, in(h));
  EXPECT_EQ(r.as<fuse_write_out>().size, 0xfffff000u);
  EXPECT_EQ(w.vfs.last(), "copyRange 6 1 7 2 4294963200 true");
}

TEST(FuseFiles, WritesCarryTheirBytesAndHowTheyCame) {
  World w;
  auto write = [&](uint32_t flags, uint32_t how, const std::string& data) {
    fuse_write_in h{};
    h.fh = 6;
    h.offset = 1ull << 33;
    h.size = static_cast<uint32_t>(data.size());
    h.flags = flags;
    h.write_flags = how;
    return w.kernel.send(FUSE_WRITE, 40, in(h) + data);
  };
  auto r = w.kernel.reply(write(O_WRONLY, 0, "abc"));
  EXPECT_EQ(r.as<fuse_write_out>().size, 3u);
  EXPECT_EQ(w.vfs.last(), "write 6 8589934592 false false true");
  w.kernel.reply(write(O_WRONLY | O_APPEND, 0, "abc"));
  EXPECT_EQ(w.vfs.last(), "write 6 8589934592 true false true");
  w.kernel.reply(write(O_WRONLY | O_APPEND, FUSE_WRITE_CACHE, "page"));
  EXPECT_EQ(w.vfs.last(), "write 6 8589934592 false true false");
  EXPECT_FALSE(w.vfs.durable);
  w.kernel.reply(write(O_WRONLY | O_DSYNC, 0, "abc"));
  EXPECT_TRUE(w.vfs.durable);
  // The channel has one buffer: what waits must have its own copy.
  auto held = w.vfs.counts.hold();
  auto first = write(O_WRONLY, 0, std::string(50'000, 'a'));
  EXPECT_FALSE(w.kernel.has(first));
  auto kept = w.vfs.written;
  w.kernel.reply(write(O_WRONLY, 0, std::string(50'000, 'b')));
  EXPECT_EQ(kept, std::string(50'000, 'a'));
  held->fulfill(Outcome<uint32_t>(Errno::NO_SPACE));
  EXPECT_EQ(w.kernel.reply(first).error, ENOSPC);
}

TEST(FuseFiles, ReadsFlushesSyncsAndReleases) {
  World w;
  fuse_read_in read{};
  read.fh = 6;
  read.offset = 4096;
  read.size = 65536;
  auto r = w.ask(FUSE_READ, 40, in(read));
  EXPECT_EQ(w.vfs.last(), "read 6 4096 65536");
  EXPECT_EQ(r.body, std::string(65536, 'x'));
  w.vfs.datas.add(kj::heapArray<kj::byte>(0));
  r = w.ask(FUSE_READ, 40, in(read));
  EXPECT_EQ(r.error, 0);
  EXPECT_EQ(r.body, "");

  fuse_flush_in flush{};
  flush.fh = 6;
  w.vfs.errnos.add(Errno::NO_SPACE);
  EXPECT_EQ(w.ask(FUSE_FLUSH, 40, in(flush)).error, ENOSPC);
  EXPECT_EQ(w.vfs.calls[w.vfs.calls.size() - 2], "flush 6");
  EXPECT_EQ(w.vfs.last(), "closeLocks 6 0");
  fuse_fsync_in sync{6, 1, 0};
  EXPECT_EQ(w.ask(FUSE_FSYNC, 40, in(sync)).error, 0);
  EXPECT_EQ(w.vfs.last(), "fsync 40 true 6");
  sync.fsync_flags = 0;
  w.vfs.errnos.add(Errno::IO);
  EXPECT_EQ(w.ask(FUSE_FSYNC, 40, in(sync)).error, EIO);
  EXPECT_EQ(w.vfs.last(), "fsync 40 false 6");
  EXPECT_EQ(w.ask(FUSE_FSYNCDIR, 1, in(sync)).error, 0);
  EXPECT_EQ(w.vfs.last(), "fsync 1 false 0");
  fuse_release_in release{};
  release.fh = 6;
  EXPECT_EQ(w.ask(FUSE_RELEASE, 40, in(release)).error, 0);
  EXPECT_EQ(w.vfs.last(), "release 6");
}

TEST(FuseFiles, AnAnswerThatTheKernelNoLongerWantsGivesLookupsAndHandlesBack) {
  World w;
  auto created = w.vfs.createds.hold();
  auto opened = w.vfs.openeds.hold();
  auto looked = w.vfs.attrs.hold();
  auto dir = w.vfs.dirs.hold();
  w.kernel.send(FUSE_CREATE, 1, in(fuse_create_in{O_RDWR, 0600, 0, 0}) + "n" + nul);
  w.kernel.send(FUSE_OPEN, 40, in(fuse_open_in{O_RDONLY, 0}));
  w.kernel.send(FUSE_LOOKUP, 1, "l" + nul);
  w.kernel.send(FUSE_OPENDIR, 1, in(fuse_open_in{0, 0}));
  w.kernel.settle();
  w.kernel.stopListening();
  created->fulfill(Outcome<Vfs::Created>(Vfs::Created{fileAttr(50), {5, true}}));
  opened->fulfill(Outcome<Vfs::Opened>(Vfs::Opened{6, true}));
  looked->fulfill(Outcome<Attr>(fileAttr(40)));
  dir->fulfill(Outcome<DirHandle>(DirHandle(7)));
  w.kernel.settle();
  EXPECT_EQ(w.vfs.forgotten[50], 1u);
  EXPECT_EQ(w.vfs.forgotten[40], 1u);
  std::set<std::string> calls(w.vfs.calls.begin(), w.vfs.calls.end());
  EXPECT_TRUE(calls.count("release 5") && calls.count("release 6") && calls.count("releasedir 7"));
}

struct Parsed {
  std::string name;
  uint64_t nodeid, ino, off;
  uint32_t type;
};

std::vector<Parsed> parse(const FakeReply& r, bool plus) {
  std::vector<Parsed> all;
  for (size_t at = 0; at < r.body.size();) {
    Parsed p{};
    size_t head = at;
    if (plus) {
      p.nodeid = r.as<fuse_entry_out>(at).nodeid;
      head += sizeof(fuse_entry_out);
    }
    auto d = r.as<fuse_dirent>(head);
    p.ino = d.ino;
    p.off = d.off;
    p.type = d.type;
    p.name = r.body.substr(head + FUSE_NAME_OFFSET, d.namelen);
    all.push_back(p);
    at = head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
  }
  return all;
}

std::vector<Listing> listing(size_t files) {
  std::vector<Listing> all;
  all.push_back({".", InodeId(1), schema::Kind::DIRECTORY, 1, fileAttr(1)});
  all.push_back({"..", InodeId(1), schema::Kind::DIRECTORY, 2, nullptr});
  for (size_t i = 0; i < files; ++i) {
    all.push_back({"file" + std::to_string(i), InodeId(100 + i), schema::Kind::FILE, 3 + i,
                   fileAttr(100 + i)});
  }
  return all;
}

fuse_read_in listAt(uint64_t cookie, uint32_t bytes) {
  fuse_read_in read{};
  read.fh = 7;
  read.offset = cookie;
  read.size = bytes;
  return read;
}

TEST(FuseDirectories, AListingCarriesNamesTypesAndWhereToGoOn) {
  World w;
  w.ask(FUSE_OPENDIR, 1, in(fuse_open_in{0, 0}));
  EXPECT_EQ(w.vfs.last(), "opendir 1");
  w.vfs.listings.add(listing(2));
  auto all = parse(w.ask(FUSE_READDIR, 1, in(listAt(9, 4096))), false);
  EXPECT_EQ(w.vfs.last(), "readdir 1 7 9 129 false");
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].name, ".");
  EXPECT_EQ(all[3].name, "file1");
  EXPECT_EQ(all[3].ino, 101u);
  EXPECT_EQ(all[3].off, 4u);
  EXPECT_EQ(all[3].type, static_cast<uint32_t>(S_IFREG >> 12));
  EXPECT_EQ(w.ask(FUSE_READDIR, 1, in(listAt(4, 4096))).body, "");
  w.vfs.listings.add(Errno::IO);
  EXPECT_EQ(w.ask(FUSE_READDIR, 1, in(listAt(4, 4096))).error, EIO);
  fuse_release_in release{};
  release.fh = 7;
  EXPECT_EQ(w.ask(FUSE_RELEASEDIR, 1, in(release)).error, 0);
  EXPECT_EQ(w.vfs.last(), "releasedir 7");
}

TEST(FuseDirectories, EntriesWithoutAttributesAndDotsAreNamesOnly) {
  World w;
  auto some = listing(2);
  some[3].attr = nullptr;
  w.vfs.listings.add(kj::mv(some));
  auto all = parse(w.ask(FUSE_READDIRPLUS, 1, in(listAt(0, 4096))), true);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].nodeid, 0u);
  EXPECT_EQ(all[1].nodeid, 0u);
  EXPECT_EQ(all[2].nodeid, 100u);
  EXPECT_EQ(all[3].nodeid, 0u);
  EXPECT_EQ(all[3].ino, 101u);
  EXPECT_TRUE(w.vfs.forgotten.empty());
}

TEST(FuseDirectories, WhatDidNotFitGivesItsLookupsBack) {
  World w;
  w.vfs.listings.add(listing(50));
  auto all = parse(w.ask(FUSE_READDIRPLUS, 1, in(listAt(0, 1024))), true);
  size_t files = all.size() - 2;
  ASSERT_LT(files, 50u);
  ASSERT_GT(files, 0u);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(w.vfs.forgotten[100 + i], i < files ? 0u : 1u) << i;
  EXPECT_EQ(w.vfs.forgotten.count(1), 0u);
}

TEST(FuseDirectories, AListingThatTheKernelNoLongerWantsGivesAllItsLookupsBack) {
  World w;
  auto held = w.vfs.listings.hold();
  w.kernel.send(FUSE_READDIRPLUS, 1, in(listAt(0, 4096)));
  w.kernel.settle();
  w.kernel.stopListening();
  held->fulfill(Outcome<std::vector<Listing>>(listing(3)));
  w.kernel.settle();
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(w.vfs.forgotten[100 + i], 1u);
}

TEST(FuseSubdir, TheKernelsRootIsTheDirectoryThatIsMountedEverywhere) {
  // Each operation on node 1 reaches inode 70, and an answer that is inode 70 names node 1.
  World w;
  w.vfs.rootInode = InodeId(70);
  auto out = w.ask(FUSE_GETATTR, 1, in(fuse_getattr_in{})).as<fuse_attr_out>();
  EXPECT_EQ(w.vfs.last(), "getattr 70");
  EXPECT_EQ(out.attr.ino, 40u);
  w.vfs.attrs.add(fileAttr(70));
  EXPECT_EQ(w.ask(FUSE_LOOKUP, 1, "a" + nul).as<fuse_entry_out>().nodeid, 1u);
  EXPECT_EQ(w.vfs.last(), "lookup 70 a");
  EXPECT_EQ(w.ask(FUSE_LOOKUP, 41, "a" + nul).as<fuse_entry_out>().nodeid, 40u);
  EXPECT_EQ(w.vfs.last(), "lookup 41 a");
  w.ask(FUSE_MKDIR, 1, in(fuse_mkdir_in{0755, 022}) + "d" + nul);
  EXPECT_EQ(w.vfs.last(), "mkdir 70 d " + std::to_string(0755));
  w.ask(FUSE_UNLINK, 1, "f" + nul);
  EXPECT_EQ(w.vfs.last(), "unlink 70 f");
  w.ask(FUSE_RENAME2, 1, in(fuse_rename2_in{1, 0, 0}) + "f" + nul + "g" + nul);
  EXPECT_EQ(w.vfs.last(), "rename 70 f 70 g 0");
  w.ask(FUSE_LINK, 1, in(fuse_link_in{41}) + "l" + nul);
  EXPECT_EQ(w.vfs.last(), "link 41 70 l");
  w.ask(FUSE_OPENDIR, 1, in(fuse_open_in{0, 0}));
  EXPECT_EQ(w.vfs.last(), "opendir 70");
  w.ask(FUSE_FSYNCDIR, 1, in(fuse_fsync_in{7, 0, 0}));
  EXPECT_EQ(w.vfs.last(), "fsync 70 false 0");
  w.ask(FUSE_SETATTR, 1, in(fuse_setattr_in{}));
  EXPECT_EQ(w.vfs.last(), "setattr 70 0");
  w.kernel.send(FUSE_FORGET, 1, in(fuse_forget_in{1}));
  w.kernel.settle();
  EXPECT_EQ(w.vfs.forgotten.count(70), 0u);
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

std::string lockIn(uint64_t start, uint64_t end, uint32_t type, uint32_t flags = 0) {
  fuse_lk_in lk{};
  lk.fh = 6;
  lk.owner = 99;
  lk.lk = {start, end, type, 4711};
  lk.lk_flags = flags;
  return in(lk);
}

TEST(FuseLocks, AreAskedForOfTheFileSystemAndNotOfTheKernelAlone) {
  World w;
  auto out = w.hello.as<fuse_init_out>();
  EXPECT_NE(out.flags & FUSE_POSIX_LOCKS, 0u);
  EXPECT_NE(out.flags & FUSE_FLOCK_LOCKS, 0u);
}

TEST(FuseLocks, ArriveWithOwnerRangeAndKind) {
  World w;
  EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(10, 19, F_WRLCK)).error, 0);
  EXPECT_EQ(w.vfs.last(), "lock 6 false");
  EXPECT_EQ(w.vfs.lastLock.space, LockSpace::POSIX);
  EXPECT_EQ(w.vfs.lastLock.owner, 99u);
  EXPECT_EQ(w.vfs.lastLock.kind, LockKind::WRITE);
  EXPECT_EQ(w.vfs.lastLock.span, (LockSpan{10, 19}));
  EXPECT_EQ(w.vfs.lastLock.pid, 4711u);
  constexpr uint64_t kMax = INT64_MAX;
  for (auto span : {LockSpan{0, kMax}, LockSpan{0, kMax - 1}, LockSpan{kMax, kMax}}) {
    EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(span.start, span.end, F_UNLCK)).error, 0);
    EXPECT_EQ(w.vfs.lastLock.span, span);
    EXPECT_EQ(w.vfs.lastLock.kind, LockKind::NONE);
  }
  EXPECT_EQ(w.ask(FUSE_SETLKW, 40, lockIn(0, kMax, F_RDLCK, FUSE_LK_FLOCK)).error, 0);
  EXPECT_EQ(w.vfs.last(), "lock 6 true");
  EXPECT_EQ(w.vfs.lastLock.space, LockSpace::FLOCK);
  EXPECT_EQ(w.vfs.lastLock.kind, LockKind::READ);
  EXPECT_EQ(w.vfs.lastLock.span, LockSpan());
  for (auto [ours, host] : {std::pair(Errno::AGAIN, EAGAIN), std::pair(Errno::DEAD_LOCK, EDEADLK),
                            std::pair(Errno::NO_SPACE, ENOLCK)}) {
    w.vfs.errnos.add(ours);
    EXPECT_EQ(w.ask(FUSE_SETLK, 40, lockIn(0, 9, F_WRLCK)).error, host);
  }
}

TEST(FuseLocks, WhatIsInTheWayIsTold) {
  World w;
  auto free = w.ask(FUSE_GETLK, 40, lockIn(0, 9, F_WRLCK)).as<fuse_lk_out>();
  EXPECT_EQ(free.lk.type, static_cast<uint32_t>(F_UNLCK));
  FileLock found;
  found.kind = LockKind::READ;
  found.span = {5, kLockEnd};
  found.pid = 77;
  w.vfs.locks.add(found);
  auto taken = w.ask(FUSE_GETLK, 40, lockIn(0, 9, F_WRLCK)).as<fuse_lk_out>();
  EXPECT_EQ(taken.lk.type, static_cast<uint32_t>(F_RDLCK));
  EXPECT_EQ(taken.lk.start, 5u);
  EXPECT_EQ(taken.lk.end, uint64_t(INT64_MAX));
  EXPECT_EQ(taken.lk.pid, 77u);
}

TEST(FuseLocks, AnySignalEndsAWaitAndNoneATry) {
  World w;
  auto held = w.vfs.errnos.hold();
  auto waiting = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  EXPECT_FALSE(w.kernel.has(waiting));
  w.kernel.interrupt(waiting);
  EXPECT_EQ(w.kernel.reply(waiting).error, EINTR);
  // An INTERRUPT that comes before what it interrupts.
  auto second = w.vfs.errnos.hold();
  w.kernel.interrupt(w.kernel.upcoming());
  auto late = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  EXPECT_EQ(w.kernel.reply(late).error, EINTR);

  auto third = w.vfs.errnos.hold();
  auto tried = w.kernel.send(FUSE_SETLK, 40, lockIn(0, 9, F_WRLCK));
  w.kernel.settle();
  w.kernel.interrupt(tried);
  w.pass(200);
  EXPECT_FALSE(w.kernel.has(tried));
  third->fulfill(Errno::OK);
  EXPECT_EQ(w.kernel.reply(tried).error, 0);
}

TEST(FuseLocks, AKilledWaiterIsAnsweredWhateverTheLockDoes) {
  World w;
  w.vfs.deafToSignals = true;
  auto held = w.vfs.errnos.hold();
  w.callers.doomed.insert(77);
  auto waiting = w.kernel.send(FUSE_SETLKW, 40, lockIn(0, 9, F_WRLCK));
  w.kernel.settle();
  w.kernel.interrupt(waiting);
  w.pass(100);
  EXPECT_EQ(w.kernel.reply(waiting).error, EINTR);
  EXPECT_FALSE(held->isWaiting());
}

TEST(FuseLocks, EachCloseOfAnyDescriptorTellsItsOwner) {
  World w;
  fuse_open_in open{};
  open.flags = O_RDONLY;
  auto opened = w.ask(FUSE_OPEN, 40, in(open)).as<fuse_open_out>();
  EXPECT_EQ(opened.open_flags & FOPEN_NOFLUSH, 0u);
  fuse_flush_in flush{};
  flush.fh = 6;
  flush.lock_owner = 99;
  w.vfs.errnos.add(Errno::IO);
  EXPECT_EQ(w.ask(FUSE_FLUSH, 40, in(flush)).error, EIO);  // and the locks go all the same
  EXPECT_EQ(w.vfs.last(), "closeLocks 6 99");
}

}  // namespace
}  // namespace dfs
