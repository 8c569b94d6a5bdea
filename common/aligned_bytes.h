#pragma once
// Memory whose address is a multiple of kUnitBytes, as O_DIRECT wants it.
//
// Thread: any.

#include "common/limits.h"

#include <kj/array.h>
#include <kj/debug.h>

#include <cstdlib>

namespace dfs {

class FreeingDisposer final : public kj::ArrayDisposer {
  void disposeImpl(void* first, size_t, size_t, size_t, void (*)(void*)) const override {
    free(first);
  }
};
inline constexpr FreeingDisposer kFreeingDisposer{};

inline kj::Array<kj::byte> alignedBytes(size_t bytes) {
  // Not filled with anything. REQUIRES: a multiple of kUnitBytes, not 0.
  auto first = static_cast<kj::byte*>(std::aligned_alloc(kUnitBytes, bytes));
  KJ_REQUIRE(first != nullptr, "out of memory", bytes);
  return kj::Array<kj::byte>(first, bytes, kFreeingDisposer);
}

}  // namespace dfs
