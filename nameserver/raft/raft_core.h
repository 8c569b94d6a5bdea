#pragma once
// libraft's pure core, raft_step(), behind a C interface: raft.h does not compile as C++, and
// raft_core.c is the only file that includes it (L1).
//
// Thread: the loop's. Owner: RaftReplicator.
// Invariants, asked after every step (L3); a step that breaks one answers RAFT_CORE_BROKEN:
//   1. The commit index never goes back and never passes the last index.
//   2. No entry at or below the applied index is replaced.
//   3. A term in which this server leads has no other leader.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct RaftCore RaftCore;

enum { RAFT_CORE_OK = 0, RAFT_CORE_BROKEN = -1 };  // above 0: libraft's codes
enum { RAFT_CORE_COMMAND = 1, RAFT_CORE_BARRIER = 2, RAFT_CORE_CHANGE = 3 };  // as on the disk
enum {
  RAFT_CORE_APPEND = 1,
  RAFT_CORE_APPEND_RESULT,
  RAFT_CORE_VOTE,
  RAFT_CORE_VOTE_RESULT,
  RAFT_CORE_INSTALL_SNAPSHOT,
  RAFT_CORE_TIMEOUT_NOW
};

typedef struct {
  uint64_t term;
  uint32_t type;
  const void* data;
  size_t bytes;
} RaftCoreEntry;

typedef struct {
  // One message to or from a peer. Which fields mean something depends on the type, as in raft.h.
  uint32_t type;
  uint64_t peer;  // where to, or where from
  uint8_t version;
  uint64_t term;
  uint64_t index;      // prev_log_index, last_log_index
  uint64_t indexTerm;  // prev_log_term, last_log_term
  uint64_t commit;     // append: leader_commit
  uint64_t rejected;   // append result
  bool disruptLeader;
  bool preVote;
  bool granted;
  uint16_t features;
  uint16_t capacity;
  const RaftCoreEntry* entries;  // append. Outgoing ones have none: the caller fills them in (L2)
  unsigned entryCount;
} RaftCoreMessage;

typedef struct {
  // What a step asks for, to be done in this order (L2). Freed with raftCoreUpdateFree().
  bool termOrVote;
  bool entriesChanged;
  uint64_t entriesIndex;  // everything from here on is replaced by `entries`
  RaftCoreEntry* entries;
  unsigned entryCount;
  RaftCoreMessage* messages;
  unsigned messageCount;
  bool stateChanged;
  bool commitMoved;
  bool timeoutMoved;
  void* batch;
} RaftCoreUpdate;

typedef struct {
  // What was cut off the log: all up to `index`.
  uint64_t index;
  uint64_t term;
  uint64_t configurationIndex;
  const void* configuration;
  size_t configurationBytes;
} RaftCoreCut;

typedef struct {
  uint64_t id;
  const char* address;
  uint32_t seed;
  uint32_t electionMs;
  uint32_t heartbeatMs;
  uint32_t inflightMax;
} RaftCoreOptions;

RaftCore* raftCoreNew(const RaftCoreOptions* options);  // NULL: no memory
void raftCoreFree(RaftCore* core);

int raftCoreStart(RaftCore* core, uint64_t nowMs, uint64_t term, uint64_t vote,
                  const RaftCoreCut* cut, uint64_t firstIndex, const RaftCoreEntry* entries,
                  unsigned count, RaftCoreUpdate* update);
// `cut` is NULL if the log begins with index 1. Bodies are needed of RAFT_CORE_CHANGE entries only.
int raftCoreSubmit(RaftCore* core, uint64_t nowMs, const RaftCoreEntry* entries, unsigned count,
                   RaftCoreUpdate* update);
int raftCorePersisted(RaftCore* core, uint64_t nowMs, uint64_t index, RaftCoreUpdate* update);
int raftCoreTimeout(RaftCore* core, uint64_t nowMs, RaftCoreUpdate* update);
int raftCoreReceive(RaftCore* core, uint64_t nowMs, const RaftCoreMessage* message,
                    RaftCoreUpdate* update);
int raftCoreConfigured(RaftCore* core, uint64_t nowMs, uint64_t index, const void* configuration,
                       size_t bytes, RaftCoreUpdate* update);
// A committed RAFT_CORE_CHANGE entry above index 1 was applied.
void raftCoreUpdateFree(RaftCoreUpdate* update);
void raftCoreApplied(RaftCore* core, uint64_t index);  // for invariant 2

uint64_t raftCoreTerm(const RaftCore* core);
uint64_t raftCoreVote(const RaftCore* core);
uint64_t raftCoreCommitIndex(const RaftCore* core);
uint64_t raftCoreTimeoutMs(const RaftCore* core);
bool raftCoreLeads(RaftCore* core);
unsigned raftCoreVoters(const RaftCore* core);
const char* raftCoreProblem(RaftCore* core, int code);

unsigned raftCoreVotersIn(const void* configuration, size_t bytes);  // 0: it is not one

size_t raftCoreEncodeConfiguration(const uint64_t* ids, const char* const* addresses,
                                   unsigned count, void* into, size_t intoBytes);
// All voters. 0: it does not fit, or is no configuration.

#ifdef __cplusplus
}
#endif
