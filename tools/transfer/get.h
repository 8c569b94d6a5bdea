#pragma once
// Files of a cluster to this machine.
//
// Thread: the loop's. Owner: the command. Outlives the promise of all().
// Invariants:
//   1. Under its final name a file is whole: it is written under another one, in order, and renamed.
//   2. At most kPieces reads of a file and kFilesAtOnce files are under way.

#include "tools/transfer/local.h"
#include "tools/transfer/options.h"
#include "tools/transfer/progress.h"
#include "tools/transfer/remote.h"

#include <string>
#include <vector>

namespace dfs {

class Get {
 public:
  Get(Remote& remote, Progress& progress, TransferOptions options)
      : remote_(remote), progress_(progress), options_(options) {}
  KJ_DISALLOW_COPY(Get);

  Task<void> all(std::string path, std::string local);
  // path: from the cluster's root; a directory's contents become those of `local`. local: a file, a
  // directory that takes the file under its own name, or "-".
  uint64_t failed() const {
    return failed_;
  }  // of a directory: what could not be copied, and was said

 private:
  struct Entry {
    std::string path;  // from the top
    Attr attr;         // looked up
  };
  struct Receiving {
    LocalTarget& target;
    FileHandle handle;
    std::string path;   // for a person
    uint64_t next;      // to be asked for
    uint64_t end;       // of the file
    uint64_t turn = 0;  // whose bytes are written next, of those that were asked for
    uint64_t asked = 0;
    Signal changed{};
    bool stop = false;
    kj::Maybe<kj::Exception> failure = nullptr;
  };

  Task<void> one(Attr attr, std::string path, std::string local);
  Task<void> receive(Receiving& receiving);
  Task<void> lane(Receiving& receiving);
  Task<void> pieces(Receiving& receiving);
  Task<void> tree(Attr top, std::string path, std::string local);
  Task<void> list(Attr directory, std::string path, std::vector<Entry>& entries);
  Task<void> worker(std::string local, std::vector<Entry>& entries, size_t& next);
  Task<void> entryTo(const Entry& entry, std::string local);

  Remote& remote_;
  Progress& progress_;
  const TransferOptions options_;
  uint64_t failed_ = 0;
};

}  // namespace dfs
