// Files at the FUSE edge: attributes, open files, their bytes and their space.

#include "tests/fuse/fuse_world.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

namespace dfs {
namespace {

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

}  // namespace
}  // namespace dfs
