// Beginning and end of a mount, open files, and what all topics share.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>

#include <sstream>

namespace dfs {
namespace {

std::vector<std::string> pathParts(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream stream(path);
  std::string part;
  while (std::getline(stream, part, '/')) {
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  return parts;
}

std::string pathOf(const std::vector<std::string>& parts, size_t count) {
  std::string path;
  for (size_t i = 0; i < count; ++i) path += "/" + parts[i];
  return path;
}

}  // namespace

Client::Client(Env& env, VfsOptions options)
    : env_(env),
      options_(kj::mv(options)),
      names_(env, {options_.nameservers, options_.host, options_.what}, *this),
      storage_(env, names_),
      accesses_(env.clock, options_.readOnly ? AccessTimes::NEVER : options_.accessTimes,
                options_.accessTimesOfDirectories, [this](InodeId ino) { return tellAccess(ino); }),
      ranges_(names_),
      locks_(env, names_, tasks_),
      tasks_(*this) {}

Client::~Client() noexcept(false) {
  closing_ = true;  // what ends with the tasks starts no new ones
}

void Client::taskFailed(kj::Exception&& exception) {
  KJ_LOG(ERROR, "work of the file system failed", exception);
}

kj::Promise<void> Client::attach() {
  auto run = [](Client& self) -> Task<void> {
    self.names_.start();
    co_await self.names_.ready();
    co_await self.findRoot();
    auto root = co_await self.getattr(self.root_);
    KJ_REQUIRE(root.ok(), "the root of the file system does not answer", nameOf(root.err()));
    self.tasks_.add(self.tick());
  };
  return run(*this);
}

Task<void> Client::findRoot() {
  // Each step's lookup is given back but the last one, which keeps the root in use (G4).
  auto parts = pathParts(options_.subdir);
  for (size_t i = 0; i < parts.size(); ++i) {
    auto found = co_await lookup(root_, parts[i]);
    if (root_ != kRootInode) forget(root_, 1);
    auto upTo = pathOf(parts, i + 1);
    KJ_REQUIRE(found.err() != Errno::NO_ENT, "there is no such directory in the cluster",
               upTo.c_str());
    KJ_REQUIRE(found.ok(), "the directory of the cluster cannot be looked up", upTo.c_str(),
               nameOf(found.err()));
    root_ = found->ino;
    KJ_REQUIRE(found->kind != schema::Kind::SYMLINK,
               "this is a symbolic link in the cluster; name the directory that it leads to",
               upTo.c_str());
    KJ_REQUIRE(found->kind == schema::Kind::DIRECTORY, "this is no directory in the cluster",
               upTo.c_str());
  }
}

kj::Promise<void> Client::syncAll() {
  return detached<Errno>(syncAllNow()).then([](Errno err) {
    KJ_REQUIRE(err == Errno::OK, "some files could not be saved", nameOf(err));
  });
}

kj::Promise<void> Client::detach() {
  auto run = [](Client& self) -> Task<void> {
    self.detached_ = true;
    co_await self.accesses_.allKnown();
    auto failure = co_await attempt(self.syncAll());
    co_await self.names_.end();
    KJ_IF_MAYBE(e, failure) kj::throwFatalException(kj::mv(*e));
  };
  return run(*this);
}

std::string Client::describe() {
  uint64_t dirty = 0;
  std::string recalled;
  for (auto& [ino, file] : files_) {
    if (file->dirty() || !file->requests.empty()) ++dirty;
    if (file->recalled) recalled += (recalled.empty() ? "" : ",") + std::to_string(ino.value);
  }
  return "{\"name\":" + names_.describe() + ",\"waitsFor\":\"" + storage_.waitsFor() +
         "\",\"files\":" + std::to_string(files_.size()) +
         ",\"dirtyFiles\":" + std::to_string(dirty) +
         ",\"handles\":" + std::to_string(handles_.size()) + ",\"recalled\":[" + recalled + "]}";
}

kj::Maybe<File&> Client::findFile(InodeId ino) {
  auto found = files_.find(ino);
  if (found == files_.end()) return nullptr;
  return *found->second;
}

kj::Own<File> Client::fileOf(InodeId ino) {
  auto& file = files_[ino];
  if (file.get() == nullptr) file = kj::refcounted<File>(ino);
  if (file->blockBytes == 0) file->blockBytes = inodes_.blockBytes(ino);
  file->lastUsedMs = nowMs();
  return kj::addRef(*file);
}

kj::Maybe<Client::Handle&> Client::findHandle(FileHandle handle) {
  auto found = handles_.find(handle);
  if (found == handles_.end()) return nullptr;
  return found->second;
}

Vfs::Opened Client::newHandle(kj::Own<File> file, int flags) {
  ++file->handles;
  Opened opened{nextHandle_++, !file->pagesMixed};
  Handle handle{kj::mv(file), flags, names_.era()};
  // An error that nobody was there to be told goes to the next who opens the file.
  handle.error = std::exchange(handle.file->unseen, Errno::OK);
  handles_.emplace(opened.handle, kj::mv(handle));
  return opened;
}

kj::Promise<Outcome<Vfs::Opened>> Client::open(InodeId ino, int flags, Caller caller) {
  bool truncates =
      (flags & O_TRUNC) != 0;  // whatever it is open for: the kernel has seen the right
  if (options_.readOnly && ((flags & O_ACCMODE) != O_RDONLY || truncates)) {
    return Outcome<Opened>(Errno::RO_FS);
  }
  if (!truncates) return Outcome<Opened>(newHandle(fileOf(ino), flags));
  SetAttr set;
  set.size = true;
  return setattr(ino, set, nullptr, caller)
      .then([this, ino, flags](Outcome<Attr>&& done) -> Outcome<Opened> {
        if (!done.ok()) return done.err();
        return newHandle(fileOf(ino), flags);
      });
}

kj::Promise<Errno> Client::release(FileHandle handle) {
  KJ_IF_MAYBE(h, findHandle(handle)) {
    --h->file->handles;
    if (h->error != Errno::OK && h->file->handles == 0) h->file->unseen = h->error;
    handles_.erase(handle);
    return locks_.release(handle).then([]() { return Errno::OK; });
  }
  return Errno::INVAL;
}

kj::Promise<Errno> Client::flush(FileHandle handle) {
  return soft(kj::Promise<Errno>(flushNow(handle)));
}

Task<Errno> Client::flushNow(FileHandle handle) {
  KJ_IF_MAYBE(open, findHandle(handle)) {
    co_await requestsDone(kj::addRef(*open->file), Which::EARLY);
  }
  KJ_IF_MAYBE(h, findHandle(handle)) {
    auto err = std::exchange(h->error, Errno::OK);
    co_return err == Errno::OK&& locks_.lost(handle) ? Errno::IO : err;
  }
  co_return Errno::INVAL;
}

// --- locks ---

kj::Promise<Errno> Client::lock(FileHandle handle, FileLock lock, bool wait,
                                kj::Promise<void> interrupted) {
  KJ_IF_MAYBE(h, findHandle(handle)) {
    lock.ino = h->file->ino;
    auto set = locks_.set(handle, lock, wait, kj::mv(interrupted));
    return wait ? kj::mv(set)
                : soft(kj::mv(set));  // a wait for others is no failure of the servers
  }
  return Errno::INVAL;
}

kj::Promise<Outcome<FileLock>> Client::testLock(FileHandle handle, FileLock lock) {
  KJ_IF_MAYBE(h, findHandle(handle)) {
    lock.ino = h->file->ino;
    return soft(locks_.test(lock));
  }
  return Outcome<FileLock>(Errno::INVAL);
}

kj::Promise<void> Client::closeLocks(FileHandle handle, uint64_t owner) {
  KJ_IF_MAYBE(h, findHandle(handle)) return locks_.close(h->file->ino, owner);
  return kj::READY_NOW;
}

void Client::fillCredentials(schema::Command::Builder command, const Caller& caller) {
  auto to = command.initCredentials();
  to.setUid(caller.uid);
  to.setGid(caller.gid);
  auto count = kj::min(caller.groups.size(), kGroupsMax);
  auto groups = to.initGroups(count);
  for (size_t i = 0; i < count; ++i) groups.set(i, caller.groups[i]);
}

Attr Client::attrOf(schema::Attr::Reader r) {
  Attr a;
  a.ino = InodeId(r.getIno());
  a.kind = r.getKind();
  a.mode = r.getMode();
  a.uid = r.getUid();
  a.gid = r.getGid();
  a.nlink = r.getNlink();
  a.rdev = r.getRdev();
  a.size = r.getSize();
  a.allocated = r.getAllocated();
  a.atime = fromWire(r.getAtime());
  a.mtime = fromWire(r.getMtime());
  a.ctime = fromWire(r.getCtime());
  a.btime = fromWire(r.getBtime());
  a.blockBytes = r.getBlockBytes();
  a.xattrs = r.getXattrs();
  return a;
}

}  // namespace dfs
