#pragma once
// The file locks of this mount: what each owner holds, what is under way, and what was lost.
//
// Thread: the loop's. Owner: the Client; outlives its tasks.
// Invariants:
//   1. What is claimed at an attach is what programs were told that they hold, less what they are
//      giving up: a range goes from `held` before its unlocking is sent, and comes in with the answer.
//   2. Operations of one owner whose ranges overlap go one after the other, so that no repeat undoes
//      what came later. One that waits is called back from the name server for the sake of a later one
//      that does not, and asked for again after it.
//   3. An operation goes on here when its caller has gone: a lock that was given to nobody is given
//      back, to what the owner had before.
//   4. Locks of a session that ended are `lost` until their range is locked anew or unlocked, or the
//      file is closed (S3).

#include "fuse-client/remote/name_client.h"
#include "fuse-client/vfs/vfs.h"

#include <list>

namespace dfs {

class Locks {
 public:
  Locks(Env& env, NameClient& names, kj::TaskSet& tasks);
  ~Locks() noexcept(false);
  KJ_DISALLOW_COPY(Locks);

  kj::Promise<Errno> set(FileHandle via, FileLock lock, bool wait, kj::Promise<void> interrupted);
  // As Vfs::lock. Unlocking is done at once while the name server is away: what is not claimed is
  // not held.
  kj::Promise<Outcome<FileLock>> test(FileLock lock);
  kj::Promise<void> close(InodeId ino, uint64_t owner);
  // A descriptor of the owner's process has been closed: its POSIX locks on the file go.
  kj::Promise<void> release(FileHandle via);
  // The last descriptor of an open file: its flock goes, and all else that was locked through it.
  bool lost(FileHandle via) const;
  // Locks that were taken through it have been lost.
  uint64_t eraOf(FileHandle via) const;
  // What is asked through it rests on locks of the session of that era, and must not be done by a
  // later one; 0: it does not.

  std::vector<FileLock> claims() const;
  void sessionEnded();
  size_t size() const { return holders_.size(); }

 private:
  struct Key {
    InodeId ino;
    LockSpace space;
    uint64_t owner;
    auto operator<=>(const Key&) const = default;
  };
  struct Operation;
  struct Holder;
  class Asker;

  kj::Own<Holder> holderOf(const Key& key);
  void start(kj::Own<Holder> holder, kj::Own<Operation> op);
  Task<void> run(kj::Own<Holder> holder, kj::Own<Operation> op);
  Task<Errno> send(Holder& holder, Operation& op);
  Task<void> restore(kj::Own<Holder> holder, FileLock lock);
  kj::Promise<void> unlockAll(kj::Own<Holder> holder);
  kj::Maybe<Operation&> inTheWay(Holder& holder, const Operation& op);
  void callBack(Operation& op);
  void interrupt(Operation& op);
  void lowerFor(Holder& holder, Operation& op);
  void refused(Holder& holder, const Operation& op);
  void noteVia(Holder& holder, FileHandle via);
  void forgetVia(Holder& holder);
  void lose(Holder& holder, const LockRanges::Range& range);
  void forgetLost(Holder& holder, LockSpan span);
  void forget(Holder& holder);

  Env& env_;
  NameClient& names_;
  kj::TaskSet& tasks_;
  std::map<Key, kj::Own<Holder>> holders_;
  std::map<FileHandle, std::set<Key>> byHandle_;  // what was locked through it
  size_t losers_ = 0;                             // holders that have lost something
};

}  // namespace dfs
