#pragma once
// The file system of a cluster for one command: a session without a mount.
//
// Thread: main's, which also runs the loop. Owner: the command.
// Invariants:
//   1. What the command may see and change is what the same user could through a mount: no kernel
//      stands between, so modes are checked here.
//   2. Names in `temporaries` are removed when the command ends, however that comes but by SIGKILL.

#include "common/real_env.h"
#include "fuse-client/vfs/vfs.h"
#include "tools/transfer/progress.h"

#include <kj/async-io.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace dfs {

[[noreturn]] void failErrno(const std::string& path, Errno err);
// The command ends with the code of that error, and says it about that path.

void sayOrEnd(kj::Exception&& failure, Progress& progress, size_t& next, size_t entries);
// Of one entry among many: says what is wrong with it. Throws what is wrong with the cluster, and no
// further one is begun.

bool permits(const Attr& attr, const Caller& caller, uint32_t bits);
// Whether the mode of that inode gives the caller these: 4 to read, 2 to write, 1 to search.

class Remote {
 public:
  Remote(const std::vector<std::string>& nameservers, const char* what);
  // Attached. Throws (unreachable) with a sentence if nobody answers in time. `what`: for `dfs status`.
  ~Remote() noexcept(false);
  KJ_DISALLOW_COPY(Remote);

  void run(kj::Promise<void> work);
  // To its end, and saves everything. Throws what it throws. SIGINT and SIGTERM end the process as
  // they do by default, after what is temporary has been removed.

  Env& env() { return real_.env; }
  Vfs& vfs() { return *vfs_; }
  WorkerPool& files() { return pool_; }  // for calls on this machine's files
  const Caller& caller() const { return caller_; }

  Task<kj::Maybe<Attr>> find(std::string path);
  // Of what that path names, symbolic links followed; it stays looked up. Null: the last name is not
  // there. Throws what a walk meets: not found, denied, no directory.
  Task<Attr> directory(std::string path);
  // The same for what must be there and be a directory that can be changed.

  template <typename T> Task<T> answered(kj::Promise<T> asked) {
    // Throws (timeout) instead of the IO by which a call ends that waited in vain for servers.
    auto began = env().clock.bootMs();
    auto result = co_await kj::mv(asked);
    if (errOf(result) == Errno::IO) refuseSilence(began);
    co_return kj::mv(result);
  }

  std::set<std::pair<InodeId, std::string>> temporaries;  // directory and name
  std::set<std::string> localTemporaries;                 // the same on this machine

 private:
  static Errno errOf(Errno err) { return err; }
  template <typename T> static Errno errOf(const Outcome<T>& outcome) { return outcome.err(); }
  void refuseSilence(uint64_t beganMs);
  Task<void> removeTemporaries();
  void end();

  kj::AsyncIoContext io_;
  RealEnv real_;
  WorkerPool pool_;
  std::string names_;  // the name servers, for a person
  Caller caller_;
  kj::Own<Vfs> vfs_;
};

}  // namespace dfs
