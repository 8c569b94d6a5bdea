// See raft_core.h. Memory that libraft takes over comes from raft_malloc(): the bodies of entries
// travel as one `batch` through the step and are given back with the update.

#include "nameserver/raft/raft_core.h"

#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct RaftCore {
  struct raft raft;
  struct raft_tracer tracer;
  uint64_t commit;
  uint64_t applied;
  uint64_t ledTerm;  // the last term in which this server led
  char problem[160];
};

static void ignoreTrace(struct raft_tracer* tracer, int type, const void* info) {
  // libraft's default writes to stderr.
  (void)tracer;
  (void)type;
  (void)info;
}

RaftCore* raftCoreNew(const RaftCoreOptions* options) {
  RaftCore* core = calloc(1, sizeof *core);
  if (core == NULL) return NULL;
  if (raft_init(&core->raft, NULL, NULL, options->id, options->address) != 0) {
    free(core);
    return NULL;
  }
  core->tracer.version = 2;
  core->tracer.emit = ignoreTrace;
  core->raft.tracer = &core->tracer;
  raft_seed(&core->raft, options->seed);
  raft_set_election_timeout(&core->raft, options->electionMs);
  raft_set_heartbeat_timeout(&core->raft, options->heartbeatMs);
  raft_set_pre_vote(&core->raft, true);
  raft_set_max_inflight_entries(&core->raft, options->inflightMax);
  return core;
}

void raftCoreFree(RaftCore* core) {
  if (core == NULL) return;
  raft_close(&core->raft, NULL);
  free(core);
}

static struct raft_entry* toRaft(const RaftCoreEntry* entries, unsigned count) {
  // NULL: no memory. The bodies lie behind each other in one batch.
  size_t bytes = 8;
  for (unsigned i = 0; i < count; ++i) bytes += (entries[i].bytes + 7) / 8 * 8;
  struct raft_entry* out = raft_calloc(count, sizeof *out);
  char* batch = raft_malloc(bytes);
  if (out == NULL || batch == NULL) {
    raft_free(out);
    raft_free(batch);
    return NULL;
  }
  char* at = batch;
  for (unsigned i = 0; i < count; ++i) {
    out[i].term = entries[i].term;
    out[i].type = (enum raft_entry_type)entries[i].type;
    out[i].buf.base = at;
    out[i].buf.len = entries[i].bytes;
    out[i].batch = batch;
    if (entries[i].bytes > 0) memcpy(at, entries[i].data, entries[i].bytes);
    at += (entries[i].bytes + 7) / 8 * 8;
  }
  return out;
}

static bool fillEntries(const struct raft_update* from, RaftCoreUpdate* update) {
  update->entriesChanged = true;
  update->entriesIndex = from->entries.index;
  update->entryCount = from->entries.n;
  if (from->entries.n == 0) return true;
  update->batch = from->entries.batch[0].batch;
  update->entries = calloc(from->entries.n, sizeof *update->entries);
  if (update->entries == NULL) return false;
  for (unsigned i = 0; i < from->entries.n; ++i) {
    const struct raft_entry* e = &from->entries.batch[i];
    update->entries[i] = (RaftCoreEntry){e->term, (uint32_t)e->type, e->buf.base, e->buf.len};
  }
  return true;
}

static void fillMessage(const struct raft_message* m, RaftCoreMessage* out) {
  out->type = m->type;
  out->peer = m->server_id;
  switch (m->type) {
    case RAFT_APPEND_ENTRIES:
      out->version = m->append_entries.version;
      out->term = m->append_entries.term;
      out->index = m->append_entries.prev_log_index;
      out->indexTerm = m->append_entries.prev_log_term;
      out->commit = m->append_entries.leader_commit;
      out->entryCount = m->append_entries.n_entries;
      break;
    case RAFT_APPEND_ENTRIES_RESULT:
      out->version = m->append_entries_result.version;
      out->term = m->append_entries_result.term;
      out->index = m->append_entries_result.last_log_index;
      out->rejected = m->append_entries_result.rejected;
      out->features = m->append_entries_result.features;
      out->capacity = m->append_entries_result.capacity;
      break;
    case RAFT_REQUEST_VOTE:
      out->version = m->request_vote.version;
      out->term = m->request_vote.term;
      out->index = m->request_vote.last_log_index;
      out->indexTerm = m->request_vote.last_log_term;
      out->disruptLeader = m->request_vote.disrupt_leader;
      out->preVote = m->request_vote.pre_vote;
      break;
    case RAFT_REQUEST_VOTE_RESULT:
      out->version = m->request_vote_result.version;
      out->term = m->request_vote_result.term;
      out->granted = m->request_vote_result.vote_granted;
      out->preVote = m->request_vote_result.pre_vote;
      out->features = m->request_vote_result.features;
      out->capacity = m->request_vote_result.capacity;
      break;
    case RAFT_INSTALL_SNAPSHOT:
      out->version = m->install_snapshot.version;
      out->term = m->install_snapshot.term;
      out->index = m->install_snapshot.last_index;
      out->indexTerm = m->install_snapshot.last_term;
      break;
    case RAFT_TIMEOUT_NOW:
      out->version = m->timeout_now.version;
      out->term = m->timeout_now.term;
      out->index = m->timeout_now.last_log_index;
      out->indexTerm = m->timeout_now.last_log_term;
      break;
  }
}

static int broken(RaftCore* core, const char* what, uint64_t a, uint64_t b) {
  snprintf(core->problem, sizeof core->problem, "%s (%llu, %llu)", what, (unsigned long long)a,
           (unsigned long long)b);
  return RAFT_CORE_BROKEN;
}

static int check(RaftCore* core, const RaftCoreUpdate* update) {
  uint64_t commit = raft_commit_index(&core->raft);
  if (commit < core->commit)
    return broken(core, "the commit index went back", core->commit, commit);
  core->commit = commit;
  if (commit > raft_last_index(&core->raft)) {
    return broken(core, "the commit index is past the log", commit, raft_last_index(&core->raft));
  }
  if (update->entriesChanged && update->entriesIndex <= core->applied) {
    return broken(core, "an applied entry would be replaced", update->entriesIndex, core->applied);
  }
  if (raft_state(&core->raft) == RAFT_LEADER) {
    core->ledTerm = raft_current_term(&core->raft);
  } else if (core->ledTerm != 0 && core->ledTerm == raft_current_term(&core->raft)) {
    raft_id leader = 0;
    const char* address = NULL;
    raft_leader(&core->raft, &leader, &address);
    if (leader != 0 && leader != core->raft.id) {
      return broken(core, "two leaders in one term", core->ledTerm, leader);
    }
  }
  return RAFT_CORE_OK;
}

static int step(RaftCore* core, uint64_t nowMs, struct raft_event* event, RaftCoreUpdate* update) {
  struct raft_update from;
  memset(&from, 0, sizeof from);
  memset(update, 0, sizeof *update);
  event->time = nowMs;
  int rv = raft_step(&core->raft, event, &from);
  if (rv != 0) return rv;
  update->termOrVote =
      (from.flags & (RAFT_UPDATE_CURRENT_TERM)) != 0 || (from.flags & (RAFT_UPDATE_VOTED_FOR)) != 0;
  update->stateChanged = (from.flags & (RAFT_UPDATE_STATE)) != 0;
  update->commitMoved = (from.flags & (RAFT_UPDATE_COMMIT_INDEX)) != 0;
  update->timeoutMoved = (from.flags & (RAFT_UPDATE_TIMEOUT)) != 0;
  if ((from.flags & (RAFT_UPDATE_ENTRIES)) != 0 && !fillEntries(&from, update)) return RAFT_NOMEM;
  if ((from.flags & (RAFT_UPDATE_MESSAGES)) != 0 && from.messages.n > 0) {
    update->messages = calloc(from.messages.n, sizeof *update->messages);
    if (update->messages == NULL) return RAFT_NOMEM;
    update->messageCount = from.messages.n;
    for (unsigned i = 0; i < from.messages.n; ++i) {
      fillMessage(&from.messages.batch[i], &update->messages[i]);
    }
  }
  return check(core, update);
}

int raftCoreStart(RaftCore* core, uint64_t nowMs, uint64_t term, uint64_t vote,
                  const RaftCoreCut* cut, uint64_t firstIndex, const RaftCoreEntry* entries,
                  unsigned count, RaftCoreUpdate* update) {
  struct raft_event event;
  struct raft_snapshot_metadata metadata;
  struct raft_entry* list = NULL;
  memset(&event, 0, sizeof event);
  memset(&metadata, 0, sizeof metadata);
  memset(update, 0, sizeof *update);
  event.type = RAFT_START;
  event.start.term = term;
  event.start.voted_for = vote;
  event.start.start_index = firstIndex;
  if (cut != NULL) {
    struct raft_buffer buffer = {(void*)cut->configuration, cut->configurationBytes};
    int rv = raft_configuration_decode(&buffer, &metadata.configuration);
    if (rv != 0) return rv;
    metadata.index = cut->index;
    metadata.term = cut->term;
    metadata.configuration_index = cut->configurationIndex;
    event.start.metadata = &metadata;
  }
  if (count > 0) {
    list = toRaft(entries, count);
    if (list == NULL) {
      if (cut != NULL) raft_configuration_close(&metadata.configuration);
      return RAFT_NOMEM;
    }
    event.start.entries = list;
    event.start.n_entries = count;
  }
  int rv = step(core, nowMs, &event, update);
  if (list != NULL) {
    raft_free(list[0].batch);
    raft_free(list);
  }
  return rv;
}

int raftCoreSubmit(RaftCore* core, uint64_t nowMs, const RaftCoreEntry* entries, unsigned count,
                   RaftCoreUpdate* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  memset(update, 0, sizeof *update);
  struct raft_entry* list = toRaft(entries, count);
  if (list == NULL) return RAFT_NOMEM;
  event.type = RAFT_SUBMIT;
  event.submit.entries = list;
  event.submit.n = count;
  int rv = step(core, nowMs, &event, update);
  if (rv > 0) raft_free(list[0].batch);  // else it is the update's
  raft_free(list);
  return rv;
}

int raftCorePersisted(RaftCore* core, uint64_t nowMs, uint64_t index, RaftCoreUpdate* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_PERSISTED_ENTRIES;
  event.persisted_entries.index = index;
  return step(core, nowMs, &event, update);
}

int raftCoreTimeout(RaftCore* core, uint64_t nowMs, RaftCoreUpdate* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_TIMEOUT;
  return step(core, nowMs, &event, update);
}

int raftCoreReceive(RaftCore* core, uint64_t nowMs, const RaftCoreMessage* m,
                    RaftCoreUpdate* update) {
  struct raft_event event;
  struct raft_message to;
  struct raft_entry* list = NULL;
  char address[24];
  memset(&event, 0, sizeof event);
  memset(&to, 0, sizeof to);
  memset(update, 0, sizeof *update);
  snprintf(address, sizeof address, "%llu", (unsigned long long)m->peer);
  to.server_id = m->peer;
  to.server_address = address;
  switch (m->type) {
    case RAFT_CORE_APPEND:
      if (m->term == core->ledTerm && m->peer != core->raft.id) {
        return broken(core, "two leaders in one term", m->term, m->peer);
      }
      if (m->entryCount > 0) {
        list = toRaft(m->entries, m->entryCount);
        if (list == NULL) return RAFT_NOMEM;
      }
      to.type = RAFT_APPEND_ENTRIES;
      to.append_entries = (struct raft_append_entries){
          m->version, m->term, m->index, m->indexTerm, m->commit, list, m->entryCount};
      break;
    case RAFT_CORE_APPEND_RESULT:
      to.type = RAFT_APPEND_ENTRIES_RESULT;
      to.append_entries_result = (struct raft_append_entries_result){
          m->version, m->term, m->rejected, m->index, m->features, m->capacity};
      break;
    case RAFT_CORE_VOTE:
      to.type = RAFT_REQUEST_VOTE;
      to.request_vote = (struct raft_request_vote){
          m->version, m->term, m->peer, m->index, m->indexTerm, m->disruptLeader, m->preVote};
      break;
    case RAFT_CORE_VOTE_RESULT:
      to.type = RAFT_REQUEST_VOTE_RESULT;
      to.request_vote_result = (struct raft_request_vote_result){
          m->version, m->term, m->granted, m->preVote, m->features, m->capacity};
      break;
    case RAFT_CORE_TIMEOUT_NOW:
      to.type = RAFT_TIMEOUT_NOW;
      to.timeout_now = (struct raft_timeout_now){m->version, m->term, m->index, m->indexTerm};
      break;
    default:
      return RAFT_INVALID;
  }
  event.type = RAFT_RECEIVE;
  event.receive.message = &to;
  int rv = step(core, nowMs, &event, update);
  raft_free(list);
  return rv;
}

int raftCoreConfigured(RaftCore* core, uint64_t nowMs, uint64_t index, const void* configuration,
                       size_t bytes, RaftCoreUpdate* update) {
  struct raft_event event;
  struct raft_buffer buffer = {(void*)configuration, bytes};
  memset(&event, 0, sizeof event);
  memset(update, 0, sizeof *update);
  event.type = RAFT_CONFIGURATION;
  event.configuration.index = index;
  int rv = raft_configuration_decode(&buffer, &event.configuration.conf);
  if (rv != 0) return rv;
  return step(core, nowMs, &event, update);
}

void raftCoreUpdateFree(RaftCoreUpdate* update) {
  raft_free(update->batch);
  free(update->entries);
  free(update->messages);
  memset(update, 0, sizeof *update);
}

void raftCoreApplied(RaftCore* core, uint64_t index) {
  core->applied = index;
}
uint64_t raftCoreTerm(const RaftCore* core) {
  return raft_current_term(&core->raft);
}
uint64_t raftCoreVote(const RaftCore* core) {
  return raft_voted_for(&core->raft);
}
uint64_t raftCoreCommitIndex(const RaftCore* core) {
  return raft_commit_index(&core->raft);
}
uint64_t raftCoreTimeoutMs(const RaftCore* core) {
  return raft_timeout(&core->raft);
}
bool raftCoreLeads(RaftCore* core) {
  return raft_state(&core->raft) == RAFT_LEADER;
}

const char* raftCoreProblem(RaftCore* core, int code) {
  return code == RAFT_CORE_BROKEN ? core->problem : raft_strerror(code);
}

static unsigned votersOf(const struct raft_configuration* configuration) {
  unsigned voters = 0;
  for (unsigned i = 0; i < configuration->n; ++i) {
    if (configuration->servers[i].role == RAFT_VOTER) ++voters;
  }
  return voters;
}

unsigned raftCoreVoters(const RaftCore* core) {
  return votersOf(&core->raft.configuration);
}

unsigned raftCoreVotersIn(const void* configuration, size_t bytes) {
  struct raft_configuration decoded;
  struct raft_buffer buffer = {(void*)configuration, bytes};
  if (raft_configuration_decode(&buffer, &decoded) != 0) return 0;
  unsigned voters = votersOf(&decoded);
  raft_configuration_close(&decoded);
  return voters;
}

size_t raftCoreEncodeConfiguration(const uint64_t* ids, const char* const* addresses,
                                   unsigned count, void* into, size_t intoBytes) {
  struct raft_configuration configuration;
  struct raft_buffer buffer = {NULL, 0};
  size_t bytes = 0;
  raft_configuration_init(&configuration);
  for (unsigned i = 0; i < count; ++i) {
    if (raft_configuration_add(&configuration, ids[i], addresses[i], RAFT_VOTER) != 0) goto out;
  }
  if (raft_configuration_encode(&configuration, &buffer) != 0) goto out;
  if (buffer.len <= intoBytes) {
    memcpy(into, buffer.base, buffer.len);
    bytes = buffer.len;
  }
  raft_free(buffer.base);
out:
  raft_configuration_close(&configuration);
  return bytes;
}
