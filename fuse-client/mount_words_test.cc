#include "fuse-client/mount_words.h"

#include "fuse-client/mount_helper.h"
#include "fuse-client/permission.h"

#include <gtest/gtest.h>

#include <cstring>

namespace dfs {
namespace {

using Words = std::vector<std::string>;

std::string wrongWith(const Words& words) {
  Arguments a;
  a.options = words;
  auto wrong = takeWords(a);
  KJ_IF_MAYBE(why, wrong) return why->cStr();
  return "";
}

Arguments taken(const Words& words) {
  Arguments a;
  a.options = words;
  auto wrong = takeWords(a);
  KJ_IF_MAYBE(why, wrong) ADD_FAILURE() << why->cStr();
  return a;
}

TEST(MountWords, WhatFstabHoldsForOthersIsTakenAndChangesNothing) {
  auto a = taken({"defaults", "_netdev", "nofail", "noauto", "user", "user=me", "comment=x y",
                  "x-systemd.automount", "x-systemd.idle-timeout=1min", "X-mount.mkdir", "hard",
                  "default_permissions", "nolazytime", "user_id=0", "group_id=0"});
  EXPECT_FALSE(a.mount.readOnly);
  EXPECT_FALSE(a.mount.allowOther);
  EXPECT_TRUE(a.mount.fuseOptions.empty());
  EXPECT_TRUE(a.mount.words.empty());
}

TEST(MountWords, TheLaterWordWins) {
  EXPECT_TRUE(taken({"rw", "ro"}).mount.readOnly);
  EXPECT_FALSE(taken({"ro", "rw"}).mount.readOnly);
  EXPECT_EQ(taken({"soft", "hard"}).mount.softTimeoutMs, 0u);
  EXPECT_TRUE(taken({"noatime", "strictatime"}).mount.accessTimes == AccessTimes::STRICT);
  EXPECT_FALSE(taken({"nodiratime"}).mount.accessTimesOfDirectories);
  EXPECT_TRUE(taken({"noatime", "relatime"}).mount.accessTimes == AccessTimes::RELATIME);
}

TEST(MountWords, ValuesReachTheirSettings) {
  auto a = taken({"soft", "timeo=5s", "subdir=/a/b", "nameserver=h:1", "data=/d", "log_file=/l",
                  "log_level=error", "allow_other", "nodev", "max_read=4096"});
  EXPECT_EQ(a.mount.softTimeoutMs, 5000u);
  EXPECT_EQ(a.mount.subdir, "/a/b");
  EXPECT_EQ(a.mount.nameservers, Words{"h:1"});
  EXPECT_EQ(a.embedded.data, "/d");
  EXPECT_EQ(a.log.file, "/l");
  EXPECT_EQ(a.log.level, "error");
  EXPECT_TRUE(a.mount.allowOther);
  EXPECT_EQ(a.mount.fuseOptions, (Words{"nodev", "max_read=4096"}));
  EXPECT_EQ(a.mount.words, (Words{"soft=5000", "max_read=4096"}));
  EXPECT_EQ(taken({"soft"}).mount.softTimeoutMs, 30'000u);
  EXPECT_EQ(taken({"subdir=/"}).mount.subdir, "");
}

TEST(MountWords, AnUnknownOneNamesTheNearest) {
  EXPECT_NE(wrongWith({"noatmie"}).find("did you mean \"noatime\"?"), std::string::npos);
  EXPECT_NE(wrongWith({"subdirs=/x"}).find("did you mean \"subdir\"?"), std::string::npos);
  EXPECT_NE(wrongWith({"zzzzzzzz"}).find("mount.dfs(8)"), std::string::npos);
  for (auto word :
       {"timeo=0", "timeo=", "timeo=-1", "timeo=5x", "subdir=a", "nameserver=h", "timeo", "ro=1"}) {
    EXPECT_NE(wrongWith({word}), "") << word;
  }
  Arguments a;
  a.sloppy = true;
  testing::internal::CaptureStderr();
  a.options = {"what", "ro"};
  EXPECT_TRUE(takeWords(a) == nullptr);
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(a.mount.readOnly);
}

TEST(MountHelper, ReadsWhatMountGivesIt) {
  auto call = readHelperCall({"n1,n2:99:/home", "/mnt/x", "-sv", "-o", "rw,_netdev", "-n", "-oro"});
  EXPECT_EQ(call.wrong, "");
  EXPECT_EQ(call.args, (Words{"/mnt/x", "--nameserver", "n1:7400", "--nameserver", "n2:99",
                              "--subdir", "/home", "-o", "rw,_netdev", "-o", "ro"}));
  EXPECT_EQ(call.source, "n1,n2:99:/home");
  EXPECT_TRUE(call.sloppy && call.verbose && !call.checkOnly);
  EXPECT_EQ(readHelperCall({"none", "/mnt/x", "-f", "-t", "fuse.dfs", "-N", "/proc/1/ns/mnt"}).args,
            Words{"/mnt/x"});
  for (auto& wrong : {Words{}, Words{"none"}, Words{"a", "b", "c"}, Words{"none", "/x", "-q"},
                      Words{"host:99999:/x", "/x"}, Words{"", "/x"}}) {
    EXPECT_NE(readHelperCall(wrong).wrong, "");
  }
}

TEST(MountHelper, IsKnownByItsName) {
  EXPECT_TRUE(isHelperName("/sbin/mount.dfs"));
  EXPECT_TRUE(isHelperName("mount.fuse.dfs"));
  EXPECT_FALSE(isHelperName("/usr/bin/dfs-mount"));
}

TEST(Permission, OneLineOfFuseConfAllowsOthers) {
  EXPECT_TRUE(allowsOthers("# x\nmount_max = 3\n  user_allow_other # yes\n"));
  EXPECT_FALSE(allowsOthers("#user_allow_other\n"));
  EXPECT_FALSE(allowsOthers(""));
}

}  // namespace
}  // namespace dfs
