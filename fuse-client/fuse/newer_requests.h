#pragma once
// Requests of the kernel that libfuse 3.14 has no operation for, in the shape of those that it has: they begin alike.
//
//   TMPFILE (Linux 6.1)  a CREATE of the name "/", which no other CREATE has
//   STATX (Linux 6.6)    a GETATTR with the descriptor kStatxHandle, which no open file has
//
// Thread: any; functions only. What the kernel sends is checked by libfuse afterwards, as any request.

#include <kj/array.h>
#include <sys/stat.h>

#include <cstdint>

namespace dfs {

inline constexpr uint64_t kStatxHandle = ~uint64_t(0);
inline constexpr const char* kUnnamed = "/";

void translateNewer(kj::ArrayPtr<kj::byte> request);

struct StatxAnswer {
  // As the kernel wants it (fuse_statx_out). Its time-out is zero.
  uint64_t validSec = 0;
  uint32_t validNsec = 0;
  uint32_t flags = 0;
  uint64_t spare[2] = {};
  struct statx stat {};
};
static_assert(sizeof(StatxAnswer) == 288);

StatxAnswer statxAnswer(const struct stat& st, timespec btime);

}  // namespace dfs
