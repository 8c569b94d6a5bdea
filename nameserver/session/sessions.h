#pragma once
// The sessions of the clients at the leader: attaching, claims, renewal, their end (S), the two
// phases of a start (S5), every call of the Session capability, and what becomes of removed files.
//
// Thread: the loop's. Owner: Server. Lives for one term of this server's leadership; dropping it
// fails every call in flight.
// Invariants:
//   1. What a session holds passes to others only after the end of the session is committed and every
//      daemon has settled it (S1, C3).
//   2. Every answer that extends a right follows a confirmation of leadership that began after the
//      request arrived, and after its last wait for others (S4).
//   3. A command that was proposed keeps its Holds until its outcome is known, whatever becomes of the
//      call.
//   4. Calls of an older attach, and of a session whose end has begun, end with DISCONNECTED (G1, S1).

#include "common/env.h"
#include "common/task.h"
#include "nameserver/cluster/cluster.h"
#include "nameserver/meta/queries.h"
#include "nameserver/raft/replicator.h"
#include "nameserver/session/data_versions.h"
#include "nameserver/session/gate.h"
#include "nameserver/session/lease_table.h"
#include "nameserver/session/lock_table.h"
#include "nameserver/session/needs.h"
#include "nameserver/session/stamper.h"

#include <kj/function.h>
#include <kj/refcount.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace dfs {

inline constexpr uint64_t kSessionPeriodMs =
    kSessionLeaseMs * (1000 + kDriftPerMille) / 1000 + kLeaseMarginMs;
// Silent for longer than this: the client has stopped serving from its leases.

struct CallOrigin {
  SessionId session;
  uint64_t attach;
};

struct SessionStatus {
  SessionId id;
  std::string host;
  std::string what;
  uint64_t silentMs;
  bool attached;
  bool claimed;
  bool ending;
  size_t leases;
  size_t pins;
  size_t locks;
};

struct LockReport {
  LockTable::Report lock;
  std::string path;  // empty: it has no name any more
  std::string host;
  std::string mount;
};

struct RecallReport {
  LeaseTable::RecallStatus recall;
  std::string path;     // of the inode; empty: it has no name any more
  std::string host;     // of the holder
  std::string fencing;  // the daemons that the end of the holder waits for; empty: it does not end
};

class Sessions final : private RecallSender, private kj::TaskSet::ErrorHandler {
 public:
  Sessions(Env& env, Queries& queries, Replicator& replicator, Cluster& cluster);
  ~Sessions() noexcept(false);
  KJ_DISALLOW_COPY(Sessions);

  schema::NameServer::Client nameServer(uint64_t connection);
  // For one connection. Numbers are the caller's, never used twice.
  void connectionGone(uint64_t connection);
  // Its sessions are no longer attached; their calls in flight end.

  bool serving() { return serving_.isOpen(); }  // the first phase is over
  kj::Promise<void> whenServing() { return serving_.wait(); }
  kj::Promise<void> failed() { return failed_.addBranch(); }
  // Throws if something failed that must not be passed over; the process ends.

  kj::Promise<void> settleAll();
  // Every exclusive lease has been recalled once.
  std::vector<SessionStatus> status();
  std::vector<RecallReport> recalls();
  std::vector<LockReport> locks(InodeId above, size_t locksMax);
  // In order of inode, those of one all together; at least those of the first above.
  std::vector<HealthSentence> health();
  struct Counters {
    uint64_t calls = 0, commands = 0, grants = 0, recallsSent = 0, ended = 0, reaped = 0;
  };
  const Counters& counters() const { return counters_; }
  size_t leaseCount() const { return leases_.size(); }
  size_t phaseOneWaits() const { return unclaimed_.size(); }

 private:
  struct Live {
    Live(SessionId liveId, std::string liveHost, std::string liveWhat, uint64_t nowMs)
        : id(liveId), host(kj::mv(liveHost)), what(kj::mv(liveWhat)), heardMs(nowMs) {}

    const SessionId id;
    std::string host;
    std::string what;
    uint64_t heardMs;
    uint64_t attach = 0;  // number of the connection that counts; 0: none yet in this term
    uint64_t connection = 0;
    kj::Maybe<schema::Callback::Client> callback;  // null: not connected
    kj::Own<Gate> claimed = kj::heap<Gate>();
    std::map<InodeId, uint64_t> claiming;  // what the pieces so far held
    std::set<InodeId> claimingPins;
    std::vector<FileLock> claimingLocks;
    bool ending = false;
    uint64_t endedVersion = 0;  // of the view; 0: not committed yet
    kj::Own<Gate> ended = kj::heap<Gate>();
    std::set<InodeId> pins;
    std::set<InodeId> denied;  // removed inodes that it said it does not use (G4)
    uint32_t calls = 0;
    uint32_t lockCalls = 0;  // of lock(): they may wait for long, and in great numbers
    kj::Own<kj::Canceler> canceler = kj::heap<kj::Canceler>();
  };
  struct Link final : public kj::Refcounted {
    // How capabilities, which may live longer, reach this object.
    explicit Link(Sessions& target) : sessions(&target) {}
    Sessions* sessions;
  };
  class NameServerServer;
  class SessionServer;
  class CallCount;
  class LockWait;
  struct Applied;
  using Holds = std::map<InodeId, kj::Own<LeaseTable::Hold>>;

  // sessions.cc: the life of sessions
  template <typename Params, typename Results>
  kj::Promise<void> call(CallOrigin caller,
                         Task<void> (Sessions::*method)(CallOrigin,
                                                        capnp::CallContext<Params, Results>),
                         capnp::CallContext<Params, Results> context,
                         uint32_t Live::*count = &Live::calls,
                         uint32_t callsMax = kCallsPerSessionMax);
  Live* find(SessionId id);
  Live& current(CallOrigin caller);  // throws DISCONNECTED if it is not
  bool silent(const Live& live);
  void detach(Live& live, kj::StringPtr why);
  void beginEnd(SessionId id, bool clean, kj::StringPtr why);
  Task<void> endOne(SessionId id, bool clean);
  void claimedOrEnded(SessionId id);
  Task<void> tickForever();
  void tick();
  void endSilentHolders();
  void endUnclaimed();
  Task<void> tellView();
  Task<void> proposeOwn(CommandMessage command, kj::StringPtr what);
  void sendRecall(SessionId session, InodeId ino, uint64_t sequence) override;
  void taskFailed(kj::Exception&& exception) override;
  kj::Promise<void> servingGate();
  using AttachContext =
      capnp::CallContext<schema::NameServer::AttachParams, schema::NameServer::AttachResults>;
  Task<void> attach(uint64_t connection, AttachContext context);
  Task<Errno> startSession(SessionId id, std::string host, std::string what);

  // session_calls.cc, apply_call.cc, lock_calls.cc: the methods of a session
  template <typename P, typename R> using Ctx = capnp::CallContext<P, R>;
#define DFS_SESSION_CALL(method, Name) \
  Task<void> method(CallOrigin caller, \
                    Ctx<schema::Session::Name##Params, schema::Session::Name##Results> context)
  DFS_SESSION_CALL(claim, Claim);
  DFS_SESSION_CALL(renew, Renew);
  DFS_SESSION_CALL(lookup, Lookup);
  DFS_SESSION_CALL(getattr, Getattr);
  DFS_SESSION_CALL(readdir, Readdir);
  DFS_SESSION_CALL(readlink, Readlink);
  DFS_SESSION_CALL(rows, Rows);
  DFS_SESSION_CALL(apply, Apply);
  DFS_SESSION_CALL(acquire, Acquire);
  DFS_SESSION_CALL(granted, Granted);
  DFS_SESSION_CALL(release, Release);
  DFS_SESSION_CALL(releasing, Releasing);
  DFS_SESSION_CALL(unpin, Unpin);
  DFS_SESSION_CALL(allot, Allot);
  DFS_SESSION_CALL(statfs, Statfs);
  DFS_SESSION_CALL(viewCall, View);
  DFS_SESSION_CALL(getxattr, Getxattr);
  DFS_SESSION_CALL(listxattr, Listxattr);
  DFS_SESSION_CALL(end, End);
  DFS_SESSION_CALL(lock, Lock);
  DFS_SESSION_CALL(testLock, TestLock);
  DFS_SESSION_CALL(cancelLock, CancelLock);
#undef DFS_SESSION_CALL
  kj::Promise<void> admitted(CallOrigin caller);
  // Past the first phase, and past the session's own claims.
  bool deniedTo(CallOrigin caller, InodeId ino);
  void attrToWire(const InodeAttr& attr, schema::Attr::Builder b);
  uint64_t grantTo(CallOrigin caller, InodeId ino, schema::Grant::Builder b);
  Task<void> prepare(CallOrigin caller, schema::Command::Reader command, Needs* needs,
                     Holds* holds);
  Task<void> proposeHeld(CommandMessage command, Needs needs, Holds holds,
                         kj::Own<kj::PromiseFulfiller<kj::Own<Applied>>> done);
  template <typename Results>
  void answerApply(CallOrigin caller, schema::Command::Reader command, Applied& applied,
                   Results results);
  Task<void> settleOne(InodeId ino);

  // lock_calls.cc: file locks
  bool addClaims(Live& live, capnp::List<schema::FileLock>::Reader claims);
  // False: more than there can be, or none that could be.
  bool takeClaims(Live& live);
  void tellLocks();
  // Who waits hears what the table has decided.
  void endSilentLockers();
  void endIfSilent(SessionId id);

  // reaper.cc: removed inodes
  Task<void> reapForever();
  Task<bool> reapSome();
  // True: there may be more at once.
  Task<bool> askAll(std::vector<InodeId> inos, std::set<InodeId>* keep);
  Task<bool> askOne(SessionId id, std::vector<InodeId> inos, std::set<InodeId>* keep);
  bool pinned(InodeId ino);

  uint64_t now() {
    return env_.clock.bootMs();
  }

  Env& env_;
  Queries& queries_;
  Replicator& replicator_;
  Cluster& cluster_;
  const uint64_t term_;
  const uint64_t startMs_;
  kj::Own<Link> link_;
  Stamper stamper_;
  LeaseTable leases_;
  LockTable locks_;
  std::map<uint64_t, LockWait*> lockWaits_;                          // by number in the table
  std::map<std::pair<SessionId, uint64_t>, LockWait*> lockTickets_;  // by the client's
  DataVersions versions_;
  Gate serving_;
  Counters counters_;
  uint64_t attaches_;
  size_t gateWaiters_ = 0;  // requests that wait for the first phase to end
  std::map<SessionId, kj::Own<Live>> live_;
  std::set<SessionId> unclaimed_;  // of the first phase
  std::set<NameKey> namesInFlight_;
  kj::Own<Gate> nameFreed_ = kj::heap<Gate>();
  InodeId reapCursor_;
  std::map<SessionId, uint64_t> silentCallbacks_;  // asked in vain: not before that time again

  kj::Own<kj::PromiseFulfiller<void>> failFulfiller_;
  kj::ForkedPromise<void> failed_;
  kj::Canceler calls_;
  kj::TaskSet tasks_;
};

}  // namespace dfs
