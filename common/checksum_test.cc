// Method: known sums, and each unit's sum against a sum of its bytes alone.

#include "common/checksum.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <vector>

namespace dfs {
namespace {

TEST(Checksum, IsXxh3WithItsPublishedValues) {
  // What lies on disks was summed with it: another function is another format.
  EXPECT_EQ(checksum(nullptr), 0x2d06800538d394c2u);
  EXPECT_NE(checksum(nullptr, 1), checksum(nullptr));
  EXPECT_EQ(checksum(kj::StringPtr("abc").asBytes()), 0x78af5f94892f3950u);
}

TEST(Checksum, UnitsAreTheTouchedPartsOfEach) {
  std::vector<kj::byte> data(3 * kUnitBytes);
  for (size_t i = 0; i < data.size(); ++i) data[i] = kj::byte(i * i >> 3);
  for (uint32_t offset : {0u, 1u, 4095u, 4096u, 4097u, kBlockBytes - 3 * kUnitBytes}) {
    for (size_t bytes : {size_t(1), size_t(4095), size_t(4096), size_t(4097), data.size()}) {
      Bytes part(data.data(), bytes);
      auto sums = unitSums(offset, part);
      size_t at = 0;
      for (uint32_t i = 0; i < sums.size(); ++i) {
        uint64_t unit = offset / kUnitBytes + i;
        size_t end = std::min<size_t>(bytes, (unit + 1) * kUnitBytes - offset);
        ASSERT_LT(at, end);
        EXPECT_EQ(sums[i], checksum(part.slice(at, end)));
        at = end;
      }
      EXPECT_EQ(at, bytes);
      EXPECT_TRUE(sumsMatch(offset, part, sums.asPtr()));
      EXPECT_FALSE(sumsMatch(offset, part, sums.slice(0, sums.size() - 1)));
      data[bytes - 1] ^= 1;
      EXPECT_FALSE(sumsMatch(offset, part, sums.asPtr()));
      data[bytes - 1] ^= 1;
    }
  }
  EXPECT_EQ(unitsTouched(4095, 0), 0u);
  EXPECT_EQ(unitsTouched(4095, 2), 2u);
}

TEST(Checksum, IsTheSameOnEveryProcessorAndForEverySize) {
  // Against the library's own, over the sizes where another instruction set takes over.
  std::vector<kj::byte> data(1 << 20);
  for (size_t i = 0; i < data.size(); ++i) data[i] = kj::byte(i * 31 >> 2);
  for (size_t bytes : {1, 240, 241, 511, 512, 513, 1024, 4096, 65'537, 1 << 20}) {
    Bytes part(data.data(), bytes);
    EXPECT_EQ(checksum(part), XXH3_64bits(data.data(), bytes)) << bytes;
    EXPECT_EQ(checksum(part, 77), XXH3_64bits_withSeed(data.data(), bytes, 77)) << bytes;
  }
}

}  // namespace
}  // namespace dfs
