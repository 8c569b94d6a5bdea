#include "fuse-client/vfs/write_window.h"

namespace dfs {

WriteWindow::Place::Place(WriteWindow& window, uint64_t bytes, kj::Function<void()> answer)
    : window_(window),
      bytes_(bytes),
      answer_(kj::mv(answer)),
      at_(window.waiting_.insert(window.waiting_.end(), this)) {
  window_.pump();
}

WriteWindow::Place::~Place() noexcept(false) {
  if (answered_) {
    window_.bytes_ -= bytes_;
    --window_.places_;
  } else {
    window_.waiting_.erase(at_);
  }
  window_.pump();
}

void WriteWindow::pump() {
  while (!waiting_.empty()) {
    auto& next = *waiting_.front();
    if (bytes_ + next.bytes_ > kEarlyBytesMax || places_ >= kEarlyWritesMax) return;
    waiting_.pop_front();
    next.answered_ = true;
    bytes_ += next.bytes_;
    ++places_;
    next.answer_();
  }
}

}  // namespace dfs
