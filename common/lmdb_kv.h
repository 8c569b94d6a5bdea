#pragma once
// A Kv on disk: OverlayKv over LMDB.
//
// Commits are fully synced (no NOSYNC, no WRITEMAP: those lose or corrupt after a power cut, platform facts in ARCHITECTURE.md).
// A write transaction must begin and end on one thread, so each store has one thread of its own; the loop reads by a read-only
// transaction of the last commit.

#include "common/kv.h"

#include <kj/string.h>

namespace dfs {

kj::Promise<kj::Own<Kv>> openLmdbKv(kj::StringPtr directory);
// Makes the directory if it is not there. Throws with a sentence if it cannot be opened. Once per directory and process.

}  // namespace dfs
