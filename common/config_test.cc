#include "common/config.h"
#include "common/test_folder.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

namespace dfs {
namespace {

struct Program {
  // One parse of a small program's table.
  std::string data = "/default";
  std::vector<std::string> listen;
  uint64_t replicas = 2;
  bool create = false;
  TestFolder folder;
  std::string file;

  explicit Program(const std::string& toml = "") {
    if (toml.empty()) return;
    file = folder.path + "/program.toml";
    std::ofstream(file) << toml;
  }

  int run(std::vector<std::string> args) {
    Settings settings("program", "A program", file);
    settings.text(data, "data-dir", "DIR", "Where data lies");
    settings.list(listen, "listen", "ADDR", "Where to listen");
    settings.number(replicas, "replicas", "N", "Copies");
    settings.flag(create, "create", "Make a cluster");
    args.insert(args.begin(), "program");
    std::vector<char*> argv;
    for (auto& a : args) argv.push_back(a.data());
    auto end = settings.parse(static_cast<int>(argv.size()), argv.data());
    KJ_IF_MAYBE(code, end) return *code;
    return -1;
  }
};

TEST(Settings, FlagsWinOverEnvironmentOverFileOverDefaults) {
  Program p("data_dir = \"/file\"\nreplicas = 3\nlisten = [\"a:1\", \"b:2\"]\n");
  setenv("DFS_DATA_DIR", "/environment", 1);
  EXPECT_EQ(p.run({"--replicas", "4"}), -1);
  unsetenv("DFS_DATA_DIR");
  EXPECT_EQ(p.data, "/environment");
  EXPECT_EQ(p.replicas, 4u);
  EXPECT_EQ(p.listen, (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_FALSE(p.create);
}

TEST(Settings, AnUnknownKeyNamesTheNearestOne) {
  Program p("replica = 3\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(p.run({}), kExitUsage);
  auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("did you mean \"replicas\"?"), std::string::npos) << text;
}

TEST(Settings, WrongTypesAndUnknownFlagsAreUsageErrors) {
  Program wrong("replicas = \"three\"\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(wrong.run({}), kExitUsage);
  EXPECT_EQ(Program().run({"--replicas", "-1"}), kExitUsage);
  EXPECT_EQ(Program().run({"--replicaz", "1"}), kExitUsage);
  EXPECT_EQ(Program("= what\n").run({}), kExitUsage);
  testing::internal::GetCapturedStderr();
}

TEST(Settings, AListIsRepeatedOrSeparatedByCommas) {
  Program p;
  EXPECT_EQ(p.run({"--listen", "a:1,b:2", "--listen", "c:3", "--create"}), -1);
  EXPECT_EQ(p.listen.size(), 3u);
  EXPECT_TRUE(p.create);
}

TEST(Settings, NearestWordsAreNear) {
  EXPECT_EQ(nearest("lissten", {"data_dir", "listen"}), "listen");
  EXPECT_EQ(nearest("colour", {"data_dir", "listen"}), "");
}

}  // namespace
}  // namespace dfs
