#pragma once
// Who holds which file exclusively, who waits for it, and how far each recall is.
//
// Thread: the loop's. Owner: Sessions; outlives every Hold.
// Invariants:
//   1. One session at most holds an inode, and no grant is made while another session's request uses
//      the inode (G2): a Hold of kind USE lasts from the end of the recalls until the request is
//      answered, or its command applied.
//   2. Requests for an inode go on in order of arrival; those of its holder never wait (Y4, O1).
//   3. Only inodes with a holder, a Hold or somebody who waits are kept here.
//   4. A recall goes out after the grant was acknowledged (G5), or a period after it was not.

#include "common/env.h"
#include "common/ids.h"
#include "common/limits.h"

#include <kj/async.h>
#include <kj/memory.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace dfs {

class RecallSender {
 public:
  virtual void sendRecall(SessionId session, InodeId ino, uint64_t sequence) = 0;
  // Answers come back as recallAnswered(); no answer if the session is not connected.
};

class LeaseTable {
 public:
  enum class Kind { USE, GRANT };

  class Hold {
    // A place at an inode. USE: nobody else is granted it. GRANT: the only one who may be.
   public:
    Hold(LeaseTable& table, InodeId ino, SessionId session, Kind kind)
        : table_(table), ino_(ino), session_(session), kind_(kind) {}
    ~Hold() noexcept(false) { table_.drop(ino_, session_, kind_); }
    KJ_DISALLOW_COPY(Hold);
    InodeId ino() const { return ino_; }

   private:
    LeaseTable& table_;
    const InodeId ino_;
    const SessionId session_;
    const Kind kind_;
  };

  struct RecallStatus {
    InodeId ino;
    SessionId holder;
    uint64_t sequence;
    uint64_t sinceMs;  // when somebody began to wait
    uint64_t lastSignMs;
    bool sent;
    std::string waitsFor;
    size_t waiters;
  };

  LeaseTable(Env& env, RecallSender& sender, uint64_t firstSequence);
  KJ_DISALLOW_COPY(LeaseTable);

  kj::Promise<kj::Own<Hold>> use(InodeId ino, SessionId session);
  // Resolves when no other session holds the inode; recalls it. Dropping the promise gives the place
  // in the queue up.
  kj::Promise<kj::Own<Hold>> toGrant(InodeId ino, SessionId session);
  // The same, and no other session uses it. While the Hold lives grant() succeeds.

  uint64_t grant(InodeId ino, SessionId session);
  // The sequence; that of the grant that stands, if there is one. REQUIRES a GRANT Hold or mayGrant().
  bool mayGrant(InodeId ino, SessionId session);
  // At once and without a recall: nobody else holds, uses or waits for it.
  bool heldByOther(InodeId ino, SessionId session);
  // Or about to be.
  SessionId holder(InodeId ino);
  uint64_t sequence(InodeId ino);  // of the grant that stands; 0: none

  void acknowledged(InodeId ino, SessionId session, uint64_t sequence);
  void released(InodeId ino, SessionId session, uint64_t sequence);
  // Ignored unless it names the latest grant (G1).
  void sign(InodeId ino, SessionId session, uint64_t sequence, std::string waitsFor);
  void recallAnswered(InodeId ino, SessionId session, uint64_t sequence);
  bool claim(InodeId ino, SessionId session, uint64_t sequence, bool mayTake);
  // False: it is another's, or another grant's; the session is to be told by a recall. mayTake: what
  // nobody holds may be taken (the first phase).
  void detached(SessionId session);
  // Its connection has gone: what it was sent may never have arrived.
  void attachedAgain(SessionId session);
  // After its claims: they count as acknowledged, recalls go out again.
  void endSession(SessionId session);
  // All it holds is free.

  void tick();
  // Sends the recalls whose acknowledgement never came.
  std::vector<RecallStatus> recalls();
  std::vector<InodeId> heldBy(SessionId session);
  std::vector<InodeId> allHeld(InodeId above, size_t inosMax);
  size_t heldCount(SessionId session) const;
  size_t size() const { return entries_.size(); }

 private:
  struct Waiter {
    Waiter(LeaseTable& waiterTable, InodeId waiterIno, SessionId waiterSession, Kind waiterKind,
           kj::PromiseFulfiller<kj::Own<Hold>>& waiterDone);
    ~Waiter() noexcept(false);
    KJ_DISALLOW_COPY(Waiter);

    LeaseTable& table;
    const InodeId ino;
    const SessionId session;
    const Kind kind;
    kj::PromiseFulfiller<kj::Own<Hold>>& done;
    bool queued = true;
  };
  class WaiterAdapter;
  struct Recall {
    uint64_t sinceMs = 0;  // 0: nobody waits for the holder
    uint64_t sentMs = 0;   // 0: not yet
    uint64_t lastSignMs = 0;
    std::string waitsFor;
  };
  struct Entry {
    SessionId holder;
    uint64_t sequence = 0;
    bool acknowledged = false;
    Recall recall;
    uint32_t uses = 0;
    SessionId granting;
    std::deque<Waiter*> waiters;
  };
  using Entries = std::map<InodeId, Entry>;

  kj::Promise<kj::Own<Hold>> enqueue(InodeId ino, SessionId session, Kind kind);
  bool blocked(const Entry& entry, SessionId session, Kind kind);
  void pump(InodeId ino);
  void admit(Entry& entry, Waiter& waiter);
  void drop(InodeId ino, SessionId session, Kind kind);
  void setHolder(InodeId ino, Entry& entry, SessionId session, uint64_t sequence);
  void clearHolder(InodeId ino, Entry& entry);
  void wantRecall(InodeId ino, Entry& entry);
  void sendRecall(InodeId ino, Entry& entry);
  Entry* find(InodeId ino);
  Entry* heldExactly(InodeId ino, SessionId session, uint64_t sequence);
  uint64_t now() { return env_.clock.bootMs(); }

  Env& env_;
  RecallSender& sender_;
  uint64_t nextSequence_;
  Entries entries_;
  std::map<SessionId, std::set<InodeId>> held_;
  std::set<InodeId> recalled_;  // those somebody waits for
};

}  // namespace dfs
