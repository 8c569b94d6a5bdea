// fallocate: space for what is not there yet, zeros, and holes.
//
// Space is taken by writing zeros: then, and only then, do the storage daemons have it, and writing
// over it needs none. What lies below a row's end counts as there, also where nothing was written.
// Work goes in pieces, each with a lease and locks of its own, so that a large request holds up
// neither a recall nor another writer, and ends where it is when its caller is killed.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>
#include <string.h>

namespace dfs {
namespace {

constexpr uint64_t kBlocksPerPiece = 8;  // allocated at once
constexpr uint64_t kBlocksPerZero = 64;
constexpr uint32_t kSetIdBits = 06000;

struct Part {
  // What a range of the file is of one block.
  uint64_t index;
  uint32_t from, to;
};

Part partAt(uint64_t offset, uint64_t end, uint64_t blockBytes) {
  auto index = offset / blockBytes;
  auto start = index * blockBytes;
  return {index, static_cast<uint32_t>(offset - start),
          static_cast<uint32_t>(kj::min(end - start, blockBytes))};
}

kj::Array<kj::byte> zeros(size_t bytes) {
  auto array = kj::heapArray<kj::byte>(bytes);
  memset(array.begin(), 0, array.size());
  return array;
}

}  // namespace

kj::Promise<Errno> Client::fallocate(FileHandle handle, SpaceChange change, uint64_t offset,
                                     uint64_t bytes, bool keepSize,
                                     kj::Maybe<Caller> unprivileged) {
  if (options_.readOnly) return Errno::RO_FS;
  if (bytes == 0) return Errno::INVAL;
  if (bytes > kFileBytesMax || offset > kFileBytesMax - bytes) return Errno::TOO_LARGE;
  KJ_IF_MAYBE(h, findHandle(handle)) {
    if (locks_.lost(handle)) return Errno::IO;
    bool durable = (h->flags & (O_SYNC | O_DSYNC)) != 0;
    auto file = kj::addRef(*h->file);
    Range range{offset, offset + bytes};
    Asker asker{kj::mv(unprivileged), locks_.eraOf(handle)};
    kj::Promise<Errno> work =
        fallocateNow(kj::addRef(*file), change, range, keepSize, kj::mv(asker));
    auto end = keepSize || change == SpaceChange::PUNCH ? 0 : range.second;
    return soft(work.then([this, durable, end, file = kj::mv(file)](Errno err) mutable {
      if (err == Errno::OK) noteOwnEnd(*file, end);
      if (err != Errno::OK || !durable) return kj::Promise<Errno>(err);
      return publish(kj::mv(file));
    }));
  }
  return Errno::INVAL;
}

void Growth::goesOn(File& file) {
  ++file.changes;
  if (sequence == 0) {
    before = file.map.size();
    sequence = file.sequence;
  } else {
    alone = alone && file.sequence == sequence && file.changes == changes + 1;
  }
  changes = file.changes;
}

bool Growth::mayBeUndone(const File& file) const {
  return sequence != 0 && alone && file.sequence == sequence && file.changes == changes;
}

Task<Errno> Client::fallocateNow(kj::Own<File> file, SpaceChange change, Range range, bool keepSize,
                                 Asker asker) {
  if (change == SpaceChange::PUNCH) {
    auto punched = co_await detached<Errno>(punchNow(kj::mv(file), range, kj::mv(asker)));
    co_return punched;
  }
  auto attr = co_await getattrNow(file->ino, For::OWN);
  if (!attr.ok()) co_return attr.err();
  auto before = attr->size;
  auto bytes = range.second - range.first;
  if (bytes > attr->allocated) {
    // As far as it can be told before: nobody shall fill the disks to hear that it does not fit.
    auto stat = co_await statfsNow();
    if (!stat.ok()) co_return stat.err();
    if (bytes - attr->allocated > stat->bytesFree) co_return Errno::NO_SPACE;
  }
  if (change == SpaceChange::ZERO) {
    auto blockBytes = uint64_t(attr->blockBytes);
    for (auto at = range.first; at < kj::min(range.second, before);) {
      Range piece{at, kj::min(range.second, (at / blockBytes + kBlocksPerZero) * blockBytes)};
      auto err = co_await detached<Errno>(zeroNow(kj::addRef(*file), piece, asker));
      if (err != Errno::OK) co_return err;
      at = piece.second;
    }
  }
  auto wanted = range;  // past the size there is nothing to do, but times move all the same
  if (keepSize) wanted.second = kj::max(range.first, kj::min(range.second, before));
  auto growth = kj::refcounted<Growth>();
  auto onlyEra = asker.onlyEra;
  auto err =
      co_await allocateNow(kj::addRef(*file), wanted, keepSize, kj::mv(asker), kj::addRef(*growth));
  if (err == Errno::NO_SPACE && !keepSize && range.second > growth->before) {
    // Past the old end nothing stays, unless somebody else was at the file meanwhile.
    SetAttr set;
    set.size = true;
    set.to.size = growth->before;
    set.onlyEra = onlyEra;
    auto cut = co_await detached<Outcome<Attr>>(
        resizeNow(kj::mv(file), set, true, Caller(), kj::mv(growth)));
    if (!cut.ok() && cut.err() != Errno::AGAIN) co_return cut.err();
  }
  co_return err;
}

Task<Errno> Client::killSetIdOf(kj::Own<File> file, const kj::Maybe<Caller>& unprivileged,
                                const LeaseUse& use) {
  if (!file->lacksCapability()) {
    auto err = co_await dropCapability(kj::addRef(*file), use);
    if (err != Errno::OK) co_return err;
  }
  KJ_IF_MAYBE(caller, unprivileged) {
    if ((file->mode & kSetIdBits) != 0) {
      auto err = co_await killSetId(kj::mv(file), *caller, use);
      co_return err;
    }
  }
  co_return Errno::OK;
}

void Client::noteApplied(File& file, Applied& applied) {
  // A command has changed the file as it stands published here.
  KJ_IF_MAYBE(response, applied.response) {
    if (response->hasAttr()) {
      auto attr = response->getAttr();
      file.mtime = fromWire(attr.getMtime());
      file.mode = attr.getMode();
      file.allocatedBase = attr.getAllocated();
      file.map.clearDelta();
      file.pagesVersion = fromWire(attr.getDataVersion());
    }
  }
  file.mtimeDirty = false;
  file.lastUsedMs = nowMs();
}

// --- space ---

Task<Errno> Client::allocateNow(kj::Own<File> file, Range range, bool keepSize, Asker asker,
                                kj::Own<Growth> growth) {
  auto blockBytes = file->blockBytes == 0 ? uint64_t(kBlockBytes) : uint64_t(file->blockBytes);
  auto at = range.first;
  do {
    Range piece{at, kj::min(range.second, (at / blockBytes + kBlocksPerPiece) * blockBytes)};
    auto err = co_await detached<Errno>(
        allocatePiece(kj::addRef(*file), piece, keepSize, asker, kj::addRef(*growth)));
    if (err != Errno::OK) co_return err;
    at = piece.second;
  } while (at < range.second);
  co_return Errno::OK;
}

Task<Errno> Client::allocatePiece(kj::Own<File> file, Range range, bool keepSize, Asker asker,
                                  kj::Own<Growth> growth) {
  auto got = co_await exclusive(kj::addRef(*file));
  if (!got.ok()) co_return got.err();
  auto use = kj::mv(*got);
  auto hold = co_await file->ops.shared();
  if (!use->good() || !mayStill(asker)) co_return Errno::IO;
  growth->goesOn(*file);
  auto err = co_await killSetIdOf(kj::addRef(*file), asker.unprivileged, *use);
  if (err != Errno::OK) co_return err;
  noteWritten(*file);
  auto end = keepSize ? kj::min(range.second, file->map.size()) : range.second;
  uint64_t blockBytes = file->map.blockBytes();
  kj::Vector<kj::Promise<Errno>> blocks;
  for (auto at = range.first; at < end; at = (at / blockBytes + 1) * blockBytes) {
    auto part = partAt(at, end, blockBytes);
    kj::Promise<Errno> one = allocateBlock(kj::addRef(*file), part.index, part.from, part.to, *use);
    blocks.add(kj::mv(one));
  }
  auto done = co_await kj::joinPromises(blocks.releaseAsArray());
  for (auto one : done) {
    if (one != Errno::OK) err = one;
  }
  co_return err;
}

Task<Errno> Client::allocateBlock(kj::Own<File> file, uint64_t index, uint32_t from, uint32_t to,
                                  const LeaseUse& use) {
  for (;;) {
    auto lock = co_await blockLock(*file, index).alone();
    if (!use.good()) co_return Errno::IO;
    auto err = co_await ensureRows(kj::addRef(*file), index, index);
    if (err != Errno::OK) co_return err;
    if (!use.good()) co_return Errno::IO;
    auto at = kj::max(from, file->map.endOf(index));
    if (at >= to) co_return Errno::OK;
    auto data = zeros(kj::min(to - at, kWriteBytesMax - at % kWriteBytesMax));
    err = co_await writeLocked(kj::addRef(*file), index, at, data, use, Old::KEPT);
    if (err != Errno::OK) co_return err;
  }
}

// --- zeros ---

Task<Errno> Client::zeroNow(kj::Own<File> file, Range range, Asker asker) {
  // What is there becomes zeros and stays allocated.
  co_await requestsDone(kj::addRef(*file), Which::WRITES);  // also those that were given up
  auto got = co_await exclusive(kj::addRef(*file));
  if (!got.ok()) co_return got.err();
  auto use = kj::mv(*got);
  auto alone = co_await file->ops.alone();
  if (!use->good() || !mayStill(asker)) co_return Errno::IO;
  ++file->changes;
  auto err = co_await killSetIdOf(kj::addRef(*file), asker.unprivileged, *use);
  if (err != Errno::OK) co_return err;
  auto end = kj::min(range.second, file->map.size());
  uint64_t blockBytes = file->map.blockBytes();
  for (auto at = range.first; at < end; at = (at / blockBytes + 1) * blockBytes) {
    auto part = partAt(at, end, blockBytes);
    err = co_await ensureRows(kj::addRef(*file), part.index, part.index);
    if (err != Errno::OK) co_return err;
    if (!use->good()) co_return Errno::IO;
    auto rowEnd = file->map.endOf(part.index);
    if (rowEnd <= part.from) continue;
    if (part.from == 0 && part.to >= rowEnd) {
      err = co_await zeroWhole(kj::addRef(*file), part.index, *use);
    } else {
      err = co_await zeroPart(kj::addRef(*file), part.index, part.from, kj::min(part.to, rowEnd),
                              *use);
    }
    if (err != Errno::OK) co_return err;
  }
  noteWritten(*file);
  co_return Errno::OK;
}

Task<Errno> Client::zeroWhole(kj::Own<File> file, uint64_t index, const LeaseUse& use) {
  // Its last bytes are written, all before them are forgotten by the storage daemons.
  auto lock = co_await blockLock(*file, index).alone();
  if (!use.good()) co_return Errno::IO;
  auto end = file->map.endOf(index);
  auto data = zeros(kj::min(end, kUnitBytes));
  auto at = end - static_cast<uint32_t>(data.size());
  auto err = co_await writeLocked(kj::mv(file), index, at, data, use, Old::CLEARED);
  co_return err;
}

Task<Errno> Client::zeroPart(kj::Own<File> file, uint64_t index, uint32_t from, uint32_t to,
                             const LeaseUse& use) {
  while (from < to) {
    auto data = zeros(kj::min(to - from, kWriteBytesMax - from % kWriteBytesMax));
    auto err = co_await writeBlock(kj::addRef(*file), index, from, data, use);
    if (err != Errno::OK) co_return err;
    from += static_cast<uint32_t>(data.size());
  }
  co_return Errno::OK;
}

// --- holes ---

Task<Errno> Client::punchNow(kj::Own<File> file, Range range, Asker asker) {
  // Rows that the range covers go by a command; of a row at its ends the end is drawn in, or, in the
  // middle of it, zeros are written: 8 MiB at most.
  co_await requestsDone(kj::addRef(*file), Which::WRITES);  // also those that were given up
  auto got = co_await exclusive(kj::addRef(*file));
  if (!got.ok()) co_return got.err();
  auto use = kj::mv(*got);
  auto alone = co_await file->ops.alone();
  if (!use->good() || !mayStill(asker)) co_return Errno::IO;
  ++file->changes;
  auto err = co_await killSetIdOf(kj::addRef(*file), asker.unprivileged, *use);
  if (err != Errno::OK) co_return err;
  noteWritten(*file);  // also where nothing changes
  auto end = kj::min(range.second, file->map.size());
  if (range.first >= end) co_return Errno::OK;

  uint64_t blockBytes = file->map.blockBytes();
  auto first = (range.first + blockBytes - 1) / blockBytes;
  auto last = (end - 1) / blockBytes;
  auto rowsEnd = end / blockBytes;
  const uint64_t ends[] = {range.first / blockBytes, last};
  for (auto index : ends) {
    auto part = partAt(kj::max(range.first, index * blockBytes), end, blockBytes);
    err = co_await ensureRows(kj::addRef(*file), index, index);
    if (err != Errno::OK) co_return err;
    if (!use->good()) co_return Errno::IO;
    auto rowEnd = file->map.endOf(index);
    if (part.from == 0 && part.to >= rowEnd) {
      if (index == last) rowsEnd = last + 1;  // the whole row goes, though not the whole block
    } else if (part.to >= rowEnd) {
      file->map.cut(index, part.from);
    } else {
      err = co_await zeroPart(kj::addRef(*file), index, part.from, part.to, *use);
      if (err != Errno::OK) co_return err;
    }
    if (index == last) break;  // one block: once
  }
  auto row = file->map.rows().lower_bound(first);
  bool any = row != file->map.rows().end() && row->first < rowsEnd;
  if (first < rowsEnd && (any || !file->map.complete()))
    err = co_await punchRows(kj::addRef(*file), first, rowsEnd, *use);
  co_return err;
}

Task<Errno> Client::punchRows(kj::Own<File> file, uint64_t first, uint64_t end,
                              const LeaseUse& use) {
  auto publishing = co_await file->publishing.alone();
  if (!use.good()) co_return Errno::IO;
  auto err = co_await publishNow(kj::addRef(*file), false);
  if (err != Errno::OK) co_return err;
  if (!use.good()) co_return Errno::IO;
  auto ino = file->ino;
  auto era = file->leaseEra;
  auto mtime = file->mtime;
  for (bool more = true; more;) {
    auto applied = co_await names_.apply(
        [ino, first, end, mtime](schema::Command::Builder command) {
          auto punch = command.getDo().initPunch();
          punch.setIno(ino.value);
          punch.setFirst(first);
          punch.setEnd(end);
          toWire(mtime, punch.initMtime());
        },
        era);
    if (!use.good()) co_return Errno::IO;
    if (applied.err != Errno::OK) co_return applied.err;
    more = false;
    KJ_IF_MAYBE(response, applied.response) {
      more = response->getOutcome().getCount() != 0;
    }
    if (!more) file->map.punch(first, end);
    noteApplied(*file, applied);
  }
  co_return Errno::OK;
}

}  // namespace dfs
