// SEEK_DATA and SEEK_HOLE: from the rows and their ends, so a hole within a block is seen only at its
// end.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>

namespace dfs {

kj::Promise<Outcome<kj::Maybe<uint64_t>>> Client::seek(FileHandle handle, uint64_t offset,
                                                       bool data) {
  using Result = Outcome<kj::Maybe<uint64_t>>;
  KJ_IF_MAYBE(h, findHandle(handle)) {
    return soft(kj::Promise<Result>(seekNow(kj::addRef(*h->file), offset, data)));
  }
  return Result(Errno::INVAL);
}

bool Client::mayBeMapped(const File& file) {
  // For writing and shared: only such pages can be newer than what this mount has been told (V2).
  if (!file.pagesPresent) return false;
  for (auto& [id, handle] : handles_) {
    if (handle.file.get() == &file && (handle.flags & O_ACCMODE) == O_RDWR) return true;
  }
  return false;
}

Task<Outcome<kj::Maybe<uint64_t>>> Client::seekNow(kj::Own<File> file, uint64_t offset, bool data) {
  co_await requestsDone(kj::addRef(*file), Which::EARLY);
  bool passesHole = false;
  auto found = co_await seekOnce(kj::addRef(*file), offset, data, &passesHole);
  if (!found.ok() || !passesHole || !mayBeMapped(*file)) co_return kj::mv(found);
  // A page stored into a hole is data. Dropping the pages makes the kernel write it to us first.
  co_await dropPages(*file);
  co_await requestsDone(kj::addRef(*file), Which::WRITES);
  found = co_await seekOnce(kj::mv(file), offset, data, &passesHole);
  co_return kj::mv(found);
}

Task<Outcome<kj::Maybe<uint64_t>>> Client::seekOnce(kj::Own<File> file, uint64_t offset, bool data,
                                                    bool* passesHole) {
  // What is written here is not at the name server before the recall is done.
  while (file->held() && (file->recalled || !names_.leaseValid())) {
    if (file->recalled) {
      co_await file->changed.next();
    } else {
      co_await names_.whenValid();
    }
  }
  if (!file->held() || !file->map.complete()) {
    auto asked = co_await seekRows(kj::mv(file), offset, data, passesHole);
    co_return kj::mv(asked);
  }
  auto& map = file->map;
  if (offset >= map.size()) co_return kj::Maybe<uint64_t>(nullptr);
  if (!data) {
    auto hole = map.nextHole(offset);
    *passesHole = hole < map.size();
    co_return kj::Maybe<uint64_t>(hole);
  }
  auto next = map.nextData(offset);
  KJ_IF_MAYBE(at, next) {
    *passesHole = *at > offset;
  } else {
    *passesHole = true;
  }
  co_return next;
}

Task<Outcome<kj::Maybe<uint64_t>>> Client::seekRows(kj::Own<File> file, uint64_t offset, bool data,
                                                    bool* passesHole) {
  // Of a file that is not held here, or has more rows than are known here.
  auto err = co_await publish(kj::addRef(*file));
  if (err != Errno::OK) co_return err;
  if (file->blockBytes == 0) {
    auto attr = co_await getattrOnce(file->ino);
    if (!attr.ok()) co_return attr.err();
    file->blockBytes = attr->blockBytes == 0 ? kBlockBytes : attr->blockBytes;
  }
  uint64_t blockBytes = file->blockBytes;
  for (auto from = offset;;) {
    auto first = from / blockBytes;
    auto ino = file->ino;
    auto answer = co_await names_.ask<schema::Session::RowsResults>(
        [ino, first](schema::Session::Client& session) {
          auto request = session.rowsRequest();
          request.setIno(ino.value);
          request.setFirst(first);
          request.setCount(UINT32_MAX);
          return request;
        });
    if (answer.getErr() != Errno::OK) co_return answer.getErr();
    auto size = answer.getSize();
    if (from >= size) {
      // Past the end to begin with, or nothing but holes up to it.
      if (offset >= size || data) co_return kj::Maybe<uint64_t>(nullptr);
      co_return kj::Maybe<uint64_t>(size);
    }
    BlockMap map;
    map.reset(size, file->blockBytes, true);
    auto known = first + UINT32_MAX;  // the first row of which this answer says nothing
    for (auto row : answer.getRows()) {
      map.put(row.getIndex(), {BlockId(row.getBlock()), row.getEnd(), row.getShared()});
      if (answer.getRows().size() >= kRowsPerAnswerMax) known = row.getIndex() + 1;
    }
    kj::Maybe<uint64_t> found;
    if (data) {
      found = map.nextData(from);
    } else {
      found = map.nextHole(from);
    }
    KJ_IF_MAYBE(at, found) {
      if (*at < known * blockBytes || *at == size) {
        *passesHole = data ? *at > offset : *at < size;
        co_return kj::Maybe<uint64_t>(*at);
      }
    }
    if (data) *passesHole = true;
    from = known * blockBytes;
  }
}

}  // namespace dfs
