// Attributes: asked of the name server each time; size and times of a file held here are added.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>

namespace dfs {

kj::Promise<Outcome<Attr>> Client::getattr(InodeId ino) {
  return soft(kj::Promise<Outcome<Attr>>(getattrKnown(ino)));
}

kj::Promise<Outcome<Attr>> Client::getattrToRead(InodeId ino, FileHandle handle) {
  kj::Promise<Outcome<Attr>> asked = getattrNow(ino, For::READ);
  return soft(asked.then([this, ino, handle](Outcome<Attr>&& attr) {
    if (attr.ok()) readThrough(ino, handle);
    return kj::mv(attr);
  }));
}

bool Client::isOpenForWrite(InodeId ino) {
  KJ_IF_MAYBE(file, findFile(ino)) {
    if (file->handles == 0) return false;
    for (auto& [id, handle] : handles_) {
      if (handle.file->ino == ino && (handle.flags & O_ACCMODE) != O_RDONLY) return true;
    }
  }
  return false;
}

void Client::readThrough(InodeId ino, FileHandle handle) {
  KJ_IF_MAYBE(h, findHandle(handle)) {
    bool reads = (h->flags & O_ACCMODE) != O_WRONLY && (h->flags & O_NOATIME) == 0;
    if (reads) accesses_.accessed(ino);
  }
}

Task<Outcome<Attr>> Client::getattrKnown(InodeId ino) {
  co_await accesses_.known(ino);
  auto attr = co_await getattrNow(ino);
  co_return kj::mv(attr);
}

Task<void> Client::tellAccess(InodeId ino) {
  co_await names_.apply([ino](schema::Command::Builder command) {
    command.initCredentials();
    auto to = command.getDo().initSetattr();
    to.setIno(ino.value);
    to.initSet().setAtimeNow(true);
    to.setAccess(true);
  });
  // Not told: the file is gone. Nobody has been promised a time of access.
}

Task<Outcome<Attr>> Client::getattrOnce(InodeId ino) {
  auto answer =
      co_await names_.ask<schema::Session::GetattrResults>([ino](schema::Session::Client& session) {
        auto request = session.getattrRequest();
        request.setIno(ino.value);
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  co_return attrOf(answer.getAttr());
}

Task<Outcome<Attr>> Client::getattrNow(InodeId ino, For purpose) {
  auto found = files_.find(ino);
  kj::Own<File> file;
  KJ_DEFER(if (file.get() != nullptr)-- file->asking);
  if (found != files_.end()) {
    file = kj::addRef(*found->second);
    ++file->asking;
    co_await requestsDone(kj::addRef(*file), Which::WRITES);  // V1
  }
  for (;;) {
    while (endDrops_ > 0) co_await endDropped_.next();  // S3
    auto asked = leasesDropped_;
    auto answer = co_await names_.ask<schema::Session::GetattrResults>(
        [ino](schema::Session::Client& session) {
          auto request = session.getattrRequest();
          request.setIno(ino.value);
          return request;
        });
    if (answer.getErr() != Errno::OK) co_return answer.getErr();
    if (endDrops_ > 0) continue;
    auto attr = attrOf(answer.getAttr());
    auto version = fromWire(answer.getAttr().getDataVersion());
    auto told = co_await deliver(attr, version, asked, purpose);
    if (told.ok()) accesses_.seen(*told);
    if (told.ok() || told.err() != Errno::STALE) co_return kj::mv(told);
  }
}

Task<Outcome<Attr>> Client::deliver(Attr attr, DataVersion version, uint64_t asked, For purpose) {
  auto found = files_.find(attr.ino);
  if (attr.kind != schema::Kind::FILE || found == files_.end()) co_return kj::mv(attr);
  auto file = kj::addRef(*found->second);
  auto sequence = file->sequence;
  co_await requestsDone(kj::addRef(*file), Which::EARLY);  // size and times are not known before
  // Held when it was asked and not any more: the answer may be older than our own publish.
  if (!file->held() && file->droppedAt > asked) co_return Errno::STALE;
  if (file->blockBytes == 0) file->blockBytes = attr.blockBytes;
  if (purpose != For::OWN) {
    auto err = co_await dropBefore(kj::addRef(*file), attr, version, purpose);
    if (err != Errno::OK) co_return err;
  }
  if (file->sequence != sequence)
    co_return Errno::STALE;  // size and times are no longer known here
  if (file->held()) {
    // The holder knows best.
    attr.size = file->map.size();
    attr.mtime = file->mtime;
    if (!file->mtimeSet && attr.ctime < attr.mtime) attr.ctime = attr.mtime;
    attr.allocated = static_cast<uint64_t>(static_cast<int64_t>(file->allocatedBase) +
                                           file->map.allocatedDelta());
  }
  if (file->toldMtimeMax < attr.mtime) file->toldMtimeMax = attr.mtime;
  co_return kj::mv(attr);
}

Task<Errno> Client::dropBefore(kj::Own<File> file, const Attr& attr, DataVersion version,
                               For purpose) {
  auto size = file->held() ? file->map.size() : attr.size;
  if (file->telling) {
    if (purpose == For::LISTING) co_return Errno::STALE;
    bool told = co_await toldByAnother(kj::addRef(*file), purpose);
    if (!told) co_return Errno::OK;
    if (!(file->pagesVersion == version))
      co_return Errno::STALE;  // perhaps older than what was told
  }
  auto& told = file->told;
  if (mustTellGrowth(*file, size)) {
    if (purpose == For::LISTING) co_return Errno::STALE;
    auto err = co_await tellGrowth(kj::addRef(*file), size, version, purpose);
    co_return err;
  }
  auto sequence = file->sequence;
  bool other = !file->held() && !(file->pagesVersion == version);
  if (file->mayHavePages() && (other || file->pagesUnsure) && !(told.any && told.sure)) {
    co_await answersTaken(kj::addRef(*file));
    if (file->sequence != sequence) co_return Errno::STALE;
  }
  bool drop = file->mayHavePages() && (other || file->pagesMixed || file->pagesUnsure);
  bool shrunk = told.any && size < told.size;
  bool unsure =
      shrunk || (file->held() ? !(told.sure && told.size >= size) : file->handles > 0 && !told.any);
  if (drop) makeDropped(*file, file->held() ? file->mtime : attr.mtime, unsure);
  if (drop || file->held() || !file->pagesPresent) file->pagesVersion = version;
  if (!file->held()) noteTold(*file, size, told.any && !shrunk && (told.sure || drop));
  while (file->dropsRunning > 0) co_await file->changed.next();
  co_return Errno::OK;
}

void Client::fillSetattr(schema::Command::Builder command, InodeId ino, const SetAttr& set,
                         bool openForWrite, const Caller& caller) {
  fillCredentials(command, caller);
  auto to = command.getDo().initSetattr();
  to.setIno(ino.value);
  auto which = to.initSet();
  which.setMode(set.mode);
  which.setUid(set.uid);
  which.setGid(set.gid);
  which.setSize(set.size);
  which.setAtime(set.atime && !set.atimeNow);
  which.setMtime(set.mtime && !set.mtimeNow);
  which.setAtimeNow(set.atimeNow);
  which.setMtimeNow(set.mtimeNow);
  to.setMode(set.to.mode & 07777);
  to.setUid(set.to.uid);
  to.setGid(set.to.gid);
  to.setSize(set.to.size);
  toWire(set.to.atime, to.initAtime());
  toWire(set.to.mtime, to.initMtime());
  to.setOpenForWrite(openForWrite);
  to.setKillSetId(set.killSetId || (set.size && caller.uid != 0));
}

kj::Promise<Outcome<Attr>> Client::setattr(InodeId ino, SetAttr set, kj::Maybe<FileHandle> handle,
                                           Caller caller) {
  if (options_.readOnly) return Outcome<Attr>(Errno::RO_FS);
  if (set.size && set.to.size > kFileBytesMax) return Outcome<Attr>(Errno::TOO_LARGE);
  bool openForWrite = false;
  KJ_IF_MAYBE(number, handle) {
    KJ_IF_MAYBE(h, findHandle(*number)) openForWrite = (h->flags & O_ACCMODE) != O_RDONLY;
    if (set.size && locks_.lost(*number)) return Outcome<Attr>(Errno::IO);
    if (set.size) set.onlyEra = locks_.eraOf(*number);
  }
  // The kernel takes set-id bits away before a write in the writer's name, who may have got the descriptor from
  // somebody with more rights, and does not say which one it is.
  if (set.mode) openForWrite = openForWrite || isOpenForWrite(ino);
  kj::Promise<Outcome<Attr>> work =
      set.killSetId && isOpenForWrite(ino)
          ? kj::Promise<Outcome<Attr>>(maybeBeforeWrite(ino, set, kj::mv(caller)))
          : kj::Promise<Outcome<Attr>>(setattrNow(ino, set, openForWrite, kj::mv(caller)));
  return soft(detached(kj::mv(work)));
}

Task<Outcome<Attr>> Client::maybeBeforeWrite(InodeId ino, SetAttr set, Caller caller) {
  // chown(-1, -1), or what the kernel sends before a write, perhaps of somebody who was handed the open file. He must
  // not be refused; the write takes the bits away itself.
  auto attr = co_await getattrNow(ino);
  if (!attr.ok() || (caller.uid != 0 && caller.uid != attr->uid)) co_return kj::mv(attr);
  auto done = co_await setattrNow(ino, set, false, kj::mv(caller));
  co_return kj::mv(done);
}

Task<Outcome<Attr>> Client::setattrNow(InodeId ino, SetAttr set, bool openForWrite, Caller caller) {
  co_await accesses_.known(ino);  // what was read before this has an earlier time
  auto found = files_.find(ino);
  bool held = found != files_.end() && found->second->held();
  if (set.size || (held && (set.mtime || set.mtimeNow))) {
    auto done = co_await resizeNow(fileOf(ino), set, openForWrite, kj::mv(caller));
    co_return kj::mv(done);
  }
  auto applied =
      co_await names_.apply([ino, set, openForWrite, caller](schema::Command::Builder command) {
        fillSetattr(command, ino, set, openForWrite, caller);
      });
  if (applied.err != Errno::OK) co_return applied.err;
  KJ_IF_MAYBE(file, findFile(ino)) {
    KJ_IF_MAYBE(response, applied.response) {
      if (file->held()) file->mode = response->getAttr().getMode();
    }
  }
  auto answer = co_await getattrNow(ino);
  co_return kj::mv(answer);
}

Task<Outcome<Attr>> Client::resizeNow(kj::Own<File> file, SetAttr set, bool openForWrite,
                                      Caller caller, kj::Own<Growth> undoes) {
  // Under the lease and alone: sizes, and times that must come after those of earlier writes (Y4).
  auto ino = file->ino;
  co_await requestsDone(kj::addRef(*file), Which::WRITES);  // also those that were given up
  {
    auto got = co_await exclusive(kj::addRef(*file));
    if (!got.ok()) {
      // Not a file: the name server has the right word for a size of anything else.
      if (got.err() == Errno::STALE || got.err() == Errno::IO) co_return got.err();
    }
    kj::Own<LeaseUse> use;
    if (got.ok()) use = kj::mv(*got);
    auto alone = co_await file->ops.alone();
    auto publishing = co_await file->publishing.alone();
    if (undoes.get() != nullptr && !undoes->mayBeUndone(*file)) co_return Errno::AGAIN;
    ++file->changes;
    if (use.get() != nullptr) {
      if (!use->good()) co_return Errno::IO;
      auto err = co_await publishNow(kj::addRef(*file), false);
      if (err != Errno::OK) co_return err;
    }
    kj::Maybe<uint64_t> onlyEra;
    if (set.onlyEra != 0) onlyEra = set.onlyEra;
    auto fill = [ino, set, openForWrite, caller](schema::Command::Builder command) {
      fillSetattr(command, ino, set, openForWrite, caller);
    };
    auto applied = co_await names_.apply(kj::mv(fill), onlyEra);
    if (applied.err != Errno::OK) co_return applied.err;
    if (use.get() != nullptr && use->good()) {
      if (set.size) {
        file->map.resize(set.to.size);
        file->publishedSize = set.to.size;
        file->told.size = kj::min(file->told.size, set.to.size);
      }
      KJ_IF_MAYBE(response, applied.response) {
        if (response->hasAttr()) {
          auto attr = response->getAttr();
          file->mtime = fromWire(attr.getMtime());
          file->mtimeSet = file->mtime > fromWire(attr.getCtime());
          file->mode = attr.getMode();
          file->allocatedBase = attr.getAllocated();
          file->map.clearDelta();
          file->pagesVersion = fromWire(attr.getDataVersion());
        }
      }
      file->mtimeDirty = false;
      file->lastUsedMs = nowMs();
    }
  }
  // The kernel sends nothing that it would have to write before it drops pages until it has this answer, and takes its size
  // whatever came in between.
  auto answer = co_await getattrNow(ino, set.size ? For::OWN : For::STAT);
  if (answer.ok() && set.size) {
    KJ_IF_MAYBE(known, findFile(ino)) noteTold(*known, answer->size, true);
  }
  co_return kj::mv(answer);
}

kj::Promise<Outcome<FsStat>> Client::statfs() {
  return soft(kj::Promise<Outcome<FsStat>>(statfsNow()));
}

Task<Outcome<FsStat>> Client::statfsNow() {
  auto answer = co_await names_.ask<schema::Session::StatfsResults>(
      [](schema::Session::Client& session) { return session.statfsRequest(); });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  auto stat = answer.getStat();
  co_return FsStat{stat.getBytes(),      stat.getBytesFree(),  stat.getInodes(),
                   stat.getInodesFree(), stat.getBlockBytes(), stat.getNameBytesMax()};
}

}  // namespace dfs
