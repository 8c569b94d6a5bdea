#pragma once
// Lists in text: "a,b,c", "/usr/lib".
//
// Thread: any.

#include <sstream>
#include <string>
#include <vector>

namespace dfs {

inline std::vector<std::string> split(const std::string& text, char between) {
  // The parts in order, without the empty ones.
  std::vector<std::string> parts;
  std::istringstream stream(text);
  std::string part;
  while (std::getline(stream, part, between)) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

}  // namespace dfs
