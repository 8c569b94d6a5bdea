#include "common/checksum.h"

#include <kj/debug.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dfs {

uint64_t checksum(Bytes data, uint64_t seed) {
  return XXH3_64bits_withSeed(data.begin(), data.size(), seed);
}

uint32_t unitsTouched(uint32_t offset, size_t bytes) {
  if (bytes == 0) return 0;
  return static_cast<uint32_t>((offset + bytes - 1) / kUnitBytes - offset / kUnitBytes + 1);
}

kj::Array<uint64_t> unitSums(uint32_t offset, Bytes data) {
  KJ_REQUIRE(data.size() > 0);
  auto sums = kj::heapArray<uint64_t>(unitsTouched(offset, data.size()));
  size_t at = 0;
  for (auto& sum : sums) {
    size_t room = kUnitBytes - (offset + at) % kUnitBytes;
    size_t part = room < data.size() - at ? room : data.size() - at;
    sum = checksum(data.slice(at, at + part));
    at += part;
  }
  return sums;
}

}  // namespace dfs
