// The size by which the kernel goes, and how it gets to know that a file has grown (V7).

#include "fuse-client/vfs/client.h"

namespace dfs {
namespace {

constexpr uint64_t kAnswerTakenMs = 5;  // until a program that was told something goes by it
constexpr uint64_t kStorePatienceMs = 1'000;

}  // namespace

void Client::noteTold(File& file, uint64_t size, bool sure) {
  // Who opens the file asks again before he reads.
  file.told = file.handles == 0 ? File::Told() : File::Told{size, true, sure, nowMs()};
}

void Client::noteOwnEnd(File& file, uint64_t end) {
  if (file.told.any && file.told.size < end) file.told.size = end;
}

bool Client::mustTellGrowth(const File& file, uint64_t size) const {
  // Only what lies behind the end that the kernel knows is ever stored: no program has put anything there through a mapping.
  // Of a file just opened that is not known: the answer does, but amid a WRITE it would be passed over.
  bool known = file.told.any || file.writing();
  return kernel_ != nullptr && file.handles > 0 && known && size > file.told.size;
}

Task<void> Client::answersTaken(kj::Own<File> file) {
  // One program takes what it was told before it asks again; of several it is not known who was told.
  auto untaken = file->told.atMs + kAnswerTakenMs;
  if (file->handles > 1 && nowMs() < untaken) {
    co_await env_.clock.timer().afterDelay((untaken - nowMs()) * kj::MILLISECONDS);
  }
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
  if (!file->told.sure) co_await answersTaken(kj::addRef(*file));
  if (file->sequence != sequence) co_return Errno::STALE;
  if (file->mayHavePages()) tasks_.add(dropPages(*file));
  file->pagesVersion = version;
  while (file->dropsRunning > 0) co_await file->changed.next();
  auto storing = kj::Promise<Errno>(storeEnd(kj::addRef(*file), size));
  if (purpose != For::READ) {
    // Attributes are told all the same when the storage daemons do not answer.
    auto late = env_.clock.timer().afterDelay(kStorePatienceMs * kj::MILLISECONDS);
    storing = storing.exclusiveJoin(late.then([]() { return Errno::TIMED_OUT; }));
  }
  auto err = co_await kj::mv(storing);
  if (file->sequence != sequence) co_return Errno::STALE;
  if (err == Errno::OK) noteTold(*file, size, true);
  // If it could not be had the next answer tries again.
  co_return err == Errno::STALE ? err : Errno::OK;
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
  auto sequence = file->sequence;
  auto before = file->nextRequest;
  auto locked = [&file, size, before]() {
    // A READ under way has its pages locked, and the drop has left out those from where the file ended before.
    for (auto& [id, r] : file->requests) {
      bool behind = pageStart(r.from) < size && pageStart(file->told.size) < pageEnd(r.end);
      if (id < before && behind) return true;
    }
    return false;
  };
  while (locked()) co_await file->changed.next();
  auto drops = file->drops;
  auto data = co_await lastByte(kj::addRef(*file), size);
  if (file->drops != drops || file->sequence != sequence) co_return Errno::STALE;
  if (!data.ok()) co_return data.err();
  co_await store(kj::mv(file), last, kj::mv(*data));
  co_return Errno::OK;
}

Task<Outcome<kj::Array<kj::byte>>> Client::lastByte(kj::Own<File> file, uint64_t size) {
  auto last = size - 1;
  auto index = last / file->blockBytes;
  kj::Own<LeaseUse> use;
  std::vector<ReadSlice> slices;
  uint64_t view = 0;
  if (file->held()) {
    if (file->recalled) co_return Errno::STALE;
    use = kj::heap<LeaseUse>(kj::addRef(*file));
    auto err = co_await ensureRows(kj::addRef(*file), index, index);
    if (err != Errno::OK) co_return err;
    if (!use->good() || file->map.size() < size) co_return Errno::STALE;
    slices = file->map.slices(last, 1);
    view = file->leaseView;
  } else {
    auto rows = co_await rowsOf(*file, index, index + 1);
    if (rows->err != Errno::OK) co_return rows->err;
    if (rows->map.size() != size) co_return Errno::STALE;
    slices = rows->map.slices(last, 1);
    view = rows->view;
  }
  auto data = co_await readSlices(slices, view);
  co_return kj::mv(data);
}

Task<void> Client::store(kj::Own<File> file, uint64_t offset, kj::Array<kj::byte> byte) {
  KJ_IF_MAYBE(kernel, kernel_) {
    // Until it is known that it lies on nothing that a program writes meanwhile. Drops that come later come behind it.
    bool mixed = file->pagesMixed;
    file->pagesMixed = true;
    auto changes = file->changes;
    auto next = file->nextRequest;
    co_await kernel->storePages(file->ino, offset, kj::mv(byte));
    bool writes = file->changes != changes;
    for (auto& [id, r] : file->requests) writes = writes || (r.write && id >= next);
    if (!writes && !mixed) file->pagesMixed = false;
  }
}

void Client::noteOwnWrite(File& file, bool append, uint64_t kernelEnd) {
  // An append's bytes it has put where it knew the end, which others may have moved: then the next answer tells the growth.
  bool passedOver = !file.told.any && file.asking > 0;
  if (append || passedOver || kernelEnd >= file.map.size()) {
    noteTold(file, kj::max(file.told.size, kernelEnd), true);
  } else {
    noteOwnEnd(file, kernelEnd);
  }
}

}  // namespace dfs
