#pragma once
// Which pieces were asked for before: what is read once, as by a scan, does not push out of the page
// cache what is read again and again (the A1 queue of 2Q, Johnson and Shasha 1994).
//
// Thread: the loop's. Owner: Segments.

#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <utility>

namespace dfs::block {

class ReadOnce {
 public:
  explicit ReadOnce(size_t piecesMax) : piecesMax_(piecesMax) {}

  bool again(uint64_t piece) {
    // Has it been named before, among the last ones? At least piecesMax different ones are
    // remembered, and at most twice as many.
    bool known = now_.count(piece) != 0 || before_.count(piece) != 0;
    if (now_.size() >= piecesMax_ && now_.count(piece) == 0) {
      before_ = std::move(now_);
      now_.clear();
    }
    now_.insert(piece);
    return known;
  }

 private:
  const size_t piecesMax_;
  std::unordered_set<uint64_t> now_;
  std::unordered_set<uint64_t> before_;
};

}  // namespace dfs::block
