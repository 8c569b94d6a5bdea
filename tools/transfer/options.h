#pragma once
// How files are copied, and how much of that is under way.

#include <cstdint>

namespace dfs {

struct TransferOptions {
  bool recursive = false;
  bool preserve = false;  // modes and times
  bool resume = false;
  bool times() const {
    return preserve || resume;
  }  // it is by them that resume knows what is there
};

inline constexpr uint32_t kPieces = 16;  // of one file, each of kWriteBytesMax at most
inline constexpr uint32_t kFilesAtOnce = 8;

}  // namespace dfs
