// Method: paths of this machine, with links made for it, and one mount that every machine has: the root.

#include "common/mounts.h"
#include "common/test_folder.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

namespace dfs {
namespace {

namespace fs = std::filesystem;

TEST(Mounts, APathIsNamedAsTheKernelNamesIt) {
  TestFolder folder;
  fs::create_directories(folder.path + "/a/b");
  fs::create_symlink("a/b", folder.path + "/near");
  fs::create_symlink(folder.path + "/near/..", folder.path + "/far");
  EXPECT_EQ(mountPath(folder.path + "/near"), folder.path + "/a/b");
  EXPECT_EQ(mountPath(folder.path + "/near/../none/"), folder.path + "/a/none");
  EXPECT_EQ(mountPath(folder.path + "//far/./b"), folder.path + "/a/b");
  EXPECT_EQ(mountPath("/.."), "/");
  EXPECT_EQ(mountPath("."), fs::current_path().string());
}

TEST(Mounts, ALinkToItselfEnds) {
  TestFolder folder;
  fs::create_symlink("loop", folder.path + "/loop");
  EXPECT_EQ(mountPath(folder.path + "/loop"), folder.path + "/loop");
}

TEST(Mounts, WhatIsNoMountOfOursIsNone) {
  auto root = mountedAt("/");
  EXPECT_TRUE(root != nullptr);
  EXPECT_TRUE(mountedAt("/nonexistent") == nullptr);
  EXPECT_TRUE(dfsMountHolding("/proc/self") == nullptr);
  EXPECT_TRUE(dfsMountHolding("/nonexistent/file") == nullptr);
}

}  // namespace
}  // namespace dfs
