#pragma once
// Questions about the replicated state. Each answers from the store as it is now; linearizability
// is the caller's work (Replicator::confirm before).
//
// Thread: the loop's. Owner: Server. Results are copies: they outlive the next write.

#include "common/kv.h"
#include "common/outcome.h"
#include "common/view.h"

#include <rpc-schema/admin.capnp.h>
#include <rpc-schema/namespace.capnp.h>

#include <string>
#include <string_view>
#include <set>
#include <vector>

namespace dfs {

struct InodeAttr {
  InodeId ino;
  schema::Kind kind = schema::Kind::NONE;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t allocated = 0;
  Time atime, mtime, ctime, btime;
  uint32_t blockBytes = 0;
  InodeId parent;       // of a directory
  bool xattrs = false;  // it has extended attributes
};

void toWire(const InodeAttr& attr, schema::Attr::Builder b);
// All but dataVersion, which the session layer knows.

struct DirEntry {
  std::string name;
  InodeId ino;
  schema::Kind kind;
  uint64_t cookie;
};

struct RowInfo {
  uint64_t index;
  BlockId block;
  uint32_t end;
  bool shared;
};
void toWire(const RowInfo& row, schema::Row::Builder b);
RowInfo fromWire(schema::Row::Reader r);

struct SessionInfo {
  SessionId id;
  std::string host;
  std::string what;
  uint64_t acknowledgedSequence;
  uint64_t lastSequence;  // highest with a stored answer, or acknowledged
};

struct ClusterInfo {
  Uuid uuid;
  uint8_t replicas;  // 0: auto
  uint32_t blockBytes;
};

struct Counts {
  uint64_t inodes;
  uint64_t orphans;
  uint64_t reclaimBlocks;
};

class Queries {
 public:
  explicit Queries(Kv& kv) : kv_(kv) {}

  kj::Maybe<ClusterInfo> cluster();                      // null: no cluster has been created here
  Outcome<InodeAttr> getattr(InodeId ino);               // STALE
  Outcome<DirEntry> lookup(InodeId parent, Bytes name);  // NO_ENT, NOT_DIR, STALE, NAME_TOO_LONG
  // "." and ".." are answered too.
  Outcome<std::vector<DirEntry>> readdir(InodeId ino, uint64_t cookie, uint32_t entriesMax);
  // NOT_DIR, STALE; NO_ENT: a removed one. Keys above the cookie; fewer than entriesMax: the end. Cookies of entries are
  // above 2.
  Outcome<std::string> readlink(InodeId ino);                         // INVAL, STALE
  Outcome<std::string> getxattr(InodeId ino, std::string_view name);  // NO_DATA, STALE
  Outcome<std::vector<std::string>> listxattr(InodeId ino);           // STALE
  Outcome<std::vector<RowInfo>> rows(InodeId ino, uint64_t first, uint64_t count, uint32_t rowsMax);
  Outcome<std::vector<std::string>> paths(InodeId ino);  // "/a/b"; none for an orphan. STALE

  uint64_t viewVersion();
  View view();
  kj::Maybe<SessionInfo> session(SessionId id);
  std::vector<SessionInfo> sessions();
  std::vector<SessionId> endedSessions();
  // Those whose ranges are still kept (R3), until forgetSession.

  bool isOrphan(InodeId ino);
  bool isUnnamed(InodeId ino);  // an orphan that never had a name
  std::vector<InodeId> orphans(InodeId above, uint32_t inosMax);  // waiting for reap
  std::set<InodeId> unheardOf(const std::vector<InodeId>& inos);
  // Those made without a name by a client that has not acknowledged the answer.
  std::vector<InodeId> trims(InodeId above, uint32_t inosMax);    // waiting for trim
  struct ReclaimBlock {
    BlockId block;
    uint64_t freedMs;  // the command's time, of the world: for order and grace only
  };
  std::vector<ReclaimBlock> reclaims(BlockId above, uint32_t blocksMax);
  Counts counts();

  struct NamedBlock {
    BlockId block;
    InodeId ino;
    uint64_t index;
    uint32_t end;
    schema::Admin::Use use;
  };
  std::vector<NamedBlock> namedBlocks(BlockId above, uint32_t blocksMax);
  // Rows and blocks being reclaimed, in order of block id. Ranges handed out are in handedOut().
  std::vector<BlockId> handedOut(BlockId above, uint32_t blocksMax);
  // Every id of the ranges that sessions still have, named or not, in order.
  bool isNamed(BlockId block);
  kj::Maybe<SessionId> handedOutTo(BlockId block);
  // The session (live, or ended and not forgotten) in whose range it lies; null: nobody's. A block
  // whose sequence was never allotted is nobody's as well: see everAllotted.
  bool everAllotted(BlockId block);

 private:
  Kv& kv_;
};

struct CheckStep {
  struct Problem {
    std::string text;
    schema::Admin::Severity severity;
  };
  std::vector<Problem> problems;
  std::string next;  // empty: done
  uint64_t inodes = 0;
  uint64_t rows = 0;
};
CheckStep check(Kv& kv, Bytes cursor);
// One bounded piece (some thousand records) of a check of the store against itself: entries and
// inodes, link counts, parents, rows and blocks, sizes.

}  // namespace dfs
