#include "common/cluster_source.h"

#include <gtest/gtest.h>

namespace dfs {
namespace {

using Names = std::vector<std::string>;

void expectSource(const std::string& text, const Names& names, const std::string& path) {
  auto source = parseClusterSource(text);
  EXPECT_EQ(source.wrong, "") << text;
  EXPECT_EQ(source.nameservers, names) << text;
  EXPECT_EQ(source.path, path) << text;
}

TEST(ClusterSource, NamesServersAndAPlace) {
  expectSource("host1:7400", {"host1:7400"}, "");
  expectSource("host1:7400:/", {"host1:7400"}, "/");
  expectSource("n1,n2:99,n3:/home/a b", {"n1:7400", "n2:99", "n3:7400"}, "/home/a b");
  expectSource("[::1]:/x:/y,z", {"[::1]:7400"}, "/x:/y,z");
  expectSource("[fe80::1]:99,h:/x", {"[fe80::1]:99", "h:7400"}, "/x");
  expectSource("unix:/run/a.sock", {"unix:/run/a.sock"}, "");
  expectSource("unix:/run/a.sock,h:1:/x", {"unix:/run/a.sock", "h:1"}, "/x");
  expectSource("unix:/run/a.sock:/x", {"unix:/run/a.sock"}, "/x");
}

TEST(ClusterSource, SomeWordsLeaveItToTheConfiguration) {
  expectSource("none", {}, "");
  expectSource("dfs", {}, "");
}

TEST(ClusterSource, WhatCannotBeReadIsSaid) {
  for (auto text : {"", ",", "a,,b", ":/x", "a:b:/x", "a:0", "a:99999:/x", "a:", "[::1", "a,"}) {
    EXPECT_NE(parseClusterSource(text).wrong, "") << text;
  }
}

TEST(ClusterSource, APathOfThisMachineIsNone) {
  EXPECT_TRUE(looksLikeSource("host1:/x"));
  EXPECT_TRUE(looksLikeSource("a,b:99:/x"));
  for (auto path : {"/a:/b", "./a:/b", "a/b", "a", "", "none", "a:b"}) {
    EXPECT_FALSE(looksLikeSource(path)) << path;
  }
}

}  // namespace
}  // namespace dfs
