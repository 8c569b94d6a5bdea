#pragma once
// With how many stores a store has the room of its disk together.
//
// Thread: any. It looks at a directory of the host, but never enters another file system than that of the store: one beside it may
// be mounted from this very cluster and wait for this very daemon.

#include <cstdint>
#include <string>

namespace dfs {

uint32_t storesOnDisk(const std::string& data);
// Stores whose data directories stand side by side on one file system, this one included, as those of an embedded cluster. 1 if
// nothing can be said.

}  // namespace dfs
