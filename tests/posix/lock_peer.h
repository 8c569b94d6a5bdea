#pragma once
// Another process, to lock files in: it does what it is told, and can be left waiting, signalled or killed meanwhile.
//
// Thread: one test's. Owner: the test; its end kills the process.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "tests/posix/place.h"

namespace dfs::posix {

inline struct flock range(short type, off_t start = 0, off_t length = 0, short whence = SEEK_SET) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = whence;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

class Peer {
 public:
  struct Answer {
    int result = -1;
    int error = 0;
    struct flock lock {};
  };

  Peer() {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) abort();
    pid_ = fork();
    if (pid_ == 0) {
      ::close(to[1]);
      ::close(from[0]);
      obey(to[0], from[1]);
    }
    ::close(to[0]);
    ::close(from[1]);
    to_ = to[1];
    from_ = from[0];
  }
  ~Peer() {
    kill(SIGKILL);
    ::close(to_);
    ::close(from_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  pid_t pid() const { return pid_; }

  int open(const std::string& path, int flags = O_RDWR) {
    return call({'o', flags, 0, {}}, path).result;
  }
  int close(int fd) { return call({'c', fd, 0, {}}).result; }
  Answer fcntl(int fd, int cmd, struct flock lock) { return call({'l', fd, cmd, lock}); }
  Answer flock(int fd, int operation) { return call({'f', fd, operation, {}}); }
  int onSignal(int flags) { return call({'s', flags, 0, {}}).result; }
  // SIGUSR1 has a handler that does nothing, with these flags.

  void startFcntl(int fd, int cmd, struct flock lock) { send({'l', fd, cmd, lock}, ""); }
  void startFlock(int fd, int operation) { send({'f', fd, operation, {}}, ""); }
  bool answered(int ms) {
    struct pollfd p {
      from_, POLLIN, 0
    };
    return poll(&p, 1, ms) == 1;
  }
  Answer answer() {
    Answer a;
    if (!answered(20'000) || read(from_, &a, sizeof a) != sizeof a) {
      ADD_FAILURE() << "the other process does not answer";
    }
    return a;
  }

  void signal(int number) { ::kill(pid_, number); }
  bool kill(int number) {
    // And waits for its end; false: not within 5 s.
    if (pid_ <= 0) return true;
    ::kill(pid_, number);
    for (int i = 0; i < 500; ++i) {
      if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = 0;
        return true;
      }
      usleep(10'000);
    }
    return false;
  }

 private:
  struct Order {
    int what;
    int fd;
    int argument;
    struct flock lock;
  };

  void send(Order order, const std::string& path) {
    char buffer[sizeof order + 4096] = {};
    memcpy(buffer, &order, sizeof order);
    memcpy(buffer + sizeof order, path.c_str(), path.size() + 1);
    if (write(to_, buffer, sizeof buffer) != sizeof buffer)
      ADD_FAILURE() << "the other process has gone";
  }
  Answer call(Order order, const std::string& path = "") {
    send(order, path);
    return answer();
  }
  [[noreturn]] static void obey(int in, int out) {
    char buffer[sizeof(Order) + 4096];
    for (;;) {
      for (size_t got = 0; got < sizeof buffer;) {
        auto n = read(in, buffer + got, sizeof buffer - got);
        if (n == 0) _exit(0);
        if (n > 0) got += static_cast<size_t>(n);
      }
      Order order;
      memcpy(&order, buffer, sizeof order);
      Answer a;
      a.lock = order.lock;
      errno = 0;
      if (order.what == 'o') a.result = ::open(buffer + sizeof order, order.fd);
      if (order.what == 'c') a.result = ::close(order.fd);
      if (order.what == 'l') a.result = ::fcntl(order.fd, order.argument, &a.lock);
      if (order.what == 'f') a.result = ::flock(order.fd, order.argument);
      if (order.what == 's') {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        action.sa_flags = order.fd;
        a.result = sigaction(SIGUSR1, &action, nullptr);
      }
      a.error = errno;
      if (write(out, &a, sizeof a) != sizeof a) _exit(1);
    }
  }

  pid_t pid_ = 0;
  int to_ = -1, from_ = -1;
};

template <typename Done> bool eventually(Done&& done, int ms = 5000) {
  // The kernel tells a FUSE file system of an open file's last close, and does not wait for it.
  for (int i = 0; i < ms / 10; ++i) {
    if (done()) return true;
    usleep(10'000);
  }
  return done();
}

}  // namespace dfs::posix
