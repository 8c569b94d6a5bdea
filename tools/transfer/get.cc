#include "tools/transfer/get.h"

#include "common/checksum.h"
#include "common/config.h"
#include "common/limits.h"
#include "common/sentence.h"
#include "tools/dev/command_failure.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <unistd.h>

#include <cstring>

namespace dfs {
namespace {

uint64_t markOf(const Attr& attr) {
  // The same for the same version of a file: what was received of another one is of no use.
  auto text = kj::str(attr.ino.value, ' ', attr.size, ' ', attr.mtime.sec, ' ', attr.mtime.nsec);
  return checksum(text.asBytes());
}

struct stat infoOf(const Attr& attr) {
  struct stat info {};
  info.st_mode = attr.mode & 07777;
  info.st_atim = {attr.atime.sec, attr.atime.nsec};
  info.st_mtim = {attr.mtime.sec, attr.mtime.nsec};
  return info;
}

bool isThere(const std::string& local, const Attr& attr) {
  // By size and time, as rsync has it.
  struct stat info {};
  return stat(local.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         static_cast<uint64_t>(info.st_size) == attr.size &&
         info.st_mtim.tv_sec == attr.mtime.sec &&
         static_cast<uint32_t>(info.st_mtim.tv_nsec) == attr.mtime.nsec;
}

bool isDirectory(const std::string& local) {
  struct stat info {};
  return stat(local.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string directoryOf(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

}  // namespace

Task<void> Get::all(std::string path, std::string local) {
  auto found = co_await remote_.find(path);
  KJ_IF_MAYBE(attr, found) {
    if (attr->kind == schema::Kind::DIRECTORY) {
      if (!options_.recursive) {
        failCommand(kExitUsage, path + " is a directory; -r copies it with all that is in it");
      }
      if (local == "-") failCommand(kExitUsage, "a directory does not go to standard output");
      co_await tree(kj::mv(*attr), path, local);
      co_return;
    }
    if (attr->kind != schema::Kind::FILE) {
      failCommand(kExitFailed, path + ": neither file nor directory");
    }
    auto name = baseName(path);
    if (local != "-" && (isDirectory(local) || local.ends_with("/"))) {
      local += (local.ends_with("/") ? "" : "/") + name;
    }
    progress_.name(name);
    progress_.expect(attr->size);
    co_await one(kj::mv(*attr), path, local);
    co_return;
  }
  failErrno(path, Errno::NO_ENT);
}

Task<void> Get::one(Attr attr, std::string path, std::string local) {
  auto& vfs = remote_.vfs();
  bool stream = local == "-";
  bool resume = options_.resume && !stream;
  if (!permits(attr, remote_.caller(), 4)) failErrno(path, Errno::ACCESS);
  if (resume && isThere(local, attr)) {
    progress_.skipped(attr.size);
    co_return;
  }
  auto mark = resume ? markOf(attr) : remote_.env().random.next();
  auto part = directoryOf(local) + partName(baseName(local), mark);
  if (!resume && !stream) remote_.localTemporaries.insert(part);
  LocalTarget target(remote_.files(), local, part, resume, attr.mode & 0777);
  auto opened = co_await remote_.answered(vfs.open(attr.ino, O_RDONLY, remote_.caller()));
  if (!opened.ok()) failErrno(path, opened.err());
  auto from = kj::min(target.size(), attr.size);
  from -= from % kReadBytesMax;
  progress_.skipped(from);
  Receiving receiving{target, opened->handle, path, from, attr.size};
  co_await receive(receiving);
  auto err = co_await remote_.answered(vfs.release(opened->handle));
  if (err != Errno::OK) failErrno(path, err);
  if (receiving.end < attr.size) {
    failCommand(kExitFailed, path + " became shorter while it was read; repeat it");
  }
  auto info = infoOf(attr);
  target.finish(attr.size, info, options_.preserve, options_.times());
  remote_.localTemporaries.erase(part);
}

Task<void> Get::receive(Receiving& receiving) {
  auto lanes = kj::heapArrayBuilder<kj::Promise<void>>(kPieces);
  for (uint32_t i = 0; i < kPieces; ++i) lanes.add(lane(receiving));
  co_await kj::joinPromises(lanes.finish());
  KJ_IF_MAYBE(e, receiving.failure) kj::throwFatalException(kj::mv(*e));
}

Task<void> Get::lane(Receiving& receiving) {
  auto failure = co_await attempt(kj::Promise<void>(pieces(receiving)));
  KJ_IF_MAYBE(e, failure) {
    if (receiving.failure == nullptr) receiving.failure = kj::mv(*e);
    receiving.stop = true;
    receiving.changed.wake();
  }
}

Task<void> Get::pieces(Receiving& r) {
  while (!r.stop && r.next < r.end) {
    auto at = r.next;
    auto mine = r.asked++;
    auto bytes = static_cast<uint32_t>(kj::min(r.end - at, uint64_t(kReadBytesMax)));
    r.next += bytes;
    auto data = co_await remote_.answered(remote_.vfs().read(r.handle, at, bytes));
    if (!data.ok()) failErrno(r.path, data.err());
    while (!r.stop && r.turn != mine) co_await r.changed.next();
    if (r.stop) co_return;
    auto got = data->size();
    if (got < bytes) {
      r.end = at + got;
      r.stop = true;
    }
    if (got > 0) co_await r.target.write(at, kj::mv(*data));
    progress_.moved(got);
    ++r.turn;
    r.changed.wake();
  }
}

// --- directories ---

Task<void> Get::tree(Attr top, std::string path, std::string local) {
  std::vector<Entry> entries;
  co_await list(top, "", entries);
  auto make = [](const std::string& directory, uint32_t mode) {
    // Its owner must be able to fill it.
    if (mkdir(directory.c_str(), (mode & 0777) | 0700) == 0 || isDirectory(directory)) return;
    int reason = errno;
    failCommand(exitCodeOf(reason), directory + ": " + strerror(reason));
  };
  make(local, top.mode);
  for (auto& entry : entries) {
    if (entry.attr.kind == schema::Kind::FILE) progress_.expect(entry.attr.size);
    if (entry.attr.kind == schema::Kind::DIRECTORY) {
      make(local + "/" + entry.path, entry.attr.mode);
    }
  }
  size_t next = 0;
  auto workers = kj::heapArrayBuilder<kj::Promise<void>>(kFilesAtOnce);
  for (uint32_t i = 0; i < kFilesAtOnce; ++i) workers.add(worker(local, entries, next));
  co_await kj::joinPromises(workers.finish());
  if (!options_.preserve) co_return;
  // Last, for what is made in a directory moves its times; and from the bottom.
  entries.insert(entries.begin(), Entry{"", top});
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->attr.kind != schema::Kind::DIRECTORY) continue;
    auto directory = local + "/" + entry->path;
    auto info = infoOf(entry->attr);
    timespec times[2] = {info.st_atim, info.st_mtim};
    bool done = chmod(directory.c_str(), info.st_mode) == 0 &&
                utimensat(AT_FDCWD, directory.c_str(), times, 0) == 0;
    if (done) continue;
    ++failed_;
    progress_.say("dfs: " + directory + ": " + strerror(errno));
  }
}

Task<void> Get::list(Attr directory, std::string path, std::vector<Entry>& entries) {
  // A directory before what is in it; `entries` is the list of those that are still to be listed, too.
  auto& vfs = remote_.vfs();
  entries.clear();
  size_t at = 0;
  for (auto now = directory;;) {
    if (!permits(now, remote_.caller(), 5)) failErrno("/" + path, Errno::ACCESS);
    auto handle = co_await remote_.answered(vfs.opendir(now.ino));
    if (!handle.ok()) failErrno("/" + path, handle.err());
    KJ_DEFER(vfs.releasedir(*handle));
    for (uint64_t cookie = 0;;) {
      auto page = co_await remote_.answered(
          vfs.readdir(now.ino, *handle, cookie, kDirEntriesPerAnswerMax, true));
      if (!page.ok()) failErrno("/" + path, page.err());
      if (page->empty()) break;
      for (auto& one : *page) {
        cookie = one.cookie;
        if (one.name == "." || one.name == "..") continue;
        Entry entry{path + one.name, {}};
        KJ_IF_MAYBE(attr, one.attr) {
          entry.attr = kj::mv(*attr);
        } else {
          auto found = co_await remote_.answered(vfs.lookup(now.ino, one.name));
          if (found.err() == Errno::NO_ENT) continue;  // it went meanwhile
          if (!found.ok()) failErrno("/" + entry.path, found.err());
          entry.attr = kj::mv(*found);
        }
        entries.push_back(kj::mv(entry));
      }
    }
    while (at < entries.size() && entries[at].attr.kind != schema::Kind::DIRECTORY) ++at;
    if (at == entries.size()) co_return;
    now = entries[at].attr;
    path = entries[at].path + "/";
    ++at;
  }
}

Task<void> Get::worker(std::string local, std::vector<Entry>& entries, size_t& next) {
  while (next < entries.size()) {
    auto& entry = entries[next++];
    if (entry.attr.kind == schema::Kind::DIRECTORY) continue;
    progress_.name(entry.path);
    auto failure = co_await attempt(kj::Promise<void>(entryTo(entry, local + "/" + entry.path)));
    remote_.vfs().forget(entry.attr.ino, 1);
    KJ_IF_MAYBE(e, failure) {
      ++failed_;
      sayOrEnd(kj::mv(*e), progress_, next, entries.size());
    }
  }
}

Task<void> Get::entryTo(const Entry& entry, std::string local) {
  if (entry.attr.kind == schema::Kind::FILE) {
    co_await one(entry.attr, entry.path, local);
    co_return;
  }
  if (entry.attr.kind != schema::Kind::SYMLINK) {
    failCommand(kExitPartial, entry.path + ": neither file, directory nor symbolic link; left out");
  }
  auto target = co_await remote_.answered(remote_.vfs().readlink(entry.attr.ino));
  if (!target.ok()) failErrno(entry.path, target.err());
  auto part = directoryOf(local) + partName(baseName(local), remote_.env().random.next());
  bool made =
      ::symlink(target->c_str(), part.c_str()) == 0 && rename(part.c_str(), local.c_str()) == 0;
  if (made) co_return;
  int reason = errno;
  unlink(part.c_str());
  failCommand(exitCodeOf(reason), local + ": " + strerror(reason));
}

}  // namespace dfs
