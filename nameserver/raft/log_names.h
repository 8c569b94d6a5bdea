#pragma once
// The names of the log's files: log/0000000000000001 and so on, and log/next-N for what is prepared.
//
// Thread: any.

#include "common/kv.h"

#include <kj/string.h>

namespace dfs {

inline constexpr kj::StringPtr kLogDirectory = "log"_kj;

kj::String segmentName(uint64_t number);                // with the directory
kj::Maybe<uint64_t> segmentNumber(kj::StringPtr name);  // without it
kj::String preparedName(uint64_t number);               // with the directory
bool isPrepared(kj::StringPtr name);                    // without it
uint64_t segmentConfigurationIndex(Bytes body);  // of a SEGMENT record; the rest is the bytes

}  // namespace dfs
