#include "fuse-client/background.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>

namespace dfs {
namespace {

constexpr int kAnswerMs = 30'000;  // within which the mount must answer its first question

}  // namespace

void quiet(int fd) {
  kj::AutoCloseFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  dup2(null, fd);
}

void Report::send(const std::string& text) {
  if (sent_) return;
  sent_ = true;
  if (pipe_.get() < 0) {
    if (!text.empty()) std::cerr << program_ << ": " << text << "\n";
    return;
  }
  auto message = text + '\0';
  // Nobody listens any more: the person has gone, the mount stays.
  (void)!write(pipe_, message.data(), message.size());
  pipe_ = nullptr;
  // Until now libfuse and fusermount3 could say there what they do not like.
  if (text.empty()) quiet(2);
}

Answer answerOf(const std::string& mountpoint, int limitMs) {
  // By a process of its own, which can be killed if it waits for ever.
  pid_t pid = fork();
  if (pid == 0) {
    // If it hangs it must hold nothing: neither a lock nor the report's pipe.
    close_range(3, ~0u, 0);
    struct stat st {};
    _exit(stat(mountpoint.c_str(), &st) == 0 ? 0 : 1);
  }
  for (int waited = 0; pid > 0 && waited < limitMs; waited += 5) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Answer::YES : Answer::NO;
    }
    usleep(5000);
  }
  if (pid > 0) kill(pid, SIGKILL);
  return Answer::NONE;
}

std::string awaitReport(int pipe, pid_t child, const std::string& mountpoint) {
  // SIGINT and SIGTERM are blocked (prepareProcess), so they wait in a descriptor: the person may give up.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  kj::AutoCloseFd signals(signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  std::string text;
  bool heard = false;
  for (bool end = false; !end;) {
    pollfd both[2] = {{pipe, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(both, 2, -1) < 0) continue;
    signalfd_siginfo info;
    if (both[1].revents != 0 && read(signals, &info, sizeof info) == sizeof info) {
      kill(child, SIGTERM);
    }
    char byte;
    if (both[0].revents == 0) continue;
    end = read(pipe, &byte, 1) != 1;
    heard = heard || (!end && byte == 0);
    end = end || heard;
    if (!end) text += byte;
  }
  if (!heard) text = "the mount's process has ended without a word; its log may say more";
  if (text.empty() && answerOf(mountpoint, kAnswerMs) != Answer::YES)
    text = "mounted, but it does not answer";
  return text;
}

}  // namespace dfs
