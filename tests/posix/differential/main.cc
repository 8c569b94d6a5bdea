// The same long random sequence of operations on a local disk and on the file system under test: equal results, equal errnos,
// equal trees in the end.
//
//   dfs_posix_differential [--seed N] [--operations N] [--seconds N] REFERENCE TESTED [OTHER]
//
// OTHER is TESTED through another mount; operations then go through either. Runs seeds from N on until the seconds are over (or
// one seed without --seconds). Exit code 1 with the seed, the operation and what led to it if anything differs.

#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/posix/differential/pair.h"

namespace dfs::posix {
namespace {

constexpr size_t kShownBefore = 60;  // operations that led to a difference
constexpr int kLevels = 8;  // between a tree's top and where it is worked in: `..` leads out

struct Options {
  uint64_t seed = 1;
  uint64_t operations = 1500;
  uint64_t seconds = 0;
  std::vector<std::string> roots;
};

std::string treeName(uint64_t seed) {
  return "differential-" + std::to_string(seed) + "-" + std::to_string(getpid());
}

std::string working(const std::string& top) {
  std::string path = top;
  for (int i = 0; i < kLevels; ++i) path += "/level";
  return path;
}

void makeTop(const std::string& top) {
  umask(0);
  std::filesystem::create_directories(working(top));
  for (std::string path = working(top); path.size() >= top.size();
       path = std::filesystem::path(path).parent_path()) {
    if (chmod(path.c_str(), 0777) != 0) perror(path.c_str());
  }
}

void removeTop(const std::string& top) {
  std::error_code ec;
  for (auto& entry : std::filesystem::recursive_directory_iterator(
           top, std::filesystem::directory_options::skip_permission_denied, ec)) {
    std::error_code ignored;  // what is in the way is told by the removal
    if (entry.is_directory(ignored) && !entry.is_symlink(ignored))
      chmod(entry.path().c_str(), 0700);
  }
  std::filesystem::remove_all(top, ec);
  if (ec) printf("%s stays: %s\n", top.c_str(), ec.message().c_str());
}

void showDifference(const std::string& reference, const std::string& tested) {
  std::set<std::string> left, right;
  std::string line;
  for (std::istringstream in(reference); std::getline(in, line);) left.insert(line);
  for (std::istringstream in(tested); std::getline(in, line);) right.insert(line);
  for (auto& one : left) {
    if (right.count(one) == 0) printf("  reference %s\n", one.c_str());
  }
  for (auto& one : right) {
    if (left.count(one) == 0) printf("  tested    %s\n", one.c_str());
  }
}

bool runSeed(const Options& options, uint64_t seed) {
  Random random(seed);
  // Times of access, or what moves them otherwise.
  bool twoMounts = options.roots.size() > 2;
  scope.mappings = twoMounts || seed % 2 == 0;
  scope.accessTimes = !scope.mappings;
  auto name = treeName(seed);
  std::vector<Side> sides;
  for (auto& root : options.roots) {
    sides.push_back({working(root + "/" + name), {}});
    sides.back().fds.fill(-1);
  }
  makeTop(options.roots[0] + "/" + name);
  makeTop(options.roots[1] + "/" + name);
  std::deque<std::string> before;
  bool alike = true;
  for (uint64_t i = 0; alike && i < options.operations; ++i) {
    auto& user = random.of(users());
    mode_t mask = random.oneIn(4) ? 022 : 0;
    // With two mounts the upper half of the slots is of the second.
    size_t other = sides.size() > 2 ? random.below(2) : 0;
    auto operation = randomOperation(random);
    become(user);
    umask(mask);
    size_t base = other * (sides[0].fds.size() / 2);
    auto wanted = operation.run(sides[0], base);
    auto got = operation.run(sides[1 + other], base);
    become(users().front());
    before.push_back(std::to_string(i) + " uid " + std::to_string(user.uid) + " mount " +
                     std::to_string(other + 1) + ": " + operation.text + " = " + wanted);
    if (before.size() > kShownBefore) before.pop_front();
    if (wanted == got) continue;
    alike = false;
    for (auto& line : before) printf("%s\n", line.c_str());
    printf("seed %lu, operation %lu, tested side: %s\n", seed, i, got.c_str());
  }
  for (auto& side : sides) {
    for (auto fd : side.fds) {
      if (fd >= 0) close(fd);
    }
  }
  for (size_t i = 1; alike && i < options.roots.size(); ++i) {
    auto wanted = describeTree(options.roots[0] + "/" + name);
    auto got = describeTree(options.roots[i] + "/" + name);
    if (wanted == got) continue;
    alike = false;
    printf("seed %lu: the trees differ in the end\n", seed);
    showDifference(wanted, got);
    for (auto& line : before) printf("%s\n", line.c_str());
  }
  if (alike || getenv("DFS_POSIX_KEEP") == nullptr) {
    removeTop(options.roots[0] + "/" + name);
    removeTop(options.roots[1] + "/" + name);
  }
  return alike;
}

int run(const Options& options) {
  if (options.roots.size() > 2) scope.fifos = scope.removals = false;
  for (auto& root : options.roots) {
    if (lgetxattr(root.c_str(), "user.none", nullptr, 0) == -1 && errno == EOPNOTSUPP) {
      printf("%s has no extended attributes: they are left out\n", root.c_str());
      scope.attributes = false;
    }
  }
  using Clock = std::chrono::steady_clock;
  auto end = Clock::now() + std::chrono::seconds(options.seconds);
  uint64_t seed = options.seed;
  do {
    if (!runSeed(options, seed)) return 1;
    ++seed;
  } while (Clock::now() < end);
  printf("%lu sequences of %lu operations, seeds %lu to %lu: alike\n", seed - options.seed,
         options.operations, options.seed, seed - 1);
  return 0;
}

}  // namespace
}  // namespace dfs::posix

int main(int argc, char** argv) {
  dfs::posix::Options options;
  for (int i = 1; i < argc; ++i) {
    auto number = [&] { return i + 1 < argc ? strtoull(argv[++i], nullptr, 10) : 0; };
    if (strcmp(argv[i], "--seed") == 0) {
      options.seed = number();
    } else if (strcmp(argv[i], "--operations") == 0) {
      options.operations = number();
    } else if (strcmp(argv[i], "--seconds") == 0) {
      options.seconds = number();
    } else {
      options.roots.push_back(argv[i]);
    }
  }
  if (options.roots.size() < 2 || options.roots.size() > 3) {
    fprintf(stderr,
            "usage: %s [--seed N] [--operations N] [--seconds N] REFERENCE TESTED [OTHER]\n",
            argv[0]);
    return 2;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  return dfs::posix::run(options);
}
