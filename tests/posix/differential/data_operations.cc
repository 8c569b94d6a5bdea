// The operations on what open files hold: space and holes, copies, mappings, other ways to read and write.
//
// Offsets are small: what lies across blocks of 4 MiB is the matter of random_data_test.cc.

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/posix/differential/pair.h"

namespace dfs::posix {
namespace {

constexpr size_t kBytesMax = 40000;
constexpr size_t kPageBytes = 4096;

struct Range {
  off_t at;
  size_t bytes;
};

Range range(Random& r) {
  auto at = r.oneIn(3) ? r.below(10) * kPageBytes : r.below(kBytesMax);
  auto bytes = r.oneIn(3) ? r.below(4) * kPageBytes : r.below(9000);
  return {static_cast<off_t>(at), bytes};
}

std::string shown(const Range& range) {
  return std::to_string(range.at) + "+" + std::to_string(range.bytes);
}

std::string hashed(long n, std::string data) {
  if (n < 0) return outcome(-1);
  data.resize(static_cast<size_t>(n));
  return outcome(n) + " hash " + std::to_string(std::hash<std::string>()(data));
}

off_t sizeOf(int fd) {
  // Asked for right before what goes by the size that the kernel knows.
  struct stat s;
  return fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? s.st_size : -1;
}

Operation onSlot(Random& r, std::string name, std::function<std::string(int)> call) {
  size_t slot = r.below(kSlots);
  return {name + " fd" + std::to_string(slot), [slot, call](Side& side, size_t base) {
            int fd = side.fds[base + slot];
            return fd < 0 ? std::string("closed") : call(fd);
          }};
}

Operation onTwoSlots(Random& r, std::string name, std::function<std::string(int, int)> call) {
  size_t from = r.below(kSlots), to = r.below(kSlots);
  auto text = name + " fd" + std::to_string(from) + " fd" + std::to_string(to);
  return {text, [=](Side& side, size_t base) {
            int in = side.fds[base + from], out = side.fds[base + to];
            return in < 0 || out < 0 ? std::string("closed") : call(in, out);
          }};
}

Operation changeSpace(Random& r) {
  static const std::vector<int> modes = {
      0,
      FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE,
      FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_PUNCH_HOLE,
  };
  int mode = r.of(modes);
  auto where = range(r);
  return onSlot(r, "fallocate " + std::to_string(mode) + " " + shown(where), [=](int fd) {
    return outcome(fallocate(fd, mode, where.at, static_cast<off_t>(where.bytes)));
  });
}

Operation copyRange(Random& r) {
  auto from = range(r);
  off_t to = range(r).at;
  return onTwoSlots(r, "copy " + shown(from) + " to " + std::to_string(to), [=](int in, int out) {
    (void)sizeOf(in);
    off_t at = from.at, target = to;
    return outcome(copy_file_range(in, &at, out, &target, from.bytes, 0));
  });
}

Operation sendRange(Random& r) {
  auto from = range(r);
  return onTwoSlots(r, "sendfile " + shown(from), [=](int in, int out) {
    if (sizeOf(in) < 0 || sizeOf(out) < 0 || !scope.mappings) return std::string("left out");
    off_t at = from.at;
    return outcome(sendfile(out, in, &at, from.bytes));
  });
}

std::string inMapping(int fd, const Range& where, bool stores, char value) {
  auto size = sizeOf(fd);
  if (!scope.mappings || size <= where.at) return "left out";
  auto bytes = std::min(where.bytes, static_cast<size_t>(size - where.at));
  if (bytes == 0) return "left out";
  auto start = where.at / static_cast<off_t>(kPageBytes) * static_cast<off_t>(kPageBytes);
  auto length = static_cast<size_t>(where.at - start) + bytes;
  int rights = stores ? PROT_READ | PROT_WRITE : PROT_READ;
  auto map = mmap(nullptr, length, rights, MAP_SHARED, fd, start);
  if (map == MAP_FAILED) return outcome(-1);
  auto data = static_cast<char*>(map) + (where.at - start);
  auto text = hashed(static_cast<long>(bytes), std::string(data, bytes));
  if (stores) {
    memset(data, value, bytes);
    text += " " + outcome(msync(map, length, MS_SYNC));
  }
  munmap(map, length);
  return text;
}

Operation useMapping(Random& r) {
  auto where = range(r);
  bool stores = r.oneIn(2);
  auto value = static_cast<char>('A' + r.below(26));
  return onSlot(r, (stores ? "mapped store " : "mapped load ") + shown(where),
                [=](int fd) { return inMapping(fd, where, stores, value); });
}

Operation writeVectors(Random& r) {
  static const std::vector<int> flags = {0, 0, RWF_DSYNC, RWF_SYNC, RWF_APPEND};
  int flag = r.of(flags);
  off_t at = r.oneIn(3) ? -1 : range(r).at;
  std::string first(r.below(5000), 'p'), second(r.below(5000), 'q');
  return onSlot(r, "pwritev2 " + std::to_string(flag) + " at " + std::to_string(at), [=](int fd) {
    (void)sizeOf(fd);  // RWF_APPEND: as far as this mount knows
    iovec parts[] = {{const_cast<char*>(first.data()), first.size()},
                     {const_cast<char*>(second.data()), second.size()}};
    return outcome(pwritev2(fd, parts, 2, at, flag));
  });
}

Operation readVectors(Random& r) {
  auto where = range(r);
  return onSlot(r, "preadv " + shown(where), [=](int fd) {
    std::string data(where.bytes, '\0');
    auto half = where.bytes / 2;
    iovec parts[] = {{data.data(), half}, {data.data() + half, where.bytes - half}};
    return hashed(preadv(fd, parts, 2, where.at), data);
  });
}

Operation attributeOfOpen(Random& r) {
  auto value = std::string(r.below(100), 'w');
  bool removes = r.oneIn(3);
  return onSlot(r, removes ? "fremovexattr" : "fsetxattr", [=](int fd) {
    if (!scope.attributes) return std::string("left out");
    return outcome(removes ? fremovexattr(fd, "user.a")
                           : fsetxattr(fd, "user.a", value.data(), value.size(), 0));
  });
}

Operation openAnew(Random& r) {
  // What is open, by its descriptor's name: also what has no name any more.
  static const std::vector<int> all = {O_RDWR, O_RDONLY, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC};
  int flags = r.of(all) | O_NONBLOCK | O_CLOEXEC;
  size_t from = r.below(kSlots), to = r.below(kSlots);
  auto text = "open again fd" + std::to_string(from) + " as fd" + std::to_string(to);
  return {text + " " + std::to_string(flags), [=](Side& side, size_t base) {
            if (side.fds[base + from] < 0) return std::string("closed");
            auto path = "/proc/self/fd/" + std::to_string(side.fds[base + from]);
            int fd = open(path.c_str(), flags);
            if (fd < 0) return outcome(-1);
            auto& at = side.fds[base + to];
            if (at >= 0) close(at);
            at = fd;
            return std::string("open");
          }};
}

}  // namespace

Operation randomDataOperation(Random& random) {
  using Draw = Operation (*)(Random&);
  static const std::vector<Draw> all = {changeSpace, changeSpace,     copyRange,  copyRange,
                                        sendRange,   useMapping,      useMapping, writeVectors,
                                        readVectors, attributeOfOpen, openAnew};
  return random.of(all)(random);
}

}  // namespace dfs::posix
