// Extended attributes, and lists of access rights: what they refuse, what they change, who inherits
// them, and that they go with their inode. Every refusal is seen to change nothing (test_world.h).

#include "nameserver/meta/store.h"
#include "nameserver/meta/test_world.h"

namespace dfs {
namespace {

using schema::Kind;
using How = TestWorld::Xattr;
using Tag = Acl::Tag;

const std::string kAccess(kAccessAclName);
const std::string kDefault(kDefaultAclName);
const std::string kCapability(kCapabilityName);

std::string aclBytes(const std::vector<Acl::Entry>& entries) {
  std::string bytes("\2\0\0\0", 4);
  auto put = [&](uint32_t v, int size) {
    for (int i = 0; i < size; ++i, v >>= 8) bytes.push_back(static_cast<char>(v));
  };
  for (auto& e : entries) {
    put(static_cast<uint16_t>(e.tag), 2);
    put(e.permissions, 2);
    put(e.id, 4);
  }
  return bytes;
}

std::string minimal(uint16_t owner, uint16_t group, uint16_t other) {
  auto none = Acl::kNoId;
  return aclBytes(
      {{Tag::USER_OBJ, owner, none}, {Tag::GROUP_OBJ, group, none}, {Tag::OTHER, other, none}});
}

std::string withUser(uint16_t owner, uint32_t uid, uint16_t user, uint16_t group, uint16_t mask,
                     uint16_t other) {
  auto none = Acl::kNoId;
  return aclBytes({{Tag::USER_OBJ, owner, none},
                   {Tag::USER, user, uid},
                   {Tag::GROUP_OBJ, group, none},
                   {Tag::MASK, mask, none},
                   {Tag::OTHER, other, none}});
}

void be(TestWorld& w, uint32_t uid, uint32_t gid = 1000, std::vector<uint32_t> groups = {}) {
  w.uid = uid;
  w.gid = gid;
  w.groups = kj::mv(groups);
}

size_t recordsOf(TestWorld& w) {
  return w.kv.size(meta::Table::XATTR);
}

TEST(Xattr, AreSetReadListedReplacedAndRemoved) {
  TestWorld w;
  auto f = w.create(1, "f").ino;
  EXPECT_FALSE(w.attr(f).xattrs);
  EXPECT_EQ(w.xattrOf(f, "user.a"), "noData");
  auto before = w.attr(f);
  EXPECT_EQ(w.xattr(f, "user.a", "1", How::REPLACE).err, Errno::NO_DATA);
  EXPECT_EQ(w.xattr(f, "user.a", "1", How::CREATE).ino, f);
  EXPECT_EQ(w.xattr(f, "user.a", "2", How::CREATE).err, Errno::EXIST);
  EXPECT_EQ(w.xattrOf(f, "user.a"), "1");
  auto after = w.attr(f);
  EXPECT_TRUE(after.xattrs);
  EXPECT_GT(after.ctime, before.ctime);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(w.xattr(f, "user.a", std::string("\0\1", 2), How::REPLACE).err, Errno::OK);
  EXPECT_EQ(w.xattrOf(f, "user.a"), std::string("\0\1", 2));
  EXPECT_EQ(w.xattr(f, "trusted.b", "").err, Errno::OK);
  EXPECT_EQ(w.xattrOf(f, "trusted.b"), "");
  auto names = *w.q.listxattr(InodeId(f));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"trusted.b", "user.a"}));
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.removexattr(f, "user.x").err, Errno::NO_DATA);
  before = w.attr(f);
  EXPECT_EQ(w.removexattr(f, "user.a").err, Errno::OK);
  EXPECT_GT(w.attr(f).ctime, before.ctime);
  EXPECT_EQ(w.removexattr(f, "trusted.b").err, Errno::OK);
  EXPECT_FALSE(w.attr(f).xattrs);
  EXPECT_EQ(recordsOf(w), 0u);
  EXPECT_EQ(w.q.listxattr(InodeId(77)).err(), Errno::STALE);
  EXPECT_EQ(w.xattrOf(77, "user.a"), "stale");
  EXPECT_EQ(w.xattr(77, "user.a", "").err, Errno::STALE);
  EXPECT_EQ(w.problems(), "");
}

TEST(Xattr, WhoMaySetWhich) {
  // Method: an object of each kind that belongs to 1000; root, its owner and a stranger try.
  TestWorld w;
  struct Case {
    Kind kind;
    uint32_t mode;
    const char* name;
    Errno root, owner, stranger;
  };
  constexpr auto ok = Errno::OK;
  const Case cases[] = {
      {Kind::FILE, 0644, "user.a", ok, ok, Errno::ACCESS},
      {Kind::FILE, 0666, "user.a", ok, ok, ok},
      {Kind::FILE, 0444, "user.a", ok, Errno::ACCESS, Errno::ACCESS},
      {Kind::DIRECTORY, 0777, "user.a", ok, ok, ok},
      {Kind::DIRECTORY, 01777, "user.a", ok, ok, Errno::PERM},
      {Kind::SYMLINK, 0777, "user.a", Errno::PERM, Errno::PERM, Errno::PERM},
      {Kind::FIFO, 0666, "user.a", Errno::PERM, Errno::PERM, Errno::PERM},
      {Kind::CHAR_DEVICE, 0666, "user.a", Errno::PERM, Errno::PERM, Errno::PERM},
      {Kind::FILE, 0666, "trusted.a", ok, Errno::PERM, Errno::PERM},
      {Kind::SYMLINK, 0777, "trusted.a", ok, Errno::PERM, Errno::PERM},
      {Kind::FIFO, 0666, "trusted.a", ok, Errno::PERM, Errno::PERM},
      {Kind::FILE, 0666, "security.a", ok, Errno::PERM, Errno::PERM},
      {Kind::SOCKET, 0666, "security.a", ok, Errno::PERM, Errno::PERM},
      {Kind::FILE, 0644, "system.posix_acl_access", ok, ok, Errno::PERM},
      {Kind::FIFO, 0644, "system.posix_acl_access", ok, ok, Errno::PERM},
      {Kind::DIRECTORY, 0755, "system.posix_acl_access", ok, ok, Errno::PERM},
      {Kind::DIRECTORY, 0755, "system.posix_acl_default", ok, ok, Errno::PERM},
      {Kind::FILE, 0666, "system.posix_acl_default", Errno::ACCESS, Errno::ACCESS, Errno::ACCESS},
      {Kind::SYMLINK, 0777, "system.posix_acl_access", Errno::NOT_SUP, Errno::NOT_SUP,
       Errno::NOT_SUP},
      {Kind::FILE, 0666, "system.other", Errno::NOT_SUP, Errno::NOT_SUP, Errno::NOT_SUP},
      {Kind::FILE, 0666, "nonsense", Errno::NOT_SUP, Errno::NOT_SUP, Errno::NOT_SUP},
      {Kind::FILE, 0666, "user.", Errno::INVAL, Errno::INVAL, Errno::INVAL},
      {Kind::FILE, 0666, "", Errno::RANGE, Errno::RANGE, Errno::RANGE},
  };
  int number = 0;
  for (auto& c : cases) {
    be(w, 0, 0);
    auto ino = w.create(1, "x" + std::to_string(number++), c.kind, c.mode).ino;
    w.chown(ino, 1000, 1000);
    auto value = std::string(c.name).rfind("system.posix", 0) == 0 ? minimal(6, 4, 4) : "v";
    EXPECT_EQ(w.xattr(ino, c.name, value).err, c.root) << c.name << " " << number;
    be(w, 1000);
    EXPECT_EQ(w.xattr(ino, c.name, value).err, c.owner) << c.name << " " << number;
    be(w, 2000, 2000);
    EXPECT_EQ(w.xattr(ino, c.name, value).err, c.stranger) << c.name << " " << number;
  }
  EXPECT_EQ(w.problems(), "");
}

TEST(Xattr, FitTheirBounds) {
  TestWorld w;
  auto f = w.create(1, "f").ino;
  EXPECT_EQ(w.xattr(f, "user.big", std::string(kXattrValueBytesMax + 1, 'x')).err, Errno::INVAL);
  auto big = std::string(kXattrValueBytesMax, 'x');
  EXPECT_EQ(w.xattr(f, "user.big", big).err, Errno::OK);
  EXPECT_TRUE(w.xattrOf(f, "user.big") == big);
  EXPECT_EQ(w.xattr(f, "user." + std::string(251, 'n'), "").err, Errno::RANGE);
  EXPECT_EQ(w.xattr(f, "user." + std::string(250, 'n'), "").err, Errno::OK);
  int made = 0;
  while (w.xattr(f, "user.big" + std::to_string(made), big).err == Errno::OK) ++made;
  EXPECT_EQ(made, 14);  // with names and all, the sixteenth is too much
  EXPECT_EQ(w.xattr(f, "user.more", big).err, Errno::NO_SPACE);
  EXPECT_EQ(w.xattr(f, "user.big3", "less").err, Errno::OK);
  EXPECT_EQ(w.xattr(f, "user.more", big).err, Errno::OK);
  EXPECT_EQ(w.xattr(f, "user.big3", big).err, Errno::NO_SPACE);
  EXPECT_EQ(w.xattrOf(f, "user.big3"), "less");
  EXPECT_EQ(w.problems(), "");

  auto g = w.create(1, "g").ino;
  w.watch = false;
  size_t listed = 0;
  for (int i = 0;; ++i) {
    auto name = "user." + std::to_string(i) + std::string(200, 'y');
    auto err = w.xattr(g, name, "").err;
    if (err != Errno::OK) {
      EXPECT_EQ(err, Errno::NO_SPACE);
      EXPECT_GT(listed + name.size() + 1, kXattrListBytesMax);
      break;
    }
    listed += name.size() + 1;
  }
  EXPECT_LE(listed, kXattrListBytesMax);
  EXPECT_EQ(w.problems(), "");
}

TEST(Xattr, GoWithTheirInode) {
  TestWorld w;
  w.watch = false;
  auto few = w.create(1, "few").ino;
  auto many = w.mkdir(1, "many").ino;
  EXPECT_EQ(w.xattr(few, "user.a", "1").err, Errno::OK);
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(w.xattr(many, "user." + std::to_string(i), "v").err, Errno::OK);
  }
  w.unlink(1, "few");
  w.rmdir(1, "many");
  EXPECT_EQ(w.xattrOf(few, "user.a"), "1");  // open still, perhaps
  EXPECT_EQ(w.xattr(few, "user.b", "2").err, Errno::OK);
  w.reap(few);
  EXPECT_EQ(w.xattrOf(few, "user.a"), "stale");
  EXPECT_EQ(recordsOf(w), 5001u);
  w.reap(many);
  EXPECT_EQ(recordsOf(w), 5001u);  // the command did not take them all
  EXPECT_EQ(w.q.listxattr(InodeId(many)).err(), Errno::STALE);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.trim(many).count, 1u);
  EXPECT_EQ(recordsOf(w), 5001u - kRowsPerTrim);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.trim(many).count, 0u);
  EXPECT_EQ(recordsOf(w), 0u);
  EXPECT_TRUE(w.q.trims(InodeId(), 10).empty());
  EXPECT_EQ(w.problems(), "");
}

TEST(Xattr, CapabilitiesGoWhenContentsOrOwnerChange) {
  TestWorld w;
  auto f = w.create(1, "f", Kind::FILE, 0666).ino;
  auto d = w.mkdir(1, "d").ino;
  auto set = [&](uint64_t ino) { EXPECT_EQ(w.xattr(ino, kCapability, "c").err, Errno::OK); };
  set(f);
  EXPECT_EQ(w.chmod(f, 0600).err, Errno::OK);
  EXPECT_EQ(w.xattrOf(f, kCapability), "c");
  EXPECT_EQ(w.chown(f, 1000, -1).err, Errno::OK);
  EXPECT_EQ(w.xattrOf(f, kCapability), "noData");
  set(f);
  EXPECT_EQ(w.truncate(f, 5).err, Errno::OK);  // root's too
  EXPECT_EQ(w.xattrOf(f, kCapability), "noData");
  set(d);
  EXPECT_EQ(w.chown(d, 1000, -1).err, Errno::OK);
  EXPECT_EQ(w.xattrOf(d, kCapability), "c");
  set(f);
  be(w, 2000);
  EXPECT_EQ(w.xattr(f, kCapability, "x").err, Errno::PERM);
  EXPECT_EQ(w.removexattr(f, kCapability).err, Errno::OK);  // as who writes does
  EXPECT_EQ(w.removexattr(d, "security.x").err, Errno::PERM);
  EXPECT_EQ(w.problems(), "");
}

TEST(AclCommand, ChangesTheModeAndAMinimalOneIsOnlyThat) {
  TestWorld w;
  auto f = w.create(1, "f", Kind::FILE, 04644).ino;
  EXPECT_EQ(w.xattr(f, kAccess, minimal(7, 5, 0)).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 04750u);
  EXPECT_FALSE(w.attr(f).xattrs);
  auto list = withUser(6, 1000, 7, 4, 6, 0);
  auto before = w.attr(f);
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 04660u);
  EXPECT_GT(w.attr(f).ctime, before.ctime);
  EXPECT_EQ(w.xattrOf(f, kAccess), list);
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.chmod(f, 0640).err, Errno::OK);
  EXPECT_EQ(w.xattrOf(f, kAccess), withUser(6, 1000, 7, 4, 4, 0));
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.removexattr(f, kAccess).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 0640u);
  EXPECT_EQ(recordsOf(w), 0u);
  before = w.attr(f);
  EXPECT_EQ(w.removexattr(f, kAccess).err, Errno::OK);  // none is there: no error
  EXPECT_EQ(w.attr(f).ctime, before.ctime);
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.xattr(f, kAccess, std::string("\2\0\0\0", 4)).err, Errno::OK);  // no entries: none
  EXPECT_EQ(recordsOf(w), 0u);
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.xattr(f, kAccess, minimal(6, 6, 6)).err, Errno::OK);
  EXPECT_EQ(recordsOf(w), 0u);
  EXPECT_EQ(w.attr(f).mode, 0666u);
  EXPECT_EQ(w.problems(), "");
}

TEST(AclCommand, InvalidOnesAreRefused) {
  TestWorld w;
  auto d = w.mkdir(1, "d").ino;
  auto none = Acl::kNoId;
  for (auto& name : {kAccess, kDefault}) {
    EXPECT_EQ(w.xattr(d, name, "x").err, Errno::INVAL);
    EXPECT_EQ(w.xattr(d, name, std::string("\1\0\0\0", 4)).err, Errno::NOT_SUP);
    EXPECT_EQ(w.xattr(d, name, aclBytes({{Tag::USER_OBJ, 7, none}})).err, Errno::INVAL);
  }
}

TEST(AclCommand, TakesTheSetGroupBitFromWhoIsNotInTheGroup) {
  TestWorld w;
  auto f = w.create(1, "f", Kind::FILE, 0644).ino;
  auto reset = [&]() {
    be(w, 0, 0);
    EXPECT_EQ(w.chown(f, 1000, 50).err, Errno::OK);
    EXPECT_EQ(w.chmod(f, 02755).err, Errno::OK);
  };
  auto list = withUser(7, 1, 7, 5, 7, 5);
  reset();
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 02775u);
  reset();
  be(w, 1000, 1000, {50});
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 02775u);
  reset();
  be(w, 1000);
  EXPECT_EQ(w.xattr(f, kAccess, list).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 0775u);
  reset();
  be(w, 1000);
  EXPECT_EQ(w.removexattr(f, kAccess).err, Errno::OK);
  EXPECT_EQ(w.attr(f).mode, 02755u);
}

TEST(AclCommand, DefaultsAreInheritedInPlaceOfTheUmask) {
  // Method: one of each kind is made in a directory without a default list, with a minimal one, and
  // with a full one.
  TestWorld w;
  w.umask = 027;
  auto full = withUser(7, 1000, 6, 7, 6, 1);
  struct Case {
    Kind kind;
    uint32_t asked, without, withMinimal, withFull;
  };
  const Case cases[] = {
      {Kind::FILE, 0666, 0640, 0664, 0660},          {Kind::FILE, 0777, 0750, 0775, 0761},
      {Kind::FILE, 06400, 06400, 06400, 06400},      {Kind::DIRECTORY, 0777, 0750, 0775, 0761},
      {Kind::DIRECTORY, 01700, 01700, 01700, 01700}, {Kind::FIFO, 0666, 0640, 0664, 0660},
      {Kind::SYMLINK, 0777, 0777, 0777, 0777},
  };
  auto plain = w.mkdir(1, "plain", 0777).ino;
  auto low = w.mkdir(1, "low", 0777).ino;
  auto rich = w.mkdir(1, "rich", 0777).ino;
  EXPECT_EQ(w.xattr(low, kDefault, minimal(7, 7, 5)).err, Errno::OK);
  EXPECT_EQ(w.xattr(rich, kDefault, full).err, Errno::OK);
  EXPECT_EQ(w.attr(rich).mode, 0750u);  // its own mode is not concerned
  EXPECT_TRUE(w.attr(low).xattrs);
  int number = 0;
  for (auto& c : cases) {
    auto name = std::to_string(number++);
    auto made = w.create(plain, name, c.kind, c.asked).ino;
    EXPECT_EQ(w.attr(made).mode, c.without) << name;
    EXPECT_FALSE(w.attr(made).xattrs);
    made = w.create(low, name, c.kind, c.asked).ino;
    EXPECT_EQ(w.attr(made).mode, c.withMinimal) << name;
    EXPECT_EQ(w.xattrOf(made, kAccess), "noData");
    EXPECT_EQ(w.xattrOf(made, kDefault), c.kind == Kind::DIRECTORY ? minimal(7, 7, 5) : "noData");
    made = w.create(rich, name, c.kind, c.asked).ino;
    EXPECT_EQ(w.attr(made).mode, c.withFull) << name;
    if (c.kind == Kind::SYMLINK) {
      EXPECT_FALSE(w.attr(made).xattrs);
      continue;
    }
    auto mode = c.withFull;
    EXPECT_EQ(w.xattrOf(made, kAccess),
              withUser(mode >> 6 & 7, 1000, 6, 7, mode >> 3 & 7, mode & 7));
    EXPECT_EQ(w.xattrOf(made, kDefault), c.kind == Kind::DIRECTORY ? full : "noData");
  }
  EXPECT_EQ(w.problems(), "");
  EXPECT_EQ(w.removexattr(rich, kDefault).err, Errno::OK);
  EXPECT_EQ(w.removexattr(rich, kDefault).err, Errno::OK);
  auto f = w.create(rich, "late", Kind::FILE, 0666).ino;
  EXPECT_EQ(w.attr(f).mode, 0640u);
  EXPECT_EQ(w.removexattr(f, kDefault).err, Errno::OK);  // a file never has one
}

TEST(AclCommand, DecidesWhoMayDoWhat) {
  TestWorld w;
  auto d = w.mkdir(1, "d", 0755).ino;
  auto f = w.create(d, "f", Kind::FILE, 0644).ino;
  EXPECT_EQ(w.xattr(d, kAccess, withUser(7, 1000, 7, 5, 7, 5)).err, Errno::OK);
  EXPECT_EQ(w.xattr(f, kAccess, withUser(6, 1000, 0, 4, 4, 6)).err, Errno::OK);
  be(w, 1000);
  EXPECT_EQ(w.create(d, "named").err, Errno::OK);
  EXPECT_EQ(w.truncate(f, 1).err, Errno::ACCESS);
  EXPECT_EQ(w.xattr(f, "user.a", "").err, Errno::ACCESS);
  be(w, 2000);
  EXPECT_EQ(w.create(d, "other").err, Errno::ACCESS);
  EXPECT_EQ(w.unlink(d, "named").err, Errno::ACCESS);
  EXPECT_EQ(w.truncate(f, 1).err, Errno::OK);
  be(w, 0, 0);
  EXPECT_EQ(w.chmod(d, 0700).err, Errno::OK);  // the mask withholds all
  be(w, 1000);
  EXPECT_EQ(w.create(d, "masked").err, Errno::ACCESS);
  EXPECT_EQ(w.problems(), "");
}

}  // namespace
}  // namespace dfs
