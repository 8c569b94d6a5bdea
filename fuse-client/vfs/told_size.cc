// The size by which the kernel goes, and how it gets to know that a file has grown (V7).

#include "fuse-client/vfs/client.h"

namespace dfs {
namespace {

constexpr uint64_t kAnswerTakenMs = 5;  // until a program that was told something goes by it
constexpr uint64_t kStorePatienceMs = 1'000;
constexpr uint64_t kLockedStoreMs = 2;

}  // namespace

void Client::noteTold(File& file, uint64_t size, bool sure) {
  // Who opens the file asks again before he reads.
  file.told = file.handles == 0 ? File::Told() : File::Told{size, true, sure, nowMs()};
}

bool Client::mustTellGrowth(const File& file, uint64_t size, bool drop) const {
  // An answer alone does where the kernel has no other one about that file on its way.
  auto& told = file.told;
  if (kernel_ == nullptr || file.handles == 0 || size == 0) return false;
  if (told.any && size < told.size) return false;
  if (drop && !file.held() && !told.sure) return true;
  return size > told.size && (told.any || (drop && !file.held()));
}

Task<Errno> Client::tellGrowth(kj::Own<File> file, uint64_t size, DataVersion version,
                               For purpose) {
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
    if (file->sequence != sequence) co_return Errno::STALE;
  }
  if (file->pagesPresent) tasks_.add(dropPages(*file));
  file->pagesVersion = version;
  while (file->dropsRunning > 0) co_await file->changed.next();
  auto storing = kj::Promise<Errno>(storeEnd(kj::addRef(*file), size));
  bool stored = true;
  if (purpose != For::READ) {
    // Attributes are told all the same when the storage daemons do not answer. A read would wait for them anyway.
    auto late = env_.clock.timer().afterDelay(kStorePatienceMs * kj::MILLISECONDS);
    storing = storing.exclusiveJoin(late.then([&stored]() {
      stored = false;
      return Errno::OK;
    }));
  }
  auto err = co_await kj::mv(storing);
  if (file->sequence != sequence) co_return Errno::STALE;
  if (err == Errno::OK && stored) noteTold(*file, size, true);
  // A read would end before bytes that are lost, as if there were none.
  co_return err == Errno::STALE || purpose == For::READ ? err : Errno::OK;
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

Task<Errno> Client::storeEnd(kj::Own<File> file, uint64_t size) {
  auto last = size - 1;
  for (bool locked = true; locked;) {
    locked = false;
    for (auto& [id, r] : file->requests) {
      locked = locked || (pageStart(r.from) <= last && last < pageEnd(r.end));
    }
    if (locked) co_await file->changed.next();
  }
  auto drops = file->drops;
  auto changes = file->changes;
  auto data = co_await readNow(kj::addRef(*file), last, 1);
  if (file->drops != drops) co_return Errno::STALE;
  if (!data.ok()) co_return data.err();
  if (data->size() == 0) co_return Errno::STALE;
  KJ_IF_MAYBE(kernel, kernel_) co_await kernel->storePages(file->ino, last, kj::mv(*data));
  bool writes = file->changes != changes;
  for (auto& [id, range] : file->requests) writes = writes || range.write;
  if (writes) file->pagesMixed = true;  // what was stored may lie on what a program has written
  co_return Errno::OK;
}

Task<void> Client::tellOwnEnd(kj::Own<File> file, bool append, uint64_t kernelEnd, uint64_t from,
                              kj::ArrayPtr<const kj::byte> written) {
  auto& told = file->told;
  auto size = file->map.size();
  if (kernelEnd >= size || (told.sure && told.size >= size)) {
    noteTold(*file, size, true);
    co_return;
  }
  // Without a GETATTR it has the size from where it has the inode.
  if (kernel_ == nullptr || (!told.any && !append)) co_return;
  auto last = size - 1;
  kj::Array<kj::byte> data;
  if (last >= from && last < from + written.size()) {
    data = kj::heapArray<kj::byte>(written.slice(last - from, last - from + 1));
  } else {
    auto index = last / file->map.blockBytes();
    auto err = co_await ensureRows(kj::addRef(*file), index, index);
    if (err != Errno::OK) co_return;
    auto got = co_await readSlices(file->map.slices(last, 1), file->leaseView);
    if (!got.ok() || got->size() == 0) co_return;  // the next GETATTR tries it again
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

}  // namespace dfs
