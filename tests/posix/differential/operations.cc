// The operations. Each is a function that draws its arguments and returns what both sides then do.
//
// Names come from a small alphabet, so that most operations meet what others have made; the rest are the odd ones (empty, dots,
// too long, with a slash at the end).

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "tests/posix/differential/pair.h"

namespace dfs::posix {
namespace {

std::string component(Random& r) {
  static const std::vector<std::string> usual = {"a", "b", "c", "d", "e"};
  static const std::vector<std::string> odd = {
      ".", "..", std::string(255, 'n'), std::string(256, 'x'), "\xff\xfe\n", "f"};
  return r.oneIn(14) ? r.of(odd) : r.of(usual);
}

std::string path(Random& r) {
  if (r.oneIn(150)) return "";
  std::string text = component(r);
  for (uint64_t more = r.below(3); more > 0; --more) text += "/" + component(r);
  if (r.oneIn(20)) text += "/";
  return text;
}

std::string shown(const std::string& text) {
  std::string out;
  for (unsigned char c : text) {
    char hex[8];
    snprintf(hex, sizeof hex, "\\x%02x", c);
    out += c > 32 && c < 127 ? std::string(1, static_cast<char>(c)) : hex;
  }
  return out.size() > 60 ? out.substr(0, 20) + "..." + std::to_string(text.size()) : out;
}

mode_t mode(Random& r) {
  static const std::vector<mode_t> all = {0777,  0755,  0644,  0600,  0700,  0,     0444, 0711,
                                          01777, 02775, 04755, 06777, 02644, 01700, 07777};
  return r.of(all);
}

timespec setTime(Random& r) {
  // Far from now, so that it can be told from what the system stamps; sometimes a special one.
  switch (r.below(8)) {
    case 0:
      return {0, UTIME_NOW};
    case 1:
      return {0, UTIME_OMIT};
    case 2:
      return {-5, 999'999'999};
    case 3:
      return {4'102'444'800, 1};
    case 4:
      return {1, 1'000'000'000};
    default:
      return {static_cast<time_t>(r.below(1'000'000'000)),
              static_cast<long>(r.below(1'000'000'000))};
  }
}

int64_t nowSec() {
  return time(nullptr);
}

std::string attributes(long result, const struct stat& s) {
  if (result == -1) return outcome(-1);
  return describeAttributes(s, nowSec());
}

Operation onPath(const char* name, std::string p, std::function<long(const char*)> call) {
  return {std::string(name) + " " + shown(p),
          [p, call](Side& side, size_t) { return outcome(call(side.path(p).c_str())); }};
}

Operation onTwo(const char* name, std::string p, std::string q,
                std::function<long(const char*, const char*)> call) {
  return {std::string(name) + " " + shown(p) + " " + shown(q), [p, q, call](Side& side, size_t) {
            return outcome(call(side.path(p).c_str(), side.path(q).c_str()));
          }};
}

Operation onSlot(Random& r, const char* name, std::function<std::string(int)> call) {
  size_t slot = r.below(kSlots);
  return {std::string(name) + " fd" + std::to_string(slot), [slot, call](Side& side, size_t base) {
            int fd = side.fds[base + slot];
            return fd < 0 ? std::string("closed") : call(fd);
          }};
}

// --- names ---

Operation makeDirectory(Random& r) {
  auto m = mode(r);
  return onPath("mkdir", path(r), [m](const char* p) { return mkdir(p, m); });
}

Operation makeNode(Random& r) {
  static const std::vector<mode_t> types = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK,
                                            S_IFREG, 0,        S_IFDIR};
  auto m = r.of(types) | mode(r);
  if (S_ISFIFO(m) && !scope.fifos) m = S_IFREG | (m & 07777);
  dev_t device = r.oneIn(3) ? 0 : makedev(1, 3);
  return onPath("mknod", path(r), [m, device](const char* p) { return mknod(p, m, device); });
}

Operation makeLink(Random& r) {
  static const std::vector<std::string> targets = {
      "a", "b", "../c", "a/b", "./d", "missing", "c/", std::string(4095, 't')};
  auto target = r.oneIn(30) ? "" : r.of(targets);
  return onPath("symlink", path(r), [target](const char* p) { return symlink(target.c_str(), p); });
}

Operation hardLink(Random& r) {
  int flags = r.oneIn(4) ? AT_SYMLINK_FOLLOW : 0;
  return onTwo("link", path(r), path(r), [flags](const char* p, const char* q) {
    return linkat(AT_FDCWD, p, AT_FDCWD, q, flags);
  });
}

Operation remove(Random& r) {
  return onPath("unlink", path(r), [](const char* p) { return unlink(p); });
}

Operation removeDirectory(Random& r) {
  return onPath("rmdir", path(r), [](const char* p) { return rmdir(p); });
}

Operation renameOne(Random& r) {
  static const std::vector<unsigned> all = {0,
                                            0,
                                            0,
                                            0,
                                            RENAME_NOREPLACE,
                                            RENAME_EXCHANGE,
                                            RENAME_WHITEOUT,
                                            RENAME_NOREPLACE | RENAME_EXCHANGE};
  auto flags = r.of(all);
  auto name = "rename(" + std::to_string(flags) + ")";
  return onTwo(name.c_str(), path(r), path(r), [flags](const char* p, const char* q) {
    // ext4 moves the time of the directory of `p` even where it then refuses, because a directory is in the way.
    struct stat there;
    bool inTheWay = flags == RENAME_WHITEOUT && lstat(q, &there) == 0 && S_ISDIR(there.st_mode);
    return renameat2(AT_FDCWD, p, AT_FDCWD, q, inTheWay ? 0 : flags);
  });
}

Operation readLink(Random& r) {
  auto p = path(r);
  return {"readlink " + shown(p), [p](Side& side, size_t) {
            char text[5000];
            auto n = readlink(side.path(p).c_str(), text, sizeof text);
            return n < 0 ? outcome(-1) : std::string(text, n);
          }};
}

Operation list(Random& r) {
  auto p = path(r);
  return {"readdir " + shown(p), [p](Side& side, size_t) {
            DIR* dir = opendir(side.path(p).c_str());
            if (dir == nullptr) return outcome(-1);
            std::map<std::string, int> names;
            while (auto e = readdir(dir)) names[e->d_name] = e->d_type;
            closedir(dir);
            std::string text = "names";
            for (auto& [name, type] : names) text += " " + shown(name) + ":" + std::to_string(type);
            return text;
          }};
}

// --- attributes ---

Operation status(Random& r) {
  auto p = path(r);
  int flags = r.oneIn(2) ? AT_SYMLINK_NOFOLLOW : 0;
  return {"stat " + shown(p), [p, flags](Side& side, size_t) {
            struct stat s;
            return attributes(fstatat(AT_FDCWD, side.path(p).c_str(), &s, flags), s);
          }};
}

Operation mayAccess(Random& r) {
  int want = static_cast<int>(r.below(8));
  return onPath("access", path(r), [want](const char* p) { return access(p, want); });
}

Operation changeMode(Random& r) {
  auto m = mode(r);
  auto name = "chmod " + std::to_string(m);
  return onPath(name.c_str(), path(r), [m](const char* p) { return chmod(p, m); });
}

bool isStrangers(const char* p, bool link) {
  struct stat s;
  return geteuid() != 0 && (link ? lstat(p, &s) : stat(p, &s)) == 0 && s.st_uid != geteuid();
}

Operation changeOwner(Random& r) {
  static const std::vector<uid_t> uids = {0, 12345, 12346, uid_t(-1), uid_t(-1)};
  static const std::vector<gid_t> gids = {0, 12345, 777, gid_t(-1), gid_t(-1)};
  auto uid = r.of(uids);
  auto gid = r.of(gids);
  bool link = r.oneIn(2);
  auto name = "chown " + std::to_string(int(uid)) + ":" + std::to_string(int(gid));
  bool nothing = uid == uid_t(-1) && gid == gid_t(-1);
  return onPath(name.c_str(), path(r), [=](const char* p) -> long {
    // FUSE does not tell it from the kernel's own wish before a write through a file that was handed on, which
    // must be granted: so here somebody else's file with set-id bits differs while it is open for writing.
    if (nothing && isStrangers(p, link)) return 0;
    return link ? lchown(p, uid, gid) : chown(p, uid, gid);
  });
}

Operation changeTimes(Random& r) {
  timespec times[2] = {setTime(r), setTime(r)};
  int flags = r.oneIn(3) ? AT_SYMLINK_NOFOLLOW : 0;
  return onPath("utimensat", path(r),
                [times, flags](const char* p) { return utimensat(AT_FDCWD, p, times, flags); });
}

Operation cut(Random& r) {
  off_t size = static_cast<off_t>(r.below(30000)) - 10;
  auto name = "truncate " + std::to_string(size);
  return onPath(name.c_str(), path(r), [size](const char* p) { return truncate(p, size); });
}

Operation changeAttribute(Random& r) {
  static const std::vector<std::string> names = {"user.a", "user.b", "trusted.c", "user.",
                                                 "nosuch.d"};
  if (!scope.attributes) return status(r);
  auto name = r.of(names);
  auto value = std::string(r.below(200), 'v');
  int flags = static_cast<int>(r.below(3));
  bool removes = r.oneIn(3);
  auto text = std::string(removes ? "removexattr " : "setxattr ") + name;
  return onPath(text.c_str(), path(r), [=](const char* p) {
    return removes ? lremovexattr(p, name.c_str())
                   : lsetxattr(p, name.c_str(), value.data(), value.size(), flags);
  });
}

Operation readAttribute(Random& r) {
  if (!scope.attributes) return status(r);
  auto p = path(r);
  return {"getxattr " + shown(p), [p](Side& side, size_t) {
            char value[300];
            auto n = lgetxattr(side.path(p).c_str(), "user.a", value, sizeof value);
            return outcome(n);
          }};
}

// --- open files ---

Operation openOne(Random& r) {
  static const std::vector<int> extras = {0,
                                          0,
                                          O_CREAT,
                                          O_CREAT,
                                          O_CREAT,
                                          O_CREAT | O_EXCL,
                                          O_TRUNC,
                                          O_CREAT | O_TRUNC,
                                          O_APPEND | O_CREAT,
                                          O_NOFOLLOW,
                                          O_DIRECTORY,
                                          O_DIRECTORY,
                                          O_PATH,
                                          O_PATH | O_NOFOLLOW,
                                          O_CREAT | O_DIRECTORY,
                                          O_TMPFILE};
  auto p = path(r);
  int flags = r.of(extras) | static_cast<int>(r.below(3)) | O_NONBLOCK | O_CLOEXEC;
  auto m = mode(r);
  size_t slot = r.below(kSlots);
  char text[64];
  snprintf(text, sizeof text, "open fd%zu %o ", slot, flags);
  return {text + shown(p), [=](Side& side, size_t base) {
            int fd = open(side.path(p).c_str(), flags, m);
            if (fd < 0) return outcome(-1);
            auto& at = side.fds[base + slot];
            if (at >= 0) close(at);
            at = fd;
            return std::string("open");
          }};
}

Operation closeOne(Random& r) {
  size_t slot = r.below(kSlots);
  return {"close fd" + std::to_string(slot), [slot](Side& side, size_t base) {
            int fd = std::exchange(side.fds[base + slot], -1);
            return fd < 0 ? std::string("closed") : outcome(close(fd));
          }};
}

Operation writeSome(Random& r) {
  std::string data(r.below(9000), static_cast<char>('a' + r.below(26)));
  off_t offset = r.oneIn(2) ? -1 : static_cast<off_t>(r.below(20000));
  return onSlot(r, "write", [data, offset](int fd) {
    return outcome(offset < 0 ? write(fd, data.data(), data.size())
                              : pwrite(fd, data.data(), data.size(), offset));
  });
}

Operation readSome(Random& r) {
  size_t bytes = r.below(12000);
  off_t offset = r.oneIn(2) ? -1 : static_cast<off_t>(r.below(20000));
  return onSlot(r, "read", [bytes, offset](int fd) {
    std::string data(bytes, 0);
    auto n = offset < 0 ? read(fd, data.data(), bytes) : pread(fd, data.data(), bytes, offset);
    if (n < 0) return outcome(-1);
    data.resize(n);
    return outcome(n) + " hash " + std::to_string(std::hash<std::string>()(data));
  });
}

Operation seekTo(Random& r) {
  off_t offset = static_cast<off_t>(r.below(9000)) - 100;
  static const std::vector<int> all = {SEEK_SET, SEEK_CUR, SEEK_END};
  int whence = r.of(all);
  if (!scope.mappings && whence == SEEK_END) whence = SEEK_SET;
  return onSlot(r, "lseek", [offset, whence](int fd) {
    struct stat s;
    // Positions in directories are each file system's own.
    if (fstat(fd, &s) == 0 && S_ISDIR(s.st_mode)) return std::string("directory");
    return outcome(lseek(fd, offset, whence));
  });
}

Operation changeOpen(Random& r) {
  auto m = mode(r);
  off_t size = static_cast<off_t>(r.below(30000)) - 10;
  timespec first = setTime(r), second = setTime(r);
  switch (r.below(6)) {
    case 0:
      return onSlot(r, "fchmod", [m](int fd) { return outcome(fchmod(fd, m)); });
    case 1:
      return onSlot(r, "ftruncate", [size](int fd) { return outcome(ftruncate(fd, size)); });
    case 2:
      return onSlot(r, "futimens", [first, second](int fd) {
        timespec times[2] = {first, second};
        return outcome(futimens(fd, times));
      });
    case 3:
      return onSlot(r, "fchown", [](int fd) { return outcome(fchown(fd, -1, 12345)); });
    case 4:
      return onSlot(r, "fsync", [](int fd) { return outcome(fsync(fd)); });
    default:
      return onSlot(r, "fstat", [](int fd) {
        struct stat s;
        return attributes(fstat(fd, &s), s);
      });
  }
}

std::string madeIn(int fd, int result) {
  // Of a directory that another mount has removed the kernel does not know it, and looks at the caller's rights first.
  struct stat s;
  bool refused = result == -1 && (errno == EACCES || errno == ENOENT);
  int err = errno;
  if (refused && !scope.removals && fstat(fd, &s) == 0 && s.st_nlink == 0) return "removed";
  errno = err;
  return outcome(result);
}

Operation atDescriptor(Random& r) {
  auto p = component(r);
  auto m = mode(r);
  switch (r.below(5)) {
    case 0:
      return onSlot(r, ("mkdirat " + shown(p)).c_str(),
                    [p, m](int fd) { return madeIn(fd, mkdirat(fd, p.c_str(), m)); });
    case 1:
      return onSlot(r, ("unlinkat " + shown(p)).c_str(),
                    [p](int fd) { return outcome(unlinkat(fd, p.c_str(), 0)); });
    case 2:
      return onSlot(r, ("symlinkat " + shown(p)).c_str(),
                    [p](int fd) { return madeIn(fd, symlinkat("a", fd, p.c_str())); });
    case 3:
      return onSlot(r, ("fstatat " + shown(p)).c_str(), [p](int fd) {
        struct stat s;
        return attributes(fstatat(fd, p.c_str(), &s, 0), s);
      });
    default:
      return onSlot(r, ("createat " + shown(p)).c_str(), [p, m](int fd) {
        int made = openat(fd, p.c_str(), O_CREAT | O_WRONLY | O_NONBLOCK | O_CLOEXEC, m);
        return made < 0 ? madeIn(fd, -1) : outcome(close(made));
      });
  }
}

Operation linkOpen(Random& r) {
  // What a descriptor stands for gets a name: an unnamed file, or one more name.
  auto p = path(r);
  size_t slot = r.below(kSlots);
  return {"linkat fd" + std::to_string(slot) + " " + shown(p), [p, slot](Side& side, size_t base) {
            int fd = side.fds[base + slot];
            if (fd < 0) return std::string("closed");
            auto from = "/proc/self/fd/" + std::to_string(fd);
            return outcome(
                linkat(AT_FDCWD, from.c_str(), AT_FDCWD, side.path(p).c_str(), AT_SYMLINK_FOLLOW));
          }};
}

using Draw = Operation (*)(Random&);
struct Weighted {
  Draw draw;
  unsigned weight;
};
constexpr Weighted kOperations[] = {
    {makeDirectory, 18},
    {makeNode, 4},
    {makeLink, 4},
    {hardLink, 6},
    {remove, 12},
    {removeDirectory, 5},
    {renameOne, 12},
    {readLink, 2},
    {list, 4},
    {status, 10},
    {mayAccess, 3},
    {changeMode, 6},
    {changeOwner, 5},
    {changeTimes, 5},
    {cut, 4},
    {changeAttribute, 3},
    {readAttribute, 2},
    {openOne, 20},
    {closeOne, 3},
    {writeSome, 10},
    {readSome, 8},
    {seekTo, 3},
    {changeOpen, 10},
    {atDescriptor, 6},
    {linkOpen, 2},
    {randomDataOperation, 16},
};

}  // namespace

Operation randomOperation(Random& random) {
  unsigned total = 0;
  for (auto& one : kOperations) total += one.weight;
  auto at = random.below(total);
  for (auto& one : kOperations) {
    if (at < one.weight) return one.draw(random);
    at -= one.weight;
  }
  return status(random);
}

}  // namespace dfs::posix
