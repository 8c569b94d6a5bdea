#pragma once
// Files of this machine into a cluster.
//
// Thread: the loop's. Owner: the command. Outlives the promise of all().
// Invariants:
//   1. Under its final name a file is whole: it is written under another one, synced, renamed.
//   2. At most kPieces writes of a file and kFilesAtOnce files are under way.

#include "tools/transfer/local.h"
#include "tools/transfer/options.h"
#include "tools/transfer/progress.h"
#include "tools/transfer/remote.h"

#include <map>
#include <string>
#include <vector>

namespace dfs {

class Put {
 public:
  Put(Remote& remote, Progress& progress, TransferOptions options)
      : remote_(remote), progress_(progress), options_(options) {}
  KJ_DISALLOW_COPY(Put);

  Task<void> all(std::string local, std::string path);
  // local: a file, a directory whose contents are to be those of `path`, or "-". path: from the
  // cluster's root; a directory takes a file under its own name.
  uint64_t failed() const {
    return failed_;
  }  // of a directory: what could not be copied, and was said

 private:
  struct Entry {
    std::string path;  // from the top
    struct stat info;
    std::string target;  // of a symbolic link
  };
  struct Sending {
    LocalSource& source;
    FileHandle handle;
    std::string path;      // for a person
    uint64_t written = 0;  // up to where there is anything
    uint64_t end = 0;      // of the source
    bool stop = false;
    kj::Maybe<kj::Exception> failure = nullptr;
  };

  Task<void> fileTo(std::string local, std::string path);
  Task<void> one(InodeId directory, std::string name, std::string local);
  Task<bool> isThere(InodeId directory, std::string name, const struct stat* info);
  Task<Vfs::Created> openPart(InodeId directory, std::string part, uint32_t mode, bool resume);
  Task<uint64_t> alreadySent(Sending& sending, uint64_t size);
  Task<void> send(Sending& sending, InodeId ino);
  Task<void> lane(Sending& sending);
  Task<void> pieces(Sending& sending);
  Task<void> setLike(InodeId ino, std::string path, struct stat info);
  Task<void> tree(std::string local, std::string path);
  Task<Attr> makeDirectory(InodeId parent, std::string name, std::string path, uint32_t mode);
  Task<void> worker(std::string local, std::vector<Entry>& entries, size_t& next);
  Task<void> entryTo(InodeId directory, std::string local, const Entry& entry);
  Task<void> link(InodeId directory, std::string name, std::string target);
  std::vector<Entry> walk(const std::string& top);

  Remote& remote_;
  Progress& progress_;
  const TransferOptions options_;
  std::map<std::string, Attr> directories_;  // by path from the top
  uint64_t failed_ = 0;
};

}  // namespace dfs
