#include "tools/transfer/progress.h"

#include "common/size_text.h"

#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <sstream>

namespace dfs {
namespace {

constexpr uint64_t kEveryMs = 250;
constexpr const char* kClearLine = "\r\033[K";

}  // namespace

std::string progressLine(const std::string& name, uint64_t done, uint64_t total, uint64_t moved,
                         uint64_t elapsedMs) {
  std::ostringstream out;
  out << name << "  ";
  if (total > 0) out << std::min<uint64_t>(100, done * 100 / total) << "%  ";
  out << sizeText(static_cast<double>(done));
  if (elapsedMs > 0) {
    auto rate = static_cast<double>(moved) * 1000 / static_cast<double>(elapsedMs);
    out << "  " << sizeText(rate) << "/s";
    if (total > done && rate >= 1) {
      auto left = static_cast<uint64_t>(static_cast<double>(total - done) / rate);
      out << "  " << left / 60 << ":" << std::setw(2) << std::setfill('0') << left % 60;
    }
  }
  return out.str();
}

Progress::Progress(Env& env, bool wanted)
    : env_(env), shown_(wanted && isatty(2) == 1), beganMs_(env.clock.bootMs()) {
  if (shown_) showing_ = kj::Promise<void>(show()).eagerlyEvaluate(nullptr);
}

Progress::~Progress() noexcept(false) {
  if (!shown_ || moved_ + done_ == 0) return;
  draw();
  std::cerr << std::endl;
}

Task<void> Progress::show() {
  for (;;) {
    co_await env_.clock.timer().afterDelay(kEveryMs * kj::MILLISECONDS);
    draw();
  }
}

void Progress::draw() {
  drawn_ = true;
  auto elapsed = env_.clock.bootMs() - beganMs_;
  std::cerr << kClearLine << progressLine(name_, done_, total_, moved_, elapsed) << std::flush;
}

void Progress::say(const std::string& line) {
  if (drawn_) std::cerr << kClearLine;
  std::cerr << line << std::endl;
}

}  // namespace dfs
