// A directory of this machine into a cluster: first its directories, then its files, some at a time.

#include "common/config.h"
#include "common/sentence.h"
#include "tools/dev/command_failure.h"
#include "tools/transfer/put.h"

#include <errno.h>
#include <kj/debug.h>
#include <limits.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace dfs {
namespace {

namespace fs = std::filesystem;

std::string parentOf(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

std::vector<Put::Entry> Put::walk(const std::string& top) {
  // On a thread: a large tree on a slow disk takes longer than a session may be silent. What cannot be
  // read ends the command before anything was made.
  std::vector<Entry> entries;
  std::error_code ec;
  auto next = fs::recursive_directory_iterator(top, ec);
  for (; !ec && next != fs::recursive_directory_iterator(); next.increment(ec)) {
    Entry entry;
    auto path = next->path().string();
    entry.path = path.substr(top.size() + (top.ends_with("/") ? 0 : 1));
    int reason = lstat(path.c_str(), &entry.info) == 0 ? 0 : errno;
    if (reason == ENOENT) continue;  // it went meanwhile
    if (reason != 0) failCommand(exitCodeOf(reason), path + ": " + strerror(reason));
    if (S_ISLNK(entry.info.st_mode)) {
      char target[PATH_MAX];
      auto n = readlink(path.c_str(), target, sizeof target);
      if (n < 0) continue;
      entry.target.assign(target, static_cast<size_t>(n));
    }
    entries.push_back(std::move(entry));
  }
  if (ec) failCommand(exitCodeOf(ec.value()), top + ": not all of it can be read: " + ec.message());
  return entries;
}

Task<void> Put::tree(std::string local, std::string path) {
  auto entries = co_await remote_.files().run([this, &local]() { return walk(local); });
  struct stat info {};
  if (stat(local.c_str(), &info) != 0) {
    int reason = errno;
    failCommand(exitCodeOf(reason), local + ": " + strerror(reason));
  }
  auto found = co_await remote_.find(path);
  KJ_IF_MAYBE(attr, found) {
    directories_[""] = *attr;
    if (attr->kind != schema::Kind::DIRECTORY) failErrno(path, Errno::NOT_DIR);
  } else {
    auto parent = path.substr(0, path.rfind(baseName(path)));
    auto above = co_await remote_.directory(parent);
    auto made = co_await makeDirectory(above.ino, baseName(path), path, info.st_mode);
    directories_[""] = made;
  }
  for (auto& entry : entries) {
    if (S_ISREG(entry.info.st_mode)) progress_.expect(static_cast<uint64_t>(entry.info.st_size));
    if (!S_ISDIR(entry.info.st_mode)) continue;
    // A walk names a directory before what is in it.
    auto parent = directories_.at(parentOf(entry.path)).ino;
    auto made =
        co_await makeDirectory(parent, baseName(entry.path), entry.path, entry.info.st_mode);
    directories_[entry.path] = made;
  }
  size_t next = 0;
  auto workers = kj::heapArrayBuilder<kj::Promise<void>>(kFilesAtOnce);
  for (uint32_t i = 0; i < kFilesAtOnce; ++i) workers.add(worker(local, entries, next));
  co_await kj::joinPromises(workers.finish());
  if (!options_.preserve) co_return;
  // Last, for what is made in a directory moves its times; and from the bottom.
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (!S_ISDIR(entry->info.st_mode)) continue;
    co_await setLike(directories_.at(entry->path).ino, entry->path, entry->info);
  }
  co_await setLike(directories_.at("").ino, path, info);
}

Task<Attr> Put::makeDirectory(InodeId parent, std::string name, std::string path, uint32_t mode) {
  auto& vfs = remote_.vfs();
  // Its owner must be able to fill it.
  auto made =
      co_await remote_.answered(vfs.mkdir(parent, name, (mode & 0777) | 0700, remote_.caller()));
  if (made.ok()) co_return kj::mv(*made);
  if (made.err() != Errno::EXIST) failErrno(path, made.err());
  auto found = co_await remote_.answered(vfs.lookup(parent, name));
  if (!found.ok()) failErrno(path, found.err());
  if (found->kind != schema::Kind::DIRECTORY) failErrno(path, Errno::NOT_DIR);
  if (!permits(*found, remote_.caller(), 3)) failErrno(path, Errno::ACCESS);
  co_return kj::mv(*found);
}

Task<void> Put::worker(std::string local, std::vector<Entry>& entries, size_t& next) {
  while (next < entries.size()) {
    auto& entry = entries[next++];
    if (S_ISDIR(entry.info.st_mode)) continue;
    progress_.name(entry.path);
    auto path = local + "/" + entry.path;
    auto directory = directories_.at(parentOf(entry.path)).ino;
    auto failure = co_await attempt(kj::Promise<void>(entryTo(directory, path, entry)));
    KJ_IF_MAYBE(e, failure) {
      ++failed_;
      sayOrEnd(kj::mv(*e), progress_, next, entries.size());
    }
  }
}

Task<void> Put::entryTo(InodeId directory, std::string local, const Entry& entry) {
  auto name = baseName(entry.path);
  if (S_ISREG(entry.info.st_mode)) {
    co_await one(directory, name, local);
  } else if (S_ISLNK(entry.info.st_mode)) {
    co_await link(directory, name, entry.target);
  } else {
    failCommand(kExitPartial, local + ": neither file, directory nor symbolic link; left out");
  }
}

Task<void> Put::link(InodeId directory, std::string name, std::string target) {
  auto& vfs = remote_.vfs();
  auto part = partName(name, remote_.env().random.next());
  remote_.temporaries.insert({directory, part});
  auto made = co_await remote_.answered(vfs.symlink(directory, part, target, remote_.caller()));
  if (!made.ok()) failErrno(name, made.err());
  auto err =
      co_await remote_.answered(vfs.rename(directory, part, directory, name, 0, remote_.caller()));
  if (err != Errno::OK) failErrno(name, err);
  remote_.temporaries.erase({directory, part});
  vfs.forget(made->ino, 1);
}

}  // namespace dfs
