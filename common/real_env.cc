#include "common/real_env.h"

#include <kj/debug.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>

namespace dfs {
namespace {

constexpr uint64_t rotl(uint64_t x, int k) {
  return x << k | x >> (64 - k);
}

std::string memoryDirectory(const std::string& given) {
  if (!given.empty()) return given;
  return geteuid() == 0 ? "/run/dfs" : "/dev/shm/dfs-" + std::to_string(geteuid());
}

std::string makeDirectory(const std::string& directory) {
  if (directory.empty()) return "/nonexistent";
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  KJ_REQUIRE(std::filesystem::is_directory(directory), "the data directory cannot be made",
             directory.c_str(), ec.message().c_str());
  return directory;
}

}  // namespace

uint64_t RealClock::bootMs() {
  timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1'000'000;
}

Time RealClock::wallTime() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)};
}

RealRandom::RealRandom() {
  ssize_t n;
  KJ_SYSCALL(n = getrandom(state_, sizeof state_, 0));
  KJ_REQUIRE(n == static_cast<ssize_t>(sizeof state_));
}

uint64_t RealRandom::next() {
  uint64_t result = rotl(state_[1] * 5, 7) * 9;
  uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotl(state_[3], 45);
  return result;
}

RealEnv::RealEnv(kj::AsyncIoContext& io, const RealEnvOptions& options)
    : clock_(io.provider->getTimer()),
      pool_(options.diskThreads, "dfs-disk"),
      network_(newRealNetwork(io)),
      disk_(newRealDisk(pool_, makeDirectory(options.directory),
                        memoryDirectory(options.memoryDirectory))),
      env{clock_, random_, *network_, *disk_} {}

RealEnv::~RealEnv() noexcept(false) {}

}  // namespace dfs
