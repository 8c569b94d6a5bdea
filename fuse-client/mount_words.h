#pragma once
// The words after -o: which there are, and what each does.
//
// Thread: any. Pure, but for warnings to stderr about words that are passed over.

#include "fuse-client/arguments.h"

#include <kj/string.h>

namespace dfs {

kj::Maybe<kj::String> takeWords(Arguments& a);
// Reads a.options into the rest of `a`. A sentence if one is wrong; an unknown one names the nearest
// that there is. Later words win over earlier ones.

bool isFlagOfTheMount(const std::string& word);
// "nodev" and the like: what the kernel keeps for each mount, and can change while it is mounted.

}  // namespace dfs
