#pragma once
// Two trees that should be alike: the reference on a local disk, and the one under test, which may be seen through two mounts.
//
// Thread: the only one. Owner: run() in main.cc.
// Each operation runs on the reference and then on the tested side, as the same user, with the same umask; what it returns is
// written down as text, and the texts must be equal.

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace dfs::posix {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t n) { return engine_() % n; }
  bool oneIn(uint64_t n) { return below(n) == 0; }
  template <typename T> const T& of(const std::vector<T>& list) { return list[below(list.size())]; }

 private:
  std::mt19937_64 engine_;
};

struct Scope {
  // What one mount promises and two do not.
  bool fifos = true;
  bool accessTimes = true;
  bool mappings = false;   // they and SEEK_END move times of access otherwise than on a local disk
  bool attributes = true;  // extended ones
  bool removals =
      true;  // of a directory are known to the kernel that asks: EACCES or ENOENT in one is its own word
};
extern Scope scope;

struct User {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};
const std::vector<User>& users();
// Root first, if the program is root; else only who it is.
void become(const User& user);  // real, effective and file-system ids; root can come back

constexpr size_t kSlots = 6;  // of one mount

struct Side {
  // One tree through one mount. The descriptors are of that mount.
  std::string root;
  std::array<int, 2 * kSlots> fds{};
  std::string path(const std::string& relative) const { return root + "/" + relative; }
};

struct Operation {
  std::string text;  // for people, and for the log
  std::function<std::string(Side&, size_t slotBase)> run;
};

std::string outcome(long result);
// "ok N" or the errno's name. Reads errno.

Operation randomOperation(Random& random);
// See operations.cc. Draws all that it needs before it runs: both sides do the same.

Operation randomDataOperation(Random& random);
// One of data_operations.cc.

std::string describeTree(const std::string& root);
// One line for each name: type, mode, owner, links, size, target, contents, attributes; in order.
std::string describeAttributes(const struct stat& s, int64_t nowSec);
// Without what differs between file systems: inode numbers, blocks, sizes of directories. Times only where a program has set
// them (far from now).

}  // namespace dfs::posix
