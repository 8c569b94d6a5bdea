#include "common/metrics.h"

#include <cstdio>

namespace dfs {
namespace {

constexpr uint64_t kFirstBucketUs = 16;

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string braces(const std::string& labels) {
  return labels.empty() ? "" : "{" + labels + "}";
}

}  // namespace

void Histogram::record(uint64_t us) {
  ++count_;
  sumUs_ += us;
  uint32_t bucket = 0;
  while (bucket < kBuckets && us > kFirstBucketUs << bucket) ++bucket;
  if (bucket < kBuckets) ++buckets_[bucket];
}

void MetricsWriter::head(const char* name, const char* help, const char* type) {
  if (!headed_.insert(name).second) return;
  text_ += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void MetricsWriter::counter(const char* name, const char* help, uint64_t value,
                            const std::string& labels) {
  head(name, help, "counter");
  text_ += name + braces(labels) + " " + std::to_string(value) + "\n";
}

void MetricsWriter::gauge(const char* name, const char* help, double value,
                          const std::string& labels) {
  head(name, help, "gauge");
  text_ += name + braces(labels) + " " + number(value) + "\n";
}

void MetricsWriter::histogram(const char* name, const char* help, const Histogram& h,
                              const std::string& labels) {
  head(name, help, "histogram");
  std::string comma = labels.empty() ? "" : labels + ",";
  uint64_t below = 0;
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    below += h.buckets_[i];
    double edge = static_cast<double>(kFirstBucketUs << i) / 1e6;
    text_ += std::string(name) + "_bucket{" + comma + "le=\"" + number(edge) + "\"} " +
             std::to_string(below) + "\n";
  }
  text_ +=
      std::string(name) + "_bucket{" + comma + "le=\"+Inf\"} " + std::to_string(h.count_) + "\n";
  text_ += std::string(name) + "_sum" + braces(labels) + " " +
           number(static_cast<double>(h.sumUs_) / 1e6) + "\n";
  text_ += std::string(name) + "_count" + braces(labels) + " " + std::to_string(h.count_) + "\n";
}

std::string MetricsWriter::label(const char* name, const std::string& value) {
  std::string text = std::string(name) + "=\"";
  for (char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text + "\"";
}

}  // namespace dfs
