// What /proc says of real processes.

#include "fuse-client/fuse/caller.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace dfs {
namespace {

struct Child {
  // Blocks SIGALRM, tells that it has, and sleeps.
  pid_t pid;
  Child() {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    pid = fork();
    if (pid == 0) {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGALRM);
      sigprocmask(SIG_BLOCK, &set, nullptr);
      (void)!write(ends[1], "", 1);
      for (;;) pause();
    }
    char byte;
    (void)!read(ends[0], &byte, 1);
    close(ends[0]);
    close(ends[1]);
  }
  ~Child() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
};

TEST(CallerStatus, ASignalThatDoesNotKillIsNoEnd) {
  Child c;
  ProcCallerStatus status;
  EXPECT_FALSE(status.dying(c.pid));
  kill(c.pid, SIGALRM);
  EXPECT_FALSE(status.dying(c.pid));
}

TEST(CallerStatus, AZombieAGonePidAndAnUnknownOneAreDying) {
  ProcCallerStatus status;
  pid_t gone;
  {
    Child c;
    gone = c.pid;
    kill(c.pid, SIGKILL);
    siginfo_t info;
    waitid(P_PID, static_cast<id_t>(c.pid), &info, WEXITED | WNOWAIT);
    EXPECT_TRUE(status.dying(c.pid));
  }
  EXPECT_TRUE(status.dying(gone));
  EXPECT_TRUE(status.dying(0));
}

TEST(CallerStatus, AThreadIsReadyUntilItSleeps) {
  ProcCallerStatus status;
  auto mine = KJ_ASSERT_NONNULL(status.thread(gettid()));
  EXPECT_TRUE(mine.ready);
  EXPECT_GT(mine.ranNs, 0u);
  Child c;
  for (int i = 0; i < 1000 && KJ_ASSERT_NONNULL(status.thread(c.pid)).ready; ++i) usleep(1000);
  EXPECT_FALSE(KJ_ASSERT_NONNULL(status.thread(c.pid)).ready);
  EXPECT_TRUE(status.thread(0) == nullptr);
}

TEST(CallerStatus, GroupsAreThoseOfTheProcess) {
  ProcCallerStatus status;
  gid_t mine[64];
  int n = getgroups(64, mine);
  auto seen = status.groups(getpid());
  ASSERT_EQ(seen.size(), static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    EXPECT_NE(std::find(seen.begin(), seen.end(), mine[i]), seen.end());
  }
  EXPECT_TRUE(status.groups(0).empty());
}

}  // namespace
}  // namespace dfs
