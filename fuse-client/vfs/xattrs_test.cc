// Extended attributes at the client: what it answers by itself, and what a write takes away.

#include "common/acl.h"
#include "common/xattr.h"
#include "fuse-client/vfs/client_world.h"

namespace dfs {
namespace {

using namespace fake;
using Replace = Vfs::Replace;

struct XattrWorld : World {
  Vfs::Created made = a.create("f");
  InodeId ino = made.attr.ino;

  Errno set(const char* name, std::string value = "v", Replace replace = Replace::EITHER) {
    auto bytes = kj::heapArray(reinterpret_cast<const kj::byte*>(value.data()), value.size());
    return world.wait(a.vfs->setxattr(ino, name, kj::mv(bytes), replace, {}));
  }
  Errno remove(const char* name) { return world.wait(a.vfs->removexattr(ino, name, {})); }
  Errno get(std::string name) { return world.wait(a.vfs->getxattr(ino, kj::mv(name))).err(); }
  std::vector<std::string> list(uint32_t uid = 0) {
    Caller caller;
    caller.uid = uid;
    return *world.wait(a.vfs->listxattr(ino, caller));
  }
  uint64_t asked() { return std::exchange(cluster.xattrCalls, 0); }
  std::map<std::string, std::string>& there() { return cluster.inodes[ino.value].xattrs; }
};

TEST(Xattrs, TheHolderOfAFileKnowsThatThereAreNone) {
  XattrWorld w;
  EXPECT_EQ(w.get("user.a"), Errno::NO_DATA);
  EXPECT_TRUE(w.list().empty());
  EXPECT_EQ(w.asked(), 0u);
  EXPECT_EQ(w.set("user.a"), Errno::OK);
  EXPECT_EQ(w.get("user.a"), Errno::OK);
  EXPECT_EQ(w.get("user.b"), Errno::NO_DATA);
  EXPECT_EQ(w.list().size(), 1u);
  EXPECT_EQ(w.asked(), 3u);
  EXPECT_EQ(w.set("user.a", "w", Replace::CREATE), Errno::EXIST);
  EXPECT_EQ(w.set("user.b", "w", Replace::REPLACE), Errno::NO_DATA);
  EXPECT_EQ(w.remove("user.b"), Errno::NO_DATA);
  EXPECT_EQ(w.remove("user.a"), Errno::OK);
  EXPECT_EQ(w.get("user.a"), Errno::NO_DATA);
  EXPECT_EQ(w.asked(), 0u);
}

TEST(Xattrs, WhoDoesNotHoldTheFileAsks) {
  XattrWorld w;
  Mount b(w.world, "b");
  auto found = w.world.wait(b.vfs->lookup(kRootInode, "f"));  // recalls it
  w.there()["user.a"] = "1";
  EXPECT_EQ(w.get("user.a"), Errno::OK);
  EXPECT_EQ(w.world.wait(b.vfs->getxattr(found->ino, "user.a")).err(), Errno::OK);
  EXPECT_EQ(w.asked(), 2u);
  EXPECT_TRUE(w.world.wait(b.vfs->getattr(found->ino))->xattrs);
  // A lease that is given says it with its attributes.
  EXPECT_EQ(w.a.write(w.made.opened.handle, 0, "x"), Errno::OK);
  w.asked();
  EXPECT_EQ(w.get("user.a"), Errno::OK);
  EXPECT_EQ(w.asked(), 1u);
}

TEST(Xattrs, OneThatIsBeingSetIsNotDenied) {
  XattrWorld w;
  auto setting = w.a.vfs->setxattr(w.ino, "user.a", nullptr, Replace::EITHER, {});
  auto getting = w.a.vfs->getxattr(w.ino, "user.a");
  EXPECT_EQ(w.world.wait(kj::mv(setting)), Errno::OK);
  (void)w.world.wait(kj::mv(getting));  // before or after: either is right
  EXPECT_EQ(w.asked(), 1u);
}

TEST(Xattrs, NamesOfNoKnownSpaceAreRefusedHere) {
  XattrWorld w;
  EXPECT_EQ(w.get("other"), Errno::NOT_SUP);
  EXPECT_EQ(w.set("system.other"), Errno::NOT_SUP);
  EXPECT_EQ(w.remove("user."), Errno::INVAL);
  EXPECT_EQ(w.set("user.a", std::string(kXattrValueBytesMax + 1, 'x')), Errno::INVAL);
  EXPECT_EQ(w.asked(), 0u);
}

TEST(Xattrs, OnlyRootIsShownTrustedOnes) {
  XattrWorld w;
  EXPECT_EQ(w.set("trusted.a"), Errno::OK);
  EXPECT_EQ(w.set("user.a"), Errno::OK);
  EXPECT_EQ(w.list(0).size(), 2u);
  EXPECT_EQ(w.list(1000), (std::vector<std::string>{"user.a"}));
}

TEST(Xattrs, AWriteTakesCapabilitiesAwayAndThenKnowsThatThereAreNone) {
  XattrWorld w;
  std::string capability(kCapabilityName);
  EXPECT_EQ(w.set("user.a"), Errno::OK);
  EXPECT_EQ(w.set(capability.c_str()), Errno::OK);
  EXPECT_EQ(w.a.write(w.made.opened.handle, 0, "x"), Errno::OK);
  EXPECT_EQ(w.there().count(capability), 0u);
  EXPECT_EQ(w.there().count("user.a"), 1u);
  EXPECT_EQ(w.a.write(w.made.opened.handle, 0, "x"), Errno::OK);
  w.asked();
  EXPECT_EQ(w.a.write(w.made.opened.handle, 0, "x"), Errno::OK);
  EXPECT_EQ(w.get(capability), Errno::NO_DATA);
  EXPECT_EQ(w.asked(), 0u);
  EXPECT_EQ(w.set(capability.c_str()), Errno::OK);
  EXPECT_EQ(w.a.write(w.made.opened.handle, 0, "x"), Errno::OK);
  EXPECT_EQ(w.there().count(capability), 0u);
}

TEST(Xattrs, AnOpenAfterALostCreateGoesByTheListOfAccessRights) {
  // G8: the second CREATE of a thread that finds the name taken checks by itself.
  XattrWorld w;
  w.cluster.inodes[w.ino.value].mode = 0640;
  auto entry = [](uint16_t tag, uint16_t permissions, uint32_t id) {
    std::string bytes(8, '\0');
    memcpy(bytes.data(), &tag, 2);
    memcpy(bytes.data() + 2, &permissions, 2);
    memcpy(bytes.data() + 4, &id, 4);
    return bytes;
  };
  auto create = [&](uint32_t uid, int flags) {
    Caller caller;
    caller.uid = uid;
    caller.gid = uid;
    caller.tid = static_cast<int32_t>(uid);
    auto first = w.world.wait(w.a.vfs->create(kRootInode, "f", 0644, flags | O_CREAT, caller));
    EXPECT_EQ(first.err(), Errno::STALE);
    return w.world.wait(w.a.vfs->create(kRootInode, "f", 0644, flags | O_CREAT, caller)).err();
  };
  EXPECT_EQ(create(1000, O_RDONLY), Errno::ACCESS);
  w.there()[std::string(kAccessAclName)] = std::string("\2\0\0\0", 4) + entry(1, 6, UINT32_MAX) +
                                           entry(2, 4, 1000) + entry(4, 0, UINT32_MAX) +
                                           entry(16, 4, UINT32_MAX) + entry(32, 0, UINT32_MAX);
  EXPECT_EQ(create(1000, O_RDONLY), Errno::OK);
  EXPECT_EQ(create(1000, O_RDWR), Errno::ACCESS);
  EXPECT_EQ(create(2000, O_RDONLY), Errno::ACCESS);
}

}  // namespace
}  // namespace dfs
