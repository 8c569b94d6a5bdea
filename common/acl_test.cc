// Lists of access rights: their bytes, which ones are valid, and what Linux's rules make of them.

#include "common/acl.h"

#include "common/xattr.h"

#include <gtest/gtest.h>

#include <set>

namespace dfs {
namespace {

using Tag = Acl::Tag;
using Bytes = std::vector<kj::byte>;

Bytes listOf(const std::vector<Acl::Entry>& entries) {
  Bytes bytes{2, 0, 0, 0};
  auto put = [&](uint32_t v, int size) {
    for (int i = 0; i < size; ++i, v >>= 8) bytes.push_back(static_cast<kj::byte>(v));
  };
  for (auto& e : entries) {
    put(static_cast<uint16_t>(e.tag), 2);
    put(e.permissions, 2);
    put(e.id, 4);
  }
  return bytes;
}

Outcome<Acl> parse(const Bytes& bytes) {
  return Acl::parse(kj::arrayPtr(bytes.data(), bytes.size()));
}

const std::vector<Acl::Entry> kFull = {
    {Tag::USER_OBJ, 7, Acl::kNoId},  {Tag::USER, 6, 10},         {Tag::USER, 0, 11},
    {Tag::GROUP_OBJ, 4, Acl::kNoId}, {Tag::GROUP, 7, 20},        {Tag::GROUP, 2, 21},
    {Tag::MASK, 6, Acl::kNoId},      {Tag::OTHER, 1, Acl::kNoId}};

Acl full() {
  return *parse(listOf(kFull));
}

TEST(Acl, ComesBackInItsOwnBytes) {
  auto bytes = listOf(kFull);
  auto acl = parse(bytes);
  ASSERT_TRUE(acl.ok());
  EXPECT_EQ(acl->entries(), kFull);
  EXPECT_EQ(acl->encode(), bytes);
  EXPECT_FALSE(acl->minimal());
}

TEST(Acl, WithoutEntriesStandsForNone) {
  EXPECT_TRUE(parse({})->empty());
  EXPECT_TRUE(parse({2, 0, 0, 0})->empty());
}

TEST(Acl, OfAnotherFormOrOrderIsRefused) {
  EXPECT_EQ(parse({2, 0, 0}).err(), Errno::INVAL);
  EXPECT_EQ(parse({1, 0, 0, 0}).err(), Errno::NOT_SUP);
  auto bytes = listOf(kFull);
  bytes.push_back(0);
  EXPECT_EQ(parse(bytes).err(), Errno::INVAL);

  auto none = Acl::kNoId;
  Acl::Entry owner{Tag::USER_OBJ, 7, none}, user{Tag::USER, 7, 10}, group{Tag::GROUP_OBJ, 7, none};
  Acl::Entry other{Tag::OTHER, 7, none}, mask{Tag::MASK, 7, none}, named{Tag::GROUP, 7, 20};
  const std::vector<std::vector<Acl::Entry>> good = {{owner, group, other},
                                                     {owner, group, mask, other},
                                                     {owner, user, user, group, mask, other},
                                                     {owner, group, named, mask, other}};
  for (auto& entries : good) EXPECT_TRUE(parse(listOf(entries)).ok());
  const std::vector<std::vector<Acl::Entry>> bad = {
      {owner},
      {owner, group},
      {group, other},
      {owner, other},
      {owner, owner, group, other},
      {owner, group, group, other},
      {owner, group, other, other},
      {owner, group, mask, mask, other},
      {owner, user, group, other},
      {owner, group, named, other},
      {owner, named, group, mask, other},
      {owner, group, user, mask, other},
      {owner, group, other, mask},
      {{Tag::USER_OBJ, 8, none}, group, other},
      {owner, {Tag::USER, 7, none}, group, mask, other},
      {owner, group, {static_cast<Tag>(0x40), 7, none}, other}};
  for (auto& entries : bad) EXPECT_EQ(parse(listOf(entries)).err(), Errno::INVAL);
}

TEST(Acl, AndModeSayTheSame) {
  EXPECT_EQ(full().toMode(04000), 04761u);
  auto acl = full();
  acl.chmod(0642);
  EXPECT_EQ(acl.toMode(0), 0642u);
  EXPECT_EQ(acl.entries()[0].permissions, 6);
  EXPECT_EQ(acl.entries()[3].permissions, 4);  // the owning group itself: the mask took it
  EXPECT_EQ(acl.entries()[6].permissions, 4);
  auto minimal = *parse(listOf({kFull[0], kFull[3], kFull[7]}));
  EXPECT_TRUE(minimal.minimal());
  EXPECT_EQ(minimal.toMode(0), 0741u);
  minimal.chmod(0600);
  EXPECT_EQ(minimal.toMode(02000), 02600u);
}

TEST(Acl, OfANewObjectGivesNoMoreThanWasAskedFor) {
  auto acl = full();
  EXPECT_EQ(acl.create(02640), 02640u);
  EXPECT_EQ(acl.toMode(0), 0640u);
  EXPECT_EQ(acl.entries()[1].permissions, 6);  // named ones stay: the mask bounds them
  acl = full();
  EXPECT_EQ(acl.create(0777), 0761u);
  auto minimal = *parse(listOf({kFull[0], kFull[3], kFull[7]}));
  EXPECT_EQ(minimal.create(0666), 0640u);
  EXPECT_EQ(Acl().create(0666), 0666u);
}

struct Question {
  uint32_t uid;
  std::set<uint32_t> groups;
  uint32_t want;
  bool answer;
};

void ask(const Guarded& object, const Acl& acl, const std::vector<Question>& questions) {
  for (auto& q : questions) {
    auto in = [&](uint32_t gid) { return q.groups.count(gid) != 0; };
    EXPECT_EQ(permits(object, acl, q.uid, in, q.want), q.answer)
        << "uid " << q.uid << " wants " << q.want;
  }
}

TEST(Acl, TheFirstThatFitsDecides) {
  Guarded object{full().toMode(0), 1, 2};
  ask(object, full(),
      {
          {1, {}, 7, true},         // the owner, by the mode
          {10, {}, 6, true},        // named
          {10, {}, 1, false},       //
          {11, {2, 20}, 4, false},  // named with nothing: groups do not help
          {5, {2}, 4, true},        // the owning group
          {5, {2}, 2, false},       //
          {5, {20}, 6, true},       // a named group
          {5, {20}, 1, false},      // the mask withholds it
          {5, {2, 21}, 2, true},    // one of several groups suffices
          {5, {2, 21}, 6, false},   // but no two together
          {5, {2}, 1, false},       // a member is not among the others
          {5, {}, 1, true},         //
          {5, {}, 4, false},        //
      });
}

TEST(Acl, IsNotLookedAtWhereTheModeGivesItsGroupNothing) {
  auto acl = full();
  acl.chmod(0704);
  Guarded object{0704, 1, 2};
  ask(object, acl, {{10, {}, 4, true}, {10, {}, 2, false}, {5, {2}, 4, false}, {5, {20}, 4, true}});
}

TEST(Acl, WithoutOneTheModeDecides) {
  Guarded object{0640, 1, 2};
  ask(object, Acl(), {{1, {}, 6, true}, {1, {}, 1, false}, {5, {2}, 4, true}, {5, {}, 4, false}});
  ask({0604, 1, 2}, Acl(), {{5, {2}, 4, false}, {5, {}, 4, true}});
}

TEST(XattrNames, AreOfAKnownSpace) {
  EXPECT_EQ(*xattrSpace("user.a"), XattrSpace::USER);
  EXPECT_EQ(*xattrSpace("trusted.a"), XattrSpace::TRUSTED);
  EXPECT_EQ(*xattrSpace("security.capability"), XattrSpace::SECURITY);
  EXPECT_EQ(*xattrSpace("system.posix_acl_access"), XattrSpace::ACCESS_ACL);
  EXPECT_EQ(*xattrSpace("system.posix_acl_default"), XattrSpace::DEFAULT_ACL);
  for (auto name : {"system.posix_acl_accessx", "system.other", "user", "nothing", "usera.b"}) {
    EXPECT_EQ(xattrSpace(name).err(), Errno::NOT_SUP) << name;
  }
  EXPECT_EQ(xattrSpace("user.").err(), Errno::INVAL);
  EXPECT_EQ(xattrSpace(std::string_view("user.a\0b", 8)).err(), Errno::INVAL);
  EXPECT_EQ(xattrSpace("").err(), Errno::RANGE);
  EXPECT_TRUE(xattrSpace("user." + std::string(250, 'x')).ok());
  EXPECT_EQ(xattrSpace("user." + std::string(251, 'x')).err(), Errno::RANGE);
}

}  // namespace
}  // namespace dfs
