// Method: real processes: the shell, in a temporary directory.

#include "common/launch.h"
#include "common/test_folder.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dfs {
namespace {

struct World {
  TestFolder folder;
  const std::string& directory = folder.path;

  ProcessId shell(const std::string& script) {
    Launch what;
    what.argv = {"/bin/sh", "-c", script};
    what.output = directory + "/output";
    return launch(what);
  }
  std::string output() { return lastLines(directory + "/output", 100); }
  void waitForOutput(const std::string& text) {
    while (output().find(text) == std::string::npos) usleep(1000);
  }
};

TEST(Launch, AProcessIsKnownByItsPidAndBirth) {
  EXPECT_NE(bornAt(getpid()), 0u);
  EXPECT_EQ(bornAt(getpid()), bornAt(getpid()));
  EXPECT_EQ(bornAt(0x3fffffff), 0u);
  EXPECT_TRUE(isAlive({getpid(), bornAt(getpid())}));
  EXPECT_FALSE(isAlive({getpid(), bornAt(getpid()) + 1}));
  EXPECT_FALSE(isAlive({getpid(), 0}));
}

TEST(Launch, AProgramThatDoesNotExistThrowsWithItsName) {
  Launch what;
  what.argv = {"/nonexistent/program"};
  auto error = kj::runCatchingExceptions([&]() { launch(what); });
  std::string said = KJ_ASSERT_NONNULL(error).getDescription().cStr();
  EXPECT_NE(said.find("/nonexistent/program"), std::string::npos) << said;
  EXPECT_NE(said.find("No such file"), std::string::npos) << said;
  errno = 0;
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // reaped
}

TEST(Launch, AChildHasNoDescriptorsOfOursAndASessionOfItsOwn) {
  World w;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // not close-on-exec
  auto child =
      w.shell("ls /proc/self/fd | tr '\\n' ' '; ps -o sid= -p $$ | tr -d ' '; echo; echo end");
  w.waitForOutput("end");
  EXPECT_TRUE(stopProcess(child, 5000));
  close(ends[0]);
  close(ends[1]);
  EXPECT_NE(w.output().find("0 1 2 3 " + std::to_string(child.pid)), std::string::npos)
      << w.output();  // 3: the directory that ls reads
}

TEST(Launch, StoppingAsksFirstAndKillsWhoDoesNotGo) {
  World w;
  auto polite = w.shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  w.waitForOutput("ready");
  EXPECT_TRUE(isAlive(polite));
  EXPECT_TRUE(stopProcess(polite, 20'000));
  EXPECT_NE(w.output().find("bye"), std::string::npos);
  auto deaf = w.shell("trap '' TERM; echo deaf; while :; do sleep 0.01; done");
  w.waitForOutput("deaf");
  EXPECT_TRUE(stopProcess(deaf, 50));
  EXPECT_FALSE(isAlive(deaf));
  EXPECT_TRUE(stopProcess(deaf, 50));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // reaped
}

TEST(Launch, StoppingWhatIsNotThatProcessTouchesNobody) {
  World w;
  auto child = w.shell("echo up; exec sleep 1000");
  w.waitForOutput("up");
  auto finished = w.shell("exit 0");
  while (bornAt(finished.pid) != 0) usleep(1000);
  // A pid that another process has by now, and no pid at all.
  EXPECT_TRUE(stopProcess({child.pid, child.born + 1}, 0));
  EXPECT_TRUE(isAlive(child));
  EXPECT_TRUE(stopProcess({}, 0));
  EXPECT_EQ(waitpid(finished.pid, nullptr, WNOHANG), finished.pid);  // still ours to reap
  EXPECT_TRUE(stopProcess(child, 5000));
}

TEST(Launch, SocketsOfALongDataDirectoryLieWhereTheirNamesFit) {
  EXPECT_EQ(socketDirectory("/data"), "/data/run");
  auto one = socketDirectory("/" + std::string(120, 'x'));
  EXPECT_LE(one.size() + 25, 108u);
  EXPECT_NE(one, socketDirectory("/" + std::string(121, 'x')));
}

TEST(Launch, AQuestionOverHttpWithoutAnAnswerIsEmpty) {
  World w;
  EXPECT_EQ(quickGet("unix:" + w.directory + "/none", "/status", 100), "");
  EXPECT_EQ(quickGet("no port", "/status", 100), "");
  EXPECT_EQ(lastLines(w.directory + "/none", 3), "");
}

}  // namespace
}  // namespace dfs
