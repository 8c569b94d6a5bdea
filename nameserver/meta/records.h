#pragma once
// The values of the replicated store, and their bytes. Persisted: little-endian, each begins with
// its version; a layout never changes, a new one gets a new version. README.md lists them.
//
// Thread: any; values only. Decoding throws if the bytes are not a record of a known version: the
// store is then not ours to interpret, and the process ends.

#include "common/ids.h"
#include "common/kv.h"
#include "common/outcome.h"
#include "common/view.h"

#include <rpc-schema/types.capnp.h>

#include <string>
#include <vector>

namespace dfs::meta {

using schema::Kind;
using RecordBytes = std::vector<kj::byte>;

struct Inode {
  InodeId ino;  // the key
  Kind kind = Kind::NONE;
  bool mtimeSet = false;  // by utimes: the next stamped mtime may be earlier (O4)
  bool trimming = false;  // there is a TrimRecord
  uint32_t mode = 0;      // 0..07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;  // 0: an orphan
  uint32_t blockBytes = 0;
  uint32_t cuts = 0;  // truncations that left dead rows; new rows carry this number
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t allocated = 0;  // sum of the ends of all rows, dead ones too
  InodeId parent;          // of a directory; the root's is the root
  Time atime, mtime, ctime, btime;
  std::string target;  // of a symlink

  bool directory() const { return kind == Kind::DIRECTORY; }
  RecordBytes encode() const;
  static Inode decode(InodeId ino, Bytes value);
};

struct Dirent {
  InodeId ino;
  Kind kind = Kind::NONE;
  std::string name;

  RecordBytes encode() const;
  static Dirent decode(Bytes value);
};

struct RowRecord {
  BlockId block;
  uint32_t end = 0;
  bool shared = false;
  uint32_t cuts = 0;  // of the inode when the row was published

  RecordBytes encode() const;
  static RowRecord decode(Bytes value);
};

struct BlockRecord {
  // Of stores in which a block had one name; see Store::upgrade.
  InodeId ino;
  uint64_t index = 0;

  RecordBytes encode() const;
  static BlockRecord decode(Bytes value);
};

struct TrimRecord {
  // Rows of one inode that are dead and not yet removed. Of a freed inode: all. Else a row is dead
  // if some cut has from <= index and number > row.cuts. Cuts are sorted: from and number grow.
  struct Cut {
    uint64_t from;
    uint32_t number;
  };
  bool freed = false;
  uint64_t next = 0;  // no dead row lies below this index
  std::vector<Cut> cuts;

  bool dead(uint64_t index, const RowRecord& row) const;
  RecordBytes encode() const;
  static TrimRecord decode(Bytes value);
};

struct XattrRecord {
  // One extended attribute.
  std::string name;   // with its prefix
  std::string value;  // at most kXattrValueBytesMax

  RecordBytes encode() const;
  static XattrRecord decode(Bytes value);
};

struct XattrSums {
  // Over all extended attributes of one inode; there if it has any.
  uint32_t count = 0;
  uint32_t listBytes = 0;  // of the names, each with a NUL
  uint32_t bytes = 0;      // of names and values

  bool operator==(const XattrSums&) const = default;
  void add(const XattrRecord& one);
  void take(const XattrRecord& one);
  RecordBytes encode() const;
  static XattrSums decode(Bytes value);
};

struct SessionRecord {
  uint64_t acknowledged = 0;
  uint64_t last = 0;  // highest sequence with an answer, or acknowledged
  std::string host;
  std::string what;

  RecordBytes encode() const;
  static SessionRecord decode(Bytes value);
};

struct EndedRecord {
  uint64_t endedMs = 0;  // the command's time
  bool clean = false;

  RecordBytes encode() const;
  static EndedRecord decode(Bytes value);
};

struct Answer {
  // Of a command; stored under its request id. Never attributes, never a lease (S6).
  struct Range {
    uint32_t chain;
    uint64_t first;
    uint64_t count;
  };
  Errno err = Errno::OK;
  InodeId ino;
  InodeId firstInode;
  uint32_t links = 0;
  uint64_t count = 0;
  std::vector<Range> ranges;

  RecordBytes encode() const;
  static Answer decode(Bytes value);
};

struct ReclaimRecord {
  uint64_t freedMs = 0;

  RecordBytes encode() const;
  static ReclaimRecord decode(Bytes value);
};

struct RangeRecord {
  // [first, last]; last is the key.
  uint64_t first = 0;
  SessionId session;  // none: the name server's own

  RecordBytes encode() const;
  static RangeRecord decode(Bytes value);
};

struct ClusterRecord {
  Uuid uuid;
  uint8_t replicas = 0;
  uint32_t blockBytes = 0;

  RecordBytes encode() const;
  static ClusterRecord decode(Bytes value);
};

struct AppliedRecord {
  uint64_t index = 0;
  uint64_t term = 0;

  RecordBytes encode() const;
  static AppliedRecord decode(Bytes value);
};

struct CountsRecord {
  uint64_t inodes = 0;  // orphans too
  uint64_t orphans = 0;
  uint64_t reclaimBlocks = 0;
  uint64_t sessions = 0;  // live
  uint64_t nodes = 0;

  RecordBytes encode() const;
  static CountsRecord decode(Bytes value);
};

struct NextRecord {
  uint64_t inode = 0;
  uint64_t node = 0;
  uint64_t view = 0;  // the version that stands

  RecordBytes encode() const;
  static NextRecord decode(Bytes value);
};

RecordBytes encodeNumber(uint64_t number);  // SEQUENCE
uint64_t decodeNumber(Bytes value);
RecordBytes encodeMark();         // LINK, ORPHAN, OWNED: the key says it all
RecordBytes encodeUnnamedMark();  // ORPHAN of a file that never had a name
bool isUnnamedMark(Bytes value);

RecordBytes encodeNode(const NodeInfo& node);
NodeInfo decodeNode(NodeId id, Bytes value);
RecordBytes encodeChain(const ChainInfo& chain);
ChainInfo decodeChain(ChainId id, Bytes value);

}  // namespace dfs::meta
