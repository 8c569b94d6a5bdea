#include "tools/transfer/local.h"

#include "common/config.h"
#include "common/limits.h"
#include "tools/dev/command_failure.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace dfs {
namespace {

constexpr size_t kNameKept = 200;  // of a name in the name of its part
constexpr int kSliceMs = 200;      // a thread waits for a stream no longer at a time

[[noreturn]] void failWith(const std::string& path, int reason) {
  failCommand(exitCodeOf(reason), path + ": " + strerror(reason));
}

struct Got {
  uint64_t offset = 0;
  size_t bytes = 0;
  int reason = 0;      // errno
  bool again = false;  // a stream has nothing yet
};

Got readStream(int fd, kj::ArrayPtr<kj::byte> into, uint64_t offset) {
  pollfd ready{fd, POLLIN, 0};
  if (poll(&ready, 1, kSliceMs) == 0) return {offset, 0, 0, true};
  auto n = read(fd, into.begin(), into.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return {offset, 0, 0, true};
  if (n < 0) return {offset, 0, errno, false};
  return {offset, static_cast<size_t>(n), 0, false};
}

Got readExactly(int fd, kj::ArrayPtr<kj::byte> into, uint64_t offset) {
  Got got{offset, 0, 0, false};
  while (got.bytes < into.size()) {
    auto n = pread(fd, into.begin() + got.bytes, into.size() - got.bytes,
                   static_cast<off_t>(offset + got.bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) got.reason = errno;
    if (n <= 0) break;
    got.bytes += static_cast<size_t>(n);
  }
  return got;
}

Got readFile(int fd, kj::ArrayPtr<kj::byte> into, uint64_t offset) {
  // From the next byte that is no hole, to the end of its piece.
  auto data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data >= 0) offset = std::max(offset, static_cast<uint64_t>(data) / kUnitBytes * kUnitBytes);
  if (data < 0 && errno == ENXIO) {
    struct stat st {};
    if (fstat(fd, &st) != 0) return {offset, 0, errno, false};
    return {std::max(offset, static_cast<uint64_t>(st.st_size)), 0, 0, false};
  }
  size_t wanted = std::min<size_t>(into.size(), kWriteBytesMax - offset % kWriteBytesMax);
  return readExactly(fd, into.slice(0, wanted), offset);
}

bool allZero(kj::ArrayPtr<const kj::byte> bytes) {
  return bytes.size() == 0 ||
         (bytes[0] == 0 && memcmp(bytes.begin(), bytes.begin() + 1, bytes.size() - 1) == 0);
}

int writeAll(int fd, kj::ArrayPtr<const kj::byte> bytes, kj::Maybe<uint64_t> offset) {
  // 0 or the errno.
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n;
    KJ_IF_MAYBE(at, offset) {
      n = pwrite(fd, bytes.begin() + done, bytes.size() - done, static_cast<off_t>(*at + done));
    } else {
      n = ::write(fd, bytes.begin() + done, bytes.size() - done);
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    done += static_cast<size_t>(n);
  }
  return 0;
}

}  // namespace

std::string baseName(const std::string& path) {
  auto end = path.find_last_not_of('/');
  if (end == std::string::npos) return "";
  auto start = path.rfind('/', end);
  auto name = path.substr(start == std::string::npos ? 0 : start + 1,
                          end - (start == std::string::npos ? 0 : start + 1) + 1);
  return name == "." || name == ".." ? "" : name;
}

std::string partName(const std::string& name, uint64_t mark) {
  char number[17];
  snprintf(number, sizeof number, "%016llx", static_cast<unsigned long long>(mark));
  return "." + name.substr(0, kNameKept) + "." + number + ".dfs-part";
}

LocalSource::LocalSource(WorkerPool& pool, const std::string& path) : pool_(pool), path_(path) {
  bool standard = path == "-";
  int fd = standard ? fcntl(0, F_DUPFD_CLOEXEC, 3)
                    : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) failWith(path, errno);
  file_ = kj::AutoCloseFd(fd);
  if (fstat(file_, &st_) != 0) failWith(path, errno);
  if (S_ISDIR(st_.st_mode)) failWith(path, EISDIR);
  // A file's offset that somebody else has moved is where its stream begins.
  if (standard && isFile()) at_ = static_cast<uint64_t>(std::max<off_t>(0, lseek(fd, 0, SEEK_CUR)));
  if (standard && at_ != 0) st_.st_mode = (st_.st_mode & 07777) | S_IFIFO;
}

bool LocalSource::changed() const {
  struct stat now {};
  if (!isFile() || fstat(file_, &now) != 0) return false;
  return now.st_size != st_.st_size || now.st_mtim.tv_sec != st_.st_mtim.tv_sec ||
         now.st_mtim.tv_nsec != st_.st_mtim.tv_nsec;
}

Task<kj::Array<kj::byte>> LocalSource::read(uint64_t offset, size_t bytes) {
  auto buffer = kj::heapArray<kj::byte>(bytes);
  int fd = file_;
  auto into = buffer.asPtr();
  auto got = co_await pool_.run([=]() { return readExactly(fd, into, offset); });
  if (got.reason != 0) failWith(path_, got.reason);
  if (got.bytes < bytes) buffer = kj::heapArray(buffer.slice(0, got.bytes).asConst());
  co_return kj::mv(buffer);
}

Task<Chunk> LocalSource::next(const bool& stop) {
  auto turn = co_await turn_.alone();
  if (atEnd_) co_return Chunk{at_, nullptr};
  auto buffer = kj::heapArray<kj::byte>(kWriteBytesMax);
  Chunk chunk;
  size_t filled = 0;
  bool file = isFile();
  int fd = file_;
  chunk.offset = at_;
  size_t room = kWriteBytesMax - at_ % kWriteBytesMax;
  while (filled < room && !stop) {
    auto into = buffer.slice(filled, room);
    auto from = at_;
    auto got = co_await pool_.run(
        [=]() { return file ? readFile(fd, into, from) : readStream(fd, into, from); });
    if (got.reason != 0) failWith(path_, got.reason);
    if (got.again && stop) break;
    if (got.again) continue;
    if (file) chunk.offset = got.offset;
    filled += got.bytes;
    at_ = got.offset + got.bytes;
    atEnd_ = got.bytes == 0;
    if (file || atEnd_) break;
  }
  if (filled == 0) co_return Chunk{at_, nullptr};
  chunk.bytes =
      filled == buffer.size() ? kj::mv(buffer) : kj::heapArray(buffer.slice(0, filled).asConst());
  co_return kj::mv(chunk);
}

LocalTarget::LocalTarget(WorkerPool& pool, const std::string& path, const std::string& temporary,
                         bool resume, mode_t mode)
    : pool_(pool), path_(path), temporary_(path == "-" ? "" : temporary) {
  if (temporary_.empty()) {
    int fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) fail(errno);
    file_ = kj::AutoCloseFd(fd);
    return;
  }
  int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (resume ? 0 : O_EXCL);
  int fd = open(temporary_.c_str(), flags, mode);
  if (fd < 0) fail(errno);
  file_ = kj::AutoCloseFd(fd);
  if (!resume) return;
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    failCommand(kExitFailed, path_ + ": another `dfs get --resume` is at work on it");
  }
  struct stat st {};
  if (fstat(file_, &st) != 0) fail(errno);
  size_ = static_cast<uint64_t>(st.st_size);
}

void LocalTarget::fail(int reason) const {
  failWith(path_, reason);
}

Task<void> LocalTarget::write(uint64_t offset, kj::Array<kj::byte> bytes) {
  int fd = file_;
  bool stream = temporary_.empty();
  auto data = bytes.asPtr().asConst();
  auto reason = co_await pool_.run([=]() {
    kj::Maybe<uint64_t> at;
    if (!stream) at = offset;
    // Where nothing lies yet; finish() gives it its size.
    if (!stream && data.size() % kUnitBytes == 0 && allZero(data)) return 0;
    return writeAll(fd, data, at);
  });
  if (reason != 0) fail(reason);
}

void LocalTarget::finish(uint64_t size, const struct stat& like, bool mode, bool times) {
  if (temporary_.empty()) return;
  if (ftruncate(file_, static_cast<off_t>(size)) != 0) fail(errno);
  if (mode && fchmod(file_, like.st_mode & 07777) != 0) fail(errno);
  timespec both[2] = {like.st_atim, like.st_mtim};
  if (times && futimens(file_, both) != 0) fail(errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
}

}  // namespace dfs
