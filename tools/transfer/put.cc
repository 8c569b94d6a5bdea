#include "tools/transfer/put.h"

#include "common/checksum.h"
#include "common/config.h"
#include "common/limits.h"
#include "tools/dev/command_failure.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <unistd.h>

#include <cstring>

namespace dfs {
namespace {

constexpr uint64_t kCheckedBytes = 64u << 20;
// Of what an interrupted run has sent its end is compared: there it may have holes, where writes were
// under way. More than a client ever has under way.
static_assert(kCheckedBytes > kEarlyBytesMax + uint64_t(kPieces) * kWriteBytesMax);

Time timeOf(const timespec& t) {
  return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)};
}

uint64_t markOf(const struct stat& info) {
  // The same for the same version of a file: what was sent of another one is of no use.
  auto text = kj::str(info.st_size, ' ', info.st_mtim.tv_sec, ' ', info.st_mtim.tv_nsec);
  return checksum(text.asBytes());
}

std::pair<std::string, std::string> splitPath(const std::string& path) {
  // Directory and last name.
  auto name = baseName(path);
  auto end = path.find_last_not_of('/');
  auto slash = end == std::string::npos ? std::string::npos : path.rfind('/', end);
  return {slash == std::string::npos ? "/" : path.substr(0, slash + 1), name};
}

}  // namespace

Task<void> Put::all(std::string local, std::string path) {
  struct stat info {};
  if (local != "-" && stat(local.c_str(), &info) != 0) {
    int reason = errno;
    failCommand(exitCodeOf(reason), local + ": " + strerror(reason));
  }
  if (local == "-" || !S_ISDIR(info.st_mode)) {
    if (S_ISREG(info.st_mode)) progress_.expect(static_cast<uint64_t>(info.st_size));
    co_await fileTo(local, path);
    co_return;
  }
  if (!options_.recursive) {
    failCommand(kExitUsage, local + " is a directory; -r copies it with all that is in it");
  }
  co_await tree(local, path);
}

Task<void> Put::fileTo(std::string local, std::string path) {
  auto found = co_await remote_.find(path);
  auto [parent, name] = splitPath(path);
  auto directory = parent;
  KJ_IF_MAYBE(attr, found) {
    if (attr->kind == schema::Kind::DIRECTORY) {
      if (local == "-") failErrno(path, Errno::IS_DIR);
      directory = path;
      name = baseName(local);
    }
  } else if (path.ends_with("/")) {
    failErrno(path, Errno::NO_ENT);
  }
  if (name.empty()) failCommand(kExitUsage, "name the file in the cluster, too");
  auto to = co_await remote_.directory(directory);
  progress_.name(name);
  co_await one(to.ino, name, local);
}

Task<bool> Put::isThere(InodeId directory, std::string name, const struct stat* info) {
  // By size and time, as rsync has it.
  auto found = co_await remote_.answered(remote_.vfs().lookup(directory, name));
  if (!found.ok()) co_return false;
  bool same = found->kind == schema::Kind::FILE &&
              found->size == static_cast<uint64_t>(info->st_size) &&
              found->mtime == timeOf(info->st_mtim);
  remote_.vfs().forget(found->ino, 1);
  if (found->kind == schema::Kind::DIRECTORY) failErrno(name, Errno::IS_DIR);
  co_return same;
}

Task<void> Put::one(InodeId directory, std::string name, std::string local) {
  LocalSource source(remote_.files(), local);
  auto& vfs = remote_.vfs();
  bool resume = options_.resume && source.isFile();
  if (resume) {
    auto there = co_await isThere(directory, name, &source.info());
    if (there) {
      progress_.skipped(static_cast<uint64_t>(source.info().st_size));
      co_return;
    }
  }
  auto part = partName(name, resume ? markOf(source.info()) : remote_.env().random.next());
  uint32_t mode = source.isFile() ? source.info().st_mode & 0777 : 0666;
  if (!resume) remote_.temporaries.insert({directory, part});
  auto made = co_await openPart(directory, part, mode, resume);
  auto ino = made.attr.ino;
  Sending sending{source, made.opened.handle, local, made.attr.size};
  if (made.attr.size > 0) {
    auto from = co_await alreadySent(sending, made.attr.size);
    source.seek(from);
    progress_.skipped(from);
  }
  co_await send(sending, ino);
  auto err = co_await remote_.answered(vfs.fsync(ino, false));
  if (err != Errno::OK) failErrno(local, err);
  err = co_await remote_.answered(vfs.release(made.opened.handle));
  if (err != Errno::OK) failErrno(local, err);
  if (source.changed()) {
    if (resume) failCommand(kExitFailed, local + " changed while it was read; repeat it");
    progress_.say("dfs: " + local + " changed while it was read");
  }
  if (options_.times() && source.isFile()) co_await setLike(ino, local, source.info());
  err =
      co_await remote_.answered(vfs.rename(directory, part, directory, name, 0, remote_.caller()));
  if (err != Errno::OK) failErrno(local, err);
  if (!resume) remote_.temporaries.erase({directory, part});
  vfs.forget(ino, 1);
}

Task<Vfs::Created> Put::openPart(InodeId directory, std::string part, uint32_t mode, bool resume) {
  auto& vfs = remote_.vfs();
  auto made = co_await remote_.answered(
      vfs.create(directory, part, mode, O_RDWR | O_CREAT | O_EXCL, remote_.caller()));
  if (made.ok()) co_return kj::mv(*made);
  if (!resume || made.err() != Errno::EXIST) failErrno(part, made.err());
  auto found = co_await remote_.answered(vfs.lookup(directory, part));
  if (!found.ok()) failErrno(part, found.err());
  if (!permits(*found, remote_.caller(), 6)) failErrno(part, Errno::ACCESS);
  auto opened = co_await remote_.answered(vfs.open(found->ino, O_RDWR, remote_.caller()));
  if (!opened.ok()) failErrno(part, opened.err());
  co_return Vfs::Created{*found, *opened};
}

Task<uint64_t> Put::alreadySent(Sending& sending, uint64_t size) {
  // How much of it is right: all but its end by the part's name, the end by its bytes.
  if (size > static_cast<uint64_t>(sending.source.info().st_size)) co_return 0;
  uint64_t at = size > kCheckedBytes ? size - kCheckedBytes : 0;
  at -= at % kWriteBytesMax;
  for (bool same = true; same && at < size;) {
    auto bytes = static_cast<uint32_t>(kj::min(size - at, uint64_t(kWriteBytesMax)));
    auto here = co_await sending.source.read(at, bytes);
    auto there = co_await remote_.answered(remote_.vfs().read(sending.handle, at, bytes));
    if (!there.ok()) failErrno(sending.path, there.err());
    same = here.size() == bytes && there->size() == bytes &&
           memcmp(here.begin(), there->begin(), bytes) == 0;
    if (same) at += bytes;
  }
  co_return at - at % kWriteBytesMax;
}

Task<void> Put::send(Sending& sending, InodeId ino) {
  auto lanes = kj::heapArrayBuilder<kj::Promise<void>>(kPieces);
  for (uint32_t i = 0; i < kPieces; ++i) lanes.add(lane(sending));
  co_await kj::joinPromises(lanes.finish());
  KJ_IF_MAYBE(e, sending.failure) kj::throwFatalException(kj::mv(*e));
  if (sending.end == sending.written) co_return;
  // It ends in a hole; or an earlier run had sent more of it than there is.
  SetAttr set;
  set.size = true;
  set.to.size = sending.end;
  auto cut =
      co_await remote_.answered(remote_.vfs().setattr(ino, set, sending.handle, remote_.caller()));
  if (!cut.ok()) failErrno(sending.path, cut.err());
}

Task<void> Put::lane(Sending& sending) {
  auto failure = co_await attempt(kj::Promise<void>(pieces(sending)));
  KJ_IF_MAYBE(e, failure) {
    if (sending.failure == nullptr) sending.failure = kj::mv(*e);
    sending.stop = true;
  }
}

Task<void> Put::pieces(Sending& sending) {
  while (!sending.stop) {
    auto chunk = co_await sending.source.next(sending.stop);
    auto bytes = chunk.bytes.size();
    if (bytes == 0) {
      sending.end = chunk.offset;
      co_return;
    }
    auto written = co_await remote_.answered(remote_.vfs().write(
        sending.handle, chunk.offset, kj::mv(chunk.bytes), WriteHow(), nullptr));
    if (!written.ok()) failErrno(sending.path, written.err());
    // So much was room for.
    if (*written < bytes) failErrno(sending.path, Errno::NO_SPACE);
    sending.written = kj::max(sending.written, chunk.offset + bytes);
    progress_.moved(bytes);
  }
}

Task<void> Put::setLike(InodeId ino, std::string path, struct stat info) {
  SetAttr set;
  set.mode = options_.preserve;
  set.atime = set.mtime = true;
  set.to.mode = info.st_mode & 07777;
  set.to.atime = timeOf(info.st_atim);
  set.to.mtime = timeOf(info.st_mtim);
  auto done = co_await remote_.answered(remote_.vfs().setattr(ino, set, nullptr, remote_.caller()));
  if (!done.ok()) failErrno(path, done.err());
}

}  // namespace dfs
