#include "common/real_env.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>

namespace dfs {
namespace {

constexpr uint32_t kTakePauseUs = 50'000;
constexpr uint32_t kTakeTries = 60;

constexpr uint64_t rotl(uint64_t x, int k) {
  return x << k | x >> (64 - k);
}

std::string memoryDirectory(const std::string& given) {
  if (!given.empty()) return given;
  return geteuid() == 0 ? "/run/dfs" : "/dev/shm/dfs-" + std::to_string(geteuid());
}

std::string makeDirectory(const std::string& directory) {
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  KJ_REQUIRE(std::filesystem::is_directory(directory), "the data directory cannot be made",
             directory.c_str(), ec.message().c_str());
  return directory;
}

kj::AutoCloseFd takeDirectory(const std::string& directory) {
  // Two processes in one data directory would destroy it. One that was killed may still be on its way
  // out. The lock is on the directory itself: nothing is put into one that may be a missing disk.
  if (directory.empty()) return kj::AutoCloseFd();
  int fd = open(makeDirectory(directory).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  KJ_REQUIRE(fd >= 0, "the data directory cannot be opened", directory.c_str(), strerror(errno));
  kj::AutoCloseFd own(fd);
  for (uint32_t tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; ++tries) {
    KJ_REQUIRE(errno == EWOULDBLOCK || errno == EINTR, "the data directory cannot be locked",
               directory.c_str(), strerror(errno));
    KJ_REQUIRE(tries < kTakeTries,
               "another process is at work in this data directory; stop it, or name another "
               "directory",
               directory.c_str());
    usleep(kTakePauseUs);
  }
  return own;
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
    : directory_(takeDirectory(options.directory)),
      clock_(io.provider->getTimer()),
      pool_(options.diskThreads, "dfs-disk"),
      network_(newRealNetwork(io)),
      disk_(newRealDisk(pool_, options.directory.empty() ? "/nonexistent" : options.directory,
                        memoryDirectory(options.memoryDirectory))),
      env{clock_, random_, *network_, *disk_} {}

RealEnv::~RealEnv() noexcept(false) {}

}  // namespace dfs
