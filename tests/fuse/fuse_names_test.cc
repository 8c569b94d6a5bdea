// Names at the FUSE edge: look-ups, what makes and takes names, listings, and a root that is a directory of the cluster.

#include "tests/fuse/fuse_world.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace dfs {
namespace {

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

}  // namespace
}  // namespace dfs
