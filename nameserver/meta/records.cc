// The bytes of the store's records. Persisted; records_test.cc holds golden bytes of each.

#include "nameserver/meta/records.h"

namespace dfs::meta {
namespace {

constexpr uint8_t kVersion = 1;

class Writer {
 public:
  Writer() {
    bytes_.reserve(160);
    u8(kVersion);
  }
  Writer& u8(uint8_t v) { return number(v, 1); }
  Writer& u16(uint16_t v) { return number(v, 2); }
  Writer& u32(uint32_t v) { return number(v, 4); }
  Writer& u64(uint64_t v) { return number(v, 8); }
  Writer& time(const Time& t) { return u64(static_cast<uint64_t>(t.sec)).u32(t.nsec); }
  Writer& text(const std::string& s) {
    KJ_REQUIRE(s.size() <= 0xffff, "a text is too long for a record", s.size());
    u16(static_cast<uint16_t>(s.size()));
    bytes_.insert(bytes_.end(), s.begin(), s.end());
    return *this;
  }
  Writer& longText(const std::string& s) {
    u32(static_cast<uint32_t>(s.size()));
    bytes_.insert(bytes_.end(), s.begin(), s.end());
    return *this;
  }
  RecordBytes done() { return kj::mv(bytes_); }

 private:
  Writer& number(uint64_t v, int size) {
    for (int i = 0; i < size; ++i) {
      bytes_.push_back(static_cast<kj::byte>(v));
      v >>= 8;
    }
    return *this;
  }
  RecordBytes bytes_;
};

class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {
    auto version = u8();
    KJ_REQUIRE(version == kVersion, "a record of an unknown version", version);
  }
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  Time time() {
    auto sec = static_cast<int64_t>(u64());
    return Time{sec, u32()};
  }
  std::string text() { return textOf(u16()); }
  std::string longText() { return textOf(u32()); }
  Kind kind() {
    auto v = u8();
    KJ_REQUIRE(v <= static_cast<uint8_t>(Kind::BLOCK_DEVICE), "a record with an unknown kind", v);
    return static_cast<Kind>(v);
  }
  void end() { KJ_REQUIRE(left_.size() == 0, "a record is too long", left_.size()); }

 private:
  std::string textOf(size_t size) {
    auto bytes = take(size);
    return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  Bytes take(size_t size) {
    KJ_REQUIRE(left_.size() >= size, "a record is too short", left_.size(), size);
    auto bytes = left_.slice(0, size);
    left_ = left_.slice(size, left_.size());
    return bytes;
  }
  uint64_t number(size_t size) {
    auto bytes = take(size);
    uint64_t v = 0;
    for (size_t i = size; i-- > 0;) v = v << 8 | bytes[i];
    return v;
  }
  Bytes left_;
};

}  // namespace

RecordBytes Inode::encode() const {
  Writer w;
  w.u8(static_cast<uint8_t>(kind)).u8(mtimeSet ? 1 : 0).u8(trimming ? 1 : 0);
  w.u32(mode).u32(uid).u32(gid).u32(nlink).u32(blockBytes).u32(cuts);
  w.u64(rdev).u64(size).u64(allocated).u64(parent.value);
  w.time(atime).time(mtime).time(ctime).time(btime).text(target);
  return w.done();
}

Inode Inode::decode(InodeId ino, Bytes value) {
  Reader r(value);
  Inode i;
  i.ino = ino;
  i.kind = r.kind();
  i.mtimeSet = r.u8() != 0;
  i.trimming = r.u8() != 0;
  i.mode = r.u32();
  i.uid = r.u32();
  i.gid = r.u32();
  i.nlink = r.u32();
  i.blockBytes = r.u32();
  i.cuts = r.u32();
  i.rdev = r.u64();
  i.size = r.u64();
  i.allocated = r.u64();
  i.parent = InodeId(r.u64());
  i.atime = r.time();
  i.mtime = r.time();
  i.ctime = r.time();
  i.btime = r.time();
  i.target = r.text();
  r.end();
  return i;
}

RecordBytes Dirent::encode() const {
  return Writer().u64(ino.value).u8(static_cast<uint8_t>(kind)).text(name).done();
}

Dirent Dirent::decode(Bytes value) {
  Reader r(value);
  Dirent d;
  d.ino = InodeId(r.u64());
  d.kind = r.kind();
  d.name = r.text();
  r.end();
  return d;
}

RecordBytes RowRecord::encode() const {
  return Writer().u64(block.value).u32(end).u8(shared ? 1 : 0).u32(cuts).done();
}

RowRecord RowRecord::decode(Bytes value) {
  Reader r(value);
  RowRecord row;
  row.block = BlockId(r.u64());
  row.end = r.u32();
  row.shared = r.u8() != 0;
  row.cuts = r.u32();
  r.end();
  return row;
}

RecordBytes BlockRecord::encode() const {
  return Writer().u64(ino.value).u64(index).done();
}

BlockRecord BlockRecord::decode(Bytes value) {
  Reader r(value);
  BlockRecord b;
  b.ino = InodeId(r.u64());
  b.index = r.u64();
  r.end();
  return b;
}

bool TrimRecord::dead(uint64_t index, const RowRecord& row) const {
  if (freed) return true;
  for (auto& cut : cuts) {
    if (cut.from <= index && cut.number > row.cuts) return true;
  }
  return false;
}

RecordBytes TrimRecord::encode() const {
  Writer w;
  w.u8(freed ? 1 : 0).u64(next).u16(static_cast<uint16_t>(cuts.size()));
  for (auto& cut : cuts) w.u64(cut.from).u32(cut.number);
  return w.done();
}

TrimRecord TrimRecord::decode(Bytes value) {
  Reader r(value);
  TrimRecord t;
  t.freed = r.u8() != 0;
  t.next = r.u64();
  auto count = r.u16();
  for (uint16_t i = 0; i < count; ++i) {
    auto from = r.u64();
    t.cuts.push_back({from, r.u32()});
  }
  r.end();
  return t;
}

RecordBytes XattrRecord::encode() const {
  return Writer().text(name).longText(value).done();
}

XattrRecord XattrRecord::decode(Bytes value) {
  Reader r(value);
  XattrRecord x;
  x.name = r.text();
  x.value = r.longText();
  r.end();
  return x;
}

void XattrSums::add(const XattrRecord& one) {
  count += 1;
  listBytes += static_cast<uint32_t>(one.name.size() + 1);
  bytes += static_cast<uint32_t>(one.name.size() + one.value.size());
}

void XattrSums::take(const XattrRecord& one) {
  count -= 1;
  listBytes -= static_cast<uint32_t>(one.name.size() + 1);
  bytes -= static_cast<uint32_t>(one.name.size() + one.value.size());
}

RecordBytes XattrSums::encode() const {
  return Writer().u32(count).u32(listBytes).u32(bytes).done();
}

XattrSums XattrSums::decode(Bytes value) {
  Reader r(value);
  XattrSums s;
  s.count = r.u32();
  s.listBytes = r.u32();
  s.bytes = r.u32();
  r.end();
  return s;
}

RecordBytes SessionRecord::encode() const {
  return Writer().u64(acknowledged).u64(last).text(host).text(what).done();
}

SessionRecord SessionRecord::decode(Bytes value) {
  Reader r(value);
  SessionRecord s;
  s.acknowledged = r.u64();
  s.last = r.u64();
  s.host = r.text();
  s.what = r.text();
  r.end();
  return s;
}

RecordBytes EndedRecord::encode() const {
  return Writer().u64(endedMs).u8(clean ? 1 : 0).done();
}

EndedRecord EndedRecord::decode(Bytes value) {
  Reader r(value);
  EndedRecord e;
  e.endedMs = r.u64();
  e.clean = r.u8() != 0;
  r.end();
  return e;
}

RecordBytes Answer::encode() const {
  Writer w;
  w.u16(static_cast<uint16_t>(err)).u64(ino.value).u64(firstInode.value).u32(links).u64(count);
  w.u32(static_cast<uint32_t>(ranges.size()));
  for (auto& range : ranges) w.u32(range.chain).u64(range.first).u64(range.count);
  return w.done();
}

Answer Answer::decode(Bytes value) {
  Reader r(value);
  Answer a;
  a.err = static_cast<Errno>(r.u16());
  a.ino = InodeId(r.u64());
  a.firstInode = InodeId(r.u64());
  a.links = r.u32();
  a.count = r.u64();
  auto ranges = r.u32();
  for (uint32_t i = 0; i < ranges; ++i) {
    Range range;
    range.chain = r.u32();
    range.first = r.u64();
    range.count = r.u64();
    a.ranges.push_back(range);
  }
  r.end();
  return a;
}

RecordBytes ReclaimRecord::encode() const {
  return encodeNumber(freedMs);
}

ReclaimRecord ReclaimRecord::decode(Bytes value) {
  return {decodeNumber(value)};
}

RecordBytes RangeRecord::encode() const {
  return Writer().u64(first).u64(session.value).done();
}

RangeRecord RangeRecord::decode(Bytes value) {
  Reader r(value);
  RangeRecord range;
  range.first = r.u64();
  range.session = SessionId(r.u64());
  r.end();
  return range;
}

RecordBytes ClusterRecord::encode() const {
  return Writer().u64(uuid.high).u64(uuid.low).u8(replicas).u32(blockBytes).done();
}

ClusterRecord ClusterRecord::decode(Bytes value) {
  Reader r(value);
  ClusterRecord c;
  c.uuid.high = r.u64();
  c.uuid.low = r.u64();
  c.replicas = r.u8();
  c.blockBytes = r.u32();
  r.end();
  return c;
}

RecordBytes AppliedRecord::encode() const {
  return Writer().u64(index).u64(term).done();
}

AppliedRecord AppliedRecord::decode(Bytes value) {
  Reader r(value);
  AppliedRecord a;
  a.index = r.u64();
  a.term = r.u64();
  r.end();
  return a;
}

RecordBytes CountsRecord::encode() const {
  return Writer().u64(inodes).u64(orphans).u64(reclaimBlocks).u64(sessions).u64(nodes).done();
}

CountsRecord CountsRecord::decode(Bytes value) {
  Reader r(value);
  CountsRecord c;
  c.inodes = r.u64();
  c.orphans = r.u64();
  c.reclaimBlocks = r.u64();
  c.sessions = r.u64();
  c.nodes = r.u64();
  r.end();
  return c;
}

RecordBytes NextRecord::encode() const {
  return Writer().u64(inode).u64(node).u64(view).done();
}

NextRecord NextRecord::decode(Bytes value) {
  Reader r(value);
  NextRecord n;
  n.inode = r.u64();
  n.node = r.u64();
  n.view = r.u64();
  r.end();
  return n;
}

RecordBytes encodeNumber(uint64_t number) {
  return Writer().u64(number).done();
}

uint64_t decodeNumber(Bytes value) {
  Reader r(value);
  auto number = r.u64();
  r.end();
  return number;
}

RecordBytes encodeMark() {
  return Writer().done();
}

RecordBytes encodeUnnamedMark() {
  return Writer().u8(1).done();
}

bool isUnnamedMark(Bytes value) {
  return value.size() > encodeMark().size();
}

RecordBytes encodeNode(const NodeInfo& node) {
  Writer w;
  w.u64(node.uuid.high).u64(node.uuid.low).u64(node.incarnation).u64(node.since);
  w.u8(node.online ? 1 : 0).text(node.host).text(node.name).text(node.http);
  w.u16(static_cast<uint16_t>(node.addresses.size()));
  for (auto& address : node.addresses) w.text(address);
  return w.done();
}

NodeInfo decodeNode(NodeId id, Bytes value) {
  Reader r(value);
  NodeInfo node;
  node.id = id;
  node.uuid.high = r.u64();
  node.uuid.low = r.u64();
  node.incarnation = r.u64();
  node.since = r.u64();
  node.online = r.u8() != 0;
  node.host = r.text();
  node.name = r.text();
  node.http = r.text();
  auto addresses = r.u16();
  for (uint16_t i = 0; i < addresses; ++i) node.addresses.push_back(r.text());
  r.end();
  return node;
}

RecordBytes encodeChain(const ChainInfo& chain) {
  Writer w;
  w.u64(chain.epoch).u8(chain.replicas).u16(static_cast<uint16_t>(chain.members.size()));
  for (auto& m : chain.members) {
    w.u32(static_cast<uint32_t>(m.node.value)).u16(static_cast<uint16_t>(m.state));
    w.u64(m.servedFrom);
  }
  return w.done();
}

ChainInfo decodeChain(ChainId id, Bytes value) {
  Reader r(value);
  ChainInfo chain;
  chain.id = id;
  chain.epoch = r.u64();
  chain.replicas = r.u8();
  auto members = r.u16();
  for (uint16_t i = 0; i < members; ++i) {
    ChainMember m;
    m.node = NodeId(r.u32());
    m.state = static_cast<MemberState>(r.u16());
    m.servedFrom = r.u64();
    chain.members.push_back(m);
  }
  r.end();
  return chain;
}

}  // namespace dfs::meta
