// xxh3-64 for processors with AVX2: nearly twice as quick as with the SSE2 that every x86-64 has. The
// same sums. Compiled with -mavx2, so it includes nothing whose inline functions others might get
// from here.

#if defined(__AVX2__)
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dfs {

unsigned long checksumAvx2(const void* data, unsigned long bytes, unsigned long seed);

unsigned long checksumAvx2(const void* data, unsigned long bytes, unsigned long seed) {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

}  // namespace dfs
#endif
