#include "common/checksum.h"

#include <kj/debug.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dfs {

#if defined(__x86_64__)
unsigned long checksumAvx2(const void* data, unsigned long bytes, unsigned long seed);

namespace {
constexpr size_t kWorthACallBytes = 512;
const bool hasAvx2 = []() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0;
}();
}  // namespace
#endif

uint64_t checksum(Bytes data, uint64_t seed) {
#if defined(__x86_64__)
  if (data.size() >= kWorthACallBytes && hasAvx2) {
    return checksumAvx2(data.begin(), data.size(), seed);
  }
#endif
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
