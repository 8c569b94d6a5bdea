#pragma once
// Numbers of bytes for people: "1.5 GiB".
//
// Thread: any.

#include <iomanip>
#include <sstream>
#include <string>

namespace dfs {

inline std::string sizeText(double bytes) {
  // Powers of 1024 up to PiB, with one decimal below 100 of a unit.
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  std::ostringstream out;
  out << std::fixed << std::setprecision(unit == 0 || bytes >= 100 ? 0 : 1) << bytes << " "
      << units[unit];
  return out.str();
}

}  // namespace dfs
