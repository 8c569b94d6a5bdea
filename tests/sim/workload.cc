#include "tests/sim/workload.h"

#include "common/checksum.h"

namespace dfs {

void Journal::note(const std::string& what) {
  auto line = std::to_string(time_.nowNs() / 1000) + "us " + what;
  Bytes bytes(reinterpret_cast<const kj::byte*>(line.data()), line.size());
  hash_ = checksum(bytes, hash_);
  lines_.push_back(kj::mv(line));
}

void Journal::fail(const std::string& what) {
  note("FAILED: " + what);
  failures_.push_back(lines_.back());
}

}  // namespace dfs
