#pragma once
// Where the kernel believes each directory to be, by what it was last told.
//
// A directory that another mount has moved is one that the kernel finds in two places. A LOOKUP outside a rename moves its old
// entry; one that a rename(2) itself makes cannot (d_splice_alias: the rename holds the lock that this takes), and the rename
// fails with ESTALE, once more after the kernel's second try. So the old entry is dropped as soon as the new place is told, and
// LOOKUPs, with which that second try begins, wait for it a little while. A directory that is in use keeps its old entry.
//
// Thread: the loop's. Owner: FuseOps. At most one record for each directory that the kernel knows.

#include "common/ids.h"
#include "common/waiting.h"

#include <kj/async.h>
#include <kj/timer.h>

#include <map>
#include <string>
#include <unordered_map>
#include <utility>

namespace dfs {

class KernelEntries {
  // The kernel's names of a directory's objects. Implemented by Invalidator, by a fake in tests.
 public:
  virtual kj::Promise<void> dropEntry(InodeId parent, const std::string& name) = 0;
  // Waits while the kernel works in `parent`: whatever that needs must be answered meanwhile.
};

class DirectoryPlaces final : private kj::TaskSet::ErrorHandler {
 public:
  explicit DirectoryPlaces(kj::Timer& timer) : timer_(timer), drops_(*this) {}
  KJ_DISALLOW_COPY(DirectoryPlaces);

  void setKernel(KernelEntries& kernel) { kernel_ = kernel; }  // until then nothing is dropped

  void told(InodeId directory, InodeId parent, const std::string& name);
  void renamed(InodeId from, const std::string& fromName, InodeId to, const std::string& toName,
               bool exchanged);
  void forgot(InodeId directory);

  bool dropping() const { return under_ > 0; }
  kj::Promise<void> dropped();  // or 20 ms are over: what waits may be what the drop waits for

 private:
  using Place = std::pair<InodeId, std::string>;

  void put(InodeId directory, Place place);
  void drop(const Place& place);
  void taskFailed(kj::Exception&& e) override;

  kj::Timer& timer_;
  kj::Maybe<KernelEntries&> kernel_;
  std::unordered_map<uint64_t, Place> places_;
  std::map<Place, InodeId> directories_;  // the same the other way round
  Signal ended_;
  uint32_t under_ = 0;
  kj::TaskSet drops_;
};

}  // namespace dfs
