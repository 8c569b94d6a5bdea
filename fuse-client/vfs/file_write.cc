// Writes: under the exclusive lease, through to the chain at once; size and rows follow later. Where
// there is plenty of room the writer does not wait for the chain (write_window.h): until the write is
// done its Request says so to whoever must see it, and an error is told by flush and fsync.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace dfs {
namespace {

constexpr uint32_t kSetIdBits = 06000;
constexpr uint32_t kKernelPageBytes = 4096;  // or a multiple of it: then it is asked once too often

}  // namespace

kj::Promise<Outcome<uint32_t>> Client::write(FileHandle handle, uint64_t offset,
                                             kj::Array<kj::byte> data, WriteHow how,
                                             kj::Maybe<Caller> unprivileged) {
  using Result = Outcome<uint32_t>;
  if (options_.readOnly) return Result(Errno::RO_FS);
  KJ_IF_MAYBE(h, findHandle(handle)) {
    if (data.size() == 0) return Result(0u);
    if (data.size() > (1u << 30)) return Result(Errno::INVAL);
    if (locks_.lost(handle)) return Result(Errno::IO);
    bool old = h->era != names_.era();
    auto writing = kj::heap<Writing>();
    writing->file = kj::addRef(*h->file);
    writing->offset = offset;
    writing->data = kj::mv(data);
    writing->how = how;
    writing->how.durable = how.durable || (h->flags & (O_SYNC | O_DSYNC)) != 0;
    writing->asker = {kj::mv(unprivileged), locks_.eraOf(handle)};
    writing->mayEarly = !writing->how.durable && !how.fromWriteback && (h->flags & O_DIRECT) == 0;
    return soft(startWrite(kj::mv(writing))).then([old](Result&& result) -> Result {
      if (old && result.err() == Errno::STALE) return Errno::IO;  // S3
      return kj::mv(result);
    });
  }
  return Result(Errno::INVAL);
}

kj::Promise<Outcome<uint32_t>> Client::startWrite(kj::Own<Writing> writing) {
  auto pair = kj::newPromiseAndFulfiller<Outcome<uint32_t>>();
  tasks_.add(runWrite(kj::mv(writing), kj::refcounted<Reply>(kj::mv(pair.fulfiller))));
  return kj::mv(pair.promise);
}

Task<void> Client::runWrite(kj::Own<Writing> writing, kj::Own<Reply> reply) {
  // Whoever waits for the write finds its error told.
  Request request(*this, kj::addRef(*writing->file), writing->offset, writing->data.size(), true);
  kj::Promise<Outcome<uint32_t>> work = writeNow(*writing, request, *reply);
  auto tried = co_await attempt(kj::mv(work));
  if (!reply->given()) {
    KJ_IF_MAYBE(result, tried.value) reply->give(kj::mv(*result));
    KJ_IF_MAYBE(failure, tried.failure) reply->fail(kj::mv(*failure));
    co_return;
  }
  Errno err = Errno::OK;
  KJ_IF_MAYBE(failure, tried.failure) err = errnoOf(*failure);
  KJ_IF_MAYBE(result, tried.value) {
    err = result->err();
    bool part = result->ok() && **result < writing->data.size();
    if (part) err = Errno::IO;
  }
  if (err == Errno::OK) co_return;
  // The kernel's page holds what is nowhere else.
  writing->file->pagesMixed = true;
  loseData(*writing->file, "a write failed after it was answered", err);
}

bool Client::roomFor(const File& file, uint64_t offset, uint64_t bytes) {
  // So much that NO_SPACE need not be expected: else the writer waits to hear it.
  uint64_t blockBytes = file.map.blockBytes();
  for (auto index = offset / blockBytes; index <= (offset + bytes - 1) / blockBytes; ++index) {
    auto row = file.map.rows().find(index);
    bool room = row == file.map.rows().end() || row->second.shared
                    ? storage_.roomyAnywhere()
                    : storage_.roomy(row->second.block.chain());
    if (!room) return false;
  }
  return true;
}

FifoLock& Client::blockLock(File& file, uint64_t index) {
  if (file.blocks.size() > 256) {
    for (auto i = file.blocks.begin(); i != file.blocks.end();) {
      i = i->second->idle() ? file.blocks.erase(i) : std::next(i);
    }
  }
  auto& lock = file.blocks[index];
  if (lock.get() == nullptr) lock = kj::heap<FifoLock>();
  return *lock;
}

Time Client::nextMtime(const File& file) {
  // O4: never back.
  auto now = env_.clock.wallTime();
  if (now > file.mtime || file.mtimeSet) return now;
  auto later = file.mtime;
  if (++later.nsec == 1'000'000'000) {
    later.nsec = 0;
    ++later.sec;
  }
  return later;
}

Task<Outcome<uint32_t>> Client::writeNow(Writing& writing, Request& request, Reply& reply) {
  auto& file = writing.file;
  auto offset = writing.offset;
  // A page of the old session: not before it has been dropped (S3).
  if (writing.how.fromWriteback && endDrops_ > 0) co_return Errno::IO;
  auto got = co_await exclusive(kj::addRef(*file), writing.how.append);
  if (!got.ok()) co_return got.err();
  auto use = kj::mv(*got);
  request.served();
  kj::Own<FifoLock::Hold> hold;
  if (writing.how.append) {
    // The end of the file is where nobody else is writing. What waits for a recall comes after the rest of an append.
    auto which = file->recalled ? Which::SERVED : Which::WRITES;
    co_await requestsDone(kj::addRef(*file), which, 0, kNoEnd, request.id());
    hold = co_await file->ops.alone();
    ++file->appends;
    file->changed.wake();
  } else {
    // Overlapping ones in order of arrival, also where nobody waits for the earlier one any more (C6).
    co_await requestsDone(kj::addRef(*file), Which::WRITES, offset, offset + writing.data.size(),
                          request.id());
    hold = co_await file->ops.shared();
  }
  if (!use->good() || !mayStill(writing.asker)) co_return Errno::IO;
  ++file->changes;
  file->pagesPresent = true;  // a WRITE leaves pages like a READ does, and of the version held here
  auto asked = static_cast<uint32_t>(writing.data.size());
  kj::ArrayPtr<const kj::byte> bytes = writing.data;
  if (writing.how.append) {
    // The kernel has put the bytes into its page where it took the end to be.
    if (offset != file->map.size()) file->pagesMixed = true;
    offset = file->map.size();
  }
  if (writing.how.fromWriteback) {
    // V2: pages of a mapping never extend the file; an earlier write may be about to.
    if (offset + bytes.size() > file->map.size()) {
      co_await requestsDone(kj::addRef(*file), Which::EARLY, offset, kNoEnd, request.id());
      if (!use->good()) co_return Errno::IO;
    }
    if (offset >= file->map.size()) co_return asked;
    bytes = bytes.slice(0, kj::min(bytes.size(), file->map.size() - offset));
  }
  if (offset >= kFileBytesMax) co_return Errno::TOO_LARGE;
  bytes = bytes.slice(0, kj::min(bytes.size(), kFileBytesMax - offset));

  KJ_IF_MAYBE(caller, writing.asker.unprivileged) {
    if ((file->mode & kSetIdBits) != 0) {
      auto err = co_await killSetId(kj::addRef(*file), *caller, *use);
      if (err != Errno::OK) co_return err;
    }
  }
  if (!file->lacksCapability()) {
    auto err = co_await dropCapability(kj::addRef(*file), *use);
    if (err != Errno::OK) co_return err;
  }
  if (writing.how.append && (writing.offset + asked) % kKernelPageBytes == 0) {
    // Before it is answered, early perhaps.
    tasks_.add(awaitRest(kj::heap<LeaseUse>(kj::addRef(*file)), kj::addRef(*file), request.id(),
                         writing.how.tid));
  }
  kj::Maybe<kj::Own<WriteWindow::Place>> place;
  if (writing.mayEarly && bytes.size() == asked && roomFor(*file, offset, asked)) {
    place = kj::heap<WriteWindow::Place>(window_, asked, [&request, &reply, offset, asked]() {
      request.answeredEarly(offset, asked);
      reply.give(asked);
    });
  }
  auto done = co_await writePieces(kj::addRef(*file), offset, bytes, *use);
  if (!done.ok()) co_return done.err();
  if (!writing.how.fromWriteback) {
    noteOwnWrite(*file, writing.how.append, writing.offset + *done);
  }
  hold = nullptr;
  if (writing.how.durable) {
    auto saved = co_await publish(kj::addRef(*file));
    if (saved != Errno::OK) co_return saved;
  }
  bool cut = writing.how.fromWriteback && *done == bytes.size();
  if (cut) co_return asked;  // what lies past the end is no part of the file
  co_return *done;
}

Task<Errno> Client::killSetId(kj::Own<File> file, const Caller& by, const LeaseUse& use) {
  auto ino = file->ino;
  auto caller = by;
  if ((file->mode & (S_ISGID | S_IXGRP)) == S_ISGID) {
    // It stays if the writer is of that group.
    KJ_IF_MAYBE(callers, callers_) caller.groups = callers->groups(caller.tid);
  }
  auto applied = co_await names_.apply([ino, caller](schema::Command::Builder command) {
    fillCredentials(command, caller);
    auto set = command.getDo().initSetattr();
    set.setIno(ino.value);
    set.setOpenForWrite(true);
    set.setKillSetId(true);
  });
  if (applied.err != Errno::OK) co_return applied.err;
  if (!use.good()) co_return Errno::IO;
  KJ_IF_MAYBE(response, applied.response) file->mode = response->getAttr().getMode();
  co_return Errno::OK;
}

Task<Outcome<uint32_t>> Client::writePieces(kj::Own<File> file, uint64_t offset,
                                            kj::ArrayPtr<const kj::byte> bytes,
                                            const LeaseUse& use) {
  // As many as could be written; an error only if none could.
  uint32_t done = 0;
  Errno err = Errno::OK;
  while (done < bytes.size() && err == Errno::OK) {
    uint64_t at = offset + done;
    uint64_t blockBytes = file->map.blockBytes();
    auto from = static_cast<uint32_t>(at % blockBytes);
    // Pieces end where a unit of the largest write ends, so that few units are written twice.
    uint64_t piece = kj::min(blockBytes - from, uint64_t(kWriteBytesMax - from % kWriteBytesMax));
    piece = kj::min(piece, bytes.size() - done);
    err = co_await writeBlock(kj::addRef(*file), at / blockBytes, from,
                              bytes.slice(done, done + piece), use);
    if (!use.good()) err = Errno::IO;
    if (err == Errno::OK) done += static_cast<uint32_t>(piece);
  }
  if (done == 0) co_return err;
  co_return done;
}

Task<Errno> Client::writeBlock(kj::Own<File> file, uint64_t index, uint32_t from,
                               kj::ArrayPtr<const kj::byte> data, const LeaseUse& use) {
  // The lease is looked at after each wait: the next session of this client is live too, so the fence
  // would let through what belongs to the last one (C3).
  auto lock = co_await blockLock(*file, index).alone();
  if (!use.good()) co_return Errno::IO;
  auto err = co_await ensureRows(kj::addRef(*file), index, index);
  if (err != Errno::OK) co_return err;
  if (!use.good()) co_return Errno::IO;
  err = co_await writeLocked(kj::mv(file), index, from, data, use, Old::KEPT);
  co_return err;
}

Task<Errno> Client::writeLocked(kj::Own<File> file, uint64_t index, uint32_t from,
                                kj::ArrayPtr<const kj::byte> data, const LeaseUse& use, Old old) {
  auto to = from + static_cast<uint32_t>(data.size());
  auto plan = file->map.plan(index, to);
  auto block = plan.block;
  bool fresh = block.value == 0;
  bool covers = from == 0 && to >= plan.old.end;
  bool copies = fresh && plan.old.shared && old == Old::KEPT && !covers;
  if (!fresh && old == Old::CLEARED) plan.clearFrom = 0;
  for (bool second = false;; second = true) {
    if (fresh) {
      auto id = second ? co_await ranges_.next(file->ino, block.chain())
                       : co_await ranges_.next(file->ino, nullptr);
      if (!id.ok()) co_return id.err();
      block = *id;
    }
    if (copies) {
      auto copied = co_await copyShared(kj::addRef(*file), plan.old, block, use);
      if (copied == Errno::NO_SPACE && !second) continue;
      if (copied != Errno::OK) co_return copied;
      if (to > plan.old.end) plan.clearFrom = plan.old.end;
    }
    if (!use.good()) co_return Errno::IO;
    auto written = co_await storage_.write(block, from, data, plan.clearFrom);
    if (!use.good()) co_return Errno::IO;
    if (written.ok()) {
      file->uncovered.insert(kj::mv(*written));
      break;
    }
    // That chain is full; another may not be.
    if (written.err() != Errno::NO_SPACE || !fresh || second) co_return written.err();
  }
  // A copy of what was shared has all of the old bytes.
  if (copies) file->map.written(index, block, plan.old.end);
  file->map.written(index, block, to);
  noteWritten(*file);
  co_return Errno::OK;
}

void Client::noteWritten(File& file) {
  if (file.dirtySinceMs == 0) file.dirtySinceMs = nowMs();
  file.mtime = nextMtime(file);
  file.mtimeSet = false;
  file.mtimeDirty = true;
  file.dataDirty = true;
  file.lastUsedMs = nowMs();
}

Task<Errno> Client::copyShared(kj::Own<File> file, FileRow old, BlockId to, const LeaseUse& use) {
  // G7: nothing is written in place into what is another file's too.
  for (uint32_t at = 0; at < old.end; at += kWriteBytesMax) {
    auto bytes = kj::min(old.end - at, kWriteBytesMax);
    auto data = co_await storage_.read(old.block, at, bytes, file->leaseView);
    if (!data.ok()) co_return data.err() == Errno::NO_BLOCK ? Errno::IO : data.err();
    if (data->size() != bytes || !use.good()) co_return Errno::IO;
    auto written = co_await storage_.write(to, at, *data, file->map.blockBytes());
    if (!use.good()) co_return Errno::IO;
    if (!written.ok()) co_return written.err();
    file->uncovered.insert(kj::mv(*written));
  }
  co_return Errno::OK;
}

}  // namespace dfs
