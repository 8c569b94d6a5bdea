#include "fuse-client/fuse/caller.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

namespace dfs {
namespace {

constexpr uint64_t kSigKillBit = 0x100;

bool readStatus(int32_t tid, std::string& text) {
  std::ifstream file("/proc/" + std::to_string(tid) + "/status");
  if (!file) return false;
  std::ostringstream all;
  all << file.rdbuf();
  text = all.str();
  return !text.empty();
}

const char* field(const std::string& text, const char* name) {
  auto at = text.find(std::string("\n") + name + ":");
  return at == std::string::npos ? nullptr : text.c_str() + at + 2 + strlen(name);
}

}  // namespace

bool ProcCallerStatus::dying(int32_t tid) {
  std::string text;
  if (tid == 0 || !readStatus(tid, text)) return true;
  for (auto name : {"SigPnd", "ShdPnd"}) {
    auto value = field(text, name);
    if (value != nullptr && (strtoull(value, nullptr, 16) & kSigKillBit) != 0) return true;
  }
  // "\tZ (zombie)" or "\tX (dead)".
  auto state = field(text, "State");
  return state != nullptr && (state[1] == 'Z' || state[1] == 'X');
}

std::vector<uint32_t> ProcCallerStatus::groups(int32_t tid) {
  std::vector<uint32_t> all;
  std::string text;
  if (tid == 0 || !readStatus(tid, text)) return all;
  auto value = field(text, "Groups");
  if (value == nullptr) return all;
  std::string line(value, strcspn(value, "\n"));
  std::istringstream numbers(line);
  uint32_t gid;
  while (numbers >> gid) all.push_back(gid);
  return all;
}

kj::Maybe<ThreadState> ProcCallerStatus::thread(int32_t tid) {
  std::string text;
  if (tid == 0 || !readStatus(tid, text)) return nullptr;
  ThreadState state;
  auto value = field(text, "State");
  state.ready = value != nullptr && (value[1] == 'R' || value[1] == 'D');
  std::ifstream("/proc/" + std::to_string(tid) + "/schedstat") >> state.ranNs;
  return state;
}

}  // namespace dfs
