#pragma once
// What a person sees of a transfer: one line on a terminal, rewritten a few times a second.
//
// Thread: the loop's. Owner: the command, for as long as what it counts.

#include "common/env.h"
#include "common/task.h"

#include <cstdint>
#include <string>

namespace dfs {

std::string progressLine(const std::string& name, uint64_t done, uint64_t total, uint64_t moved,
                         uint64_t elapsedMs);
// done: of `total` (0: not known); moved: of that by this run, which is what the rate counts.

class Progress {
 public:
  Progress(Env& env, bool wanted);
  // Nothing is shown unless stderr is a terminal.
  ~Progress() noexcept(false);
  KJ_DISALLOW_COPY(Progress);

  void name(const std::string& name) { name_ = name; }  // what is being moved
  void expect(uint64_t bytes) { total_ += bytes; }
  void moved(uint64_t bytes) { done_ += bytes, moved_ += bytes; }
  void skipped(uint64_t bytes) { done_ += bytes; }  // was there already
  void say(const std::string& line);
  // A line of its own on stderr, whether there is a terminal or not.

 private:
  Task<void> show();
  void draw();

  Env& env_;
  const bool shown_;
  const uint64_t beganMs_;
  std::string name_;
  uint64_t total_ = 0, done_ = 0, moved_ = 0;
  bool drawn_ = false;
  kj::Promise<void> showing_ = nullptr;
};

}  // namespace dfs
