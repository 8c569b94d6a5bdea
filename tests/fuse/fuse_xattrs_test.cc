// Extended attributes at the FUSE edge: sizes, buffers that are too small, flags.

#include "tests/fuse/fuse_world.h"

#include <sys/xattr.h>

namespace dfs {
namespace {

std::string setBody(const std::string& name, const std::string& value, uint32_t flags = 0) {
  // As kernels send it to who has not asked for FUSE_SETXATTR_EXT: two numbers.
  uint32_t head[2] = {static_cast<uint32_t>(value.size()), flags};
  return bytesOf(head) + name + nul + value;
}
std::string getBody(const std::string& name, uint32_t room) {
  return bytesOf(fuse_getxattr_in{room, 0}) + name + nul;
}

TEST(FuseInit, TheKernelGoesByAccessListsAndLeavesTheUmaskToTheNameServer) {
  World w;
  auto out = w.hello.as<fuse_init_out>();
  EXPECT_NE(out.flags & FUSE_POSIX_ACL, 0u);
  EXPECT_NE(out.flags & FUSE_DONT_MASK, 0u);
  EXPECT_EQ(out.flags & FUSE_SETXATTR_EXT, 0u);
  EXPECT_NE(out.flags & FUSE_HANDLE_KILLPRIV_V2, 0u);
}

TEST(FuseInit, AnOlderKernelIsToldOnlyOfWhatItOffers) {
  World w;
  FuseChannel channel(w.io.unixEventPort, FuseOps::table(), &w.ops, {});
  FakeKernel kernel(w.io.waitScope);
  channel.attach(kernel.other());
  auto running = channel.run().eagerlyEvaluate(nullptr);
  auto out = kernel.init(0x7fffffff & ~FUSE_HANDLE_KILLPRIV_V2).as<fuse_init_out>();
  EXPECT_EQ(out.flags & FUSE_HANDLE_KILLPRIV_V2, 0u);
}

TEST(FuseXattrs, WhatTheKernelAsksAfterAttributesThatSaidNoneAsksNobodyElse) {
  World w;
  auto asked = [&](const char* name) {
    w.vfs.calls.clear();
    auto error = w.ask(FUSE_GETXATTR, 40, getBody(name, 4096)).error;
    EXPECT_EQ(error, w.vfs.calls.empty() ? ENODATA : 0);
    return !w.vfs.calls.empty();
  };
  constexpr char kAccess[] = "system.posix_acl_access";
  auto getattr = [&]() { w.ask(FUSE_GETATTR, 40, in(fuse_getattr_in{})); };
  EXPECT_TRUE(asked(kAccess));
  getattr();
  EXPECT_FALSE(asked(kAccess));
  EXPECT_FALSE(asked("user.a"));  // of the same call
  EXPECT_TRUE(asked("security.capability"));
  EXPECT_TRUE(asked("trusted.a"));

  w.kernel.who.pid = 78;  // another thread may have asked later than somebody's change
  EXPECT_TRUE(asked(kAccess));
  w.kernel.who.pid = 77;
  EXPECT_FALSE(asked(kAccess));
  w.ask(FUSE_GETATTR, 41, in(fuse_getattr_in{}));  // answered with inode 40's attributes here
  w.ask(FUSE_STATFS, 1, "");
  EXPECT_TRUE(asked(kAccess));

  getattr();
  w.kernel.who.pid = 78;
  w.ask(FUSE_SETXATTR, 40, setBody("user.b", ""));
  w.kernel.who.pid = 77;
  EXPECT_TRUE(asked(kAccess));
  getattr();
  EXPECT_FALSE(asked(kAccess));

  auto some = fileAttr(40);
  some.xattrs = true;
  w.vfs.attrs.add(some);
  getattr();
  EXPECT_TRUE(asked(kAccess));
  w.kernel.who.pid = 0;
  getattr();
  EXPECT_TRUE(asked(kAccess));
}

TEST(FuseXattrs, AreSetWithTheirFlags) {
  World w;
  EXPECT_EQ(w.ask(FUSE_SETXATTR, 40, setBody("user.a", std::string("1\0002", 3))).error, 0);
  EXPECT_EQ(w.vfs.last(), "setxattr 40 user.a 0");
  EXPECT_EQ(w.vfs.written, std::string("1\0002", 3));
  EXPECT_EQ(w.vfs.caller.uid, 1000u);
  EXPECT_EQ(w.vfs.caller.groups.size(), 2u);
  w.ask(FUSE_SETXATTR, 40, setBody("user.a", "", XATTR_CREATE));
  EXPECT_EQ(w.vfs.last(), "setxattr 40 user.a 1");
  w.ask(FUSE_SETXATTR, 40, setBody("user.a", "", XATTR_REPLACE));
  EXPECT_EQ(w.vfs.last(), "setxattr 40 user.a 2");
  w.vfs.calls.clear();
  EXPECT_EQ(w.ask(FUSE_SETXATTR, 40, setBody("user.a", "", 3)).error, EINVAL);
  EXPECT_TRUE(w.vfs.calls.empty());
  w.vfs.errnos.add(Errno::EXIST);
  EXPECT_EQ(w.ask(FUSE_SETXATTR, 40, setBody("user.a", "", XATTR_CREATE)).error, EEXIST);
}

TEST(FuseXattrs, AreReadIntoABufferOrMeasured) {
  World w;
  auto r = w.ask(FUSE_GETXATTR, 40, getBody("user.a", 5));
  EXPECT_EQ(w.vfs.last(), "getxattr 40 user.a");
  EXPECT_EQ(r.error, 0);
  EXPECT_EQ(r.body, "value");
  EXPECT_EQ(w.ask(FUSE_GETXATTR, 40, getBody("user.a", 4)).error, ERANGE);
  EXPECT_EQ(w.ask(FUSE_GETXATTR, 40, getBody("user.a", 0)).as<fuse_getxattr_out>().size, 5u);
  w.vfs.datas.add(Errno::NO_DATA);
  EXPECT_EQ(w.ask(FUSE_GETXATTR, 40, getBody("user.a", 5)).error, ENODATA);
}

TEST(FuseXattrs, AreListedIntoABufferOrMeasured) {
  World w;
  auto body = [](uint32_t room) { return bytesOf(fuse_getxattr_in{room, 0}); };
  auto r = w.ask(FUSE_LISTXATTR, 40, body(100));
  EXPECT_EQ(r.error, 0);
  EXPECT_EQ(r.body, std::string("user.a\0user.bc\0", 15));
  EXPECT_EQ(w.vfs.caller.uid, 1000u);
  EXPECT_EQ(w.ask(FUSE_LISTXATTR, 40, body(14)).error, ERANGE);
  EXPECT_EQ(w.ask(FUSE_LISTXATTR, 40, body(0)).as<fuse_getxattr_out>().size, 15u);
  w.vfs.lists.add(std::vector<std::string>());
  EXPECT_EQ(w.ask(FUSE_LISTXATTR, 40, body(100)).body, "");
  w.vfs.lists.add(Errno::STALE);
  EXPECT_EQ(w.ask(FUSE_LISTXATTR, 40, body(100)).error, ESTALE);
}

TEST(FuseXattrs, AreRemoved) {
  World w;
  EXPECT_EQ(w.ask(FUSE_REMOVEXATTR, 40, "user.a" + nul).error, 0);
  EXPECT_EQ(w.vfs.last(), "removexattr 40 user.a");
  w.vfs.errnos.add(Errno::NO_DATA);
  EXPECT_EQ(w.ask(FUSE_REMOVEXATTR, 40, "user.a" + nul).error, ENODATA);
}

}  // namespace
}  // namespace dfs
