// Reads: under the own lease from the rows known here, otherwise from rows asked for after the read
// arrived (C9).

#include "fuse-client/vfs/client.h"

#include <string.h>

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kRefusalsMax = 3;  // under the own lease, where nobody else can say more

}  // namespace

kj::Promise<Outcome<kj::Array<kj::byte>>> Client::read(FileHandle handle, uint64_t offset,
                                                       uint32_t bytes) {
  using Result = Outcome<kj::Array<kj::byte>>;
  KJ_IF_MAYBE(h, findHandle(handle)) {
    if (locks_.lost(handle)) return Result(Errno::IO);
    auto lockEra = locks_.eraOf(handle);
    bool old = h->era != names_.era();
    readThrough(h->file->ino, handle);
    bytes = kj::min(bytes, kReadBytesMax);
    if (offset >= kFileBytesMax || bytes == 0) return Result(kj::Array<kj::byte>());
    kj::Promise<Result> work = readNow(kj::addRef(*h->file), offset, bytes);
    return soft(kj::mv(work)).then([this, old, lockEra](Result&& result) -> Result {
      if (lockEra != 0 && lockEra != names_.era()) return Errno::IO;  // not under the lock any more
      // S3: a removed file that only the session that ended had held.
      if (old && result.err() == Errno::STALE) return Errno::IO;
      return kj::mv(result);
    });
  }
  return Result(Errno::INVAL);
}

Task<Outcome<kj::Array<kj::byte>>> Client::readNow(kj::Own<File> file, uint64_t offset,
                                                   uint32_t bytes) {
  auto request = kj::heap<Request>(*this, kj::addRef(*file), offset, bytes, false);
  // At the end of what is known the file may already be longer: what extends it is waited for too.
  bool inside = file->held() && offset + bytes <= file->map.size();
  // Also those without an answer: the kernel has dropped their pages, or it would not ask, and keeps what this READ brings.
  co_await requestsDone(kj::addRef(*file), Which::WRITES, offset, inside ? offset + bytes : kNoEnd,
                        request->id());
  std::set<BlockId> refused;
  uint32_t refusals = 0;
  for (;;) {
    auto drops = file->drops;
    auto era = names_.era();
    std::vector<ReadSlice> slices;
    uint64_t view = 0;
    DataVersion version;
    kj::Own<LeaseUse> use;
    // What is written here is not at the name server before the recall is done.
    while (file->held() && file->recalled) co_await file->changed.next();
    if (file->held() && !file->recalled) {
      co_await names_.whenValid();
      if (!file->held() || file->recalled) continue;
      use = kj::heap<LeaseUse>(kj::addRef(*file));
      uint64_t blockBytes = file->map.blockBytes();
      auto err = co_await ensureRows(kj::addRef(*file), offset / blockBytes,
                                     (offset + bytes - 1) / blockBytes);
      if (!use->good()) continue;
      if (err != Errno::OK) co_return err;
      slices = file->map.slices(offset, bytes);
      view = file->leaseView;
      version = file->pagesVersion;
    } else {
      if (file->blockBytes == 0) {
        auto attr = co_await getattrOnce(file->ino);
        if (!attr.ok()) co_return attr.err();
        file->blockBytes = attr->blockBytes == 0 ? kBlockBytes : attr->blockBytes;
        continue;
      }
      uint64_t unit = file->blockBytes;
      auto rows = co_await rowsOf(*file, offset / unit, (offset + bytes - 1) / unit + 1);
      if (rows->err != Errno::OK) co_return rows->err;
      slices = rows->map.slices(offset, bytes);
      view = rows->view;
      version = rows->version;
    }
    bool again = false;
    for (auto& slice : slices) {
      again = again || (slice.stored > 0 && refused.count(slice.block) != 0);
    }
    if (again && (use.get() == nullptr || ++refusals >= kRefusalsMax)) {
      KJ_LOG(ERROR, "a block of a file is gone", file->ino, offset);
      co_return Errno::IO;
    }
    auto data = co_await readSlices(slices, view);
    if (use.get() != nullptr && use->good()) co_await names_.whenValid();
    bool stale =
        drops != file->drops || era != names_.era() || (use.get() != nullptr && !use->good());
    if (stale) continue;  // V7, G3: what was read belongs to a state that is over
    if (data.ok()) {
      notePages(*file, version);
      co_return kj::mv(data);
    }
    if (data.err() != Errno::NO_BLOCK) co_return data.err();
    for (auto& slice : slices) {
      if (slice.stored > 0) refused.insert(slice.block);
    }
    if (use.get() != nullptr) {
      co_await env_.clock.timer().afterDelay(100 * kj::MILLISECONDS);
    }
  }
}

Task<Outcome<kj::Array<kj::byte>>> Client::readSlices(std::vector<ReadSlice> slices,
                                                      uint64_t viewMin) {
  if (slices.size() == 1 && slices[0].stored == slices[0].bytes) {
    // The usual one: what came is the answer.
    auto& only = slices[0];
    auto data = co_await storage_.read(only.block, only.from, only.stored, viewMin);
    if (data.ok() && data->size() != only.stored) co_return Errno::NO_BLOCK;
    co_return kj::mv(data);
  }
  size_t total = 0;
  for (auto& slice : slices) total += slice.bytes;
  auto into = kj::heapArray<kj::byte>(total);
  memset(into.begin(), 0, into.size());
  struct Piece {
    kj::ArrayPtr<kj::byte> to;
    Errno err = Errno::OK;
  };
  std::vector<Piece> pieces;
  std::vector<kj::Promise<void>> reads;
  pieces.reserve(slices.size());
  size_t at = 0;
  for (auto& slice : slices) {
    auto to = into.slice(at, at + slice.stored);
    at += slice.bytes;
    if (slice.stored == 0) continue;
    pieces.push_back({to, Errno::OK});
    auto& piece = pieces.back();
    reads.push_back(storage_.read(slice.block, slice.from, slice.stored, viewMin)
                        .then([&piece](Outcome<kj::Array<kj::byte>>&& data) {
                          if (!data.ok()) {
                            piece.err = data.err();
                          } else if (data->size() != piece.to.size()) {
                            // The row promises more than the block holds: never zeros for that.
                            piece.err = Errno::NO_BLOCK;
                          } else {
                            memcpy(piece.to.begin(), data->begin(), data->size());
                          }
                        }));
  }
  auto list = kj::heapArrayBuilder<kj::Promise<void>>(reads.size());
  for (auto& one : reads) list.add(kj::mv(one));
  co_await kj::joinPromises(list.finish());
  for (auto& piece : pieces) {
    if (piece.err != Errno::OK && piece.err != Errno::NO_BLOCK) co_return piece.err;
  }
  for (auto& piece : pieces) {
    if (piece.err != Errno::OK) co_return piece.err;
  }
  co_return kj::mv(into);
}

kj::Promise<kj::Own<RowsAnswer>> Client::rowsOf(File& file, uint64_t first, uint64_t end) {
  // Reads that arrive before the call is sent share it.
  auto& batch = file.nextRows;
  if (batch.get() != nullptr) {
    auto low = kj::min(batch->first, first);
    auto high = kj::max(batch->end, end);
    if (high - low <= kRowsPerAnswerMax) {
      batch->first = low;
      batch->end = high;
    } else {
      batch = nullptr;  // goes its way by itself
    }
  }
  if (batch.get() == nullptr) {
    batch = kj::refcounted<RowsBatch>();
    batch->first = first;
    batch->end = end;
    tasks_.add(sendRows(kj::addRef(file), kj::addRef(*batch)));
  }
  auto pair = kj::newPromiseAndFulfiller<kj::Own<RowsAnswer>>();
  batch->waiters.push_back(kj::mv(pair.fulfiller));
  return kj::mv(pair.promise);
}

Task<void> Client::sendRows(kj::Own<File> file, kj::Own<RowsBatch> batch) {
  co_await kj::evalLater([]() {});
  if (file->nextRows.get() == batch.get()) file->nextRows = nullptr;
  auto ino = file->ino.value;
  auto first = batch->first;
  auto count = static_cast<uint32_t>(batch->end - batch->first);
  auto sent = kj::Promise<capnp::Response<schema::Session::RowsResults>>(
      names_.ask<schema::Session::RowsResults>(
          [ino, first, count](schema::Session::Client& session) {
            auto request = session.rowsRequest();
            request.setIno(ino);
            request.setFirst(first);
            request.setCount(count);
            return request;
          }));
  auto tried = co_await attempt(kj::mv(sent));
  KJ_IF_MAYBE(failure, tried.failure) {
    for (auto& waiter : batch->waiters) waiter->reject(kj::cp(*failure));
    co_return;
  }
  auto& answer = KJ_ASSERT_NONNULL(tried.value);
  for (auto& waiter : batch->waiters) {
    auto rows = kj::refcounted<RowsAnswer>();
    rows->err = answer.getErr();
    if (rows->err == Errno::OK) {
      rows->map.reset(answer.getSize(), file->blockBytes, true);
      for (auto row : answer.getRows()) {
        rows->map.put(row.getIndex(), {BlockId(row.getBlock()), row.getEnd(), row.getShared()});
      }
      rows->version = fromWire(answer.getDataVersion());
      rows->view = answer.getView();
    }
    waiter->fulfill(kj::mv(rows));
  }
}

}  // namespace dfs
