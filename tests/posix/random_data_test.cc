// One file under random operations, against an array in memory, through one descriptor after the other and one mount or
// two: writes, reads, truncations, holes, zeros, allocations, copies within the file, stores through a mapping, appends,
// reopening. DFS_POSIX_SEED is the first seed, DFS_POSIX_SECONDS how long it goes on from there (5 without it).

#include "tests/posix/place.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>

namespace dfs::posix {
namespace {

constexpr size_t kBytesMax = 10 << 20;  // more than two blocks of 4 MiB
constexpr int kSteps = 150;             // of one seed

uint64_t fromEnvironment(const char* name, uint64_t otherwise) {
  auto text = getenv(name);
  return text == nullptr ? otherwise : strtoull(text, nullptr, 10);
}

class OneFile {
 public:
  explicit OneFile(uint64_t seed) : random_(seed) {
    makeFile(p_.here("f"));
    reopen(0);
    reopen(1);
  }

  void go() {
    for (int i = 0; i < kSteps && !testing::Test::HasFailure(); ++i) step();
    if (!testing::Test::HasFailure()) compareAll();
    if (!testing::Test::HasFailure()) return;
    for (auto& line : done_) fprintf(stderr, "  %s\n", line.c_str());
  }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }
  size_t place() {
    // Near a boundary, near the end, or anywhere.
    constexpr size_t boundaries[] = {4096, 64 << 10, 1 << 20, 4 << 20, 8 << 20};
    size_t at = below(kBytesMax);
    if (below(3) == 0) at = boundaries[below(5)] - 2 + below(5);
    if (below(4) == 0) at = model_.size() + below(3000) - std::min<size_t>(model_.size(), 1500);
    if (below(4) == 0) at = at / 4096 * 4096;
    return std::min(at, kBytesMax - 1);
  }
  size_t length(size_t at) {
    size_t bytes = 1 + below(below(3) == 0 ? 3 << 20 : below(2) == 0 ? 200'000 : 5000);
    if (below(4) == 0) bytes = (bytes + 4095) / 4096 * 4096;
    return std::min(bytes, kBytesMax - at);
  }
  void grow(size_t to) {
    if (model_.size() < to) model_.resize(to, '\0');
  }
  std::string bytes(size_t count) {
    std::string text(count, '\0');
    auto seed = random_();
    for (size_t i = 0; i < count; ++i)
      text[i] = static_cast<char>(seed >> (i % 57) ^ i * 31 ^ i >> 12);
    return text;
  }
  void reopen(int which) {
    fds_[which].reset();
    int flags = O_RDWR | (below(8) == 0 ? O_SYNC : 0);
    auto path = which == 0 ? p_.here("f") : p_.there("f");
    fds_[which] = std::make_unique<Fd>(open(path.c_str(), flags));
    ASSERT_GE(int(*fds_[which]), 0) << errnoName(errno);
  }
  void note(const char* what, size_t at, size_t count) {
    done_.push_back(std::string(which_ == 0 ? "here  " : "there ") + what + " " +
                    std::to_string(at) + "+" + std::to_string(count) + " size " +
                    std::to_string(model_.size()));
    if (done_.size() > 25) done_.pop_front();
  }

  void step() {
    which_ = static_cast<int>(below(2));
    int fd = *fds_[which_];
    auto at = place();
    auto count = length(at);
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
        return write(fd, at, count);
      case 3:
      case 4:
      case 5:
        return compare(fd, at, count);
      case 6:
        return truncate(fd, below(3) == 0 ? at : below(model_.size() + 1));
      case 7:
      case 8:
        return space(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, count);
      case 9:
        return space(fd, FALLOC_FL_ZERO_RANGE | (below(2) == 0 ? FALLOC_FL_KEEP_SIZE : 0), at,
                     count);
      case 10:
        return space(fd, below(2) == 0 ? FALLOC_FL_KEEP_SIZE : 0, at, count);
      case 11:
        return copy(fd, at, count);
      case 12:
        return store(fd, at, count);
      case 13:
        return append(count);
      case 14:
        note("reopen", 0, 0);
        return reopen(which_);
      default:
        note("stat", 0, 0);
        ASSERT_EQ(size_t(statOf(fd).st_size), model_.size());
        if (below(2) == 0) {
          ASSERT_OK(fsync(fd));
        }
        return data(fd, at);
    }
  }
  void write(int fd, size_t at, size_t count) {
    note("write", at, count);
    auto text = bytes(count);
    for (size_t done = 0; done < count;) {
      auto n = pwrite(fd, text.data() + done, count - done, static_cast<off_t>(at + done));
      ASSERT_GT(n, 0) << errnoName(errno);
      done += static_cast<size_t>(n);
    }
    grow(at + count);
    model_.replace(at, count, text);
  }
  void append(size_t count) {
    count = std::min(count, kBytesMax - std::min(model_.size(), kBytesMax));
    if (count == 0) return;
    note("append", model_.size(), count);
    Fd fd(open((which_ == 0 ? p_.here("f") : p_.there("f")).c_str(), O_WRONLY | O_APPEND));
    auto text = bytes(count);
    ASSERT_EQ(::write(fd, text.data(), count), ssize_t(count)) << errnoName(errno);
    model_ += text;
  }
  void compare(int fd, size_t at, size_t count) {
    note("read", at, count);
    std::string got(count, '?');
    auto n = pread(fd, got.data(), count, static_cast<off_t>(at));
    ASSERT_GE(n, 0) << errnoName(errno);
    got.resize(static_cast<size_t>(n));
    auto wanted = at < model_.size() ? model_.substr(at, count) : "";
    ASSERT_EQ(got.size(), wanted.size());
    if (got == wanted) return;
    size_t i = 0;
    while (got[i] == wanted[i]) ++i;
    FAIL() << "byte " << at + i << " is " << int(got[i]) << " and not " << int(wanted[i]);
  }
  void compareAll() {
    for (which_ = 0; which_ < 2; ++which_) {
      ASSERT_EQ(size_t(statOf(*fds_[which_]).st_size), model_.size());
      compare(*fds_[which_], 0, kBytesMax);
    }
  }
  void truncate(int fd, size_t to) {
    note("truncate", to, 0);
    ASSERT_OK(ftruncate(fd, static_cast<off_t>(to)));
    model_.resize(to, '\0');
  }
  void space(int fd, int mode, size_t at, size_t count) {
    note(("fallocate " + std::to_string(mode)).c_str(), at, count);
    ASSERT_OK(fallocate(fd, mode, static_cast<off_t>(at), static_cast<off_t>(count)));
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0) grow(at + count);
    bool clears = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
    if (!clears || at >= model_.size()) return;
    count = std::min(count, model_.size() - at);
    model_.replace(at, count, std::string(count, '\0'));
  }
  void copy(int fd, size_t to, size_t count) {
    auto from = below(2) == 0 ? (to + (4 << 20)) % (8 << 20) : below(kBytesMax);
    (void)statOf(fd);  // the kernel cuts the range at the size that it knows
    if (from >= model_.size()) return;
    count = std::min({count, model_.size() - from, kBytesMax - to});
    if (from < to + count && to < from + count) return;
    note(("copy from " + std::to_string(from)).c_str(), to, count);
    auto text = model_.substr(from, count);
    for (size_t done = 0; done < count;) {
      auto in = static_cast<off_t>(from + done), out = static_cast<off_t>(to + done);
      auto n = copy_file_range(fd, &in, fd, &out, count - done, 0);
      ASSERT_GT(n, 0) << errnoName(errno);
      done += static_cast<size_t>(n);
    }
    grow(to + count);
    model_.replace(to, count, text);
  }
  void store(int fd, size_t at, size_t count) {
    if (model_.empty()) return;
    at %= model_.size();
    count = std::min({count, model_.size() - at, size_t(300'000)});
    note("store", at, count);
    auto start = at / 4096 * 4096;
    ASSERT_EQ(size_t(statOf(fd).st_size), model_.size());
    auto length = at - start + count;
    auto map = static_cast<char*>(
        mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(start)));
    ASSERT_NE(map, MAP_FAILED) << errnoName(errno);
    ASSERT_EQ(memcmp(map + (at - start), model_.data() + at, count), 0) << "what is mapped is old";
    auto text = bytes(count);
    memcpy(map + (at - start), text.data(), count);
    // Between two mounts the call is what shows it; on one nothing is needed.
    if (p_.twoMounts()) ASSERT_OK(msync(map, length, MS_SYNC));
    ASSERT_OK(munmap(map, length));
    model_.replace(at, count, text);
  }
  void data(int fd, size_t at) {
    // What SEEK_DATA passes over must be zeros; what SEEK_HOLE finds must be.
    auto next = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (next < 0 && errno == ENXIO) next = static_cast<off_t>(std::max(at, model_.size()));
    ASSERT_GE(next, 0) << errnoName(errno);
    for (size_t i = at; i < std::min(model_.size(), static_cast<size_t>(next)); ++i) {
      ASSERT_EQ(model_[i], '\0') << "SEEK_DATA from " << at << " passes over data at " << i;
    }
    auto hole = lseek(fd, static_cast<off_t>(at), SEEK_HOLE);
    if (hole < 0) {
      ASSERT_EQ(errno, ENXIO);
      ASSERT_GE(at, model_.size());
      return;
    }
    if (size_t(hole) < model_.size()) {
      ASSERT_EQ(model_[static_cast<size_t>(hole)], '\0') << "no hole at " << hole;
    }
  }

  Place p_;
  std::mt19937_64 random_;
  std::string model_;
  std::unique_ptr<Fd> fds_[2];
  int which_ = 0;
  std::deque<std::string> done_;
};

TEST(RandomData, OneFileIsTheArrayInMemory) {
  auto seconds = fromEnvironment("DFS_POSIX_SECONDS", 5);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  auto seed = fromEnvironment("DFS_POSIX_SEED", 1);
  auto first = seed;
  do {
    SCOPED_TRACE("seed " + std::to_string(seed));
    OneFile(seed++).go();
    if (HasFailure()) {
      fprintf(stderr, "seed %llu, its last operations above\n", (unsigned long long)seed - 1);
      return;
    }
  } while (std::chrono::steady_clock::now() < end);
  printf("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)seed - 1);
}

}  // namespace
}  // namespace dfs::posix
