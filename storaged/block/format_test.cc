#include "storaged/block/format.h"

#include "common/checksum.h"

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <cstdio>

namespace dfs::block {
namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (unsigned char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", c);
    text += two;
  }
  return text;
}

BlockRecord sample() {
  BlockRecord r;
  r.slot = 0x0102030405060708;
  r.at = {0x11, 0x22};
  r.length = 0x3000;
  r.committed = true;
  r.request = {0x33, 0x44};
  return r;
}

TEST(Format, ARecordHasTheseBytes) {
  EXPECT_EQ(hex(encode(sample())),
            "0807060504030201"
            "1100000000000000"
            "2200000000000000"
            "3300000000000000"
            "4400000000000000"
            "00300000"
            "01010000");
  auto back = decodeRecord(bytesOf(encode(sample())));
  EXPECT_EQ(back.slot, sample().slot);
  EXPECT_EQ(back.at, sample().at);
  EXPECT_EQ(back.request, sample().request);
  EXPECT_TRUE(back.committed);
  EXPECT_FALSE(back.doubtful);
}

TEST(Format, KeysSortLikeTheirNumbers) {
  EXPECT_LT(recordKey(BlockId(0xff)), recordKey(BlockId(0x100)));
  EXPECT_LT(sumKey(BlockId(7), 63), sumKey(BlockId(8), 0));
  EXPECT_EQ(blockOfKey(bytesOf(sumKey(BlockId(7), 63))), BlockId(7));
}

TEST(Format, AnIntentHasTheseBytesAndComesBack) {
  Intent intent;
  intent.sequence = 5;
  intent.dataSynced = 3;
  intent.logSynced = 4;
  intent.kind = IntentKind::WRITE;
  intent.block = BlockId(ChainId(1), 2);
  intent.record = sample();
  intent.firstUnit = 6;
  intent.clearFirst = 9;
  intent.sums = {0xaa, 0xbb};
  auto bytes = encode(intent, 77);
  ASSERT_EQ(bytes.size(), kIntentHeadBytes + 16);
  EXPECT_EQ(hex(bytes.substr(0, 8)), "4446534980000000");
  EXPECT_EQ(hex(bytes.substr(16)),
            "050000000000000003000000000000000400000000000000"
            "0200000000010000" +
                hex(encode(sample())) +
                "01000000060000000900000002000000"
                "00000000000000000000000000000000"
                "aa00000000000000bb00000000000000");
  size_t used = 0;
  auto back = KJ_ASSERT_NONNULL(decodeIntent(bytesOf(bytes), 77, used));
  EXPECT_EQ(used, bytes.size());
  EXPECT_EQ(back.sums, intent.sums);
  EXPECT_EQ(back.block, intent.block);
  EXPECT_EQ(back.clearFirst, 9u);
}

TEST(Format, NoDamageAndNoOtherLogPassesForAnIntent) {
  Intent intent;
  intent.kind = IntentKind::COMMIT;
  intent.sequence = 1;
  auto bytes = encode(intent, 1);
  size_t used = 0;
  EXPECT_EQ(bytes.size(), kIntentHeadBytes);
  EXPECT_TRUE(decodeIntent(bytesOf(bytes), 1, used) != nullptr)
      << "one without sums is the shortest";
  EXPECT_TRUE(decodeIntent(bytesOf(bytes), 2, used) == nullptr) << "what an older log has left";
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_TRUE(decodeIntent(bytesOf(bad), 1, used) == nullptr) << i;
    EXPECT_TRUE(decodeIntent(bytesOf(bytes.substr(0, i)), 1, used) == nullptr) << i;
  }
}

TEST(Format, ALargeIntentIsBounded) {
  Intent intent;
  intent.kind = IntentKind::INSTALL;
  intent.sums.assign(kUnitsPerBlock, 1);
  size_t used = 0;
  EXPECT_TRUE(decodeIntent(bytesOf(encode(intent, 1)), 1, used) != nullptr);
}

}  // namespace
}  // namespace dfs::block
