// What makes data durable and known: sync, then publish (Y1 to Y4).

#include "fuse-client/vfs/client.h"

namespace dfs {

kj::Promise<Errno> Client::publish(kj::Own<File> file) {
  kj::Promise<Errno> work = publishAnswered(kj::mv(file));
  return detached(kj::mv(work));
}

Task<Errno> Client::publishAnswered(kj::Own<File> file) {
  co_await requestsDone(kj::addRef(*file), Which::EARLY);
  auto err = co_await publishNow(kj::mv(file), true);
  co_return err;
}

Task<Errno> Client::publishNow(kj::Own<File> file, bool lock) {
  kj::Own<FifoLock::Hold> hold;
  if (lock) hold = co_await file->publishing.alone();
  if (!file->held() || !file->dirty()) co_return Errno::OK;
  auto era = file->leaseEra;
  // What is published was there before the sync began: later writes are the next one's.
  auto err = co_await publishRows(kj::addRef(*file));
  if (file->leaseEra != era || !file->held()) co_return Errno::IO;
  file->dirtySinceMs = file->dirty() ? nowMs() : 0;
  co_return err;
}

Task<Errno> Client::syncStamps(kj::Own<File> file) {
  auto stamps = kj::mv(file->uncovered);
  file->uncovered.clear();
  if (stamps.empty()) co_return Errno::OK;
  auto era = file->leaseEra;
  std::set<ChainId> chains;
  for (auto& stamp : stamps) chains.insert(stamp.chain);
  std::vector<ChainId> list(chains.begin(), chains.end());
  auto synced = co_await storage_.sync(kj::mv(list));
  if (file->leaseEra != era || !file->held()) co_return Errno::IO;
  if (!synced.ok()) {
    file->uncovered.merge(stamps);
    co_return synced.err();
  }
  for (auto& stamp : stamps) {
    if (covered(stamp, *synced)) continue;
    // The bytes are no longer kept here, so they cannot be written again (Y3).
    loseData(*file, "its storage daemons lost what they had not synced");
    // Once: whoever asks again gets what is left. A rename does not put it in a good file's place.
    co_return Errno::IO;
  }
  co_return Errno::OK;
}

Task<Errno> Client::publishRows(kj::Own<File> file) {
  struct One {
    uint64_t index;
    FileRow row;
  };
  auto blockBytes = file->map.blockBytes();
  std::vector<One> rows;
  for (auto index : file->map.dirty()) rows.push_back({index, file->map.rows().at(index)});
  auto size = file->map.size();
  auto mtime = file->mtime;
  bool setMtime = file->mtimeDirty;
  auto era = file->leaseEra;
  bool written = std::exchange(file->dataDirty, false);
  auto err = co_await syncStamps(kj::addRef(*file));
  if (file->leaseEra != era || !file->held()) co_return Errno::IO;
  if (err != Errno::OK) {
    file->dataDirty = file->dataDirty || written;
    co_return err;
  }

  size_t from = 0;
  do {
    size_t end = kj::min(from + kRowsPerPublishMax, rows.size());
    bool last = end == rows.size();
    std::vector<One> piece(rows.begin() + from, rows.begin() + end);
    // A crash between two pieces leaves no row past the size.
    uint64_t sizeNow = size;
    if (!last) {
      sizeNow =
          kj::max(file->publishedSize, piece.back().index * blockBytes + piece.back().row.end);
    }
    auto ino = file->ino;
    auto applied = co_await names_.apply(
        [ino, sizeNow, mtime, setMtime, piece](schema::Command::Builder command) {
          auto to = command.getDo().initPublish();
          to.setIno(ino.value);
          to.setSize(sizeNow);
          toWire(mtime, to.initMtime());
          to.setSetMtime(setMtime);
          auto list = to.initRows(piece.size());
          for (size_t i = 0; i < piece.size(); ++i) {
            list[i].setIndex(piece[i].index);
            list[i].setBlock(piece[i].row.block.value);
            list[i].setEnd(piece[i].row.end);
            list[i].setShared(piece[i].row.shared);
          }
        },
        era);
    if (file->leaseEra != era || !file->held()) co_return Errno::IO;
    if (applied.err != Errno::OK) {
      file->dataDirty = file->dataDirty || written;
      KJ_LOG(WARNING, "a file could not be published", file->ino, nameOf(applied.err));
      co_return applied.err;
    }
    for (auto& one : piece) file->map.clean(one.index, one.row);
    file->publishedSize = sizeNow;
    KJ_IF_MAYBE(response, applied.response) {
      if (response->hasAttr()) {
        // Our own change moved the version; the kernel's pages are of it.
        file->pagesVersion = fromWire(response->getAttr().getDataVersion());
      }
    }
    from = end;
  } while (from < rows.size());
  if (file->mtime == mtime) file->mtimeDirty = false;
  co_return Errno::OK;
}

kj::Promise<Errno> Client::fsync(InodeId ino, bool dataOnly, FileHandle handle) {
  kj::Promise<Errno> work = ino == root_ ? syncAllNow() : fsyncNow(ino);
  return soft(detached(kj::mv(work))).then([this, handle](Errno err) {
    return err == Errno::OK && locks_.lost(handle) ? Errno::IO : err;
  });
}

Task<Errno> Client::fsyncNow(InodeId ino) {
  auto kind = inodes_.kind(ino);
  // Names are durable when they are answered.
  if (kind == schema::Kind::DIRECTORY) co_return Errno::OK;
  auto found = files_.find(ino);
  if (found == files_.end() || !found->second->held()) {
    if (found != files_.end()) co_await requestsDone(kj::addRef(*found->second), Which::WRITES);
    // Y4: the holder, if there is one, syncs and publishes before this is answered.
    auto attr = co_await getattrOnce(ino);
    if (!attr.ok()) co_return attr.err();
  }
  found = files_.find(ino);
  if (found == files_.end()) co_return Errno::OK;
  auto file = kj::addRef(*found->second);
  co_await requestsDone(kj::addRef(*file), Which::WRITES);
  auto err = co_await publish(kj::addRef(*file));
  // Every descriptor that has not been told keeps the error; the call cannot say whose it is, so all
  // see it until each has been told by close.
  for (auto& [id, handle] : handles_) {
    if (handle.file.get() == file.get() && handle.error != Errno::OK) co_return handle.error;
  }
  if (file->handles == 0 && file->unseen != Errno::OK) {
    co_return std::exchange(file->unseen, Errno::OK);
  }
  co_return err;
}

Task<Errno> Client::syncAllNow() {
  auto inos = std::vector<InodeId>();
  for (auto& [ino, file] : files_) {
    if (file->dirty() || !file->requests.empty() || file->unseen != Errno::OK) {
      inos.push_back(ino);
    }
  }
  Errno result = Errno::OK;
  auto list = kj::heapArrayBuilder<kj::Promise<void>>(inos.size());
  for (auto ino : inos) {
    kj::Promise<Errno> one = fsyncNow(ino);
    list.add(one.then([&result](Errno err) {
      if (err != Errno::OK) result = err;
    }));
  }
  co_await kj::joinPromises(list.finish());
  co_return result;
}

}  // namespace dfs
