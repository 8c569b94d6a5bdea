#pragma once
// xxh3-64 sums: of values, frames and of the 4 KiB units of blocks (B1).

#include "common/kv.h"
#include "common/limits.h"

namespace dfs {

uint64_t checksum(Bytes data, uint64_t seed = 0);

// A write touches the units [offset / kUnitBytes, (offset + size - 1) / kUnitBytes]; each sum is of
// the touched part of its unit alone.
uint32_t unitsTouched(uint32_t offset, size_t bytes);
kj::Array<uint64_t> unitSums(uint32_t offset, Bytes data);
// REQUIRES: data.size() > 0.

template <typename List> bool sumsMatch(uint32_t offset, Bytes data, List sums) {
  auto expected = unitSums(offset, data);
  if (sums.size() != expected.size()) return false;
  for (uint32_t i = 0; i < expected.size(); ++i) {
    if (sums[i] != expected[i]) return false;
  }
  return true;
}

}  // namespace dfs
