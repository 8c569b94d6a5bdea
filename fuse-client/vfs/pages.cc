// What the kernel holds of a file, and how it is made to forget (V3, V7).

#include "fuse-client/vfs/client.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint64_t kPageBytesMax = 64u << 10;  // of any kernel we run on
constexpr uint64_t kAnswerTakenMs = 5;         // until a program that was told something goes by it
constexpr uint64_t kStorePatienceMs = 1'000;
constexpr uint64_t kLockedStoreMs = 2;

uint64_t pageStart(uint64_t offset) {
  return offset / kPageBytesMax * kPageBytesMax;
}

uint64_t pageEnd(uint64_t end) {
  return pageStart(end + kPageBytesMax - 1);
}

}  // namespace

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
    bool meant = which == Which::EARLY ? range.early : range.write;
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

void Client::noteTold(File& file, uint64_t size, bool sure) {
  // Who opens the file asks again before he reads.
  file.told = file.handles == 0 ? File::Told() : File::Told{size, true, sure, nowMs()};
}

bool Client::mustTellGrowth(const File& file, uint64_t size, bool drop) const {
  // An answer alone does where the kernel has no other one about that file on its way.
  auto& told = file.told;
  if (file.handles == 0 || size == 0 || (told.any && size < told.size)) return false;
  if (drop && !file.held() && !told.sure) return true;
  return size > told.size && (told.any || (drop && !file.held()));
}

Task<bool> Client::tellGrowth(kj::Own<File> file, uint64_t size, DataVersion version, For purpose) {
  // The kernel takes the attributes of an answer only if since it asked for them it has not been told of others, by another answer
  // or a drop of ours, and no WRITE has ended. Where several programs are at the file one of them would go by a size that is over.
  // What is stored in its cache makes the file longer for it whatever else is on its way.
  file->telling = true;
  KJ_DEFER({
    file->telling = false;
    file->changed.wake();
  });
  auto sequence = file->sequence;
  bool others = file->handles > 1 && file->told.any && !file->told.sure;
  auto untaken = file->told.atMs + kAnswerTakenMs;
  if (others && nowMs() < untaken) {
    co_await env_.clock.timer().afterDelay((untaken - nowMs()) * kj::MILLISECONDS);
    if (file->sequence != sequence) co_return false;
  }
  if (file->pagesPresent) tasks_.add(dropPages(*file));
  file->pagesVersion = version;
  while (file->dropsRunning > 0) co_await file->changed.next();
  auto storing = kj::Promise<bool>(storeEnd(kj::addRef(*file), size));
  bool stored = true;
  if (purpose != For::READ) {
    // Attributes are told all the same when the storage daemons do not answer. A read would wait for them anyway.
    auto late = env_.clock.timer().afterDelay(kStorePatienceMs * kj::MILLISECONDS);
    storing = storing.exclusiveJoin(late.then([&stored]() {
      stored = false;
      return true;
    }));
  }
  auto same = co_await kj::mv(storing);
  if (same && stored && file->sequence == sequence) noteTold(*file, size, true);
  co_return same && file->sequence == sequence;
}

Task<bool> Client::toldByAnother(kj::Own<File> file, For purpose) {
  bool over = false;
  auto late = env_.clock.timer().afterDelay(kStorePatienceMs * kj::MILLISECONDS).fork();
  auto mark = late.addBranch().then([&over]() { over = true; }).eagerlyEvaluate(nullptr);
  while (file->telling) {
    if (over && purpose != For::READ) co_return false;
    auto next = over ? file->changed.next() : file->changed.next().exclusiveJoin(late.addBranch());
    co_await kj::mv(next);
  }
  co_return true;
}

Task<bool> Client::storeEnd(kj::Own<File> file, uint64_t size) {
  auto last = size - 1;
  auto onPage = [last](const File::Range& r) {
    return pageStart(r.from) <= last && last < pageEnd(r.end);
  };
  for (bool locked = true; locked;) {
    locked = false;
    for (auto& [id, range] : file->requests) locked = locked || onPage(range);
    if (locked) co_await file->changed.next();
  }
  auto drops = file->drops;
  auto changes = file->changes;
  auto data = co_await readNow(kj::addRef(*file), last, 1);
  if (file->drops != drops) co_return false;
  if (!data.ok()) co_return true;  // who reads there is told the error
  if (data->size() == 0) co_return false;
  KJ_IF_MAYBE(kernel, kernel_) co_await kernel->storePages(file->ino, last, kj::mv(*data));
  bool writes = file->changes != changes;
  for (auto& [id, range] : file->requests) writes = writes || range.write;
  if (writes) file->pagesMixed = true;  // what was stored may lie on what a program has written
  co_return true;
}

Task<void> Client::tellOwnEnd(kj::Own<File> file, bool append, uint64_t kernelEnd, uint64_t from,
                              kj::ArrayPtr<const kj::byte> written) {
  auto& told = file->told;
  auto size = file->map.size();
  if (kernelEnd >= size || (told.sure && told.size >= size)) {
    noteTold(*file, size, true);
    co_return;
  }
  if (!told.any && !append) co_return;  // it has the size from where it has the inode
  auto last = size - 1;
  kj::Array<kj::byte> data;
  if (last >= from && last < from + written.size()) {
    data = kj::heapArray<kj::byte>(written.slice(last - from, last - from + 1));
  } else {
    auto got = co_await readSlices(file->map.slices(last, 1), file->leaseView);
    if (!got.ok() || got->size() == 0) co_return;
    data = kj::mv(*got);
  }
  KJ_IF_MAYBE(kernel, kernel_) {
    // Its page may be that of the WRITE, which waits for us: the size is set before.
    auto late = env_.clock.timer().afterDelay(kLockedStoreMs * kj::MILLISECONDS);
    auto stored = kernel->storePages(file->ino, last, kj::mv(data)).exclusiveJoin(kj::mv(late));
    co_await kj::mv(stored);
  }
  file->pagesMixed = true;
  if (file->map.size() == size) noteTold(*file, size, true);
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
