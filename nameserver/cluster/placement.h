#pragma once
// Where new blocks go, and how much room there is (N5).
//
// Thread: the loop's. Pure but for the random numbers that are handed in.

#include "nameserver/cluster/chain_maker.h"
#include "nameserver/cluster/cluster.h"
#include "nameserver/cluster/node_book.h"

namespace dfs {

using Places = std::vector<std::pair<ChainId, uint32_t>>;

Outcome<Places> placeBlocks(const View& view, const NodeBook& book, const ChainPlan& plan,
                            Random& random, uint32_t blocks);
// By weighted choice over the room of each chain's fullest member; chains with all their copies
// before those that lack some. At most kRowsPerAnswerMax chains. NO_SPACE: those that serve are
// full. AGAIN: none serves.

Space totalSpace(const View& view, const NodeBook& book, const ChainPlan& plan);
// Of user data: each byte of it once, however many copies it has. Stores on one disk tell
// their shares of it.

}  // namespace dfs
