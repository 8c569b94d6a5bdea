// copy_file_range: whole blocks by reference (G7), the rest through this client.
//
// Two leases are held at once only if neither is waited for while the other is in use (G9): two that
// copy crosswise would wait for each other for ever.

#include "common/limits.h"
#include "fuse-client/vfs/client.h"

#include <fcntl.h>

namespace dfs {
namespace {

constexpr uint32_t kBothTries = 8;

}  // namespace

kj::Promise<Outcome<uint64_t>> Client::copyRange(FileHandle from, uint64_t fromOffset,
                                                 FileHandle to, uint64_t toOffset, uint64_t bytes,
                                                 kj::Maybe<Caller> unprivileged) {
  using Result = Outcome<uint64_t>;
  if (options_.readOnly) return Result(Errno::RO_FS);
  KJ_IF_MAYBE(source, findHandle(from)) {
    KJ_IF_MAYBE(target, findHandle(to)) {
      if (locks_.lost(from) || locks_.lost(to)) return Result(Errno::IO);
      if (fromOffset >= kFileBytesMax || bytes == 0) return Result(0u);
      bytes = kj::min(bytes, kFileBytesMax - fromOffset);
      if (toOffset >= kFileBytesMax) return Result(Errno::TOO_LARGE);
      bytes = kj::min(bytes, kFileBytesMax - toOffset);
      bool same = source->file.get() == target->file.get();
      if (same && fromOffset < toOffset + bytes && toOffset < fromOffset + bytes) {
        return Result(Errno::INVAL);
      }
      readThrough(source->file->ino, from);
      auto copy = kj::heap<Copy>();
      copy->from = kj::addRef(*source->file);
      copy->fromOffset = fromOffset;
      copy->to = kj::addRef(*target->file);
      copy->toOffset = toOffset;
      copy->bytes = bytes;
      // Locks of either file are of the session that there is now.
      copy->asker = {kj::mv(unprivileged), kj::max(locks_.eraOf(from), locks_.eraOf(to))};
      copy->durable = (target->flags & (O_SYNC | O_DSYNC)) != 0;
      kj::Promise<Result> work = copyNow(kj::mv(copy));
      return soft(work.then([this, toOffset, file = kj::addRef(*target->file)](Result&& done) mutable {
        if (done.ok() && *done > 0) noteOwnEnd(*file, toOffset + *done);
        return kj::mv(done);
      }));
    }
  }
  return Result(Errno::INVAL);
}

Task<Outcome<uint64_t>> Client::copyNow(kj::Own<Copy> copy) {
  auto bytes = copy->bytes;
  if (bytes >= kCloneBytesMin) {
    kj::Promise<Outcome<uint64_t>> work =
        cloneNow(kj::addRef(*copy->from), copy->fromOffset, kj::addRef(*copy->to), copy->toOffset,
                 bytes, copy->asker);
    auto cloned = co_await detached(kj::mv(work));
    if (!cloned.ok() || *cloned > 0) co_return kj::mv(cloned);
    // Up to where the next call can go on by reference.
    uint64_t blockBytes = kj::max(copy->to->blockBytes, kUnitBytes);
    auto within = copy->fromOffset % blockBytes;
    bool alike = within != 0 && within == copy->toOffset % blockBytes;
    if (alike) bytes = kj::min(bytes, blockBytes - within);
  }
  auto done = co_await copyBytes(*copy, kj::min(bytes, kCopyBytesMax));
  co_return kj::mv(done);
}

Task<Outcome<uint64_t>> Client::copyBytes(Copy& copy, uint64_t bytes) {
  uint64_t done = 0;
  while (done < bytes) {
    auto to = copy.toOffset + done;
    auto piece = kj::min(bytes - done, kWriteBytesMax - to % kWriteBytesMax);
    auto data = co_await readNow(kj::addRef(*copy.from), copy.fromOffset + done,
                                 static_cast<uint32_t>(piece));
    auto failed = mayStill(copy.asker) ? data.err() : Errno::IO;
    if (failed != Errno::OK) {
      if (done > 0) break;
      co_return failed;
    }
    if (data->size() == 0) break;
    auto writing = kj::heap<Writing>();
    writing->file = kj::addRef(*copy.to);
    writing->offset = to;
    writing->data = kj::mv(*data);
    writing->how.durable = copy.durable;
    writing->asker = copy.asker;
    writing->mayEarly = !copy.durable;
    auto read = writing->data.size();
    auto written = co_await startWrite(kj::mv(writing));
    if (!written.ok()) {
      if (done > 0) break;
      co_return written.err();
    }
    done += *written;
    if (*written < read || read < piece) break;
  }
  co_return done;
}

Task<Outcome<Client::BothLeases>> Client::exclusiveBoth(kj::Own<File> from, kj::Own<File> to) {
  BothLeases both;
  bool same = from.get() == to.get();
  for (uint32_t tries = 0; tries < kBothTries; ++tries) {
    auto first = co_await exclusive(kj::addRef(*from));
    if (!first.ok()) co_return first.err();
    bool second = same || (to->held() && !to->recalled && names_.leaseValid());
    if (second) {
      both.from = kj::mv(*first);
      if (!same) both.to = kj::heap<LeaseUse>(kj::addRef(*to));
      co_return kj::mv(both);
    }
    *first = nullptr;  // not while the other is waited for
    auto other = co_await exclusive(kj::addRef(*to));
    if (!other.ok()) co_return other.err();
  }
  co_return Errno::AGAIN;
}

Task<Outcome<uint64_t>> Client::cloneNow(kj::Own<File> from, uint64_t fromOffset, kj::Own<File> to,
                                         uint64_t toOffset, uint64_t bytes, Asker asker) {
  // 0: nothing here can go by reference.
  auto odd = [](const File& file, uint64_t offset) {
    return file.blockBytes != 0 && offset % file.blockBytes != 0;
  };
  if (odd(*from, fromOffset) || odd(*to, toOffset)) co_return uint64_t(0);
  co_await requestsDone(kj::addRef(*from), Which::WRITES);
  co_await requestsDone(kj::addRef(*to), Which::WRITES);
  auto got = co_await exclusiveBoth(kj::addRef(*from), kj::addRef(*to));
  if (got.err() == Errno::AGAIN) co_return uint64_t(0);
  if (!got.ok()) co_return got.err();
  auto leases = kj::mv(*got);
  uint64_t blockBytes = to->map.blockBytes();
  if (from->map.blockBytes() != blockBytes) co_return uint64_t(0);
  if (fromOffset % blockBytes != 0 || toOffset % blockBytes != 0) co_return uint64_t(0);

  // In the order of inodes, so that no two wait for each other.
  bool same = from.get() == to.get();
  auto& low = from->ino < to->ino ? *from : *to;
  auto& high = from->ino < to->ino ? *to : *from;
  auto lowOps = co_await low.ops.alone();
  kj::Own<FifoLock::Hold> highOps, highPublishing;
  if (!same) highOps = co_await high.ops.alone();
  auto lowPublishing = co_await low.publishing.alone();
  if (!same) highPublishing = co_await high.publishing.alone();
  if (!leases.good() || !mayStill(asker)) co_return Errno::IO;

  if (from->map.size() <= fromOffset)
    co_return uint64_t(0);  // set-id bits stay where nothing comes
  auto& use = same ? *leases.from : *leases.to;
  ++to->changes;
  auto err = co_await killSetIdOf(kj::addRef(*to), asker.unprivileged, use);
  if (err != Errno::OK) co_return err;
  auto done = co_await cloneHeld(kj::mv(from), fromOffset, kj::mv(to), toOffset, bytes, leases);
  co_return kj::mv(done);
}

Task<Outcome<uint64_t>> Client::cloneHeld(kj::Own<File> from, uint64_t fromOffset, kj::Own<File> to,
                                          uint64_t toOffset, uint64_t bytes,
                                          const BothLeases& leases) {
  uint64_t blockBytes = to->map.blockBytes();
  auto left = from->map.size() > fromOffset ? from->map.size() - fromOffset : 0;
  bytes = kj::min(bytes, left);
  // A part of a block goes with the rest of it, so only where nothing comes after it.
  bool tail = bytes % blockBytes != 0 && to->map.size() <= toOffset + bytes;
  auto count = kj::min(bytes / blockBytes + (tail ? 1 : 0), uint64_t(kRowsPerTrim));
  if (count == 0) co_return uint64_t(0);
  bytes = kj::min(bytes, count * blockBytes);
  auto fromFirst = fromOffset / blockBytes;
  auto toFirst = toOffset / blockBytes;
  auto size = toOffset + bytes;

  auto err = co_await ensureRows(kj::addRef(*from), fromFirst, fromFirst + count - 1);
  if (err == Errno::OK && leases.good()) err = co_await publishNow(kj::addRef(*from), false);
  if (err == Errno::OK && leases.good()) err = co_await publishNow(kj::addRef(*to), false);
  if (!leases.good()) co_return Errno::IO;
  if (err != Errno::OK) co_return err;

  auto fromIno = from->ino;
  auto toIno = to->ino;
  auto mtime = nextMtime(*to);
  auto applied = co_await names_.apply(
      [fromIno, fromFirst, count, toIno, toFirst, size, mtime](schema::Command::Builder command) {
        auto clone = command.getDo().initClone();
        clone.setFrom(fromIno.value);
        clone.setFromFirst(fromFirst);
        clone.setCount(count);
        clone.setTo(toIno.value);
        clone.setToFirst(toFirst);
        clone.setSize(size);
        toWire(mtime, clone.initMtime());
      },
      to->leaseEra);
  if (!leases.good()) co_return Errno::IO;
  if (applied.err != Errno::OK) co_return applied.err;
  to->map.clone(from->map, fromFirst, count, toFirst, size);
  from->map.share(fromFirst, count);
  to->publishedSize = to->map.size();
  noteApplied(*to, applied);
  co_return bytes;
}

}  // namespace dfs
