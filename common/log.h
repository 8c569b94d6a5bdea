#pragma once
// Where KJ_LOG goes: one line each to stderr or to a file that is rotated, by spdlog.
//
// Line: 2026-11-21T09:41:11.123Z INFO name1 sentence; value = 3 (file.cc:12)
//
// Thread: any (KJ asks the callback of the logging thread; threads inherit what main() installed).
// Owner: main(), first on its stack: it is in force as long as it lives.

#include <kj/exception.h>

#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace dfs {

struct LogOptions {
  std::string level = "info";  // debug, info, warning, error
  std::string file;            // empty: stderr
  std::string who;             // which process: "store2"
};

class Log final : public kj::ExceptionCallback {
 public:
  explicit Log(const LogOptions& options);
  // Throws with a sentence if the file cannot be opened or the level is unknown.
  ~Log() noexcept(false);

  void logMessage(kj::LogSeverity severity, const char* file, int line, int contextDepth,
                  kj::String&& text) override;

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace dfs
