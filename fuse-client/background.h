#pragma once
// A mount goes on in a process of its own; the one that the person started waits for its word.
//
// Thread: main's, in either process.

#include <kj/io.h>
#include <sys/types.h>

#include <string>

namespace dfs {

class Report {
  // From the process that mounts to the one that the person started: empty text is success.
 public:
  explicit Report(std::string program) : program_(std::move(program)) {}
  Report(std::string program, kj::AutoCloseFd pipe)
      : program_(std::move(program)), pipe_(kj::mv(pipe)) {}
  void send(const std::string& text);
  // The first counts. Without a pipe it goes to stderr, in the name of the program.

 private:
  std::string program_;
  kj::AutoCloseFd pipe_;
  bool sent_ = false;
};

std::string awaitReport(int pipe, pid_t child, const std::string& mountpoint);
// Empty: the mount is there and answers. Otherwise a sentence. SIGINT and SIGTERM are passed on.

enum class Answer { YES, NO, NONE };
Answer answerOf(const std::string& mountpoint, int limitMs);
// Whether what is mounted there answers, by a process of its own, which can be killed if it waits for ever.

void quiet(int fd);  // nothing comes from it, and nothing that is written there is seen

}  // namespace dfs
