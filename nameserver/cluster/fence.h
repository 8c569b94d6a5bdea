#pragma once
// Which version of the view every daemon has acknowledged (C3).
//
// Thread: the loop's. Owner: the cluster.
// A daemon acknowledges by its beats (viewSettled). One that is gone counts as acknowledged once it
// is out of its chains and those who serve on there have installed that, for then what it still
// forwards is refused by epoch. A chain that waits for it alone holds nothing up: nobody can use it,
// and it installs the current view before it serves again.

#include "nameserver/cluster/node_book.h"

namespace dfs {

std::string unsettled(const View& view, const NodeBook& book, uint64_t version);
// What lacks, in a sentence; empty: all have acknowledged that version.

}  // namespace dfs
