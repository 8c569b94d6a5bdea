// The life of sessions: live, ended, forgotten. An ended one keeps its ranges until it is
// forgotten, so that what it wrote and what may yet be published is not taken for an orphan (R3).

#include "common/limits.h"
#include "nameserver/meta/operations.h"

namespace dfs::meta {
namespace {

constexpr size_t kHostBytesMax = 1024;
constexpr uint32_t kRangesPerForget = 4096;

std::string text(capnp::Text::Reader r) {
  return std::string(r.begin(), r.size());
}

void countSessions(Store& store, int64_t change) {
  store.changeCounts([change](CountsRecord& c) { c.sessions += static_cast<uint64_t>(change); });
}

void eraseAnswers(Store& store, SessionId id, const SessionRecord& session) {
  std::vector<uint64_t> sequences;  // at most kAnswerWindow
  auto cursor = store.from(Table::ANSWER, key(id.value, session.acknowledged));
  for (; cursor->valid() && keyNumber(cursor->key(), 0) == id.value; cursor->next()) {
    sequences.push_back(keyNumber(cursor->key(), 1));
  }
  for (auto sequence : sequences) store.erase(Table::ANSWER, key(id.value, sequence));
}

}  // namespace

Errno applyStartSession(Context& c, schema::StartSession::Reader r) {
  if (r.getId() == 0) return Errno::INVAL;
  if (r.getHost().size() > kHostBytesMax || r.getWhat().size() > kHostBytesMax) {
    return Errno::INVAL;
  }
  auto k = key(r.getId());
  if (c.store.has(Table::SESSION, k)) return Errno::OK;  // a repeat
  if (c.store.has(Table::ENDED, k)) return Errno::STALE;
  if (c.store.counts().sessions >= kSessionsMax) return Errno::OVERLOADED;

  c.store.put(Table::SESSION, k,
              SessionRecord{0, 0, text(r.getHost()), text(r.getWhat())}.encode());
  countSessions(c.store, 1);
  c.store.moveView();
  return Errno::OK;
}

Errno applyEndSession(Context& c, schema::EndSession::Reader r) {
  auto k = key(r.getId());
  if (c.store.has(Table::ENDED, k)) return Errno::OK;  // a repeat
  auto value = c.store.get(Table::SESSION, k);
  if (value == nullptr) return Errno::STALE;
  auto session = SessionRecord::decode(KJ_ASSERT_NONNULL(value));

  eraseAnswers(c.store, SessionId(r.getId()), session);
  KJ_ASSERT(c.store.erase(Table::SESSION, k), "a session went away", r.getId());
  c.store.put(Table::ENDED, k, EndedRecord{c.nowMs(), r.getClean()}.encode());
  countSessions(c.store, -1);
  c.store.moveView();
  return Errno::OK;
}

Errno applyForgetSession(Context& c, SessionId id, Answer& out) {
  if (c.store.has(Table::SESSION, key(id.value))) return Errno::REFUSED;
  if (!c.store.has(Table::ENDED, key(id.value))) return Errno::OK;  // forgotten before

  struct Range {
    uint64_t kind;
    uint64_t last;
  };
  std::vector<Range> ranges;
  auto cursor = c.store.from(Table::OWNED, key(id.value, 0, 0));
  bool more = false;
  for (; cursor->valid() && keyNumber(cursor->key(), 0) == id.value; cursor->next()) {
    more = ranges.size() == kRangesPerForget;
    if (more) break;
    ranges.push_back({keyNumber(cursor->key(), 1), keyNumber(cursor->key(), 2)});
  }
  for (auto& range : ranges) {
    bool inodes = range.kind == static_cast<uint64_t>(RangeKind::INODES);
    auto table = inodes ? Table::INODE_RANGE : Table::BLOCK_RANGE;
    KJ_ASSERT(c.store.erase(table, key(range.last)), "a session's range is not there", id);
    c.store.erase(Table::OWNED, key(id.value, range.kind, range.last));  // read above
  }
  if (!more) c.store.erase(Table::ENDED, key(id.value));  // it was seen above
  out.count = more ? 1 : 0;
  return Errno::OK;
}

}  // namespace dfs::meta
