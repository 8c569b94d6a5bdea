#include "nameserver/cluster/placement.h"

#include <algorithm>
#include <cmath>

namespace dfs {
namespace {

struct Candidate {
  ChainId chain;
  uint64_t room = 0;
  double order = 0;
};

bool roomOf(const NodeBook& book, const ChainInfo& chain, uint64_t& room) {
  // The least of those that have to take the bytes. False: one of them has not told yet.
  room = UINT64_MAX;
  for (auto& m : chain.members) {
    if (m.state != MemberState::SERVING && m.state != MemberState::SYNCING) continue;
    auto heard = book.find(m.node);
    if (heard == nullptr || heard->registration == 0) return false;
    room = std::min(room, heard->space.usable());
  }
  return true;
}

Places share(std::vector<Candidate>& chosen, uint32_t blocks) {
  double total = 0;
  for (auto& c : chosen) total += static_cast<double>(c.room);
  Places places;
  uint32_t given = 0;
  double upTo = 0;
  for (auto& c : chosen) {
    upTo += static_cast<double>(c.room);
    auto target = static_cast<uint32_t>(std::llround(blocks * std::min(1.0, upTo / total)));
    if (target > given) places.push_back({c.chain, target - given});
    given = std::max(given, target);
  }
  if (given < blocks) {
    if (places.empty()) places.push_back({chosen[0].chain, 0});
    places.back().second += blocks - given;
  }
  return places;
}

}  // namespace

Outcome<Places> placeBlocks(const View& view, const NodeBook& book, const ChainPlan& plan,
                            Random& random, uint32_t blocks) {
  if (blocks == 0) return Places();
  bool planned = std::any_of(view.chains.begin(), view.chains.end(),
                             [&](auto& c) { return inPlan(c.second, plan); });
  bool serving = false;
  std::vector<Candidate> whole;
  std::vector<Candidate> partial;
  for (auto& [id, chain] : view.chains) {
    // Until the chains of the plan are made, others are better than none.
    if ((planned && !inPlan(chain, plan)) || chain.servingCount() == 0) continue;
    uint64_t room = 0;
    if (!roomOf(book, chain, room)) continue;
    serving = true;
    if (room == 0) continue;
    // Efraimidis and Spirakis (2006): the smallest of -log(u) / weight are a weighted sample.
    double u = (static_cast<double>(random.next() >> 11) + 1) / 9007199254740993.0;
    Candidate candidate{id, room, -std::log(u) / static_cast<double>(room)};
    (chain.servingCount() == chain.members.size() ? whole : partial).push_back(candidate);
  }
  auto& from = whole.empty() ? partial : whole;
  if (from.empty()) return serving ? Errno::NO_SPACE : Errno::AGAIN;

  std::sort(from.begin(), from.end(), [](auto& a, auto& b) {
    return std::pair(a.order, a.chain) < std::pair(b.order, b.chain);
  });
  from.resize(std::min<size_t>({from.size(), blocks, kRowsPerAnswerMax}));
  return share(from, blocks);
}

Space totalSpace(const View& view, const NodeBook& book, const ChainPlan& plan) {
  Space space{0, 0, true};
  for (auto& [id, node] : view.nodes) {
    auto heard = book.find(id);
    if (heard == nullptr) {
      bool expected = node.online && book.nowMs() - book.startMs() < kSpaceSettleMs;
      if (expected) space.settled = false;
      continue;
    }
    space.bytes += heard->space.total;
    space.bytesFree += heard->space.usable();
  }
  auto copies = std::max<uint32_t>(1, plan.members);
  return {space.bytes / copies, space.bytesFree / copies, space.settled};
}

}  // namespace dfs
