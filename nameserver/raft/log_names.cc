#include "nameserver/raft/log_names.h"

#include <kj/debug.h>

namespace dfs {

kj::String segmentName(uint64_t number) {
  char digits[17];
  for (int i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
  digits[16] = 0;
  return kj::str(kLogDirectory, "/", digits);
}

kj::Maybe<uint64_t> segmentNumber(kj::StringPtr name) {
  if (name.size() != 16) return nullptr;
  uint64_t number = 0;
  for (char c : name) {
    bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return nullptr;
    number = number << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return number;
}

kj::String preparedName(uint64_t number) {
  return kj::str(kLogDirectory, "/next-", number);
}

bool isPrepared(kj::StringPtr name) {
  return name.startsWith("next-");
}

uint64_t segmentConfigurationIndex(Bytes body) {
  KJ_REQUIRE(body.size() >= 8, "a segment's first record is too short");
  uint64_t index = 0;
  for (int i = 0; i < 8; ++i) index |= uint64_t(body[i]) << (8 * i);
  return index;
}

}  // namespace dfs
