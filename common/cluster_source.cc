#include "common/cluster_source.h"

#include "common/process.h"

#include <kj/common.h>

namespace dfs {
namespace {

constexpr const char* kUnix = "unix:";
constexpr size_t kUnixBytes = 5;

size_t endOfServer(const std::string& text, size_t from) {
  // Where the ',' or the ":/" after this one stands; the end if there is none.
  size_t at = from;
  if (text.compare(from, kUnixBytes, kUnix) == 0) {
    at = from + kUnixBytes + 1;
  } else if (text.compare(from, 1, "[") == 0) {
    auto close = text.find(']', from);
    if (close != std::string::npos) at = close;
  }
  for (; at < text.size(); ++at) {
    if (text[at] == ',' || text.compare(at, 2, ":/") == 0) return at;
  }
  return text.size();
}

std::string withPort(const std::string& server) {
  if (server.starts_with(kUnix)) return server;
  auto bracket = server.rfind(']');
  auto colon = server.rfind(':');
  bool has = colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  return has ? server : server + ":" + std::to_string(kNamePort);
}

}  // namespace

ClusterSource parseClusterSource(const std::string& text) {
  ClusterSource source;
  if (text == "none" || text == "dfs") return source;
  size_t at = 0;
  for (bool more = true; more;) {
    auto end = endOfServer(text, at);
    auto server = text.substr(at, end - at);
    if (server.empty()) {
      source.wrong = "a cluster is named HOST:PORT[,HOST:PORT][:/PATH], not \"" + text + "\"";
      return source;
    }
    auto address = withPort(server);
    auto wrong = wrongAddress(address.c_str());
    KJ_IF_MAYBE(why, wrong) {
      source.wrong = why->cStr();
      return source;
    }
    source.nameservers.push_back(address);
    more = end < text.size() && text[end] == ',';
    if (end < text.size() && !more) source.path = text.substr(end + 1);
    at = end + 1;
  }
  return source;
}

bool looksLikeSource(const std::string& text) {
  if (text.empty() || text[0] == '/' || text[0] == '.') return false;
  return !parseClusterSource(text).path.empty();
}

}  // namespace dfs
