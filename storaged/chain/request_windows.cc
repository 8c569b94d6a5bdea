#include "storaged/chain/request_windows.h"

namespace dfs {

RequestWindows::Place RequestWindows::place(RequestId request, uint64_t windowFrom) {
  auto& w = sessions_[request.client];
  if (windowFrom > w.from) {
    w.from = windowFrom;
    w.entries.erase(w.entries.begin(), w.entries.lower_bound(windowFrom));
  }
  if (request.sequence < w.from) return Place::BELOW;
  return request.sequence - w.from >= kBlockWindow ? Place::ABOVE : Place::WITHIN;
}

RequestWindows::Entry* RequestWindows::find(RequestId request) {
  auto w = sessions_.find(request.client);
  if (w == sessions_.end()) return nullptr;
  auto e = w->second.entries.find(request.sequence);
  return e == w->second.entries.end() ? nullptr : &e->second;
}

RequestWindows::Entry& RequestWindows::add(RequestId request, BlockId block) {
  auto& e = sessions_[request.client].entries[request.sequence];
  e.block = block;
  return e;
}

void RequestWindows::applied(RequestId request, BlockId block, uint64_t version,
                             uint64_t windowFrom) {
  if (place(request, windowFrom) != Place::WITHIN) return;
  add(request, block).version = version;
}

void RequestWindows::drop(RequestId request) {
  auto w = sessions_.find(request.client);
  if (w != sessions_.end()) w->second.entries.erase(request.sequence);
}

void RequestWindows::dropChain(ChainId chain) {
  for (auto& session : sessions_) {
    auto& entries = session.second.entries;
    for (auto it = entries.begin(); it != entries.end();) {
      // A running one drops itself when it ends.
      bool gone = it->second.block.chain() == chain && it->second.running == nullptr;
      it = gone ? entries.erase(it) : std::next(it);
    }
  }
}

void RequestWindows::keepLive(const View& view) {
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    bool running = false;
    for (auto& e : it->second.entries) running = running || e.second.running != nullptr;
    bool gone = !running && !view.live(SessionId(it->first));
    it = gone ? sessions_.erase(it) : std::next(it);
  }
}

}  // namespace dfs
