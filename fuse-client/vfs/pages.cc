// What the kernel holds of a file, and how it is made to forget (V3, V7).

#include "fuse-client/vfs/client.h"

#include <algorithm>

namespace dfs {
Client::Request::Request(Client& client, kj::Own<File> file, uint64_t offset, uint64_t bytes,
                         bool write)
    : client_(client), file_(kj::mv(file)), id_(file_->nextRequest++) {
  file_->requests[id_] = {offset, offset + bytes, write};
  file_->lastUsedMs = client.nowMs();
  if (file_->dropsRunning > 0) file_->changed.wake();
}

Client::Request::~Request() noexcept(false) {
  auto range = file_->requests[id_];
  file_->requests.erase(id_);
  // A page under the request was passed over by a drop: its turn comes now.
  if (range.dropAfter) client_.dropRange(*file_, pageStart(range.from), pageEnd(range.end));
  file_->changed.wake();
}

void Client::Request::answeredEarly(uint64_t offset, uint64_t bytes) {
  auto& range = file_->requests.at(id_);
  range.early = true;
  range.from = kj::min(range.from, offset);
  range.end = kj::max(range.end, offset + bytes);
}

bool Client::hasEarly(InodeId ino) {
  KJ_IF_MAYBE(file, findFile(ino)) {
    for (auto& [id, range] : file->requests) {
      if (range.early) return true;
    }
  }
  return false;
}

Task<void> Client::requestsDone(kj::Own<File> file, Which which, uint64_t from, uint64_t end,
                                uint64_t before) {
  // Not what comes later.
  std::vector<uint64_t> now;
  for (auto& [id, range] : file->requests) {
    bool meant = which == Which::EARLY    ? range.early
                 : which == Which::SERVED ? range.write && range.served
                                          : range.write;
    if (meant && id < before && range.from < end && from < range.end) now.push_back(id);
  }
  for (auto id : now) {
    while (file->requests.count(id) != 0) co_await file->changed.next();
  }
}

void Client::notePages(File& file, const DataVersion& version) {
  // The kernel is about to get pages of that version.
  if (!file.pagesPresent) {
    file.pagesPresent = true;
    file.pagesVersion = version;
  } else if (!(file.pagesVersion == version)) {
    file.pagesMixed = true;
  }
}

void Client::makeDropped(File& file, const Time& mtime, bool sizeUnsure) {
  // Before these attributes are told. A drop of ours makes the kernel forget the very answer that waits for it. Nothing but an
  // answer makes a file shorter for the kernel; and of one that is held here it knows the size by itself, but for what others have
  // appended before. So there, with a later mtime than any that it knows, the kernel is left to drop the pages itself when it takes
  // the answer (AUTO_INVAL_DATA), which it does unless another one about the same file came in between: so the next answer is
  // preceded by a drop of ours, even if nothing has changed since.
  bool writes = false;
  for (auto& [id, range] : file.requests) writes = writes || range.write;
  bool itself = sizeUnsure && !writes && file.dropsRunning == 0 && file.toldMtimeMax < mtime;
  if (itself) {
    ++file.drops;
    file.pagesMixed = false;
  } else {
    tasks_.add(dropPages(file));
  }
  file.pagesUnsure = itself;
}

kj::Promise<void> Client::dropPages(File& file) {
  // Resolves when what no request of ours lies on is gone.
  ++file.drops;
  std::vector<std::pair<uint64_t, uint64_t>> taken, gaps;
  for (auto& [id, range] : file.requests) {
    range.dropAfter = true;
    taken.push_back({pageStart(range.from), pageEnd(range.end)});
  }
  std::sort(taken.begin(), taken.end());
  uint64_t at = 0;
  for (auto& [from, end] : taken) {
    if (from > at) gaps.push_back({at, from});
    at = kj::max(at, end);
  }
  gaps.push_back({at, kNoEnd});
  if (file.requests.empty()) file.pagesPresent = false;
  file.pagesMixed = file.pagesUnsure = false;
  auto pair = kj::newPromiseAndFulfiller<void>();
  kj::Promise<void> work = dropNow(kj::addRef(file), kj::mv(gaps), true);
  tasks_.add(work.then([f = kj::mv(pair.fulfiller)]() mutable { f->fulfill(); }));
  return kj::mv(pair.promise);
}

void Client::dropRange(File& file, uint64_t from, uint64_t end) {
  if (closing_) return;
  std::vector<std::pair<uint64_t, uint64_t>> one{{from, end}};
  tasks_.add(dropNow(kj::addRef(file), kj::mv(one), false));
}

Task<void> Client::dropNow(kj::Own<File> file, std::vector<std::pair<uint64_t, uint64_t>> ranges,
                           bool attributes) {
  KJ_IF_MAYBE(kernel, kernel_) {
    ++file->dropsRunning;
    KJ_DEFER({
      --file->dropsRunning;
      file->changed.wake();
    });
    if (attributes) co_await kernel->dropAttributes(file->ino);
    for (auto& [from, end] : ranges) {
      co_await kernel->dropPages(file->ino, from, end == kNoEnd ? 0 : end - from);
    }
  }
}

}  // namespace dfs
