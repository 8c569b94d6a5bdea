#include "fuse-client/permission.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

namespace dfs {
namespace {

constexpr const char* kDevice = "/dev/fuse";

bool has(const std::vector<std::string>& words, const char* word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string inPath(const std::string& program) {
  const char* path = getenv("PATH");
  std::istringstream directories(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    auto file = directory + "/" + program;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

std::string textOf(const char* path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

void refuseDevice() {
  struct stat st {};
  KJ_REQUIRE(stat(kDevice, &st) == 0 && S_ISCHR(st.st_mode),
             "there is no /dev/fuse: the kernel's FUSE is missing (`modprobe fuse`, or give the "
             "container that device)");
  KJ_REQUIRE(access(kDevice, R_OK | W_OK) == 0,
             "this user may not open /dev/fuse; root makes it everybody's with `chmod 666 "
             "/dev/fuse`",
             strerror(errno));
}

void refuseMountPoint(const std::string& path) {
  // As fusermount3 has it: writable, and in a directory like /tmp one's own.
  struct stat st {};
  KJ_REQUIRE(lstat(path.c_str(), &st) == 0, "the mount point cannot be used", path.c_str(),
             strerror(errno));
  bool own = st.st_uid == geteuid();
  KJ_REQUIRE(own || (access(path.c_str(), W_OK) == 0 && (st.st_mode & S_ISVTX) == 0),
             "an ordinary user mounts on a directory of his own only", path.c_str());
  KJ_REQUIRE(access(path.c_str(), W_OK) == 0, "the mount point cannot be written to", path.c_str());
}

}  // namespace

bool allowsOthers(const std::string& fuseConf) {
  std::istringstream lines(fuseConf);
  for (std::string line; std::getline(lines, line);) {
    line = line.substr(0, line.find('#'));
    std::istringstream words(line);
    std::string word, more;
    if (words >> word && word == "user_allow_other" && !(words >> more)) return true;
  }
  return false;
}

void refuseIfNotAllowed(const MountOptions& options) {
  refuseDevice();
  if (geteuid() == 0) return;
  KJ_REQUIRE(!inPath("fusermount3").empty(),
             "an ordinary user needs fusermount3 to mount; it is in the package fuse3");
  refuseMountPoint(options.mountpoint);
  KJ_REQUIRE(!options.allowOther || allowsOthers(textOf("/etc/fuse.conf")),
             "allow_other is for root, until root writes the line user_allow_other into "
             "/etc/fuse.conf");
  for (auto word : {"suid", "dev"}) {
    KJ_REQUIRE(!has(options.fuseOptions, word), "only root may mount with this option", word);
  }
}

}  // namespace dfs
