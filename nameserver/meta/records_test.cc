// The bytes of every record, as they have been since version 1. A test that fails here means that
// existing stores can no longer be read: make a new version instead.

#include "nameserver/meta/records.h"

#include "nameserver/meta/keys.h"

#include <gtest/gtest.h>

namespace dfs::meta {
namespace {

std::string hex(Bytes bytes) {
  std::string text;
  for (auto b : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", b);
    text += two;
  }
  return text;
}
std::string hex(const RecordBytes& bytes) {
  return hex(Bytes(bytes.data(), bytes.size()));
}
template <typename Record> std::string again(const Record& record) {
  auto bytes = record.encode();
  return hex(Record::decode(Bytes(bytes.data(), bytes.size())).encode());
}

Inode sampleInode() {
  Inode i;
  i.ino = InodeId(9);
  i.kind = Kind::SYMLINK;
  i.mtimeSet = true;
  i.mode = 0777;
  i.uid = 1;
  i.gid = 2;
  i.nlink = 3;
  i.blockBytes = 4096;
  i.cuts = 4;
  i.rdev = 5;
  i.size = 6;
  i.allocated = 7;
  i.parent = InodeId(8);
  i.atime = {-1, 1};
  i.mtime = {2, 2};
  i.ctime = {3, 3};
  i.btime = {4, 4};
  i.target = "ab";
  return i;
}

TEST(Records, HaveTheBytesOfVersionOne) {
  auto inode = sampleInode();
  auto bytes = inode.encode();
  EXPECT_EQ(hex(bytes),
            "01030100ff01000001000000020000000300000000100000040000000500000000000000"
            "060000000000000007000000000000000800000000000000"
            "ffffffffffffffff01000000020000000000000002000000"
            "030000000000000003000000040000000000000004000000"
            "02006162");
  EXPECT_EQ(hex(Inode::decode(inode.ino, Bytes(bytes.data(), bytes.size())).encode()), hex(bytes));

  Dirent dirent{InodeId(3), Kind::FILE, "x"};
  EXPECT_EQ(hex(dirent.encode()), "01030000000000000001010078");
  RowRecord row{BlockId(ChainId(1), 2), 3, true, 4};
  EXPECT_EQ(hex(row.encode()), "010200000000010000030000000104000000");
  BlockRecord block{InodeId(1), 2};
  EXPECT_EQ(hex(block.encode()), "0101000000000000000200000000000000");
  TrimRecord trim{false, 5, {{6, 7}}};
  EXPECT_EQ(hex(trim.encode()), "010005000000000000000100060000000000000007000000");
  XattrRecord xattr{"user.a", "bc"};
  EXPECT_EQ(hex(xattr.encode()), "010600757365722e61020000006263");
  EXPECT_EQ(hex(XattrSums{1, 2, 3}.encode()), "01010000000200000003000000");
  SessionRecord session{1, 2, "h", "w"};
  EXPECT_EQ(hex(session.encode()), "0101000000000000000200000000000000010068010077");
  Answer answer{Errno::EXIST, InodeId(1), InodeId(2), 3, 4, {{5, 6, 7}}};
  EXPECT_EQ(hex(answer.encode()),
            "0106000100000000000000020000000000000003000000040000000000000001000000"
            "0500000006000000000000000700000000000000");
  EXPECT_EQ(hex(ReclaimRecord{258}.encode()), "010201000000000000");
  EXPECT_EQ(hex(RangeRecord{1, SessionId(2)}.encode()), "0101000000000000000200000000000000");
  EXPECT_EQ(hex(EndedRecord{1, true}.encode()), "01010000000000000001");
  EXPECT_EQ(hex(ClusterRecord{{1, 2}, 3, 4}.encode()),
            "01010000000000000002000000000000000304000000");
  EXPECT_EQ(hex(AppliedRecord{1, 2}.encode()), "0101000000000000000200000000000000");
  EXPECT_EQ(hex(NextRecord{1, 2, 3}.encode()),
            "01010000000000000002000000000000000300000000000000");
  EXPECT_EQ(hex(CountsRecord{1, 2, 3, 4, 5}.encode()),
            "0101000000000000000200000000000000030000000000000004000000000000000500000000000000");
  EXPECT_EQ(hex(encodeMark()), "01");
  EXPECT_EQ(hex(encodeUnnamedMark()), "0101");
  EXPECT_EQ(again(dirent), hex(dirent.encode()));
  EXPECT_EQ(again(row), hex(row.encode()));
  EXPECT_EQ(again(trim), hex(trim.encode()));
  EXPECT_EQ(again(xattr), hex(xattr.encode()));
  EXPECT_EQ(again(XattrSums{1, 2, 3}), hex(XattrSums{1, 2, 3}.encode()));
  EXPECT_EQ(again(session), hex(session.encode()));
  EXPECT_EQ(again(answer), hex(answer.encode()));
  EXPECT_EQ(again(ClusterRecord{{1, 2}, 3, 4}), hex(ClusterRecord{{1, 2}, 3, 4}.encode()));
  EXPECT_EQ(again(CountsRecord{1, 2, 3, 4, 5}), hex(CountsRecord{1, 2, 3, 4, 5}.encode()));
}

TEST(Records, NodesAndChainsComeBackAsTheyWere) {
  NodeInfo node{NodeId(1), {1, 2}, "h", {"a", "b"}, 3, true, "n", "w", 4};
  auto bytes = encodeNode(node);
  EXPECT_EQ(hex(bytes),
            "010100000000000000020000000000000003000000000000000400000000000000"
            "0101006801006e0100770200010061010062");
  EXPECT_EQ(decodeNode(NodeId(1), Bytes(bytes.data(), bytes.size())), node);
  ChainInfo chain{ChainId(1), 2, 3, {{NodeId(4), MemberState::SYNCING, 5}}};
  bytes = encodeChain(chain);
  EXPECT_EQ(hex(bytes),
            "010200000000000000030100040000000100"
            "0500000000000000");
  EXPECT_EQ(decodeChain(ChainId(1), Bytes(bytes.data(), bytes.size())), chain);
}

TEST(Records, OfAnotherVersionOrLengthAreNotRead) {
  auto bytes = Dirent{InodeId(3), Kind::FILE, "x"}.encode();
  auto decode = [](const RecordBytes& b) { Dirent::decode(Bytes(b.data(), b.size())); };
  decode(bytes);
  auto newer = bytes;
  newer[0] = 2;
  EXPECT_ANY_THROW(decode(newer));
  auto longer = bytes;
  longer.push_back(0);
  EXPECT_ANY_THROW(decode(longer));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_ANY_THROW(decode(RecordBytes(bytes.begin(), bytes.begin() + size)));
  }
}

TEST(Keys, SortAsTheirNumbersDo) {
  EXPECT_EQ(hex(key(1, 0x0203)), "00000000000000010000000000000203");
  EXPECT_EQ(keyNumber(key(1, 2, 3), 2), 3u);
  EXPECT_ANY_THROW(keyNumber(key(1), 1));
  EXPECT_LT(hex(key(255)), hex(key(256)));
}

TEST(Keys, CookiesOfNamesStayAboveTheDotsAndBelow63Bits) {
  for (auto name : {"", "a", "b", "some longer name"}) {
    std::string s(name);
    auto cookie = firstCookie(Bytes(reinterpret_cast<const kj::byte*>(s.data()), s.size()));
    EXPECT_GT(cookie, kCookieDotDot);
    EXPECT_LT(cookie + kTiebreaks, uint64_t(1) << 63);
    EXPECT_EQ(cookie % kTiebreaks, 0u);
  }
}

}  // namespace
}  // namespace dfs::meta
