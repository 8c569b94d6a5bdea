#include "common/ids.h"

#include <cinttypes>

namespace dfs {

kj::String toString(const Uuid& u) {
  char text[40];
  std::snprintf(text, sizeof text,
                "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64, u.high >> 32,
                (u.high >> 16) & 0xffff, u.high & 0xffff, u.low >> 48, u.low & 0xffffffffffff);
  return kj::str(text);
}

kj::Maybe<Uuid> parseUuid(kj::StringPtr text) {
  if (text.size() != 36) return nullptr;
  uint64_t half[2] = {0, 0};
  size_t digits = 0;
  for (size_t i = 0; i < 36; ++i) {
    char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return nullptr;
      continue;
    }
    uint64_t digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return nullptr;
    }
    auto& h = half[digits++ / 16];
    h = h << 4 | digit;
  }
  return Uuid{half[0], half[1]};
}

}  // namespace dfs
