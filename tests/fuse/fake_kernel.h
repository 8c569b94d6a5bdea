#pragma once
// The kernel's side of FUSE over a socket pair: what <linux/fuse.h> says, by hand.
//
// Thread: the test's. Each message is one packet, as each read of /dev/fuse is one request. reply() lets
// everything run that can and gives the answer to one request, so the order of answers does not matter.
// Unlike the kernel it checks nothing, and its send buffer is finite: answers of more than 100 KB do not fit.

#include <kj/async-io.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>

namespace dfs {

struct FakeReply {
  int error = 0;  // positive
  std::string body;
  template <typename T> T as(size_t at = 0) const {
    KJ_REQUIRE(body.size() >= at + sizeof(T), "the answer is too short", body.size());
    T value;
    memcpy(&value, body.data() + at, sizeof value);
    return value;
  }
};

template <typename T> std::string bytesOf(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

class FakeKernel {
 public:
  struct Who {
    uint32_t uid = 1000, gid = 100, pid = 77;
  };
  Who who;

  explicit FakeKernel(kj::WaitScope& scope) : scope_(scope) {
    int ends[2];
    KJ_SYSCALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
    mine_ = kj::AutoCloseFd(ends[0]);
    theirs_ = kj::AutoCloseFd(ends[1]);
  }
  kj::AutoCloseFd other() { return kj::mv(theirs_); }

  uint64_t send(uint32_t opcode, uint64_t node, const std::string& body) {
    uint64_t unique = next_ += 2;
    send(opcode, node, body, unique);
    return unique;
  }
  void send(uint32_t opcode, uint64_t node, const std::string& body, uint64_t unique) {
    fuse_in_header head{};
    head.len = static_cast<uint32_t>(sizeof head + body.size());
    head.opcode = opcode;
    head.unique = unique;
    head.nodeid = node;
    head.uid = who.uid;
    head.gid = who.gid;
    head.pid = who.pid;
    auto packet = bytesOf(head) + body;
    ssize_t n = ::send(mine_, packet.data(), packet.size(), 0);
    KJ_REQUIRE(n == static_cast<ssize_t>(packet.size()), n, errno);
  }
  uint64_t upcoming() const { return next_ + 2; }
  // What the next send() will be called.

  void interrupt(uint64_t unique) {
    fuse_interrupt_in in{unique};
    send(FUSE_INTERRUPT, 0, bytesOf(in), unique | 1);
  }

  FakeReply init(uint32_t flags = 0x7fffffff) {
    fuse_init_in in{};
    in.major = FUSE_KERNEL_VERSION;
    in.minor = FUSE_KERNEL_MINOR_VERSION;
    in.max_readahead = 128 << 10;
    in.flags = flags;
    return call(FUSE_INIT, 0, bytesOf(in));
  }

  FakeReply call(uint32_t opcode, uint64_t node, const std::string& body) {
    return reply(send(opcode, node, body));
  }
  FakeReply reply(uint64_t unique) {
    KJ_REQUIRE(has(unique), "no answer", unique);
    return take(unique);
  }
  bool has(uint64_t unique) {
    // Lets everything happen that can.
    settle();
    return replies_.count(unique) != 0;
  }
  void settle() {
    for (int i = 0; i < 3; ++i) {
      // Whatever is ready runs; nothing is waited for.
      kj::Promise<void>(kj::NEVER_DONE).poll(scope_);
      receive();
    }
  }
  size_t count() const { return replies_.size(); }
  // Answers that nobody has taken.
  void hangUp() { mine_ = nullptr; }
  void stopListening() { shutdown(mine_, SHUT_RD); }
  // Answers fail from now on, as one to a request that was given up does.

 private:
  FakeReply take(uint64_t unique) {
    auto found = replies_.find(unique);
    auto reply = kj::mv(found->second);
    replies_.erase(found);
    return reply;
  }
  void receive() {
    char buffer[256 << 10];
    for (ssize_t n; mine_.get() >= 0 && (n = recv(mine_, buffer, sizeof buffer, 0)) > 0;) {
      fuse_out_header head;
      KJ_REQUIRE(n >= static_cast<ssize_t>(sizeof head));
      memcpy(&head, buffer, sizeof head);
      KJ_REQUIRE(head.len == n, "the length in the header is another");
      FakeReply reply{-head.error,
                      std::string(buffer + sizeof head, static_cast<size_t>(n) - sizeof head)};
      KJ_REQUIRE(replies_.emplace(head.unique, kj::mv(reply)).second, "a second answer",
                 head.unique);
    }
  }

  kj::WaitScope& scope_;
  kj::AutoCloseFd mine_, theirs_;
  uint64_t next_ = 0;
  std::map<uint64_t, FakeReply> replies_;
};

}  // namespace dfs
