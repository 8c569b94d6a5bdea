#include "common/size_text.h"
#include "tools/transfer/local.h"
#include "tools/transfer/progress.h"
#include "tools/transfer/remote.h"

#include <gtest/gtest.h>

namespace dfs {
namespace {

TEST(TransferNames, TheLastPartOfAPath) {
  EXPECT_EQ(baseName("/a/b"), "b");
  EXPECT_EQ(baseName("/a/b//"), "b");
  EXPECT_EQ(baseName("b"), "b");
  for (auto none : {"", "/", "//", ".", "a/..", "/."}) EXPECT_EQ(baseName(none), "") << none;
}

TEST(TransferNames, APartIsHiddenFitsAndIsOfOneVersion) {
  std::string name(255, 'x');
  EXPECT_LE(partName(name, ~uint64_t(0)).size(), 255u);
  EXPECT_EQ(partName("f", 1), ".f.0000000000000001.dfs-part");
  EXPECT_NE(partName("f", 1), partName("f", 2));
}

TEST(TransferProgress, SaysHowFarAndHowFast) {
  EXPECT_EQ(progressLine("f", 0, 0, 0, 0), "f  0 B");
  EXPECT_EQ(progressLine("f", 50 << 20, 100 << 20, 50 << 20, 1000),
            "f  50%  50.0 MiB  50.0 MiB/s  0:01");
  // What was there already is not this run's speed.
  EXPECT_EQ(progressLine("f", 75 << 20, 100 << 20, 25 << 20, 1000),
            "f  75%  75.0 MiB  25.0 MiB/s  0:01");
  EXPECT_EQ(progressLine("f", 200, 100, 200, 0), "f  100%  200 B");
  EXPECT_EQ(sizeText(1023), "1023 B");
  EXPECT_EQ(sizeText(1536), "1.5 KiB");
}

TEST(TransferRights, AreThoseOfTheFirstClassThatTheCallerIsIn) {
  Attr attr;
  attr.uid = 1;
  attr.gid = 2;
  attr.mode = 0174;
  Caller owner{1, 9, {}, 0, 0}, group{5, 9, {7, 2}, 0, 0}, other{5, 9, {7}, 0, 0};
  EXPECT_TRUE(permits(attr, owner, 1));
  EXPECT_FALSE(permits(attr, owner, 4));
  EXPECT_TRUE(permits(attr, group, 7));
  EXPECT_TRUE(permits(attr, other, 4));
  EXPECT_FALSE(permits(attr, other, 6));
  EXPECT_TRUE(permits(attr, Caller{}, 7));
}

}  // namespace
}  // namespace dfs
