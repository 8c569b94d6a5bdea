#pragma once
// Numbers for /metrics in Prometheus' text format (version 0.0.4). Nothing is registered anywhere:
// each part keeps its own counters and writes them when it is asked.
//
// Names: dfs_<part>_<what>_<unit>, counters end in _total.

#include <array>
#include <cstdint>
#include <set>
#include <string>

namespace dfs {

class Histogram {
  // Of durations, in powers of two from 16 us to 16 s.
 public:
  static constexpr uint32_t kBuckets = 21;
  void record(uint64_t us);
  uint64_t count() const { return count_; }

 private:
  friend class MetricsWriter;
  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t sumUs_ = 0;
};

class MetricsWriter {
 public:
  void counter(const char* name, const char* help, uint64_t value, const std::string& labels = "");
  void gauge(const char* name, const char* help, double value, const std::string& labels = "");
  void histogram(const char* name, const char* help, const Histogram& h,
                 const std::string& labels = "");
  // `labels`: as between the braces, `store="store1"`; values escaped with label().
  std::string finish() { return std::move(text_); }

  static std::string label(const char* name, const std::string& value);

 private:
  void head(const char* name, const char* help, const char* type);

  std::string text_;
  std::set<std::string> headed_;
};

}  // namespace dfs
