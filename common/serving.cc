#include "common/serving.h"

#include "common/launch.h"

#include <nlohmann/json.hpp>

namespace dfs {
namespace {

constexpr uint32_t kAnswerMs = 1000;
constexpr const char* kClaiming = "SESSIONS_CLAIMING";

}  // namespace

std::string whyNotServing(const std::string& http) {
  using Json = nlohmann::json;
  if (!quickGet(http, "/readyz", kAnswerMs).empty()) return "";
  auto status = Json::parse(quickGet(http, "/status", kAnswerMs), nullptr, false);
  if (!status.is_object() || !status.contains("health")) return "it does not answer";
  std::string why;
  bool claiming = false;
  for (auto& issue : status["health"].value("issues", Json::array())) {
    if (!issue.value("critical", false)) continue;
    if (issue.value("code", "") == kClaiming) {
      claiming = true;
      continue;
    }
    if (!why.empty()) why += "; ";
    why += issue.value("what", "?") + " (" + issue.value("effect", "") + ")";
  }
  if (!why.empty()) return why;
  return claiming ? "" : "it has just been started";
}

}  // namespace dfs
