#include "common/log.h"

#include <kj/debug.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstring>

namespace dfs {
namespace {

constexpr size_t kFileBytesMax = 16 << 20;
constexpr size_t kFilesMax = 4;

spdlog::level::level_enum levelOf(kj::LogSeverity severity) {
  switch (severity) {
    case kj::LogSeverity::INFO:
      return spdlog::level::info;
    case kj::LogSeverity::WARNING:
      return spdlog::level::warn;
    case kj::LogSeverity::ERROR:
    case kj::LogSeverity::FATAL:
      return spdlog::level::err;
    case kj::LogSeverity::DBG:
      return spdlog::level::debug;
  }
  return spdlog::level::err;
}

kj::LogSeverity severityOf(const std::string& level) {
  if (level == "debug") return kj::LogSeverity::INFO;
  if (level == "info") return kj::LogSeverity::INFO;
  if (level == "warning") return kj::LogSeverity::WARNING;
  if (level == "error") return kj::LogSeverity::ERROR;
  KJ_FAIL_REQUIRE("the log level must be debug, info, warning or error", level);
}

}  // namespace

Log::Log(const LogOptions& options) {
  auto severity = severityOf(options.level);
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    try {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, kFileBytesMax,
                                                                    kFilesMax);
    } catch (const spdlog::spdlog_ex& e) {
      KJ_FAIL_REQUIRE("the log file cannot be opened", options.file, e.what());
    }
  }
  logger_ = std::make_shared<spdlog::logger>(options.who, sink);
  logger_->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %n %v", spdlog::pattern_time_type::utc);
  logger_->set_level(spdlog::level::debug);
  logger_->flush_on(spdlog::level::info);
  kj::_::Debug::setLogLevel(severity);
}

Log::~Log() noexcept(false) {}

void Log::logMessage(kj::LogSeverity severity, const char* file, int line, int, kj::String&& text) {
  const char* name = strrchr(file, '/');
  logger_->log(levelOf(severity), "{} ({}:{})", text.cStr(), name == nullptr ? file : name + 1,
               line);
}

}  // namespace dfs
