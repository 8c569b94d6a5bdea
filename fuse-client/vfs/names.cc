// Names: each operation is one question or one command, sent at once.

#include "fuse-client/vfs/client.h"

#include <fcntl.h>

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kNoReplace = 1;
constexpr uint32_t kExchange = 2;
constexpr uint32_t kWhiteout = 4;
constexpr size_t kLostCreatesMax = 1024;
constexpr uint32_t kCreateTries = 10;

capnp::Data::Reader bytesOf(const std::string& text) {
  return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

bool mayOpen(const Attr& attr, const Acl& acl, int flags, const Caller& caller) {
  // What the kernel checks after a LOOKUP and not after a CREATE (G8).
  uint32_t want = 0;
  int access = flags & O_ACCMODE;
  if (access != O_WRONLY) want |= 4;
  if (access != O_RDONLY) want |= 2;
  if (caller.uid == 0) return true;
  auto in = [&caller](uint32_t gid) {
    auto& groups = caller.groups;
    return gid == caller.gid || std::find(groups.begin(), groups.end(), gid) != groups.end();
  };
  return permits({attr.mode, attr.uid, attr.gid}, acl, caller.uid, in, want);
}

}  // namespace

kj::Promise<Outcome<Attr>> Client::lookup(InodeId parent, std::string name) {
  if (name.size() > kNameBytesMax) return Outcome<Attr>(Errno::NAME_TOO_LONG);
  return soft(kj::Promise<Outcome<Attr>>(lookupNow(parent, kj::mv(name))));
}

Task<Outcome<Attr>> Client::lookupNow(InodeId parent, std::string name) {
  for (;;) {
    auto asked = leasesDropped_;
    auto answer = co_await names_.ask<schema::Session::LookupResults>(
        [parent, name](schema::Session::Client& session) {
          auto request = session.lookupRequest();
          request.setParent(parent.value);
          request.setName(bytesOf(name));
          return request;
        });
    if (answer.getErr() != Errno::OK) co_return answer.getErr();
    auto attr = attrOf(answer.getAttr());
    Counted counted(*this, attr);
    auto told = co_await deliver(attr, fromWire(answer.getAttr().getDataVersion()), asked);
    if (!told.ok() && told.err() == Errno::STALE) continue;
    if (told.ok()) {
      counted.keep();
      accesses_.seen(*told);
    }
    co_return kj::mv(told);
  }
}

void Client::forget(InodeId ino, uint64_t lookups) {
  if (!inodes_.forget(ino, lookups)) return;
  accesses_.forget(ino);
  KJ_IF_MAYBE(file, findFile(ino)) {
    file->pagesPresent = false;  // they went with the inode
    file->pagesMixed = file->pagesUnsure = false;
    file->told = File::Told();
  }
  if (!inodes_.unpin(ino) || closing_) return;
  unpins_.insert(ino);
  if (unpinning_) return;
  unpinning_ = true;
  tasks_.add(sendUnpins());
}

Task<void> Client::sendUnpins() {
  KJ_DEFER(unpinning_ = false);
  while (!unpins_.empty()) {
    co_await env_.clock.timer().afterDelay(50 * kj::MILLISECONDS);
    std::vector<InodeId> inos;
    for (auto i = unpins_.begin(); i != unpins_.end() && inos.size() < kClaimsPerCallMax;) {
      if (!inodes_.inUse(*i)) inos.push_back(*i);
      i = unpins_.erase(i);
    }
    if (inos.empty()) continue;
    // An error would mean that the session is over, and its pins with it.
    co_await names_.ask<schema::Session::UnpinResults>([&inos](schema::Session::Client& session) {
      auto request = session.unpinRequest();
      auto list = request.initInos(inos.size());
      for (size_t i = 0; i < inos.size(); ++i) list.set(i, inos[i].value);
      return request;
    });
  }
}

Task<Outcome<Attr>> Client::makeNow(Caller caller, Fill fill) {
  auto asked = leasesDropped_;
  auto applied = co_await names_.apply(
      [caller = kj::mv(caller), fill = kj::mv(fill)](schema::Command::Builder command) mutable {
        fillCredentials(command, caller);
        fill(command);
      });
  if (applied.err != Errno::OK) co_return applied.err;
  auto response = kj::mv(KJ_ASSERT_NONNULL(applied.response));
  auto attr = attrOf(response.getAttr());
  auto grant = response.getGrant();
  bool granted = grant.getLease() == schema::Lease::EXCLUSIVE && applied.era == names_.era();
  if (granted) decline(attr.ino, grant.getSequence());  // nothing is opened here
  if (!attr.ino) co_return Errno::STALE;                // made, and removed by somebody else since
  Counted counted(*this, attr);
  auto told = co_await deliver(attr, fromWire(response.getAttr().getDataVersion()), asked);
  if (told.err() == Errno::STALE) told = co_await getattrNow(attr.ino);
  if (told.ok()) counted.keep();
  co_return kj::mv(told);
}

kj::Promise<Outcome<Attr>> Client::mknod(InodeId parent, std::string name, schema::Kind kind,
                                         uint32_t mode, uint64_t rdev, Caller caller) {
  if (options_.readOnly) return Outcome<Attr>(Errno::RO_FS);
  if (name.size() > kNameBytesMax) return Outcome<Attr>(Errno::NAME_TOO_LONG);
  auto umask = caller.umask;
  return soft(kj::Promise<Outcome<Attr>>(makeNow(
      kj::mv(caller), [parent, name, kind, mode, umask, rdev](schema::Command::Builder command) {
        auto create = command.getDo().initCreate();
        create.setParent(parent.value);
        create.setName(bytesOf(name));
        create.setKind(kind);
        create.setMode(mode & 07777);
        create.setUmask(umask);
        create.setRdev(rdev);
      })));
}

kj::Promise<Outcome<Attr>> Client::mkdir(InodeId parent, std::string name, uint32_t mode,
                                         Caller caller) {
  return mknod(parent, kj::mv(name), schema::Kind::DIRECTORY, mode, 0, kj::mv(caller));
}

kj::Promise<Outcome<Attr>> Client::symlink(InodeId parent, std::string name, std::string target,
                                           Caller caller) {
  if (options_.readOnly) return Outcome<Attr>(Errno::RO_FS);
  if (name.size() > kNameBytesMax || target.size() > kTargetBytesMax) {
    return Outcome<Attr>(Errno::NAME_TOO_LONG);
  }
  if (target.empty()) return Outcome<Attr>(Errno::NO_ENT);
  return soft(kj::Promise<Outcome<Attr>>(
      makeNow(kj::mv(caller), [parent, name, target](schema::Command::Builder command) {
        auto create = command.getDo().initCreate();
        create.setParent(parent.value);
        create.setName(bytesOf(name));
        create.setKind(schema::Kind::SYMLINK);
        create.setMode(0777);
        create.setTarget(bytesOf(target));
      })));
}

// --- create and open ---

kj::Promise<Outcome<Vfs::Created>> Client::create(InodeId parent, std::string name, uint32_t mode,
                                                  int flags, Caller caller) {
  if (options_.readOnly) return Outcome<Created>(Errno::RO_FS);
  if (name.size() > kNameBytesMax) return Outcome<Created>(Errno::NAME_TOO_LONG);
  return soft(kj::Promise<Outcome<Created>>(
      createNow(parent, kj::mv(name), mode & 07777, flags, kj::mv(caller))));
}

Task<Outcome<Vfs::Created>> Client::createNow(InodeId parent, std::string name, uint32_t mode,
                                              int flags, Caller caller) {
  for (uint32_t tries = 0; tries < kCreateTries; ++tries) {
    auto applied =
        co_await names_.apply([parent, name, mode, caller](schema::Command::Builder command) {
          fillCredentials(command, caller);
          auto create = command.getDo().initCreate();
          create.setParent(parent.value);
          create.setName(bytesOf(name));
          create.setKind(schema::Kind::FILE);
          create.setMode(mode);
          create.setUnnamed(name.empty());
          create.setUmask(caller.umask);
        });
    if (applied.err == Errno::OK) {
      auto response = kj::mv(KJ_ASSERT_NONNULL(applied.response));
      auto attr = attrOf(response.getAttr());
      if (!attr.ino) co_return Errno::STALE;
      Counted counted(*this, attr);
      auto file = fileOf(attr.ino);
      auto grant = response.getGrant();
      bool ours = grant.getSequence() > file->answered && !file->held() &&
                  applied.era == names_.era() && grant.getLease() == schema::Lease::EXCLUSIVE;
      if (ours) {
        install(*file, grant, response.getAttr());
        file->map.reset(attr.size, attr.blockBytes, attr.size == 0);
      }
      lostCreates_.erase(caller.tid);
      counted.keep();
      co_return Created{attr, newHandle(kj::mv(file), flags)};
    }
    if (applied.err != Errno::EXIST) co_return applied.err;
    if ((flags & O_EXCL) != 0) co_return Errno::EXIST;
    // G8: the kernel has to look the name up and check; but it tries only twice.
    auto lost = lostCreates_.find(caller.tid);
    bool again = caller.tid != 0 && lost != lostCreates_.end() &&
                 lost->second == std::make_pair(parent, name);
    if (!again) {
      if (lostCreates_.size() >= kLostCreatesMax) lostCreates_.clear();
      if (caller.tid != 0) lostCreates_[caller.tid] = {parent, name};
      co_return Errno::STALE;
    }
    auto opened = co_await createLost(parent, name, flags, caller);
    if (opened.err() == Errno::NO_ENT) continue;  // gone again: it can be created now
    lostCreates_.erase(caller.tid);
    co_return kj::mv(opened);
  }
  co_return Errno::STALE;
}

Task<Outcome<Vfs::Created>> Client::createLost(InodeId parent, std::string name, int flags,
                                               Caller caller) {
  auto found = co_await lookupNow(parent, name);
  if (!found.ok()) co_return found.err();
  Counted counted(*this, *found);
  forget(found->ino, 1);  // the lookup's own count: `counted` has taken its place
  if (found->kind == schema::Kind::DIRECTORY) co_return Errno::IS_DIR;
  if (found->kind != schema::Kind::FILE) co_return Errno::STALE;  // a link: a walk's work
  bool truncates = (flags & O_TRUNC) != 0;
  int wanted = truncates && (flags & O_ACCMODE) == O_RDONLY ? (flags | O_RDWR) : flags;
  auto acl = co_await accessAclOf(*found);
  if (!acl.ok()) co_return acl.err();
  if (!mayOpen(*found, *acl, wanted, caller)) co_return Errno::ACCESS;
  if (truncates) {
    SetAttr set;
    set.size = true;
    auto cut = co_await setattr(found->ino, set, nullptr, caller);
    if (!cut.ok()) co_return cut.err();
    found = kj::mv(cut);
  }
  counted.keep();
  co_return Created{*found, newHandle(fileOf(found->ino), flags)};
}

// --- link, unlink, rename ---

kj::Promise<Outcome<Attr>> Client::link(InodeId ino, InodeId parent, std::string name,
                                        Caller caller) {
  if (options_.readOnly) return Outcome<Attr>(Errno::RO_FS);
  if (name.size() > kNameBytesMax) return Outcome<Attr>(Errno::NAME_TOO_LONG);
  return soft(kj::Promise<Outcome<Attr>>(linkNow(ino, parent, kj::mv(name), kj::mv(caller))));
}

Task<Outcome<Attr>> Client::linkNow(InodeId ino, InodeId parent, std::string name, Caller caller) {
  auto found = files_.find(ino);
  if (found != files_.end()) {
    auto err = co_await publish(kj::addRef(*found->second));  // O3
    if (err != Errno::OK) co_return err;
  }
  auto made =
      co_await makeNow(kj::mv(caller), [ino, parent, name](schema::Command::Builder command) {
        auto link = command.getDo().initLink();
        link.setIno(ino.value);
        link.setParent(parent.value);
        link.setName(bytesOf(name));
      });
  co_return kj::mv(made);
}

Task<Errno> Client::changeNow(Fill fill) {
  auto applied = co_await names_.apply(kj::mv(fill));
  co_return applied.err;
}

kj::Promise<Errno> Client::unlink(InodeId parent, std::string name, Caller caller) {
  return removeName(parent, kj::mv(name), false, kj::mv(caller));
}

kj::Promise<Errno> Client::rmdir(InodeId parent, std::string name, Caller caller) {
  return removeName(parent, kj::mv(name), true, kj::mv(caller));
}

kj::Promise<Errno> Client::removeName(InodeId parent, std::string name, bool directory,
                                      Caller caller) {
  if (options_.readOnly) return Errno::RO_FS;
  return soft(kj::Promise<Errno>(
      changeNow([parent, name, directory, caller](schema::Command::Builder command) {
        fillCredentials(command, caller);
        auto unlink = command.getDo().initUnlink();
        unlink.setParent(parent.value);
        unlink.setName(bytesOf(name));
        unlink.setDirectory(directory);
      })));
}

kj::Promise<Errno> Client::rename(InodeId fromParent, std::string fromName, InodeId toParent,
                                  std::string toName, uint32_t flags, Caller caller) {
  if (options_.readOnly) return Errno::RO_FS;
  if (toName.size() > kNameBytesMax) return Errno::NAME_TOO_LONG;
  bool known = (flags & ~(kNoReplace | kExchange | kWhiteout)) == 0;
  if (!known || ((flags & kExchange) != 0 && flags != kExchange)) return Errno::INVAL;
  kj::Promise<Errno> work =
      renameNow(fromParent, kj::mv(fromName), toParent, kj::mv(toName), flags, kj::mv(caller));
  return soft(kj::mv(work));
}

Task<Errno> Client::publishNamed(InodeId parent, std::string name) {
  // O3: what is renamed is synced and published first. Only if anything of this mount is not.
  bool any = false;
  for (auto& [ino, file] : files_) any = any || file->dirty() || !file->requests.empty();
  if (!any) co_return Errno::OK;
  auto answer = co_await names_.ask<schema::Session::LookupResults>(
      [parent, name](schema::Session::Client& session) {
        auto request = session.lookupRequest();
        request.setParent(parent.value);
        request.setName(bytesOf(name));
        return request;
      });
  // An error of the lookup is the rename's to find.
  if (answer.getErr() != Errno::OK) co_return Errno::OK;
  auto found = files_.find(InodeId(answer.getAttr().getIno()));
  if (found == files_.end()) co_return Errno::OK;
  auto err = co_await publish(kj::addRef(*found->second));
  co_return err;
}

Task<Errno> Client::renameNow(InodeId fromParent, std::string fromName, InodeId toParent,
                              std::string toName, uint32_t flags, Caller caller) {
  auto err = co_await publishNamed(fromParent, fromName);
  if (err != Errno::OK) co_return err;
  if ((flags & kExchange) != 0) {
    err = co_await publishNamed(toParent, toName);
    if (err != Errno::OK) co_return err;
  }
  auto applied = co_await names_.apply(
      [fromParent, fromName, toParent, toName, flags, caller](schema::Command::Builder command) {
        fillCredentials(command, caller);
        auto rename = command.getDo().initRename();
        rename.setFromParent(fromParent.value);
        rename.setFromName(bytesOf(fromName));
        rename.setToParent(toParent.value);
        rename.setToName(bytesOf(toName));
        rename.setNoReplace((flags & kNoReplace) != 0);
        rename.setExchange((flags & kExchange) != 0);
        rename.setWhiteout((flags & kWhiteout) != 0);
      });
  co_return applied.err;
}

kj::Promise<Outcome<std::string>> Client::readlink(InodeId ino) {
  accesses_.accessed(ino);
  return soft(kj::Promise<Outcome<std::string>>(readlinkNow(ino)));
}

Task<Outcome<std::string>> Client::readlinkNow(InodeId ino) {
  auto answer = co_await names_.ask<schema::Session::ReadlinkResults>(
      [ino](schema::Session::Client& session) {
        auto request = session.readlinkRequest();
        request.setIno(ino.value);
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  auto target = answer.getTarget();
  co_return std::string(reinterpret_cast<const char*>(target.begin()), target.size());
}

}  // namespace dfs
