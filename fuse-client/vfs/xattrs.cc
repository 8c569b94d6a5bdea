// Extended attributes: asked of the name server each time, but where the lease says that there are none.

#include "common/xattr.h"

#include "fuse-client/vfs/client.h"

namespace dfs {
namespace {

capnp::Data::Reader bytesOf(std::string_view text) {
  return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

std::string textOf(capnp::Data::Reader bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

}  // namespace

// --- changes ---

kj::Promise<Errno> Client::setxattr(InodeId ino, std::string name, kj::Array<kj::byte> value,
                                    Replace replace, Caller caller) {
  if (options_.readOnly) return Errno::RO_FS;
  auto space = xattrSpace(name);
  if (!space.ok()) return space.err();
  if (value.size() > kXattrValueBytesMax) return Errno::INVAL;
  auto fill = [ino, name = kj::mv(name), value = kj::mv(value), replace,
               caller = kj::mv(caller)](schema::Command::Builder command) {
    fillCredentials(command, caller);
    auto set = command.getDo().initSetxattr();
    set.setIno(ino.value);
    set.setName(bytesOf(name));
    set.setValue(value.asPtr());
    set.setCreate(replace == Replace::CREATE);
    set.setReplace(replace == Replace::REPLACE);
  };
  return soft(detached(kj::Promise<Errno>(changeXattr(ino, kj::mv(fill)))));
}

kj::Promise<Errno> Client::removexattr(InodeId ino, std::string name, Caller caller) {
  if (options_.readOnly) return Errno::RO_FS;
  auto space = xattrSpace(name);
  if (!space.ok()) return space.err();
  auto fill = [ino, name = kj::mv(name),
               caller = kj::mv(caller)](schema::Command::Builder command) {
    fillCredentials(command, caller);
    auto set = command.getDo().initSetxattr();
    set.setIno(ino.value);
    set.setName(bytesOf(name));
    set.setRemove(true);
  };
  return soft(detached(kj::Promise<Errno>(changeXattr(ino, kj::mv(fill)))));
}

Task<Errno> Client::changeXattr(InodeId ino, Fill fill) {
  auto file = inodes_.kind(ino) == schema::Kind::FILE ? kj::Maybe<kj::Own<File>>(fileOf(ino))
                                                      : kj::Maybe<kj::Own<File>>();
  uint64_t number = 0;
  KJ_IF_MAYBE(f, file) {
    number = ++(*f)->xattrChanges;
    ++(*f)->xattrsChanging;
  }
  auto applied = co_await names_.apply(kj::mv(fill));
  KJ_IF_MAYBE(f, file) {
    auto& state = **f;
    --state.xattrsChanging;
    ++state.xattrChanges;
    if (applied.err != Errno::OK) co_return applied.err;
    bool alone = state.xattrsChanging == 0 && state.xattrChanges == number + 1;
    state.xattrs = true;
    state.capability = true;
    KJ_IF_MAYBE(response, applied.response) {
      auto attr = response->getAttr();
      bool told = attr.getIno() == ino.value && state.held();
      if (told) state.mode = attr.getMode();
      if (told && alone) state.xattrs = attr.getXattrs();
    }
  }
  co_return applied.err;
}

Task<Errno> Client::dropCapability(kj::Own<File> file, const LeaseUse& use) {
  auto changes = file->xattrChanges;
  auto value = co_await getxattrNow(file->ino, std::string(kCapabilityName));
  if (value.ok()) {
    auto err = co_await removexattr(file->ino, std::string(kCapabilityName), Caller());
    if (err != Errno::OK && err != Errno::NO_DATA) co_return err;
  } else if (value.err() != Errno::NO_DATA) {
    co_return value.err();
  } else if (file->xattrChanges == changes && use.good()) {
    file->capability = false;
  }
  co_return use.good() ? Errno::OK : Errno::IO;
}

// --- questions ---

kj::Promise<Outcome<kj::Array<kj::byte>>> Client::getxattr(InodeId ino, std::string name) {
  using Result = Outcome<kj::Array<kj::byte>>;
  auto space = xattrSpace(name);
  if (!space.ok()) return Result(space.err());
  KJ_IF_MAYBE(file, findFile(ino)) {
    bool lacks = name == kCapabilityName ? file->lacksCapability() : file->lacksXattrs();
    if (lacks && names_.leaseValid()) return Result(Errno::NO_DATA);
  }
  return soft(kj::Promise<Result>(getxattrNow(ino, kj::mv(name))));
}

Task<Outcome<kj::Array<kj::byte>>> Client::getxattrNow(InodeId ino, std::string name) {
  auto answer = co_await names_.ask<schema::Session::GetxattrResults>(
      [ino, name](schema::Session::Client& session) {
        auto request = session.getxattrRequest();
        request.setIno(ino.value);
        request.setName(bytesOf(name));
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  auto value = answer.getValue();
  co_return kj::heapArray<kj::byte>(value.begin(), value.size());
}

kj::Promise<Outcome<std::vector<std::string>>> Client::listxattr(InodeId ino, Caller caller) {
  using Result = Outcome<std::vector<std::string>>;
  KJ_IF_MAYBE(file, findFile(ino)) {
    if (file->lacksXattrs() && names_.leaseValid()) return Result(std::vector<std::string>());
  }
  return soft(kj::Promise<Result>(listxattrNow(ino, caller.uid == 0)));
}

Task<Outcome<std::vector<std::string>>> Client::listxattrNow(InodeId ino, bool trusted) {
  auto answer = co_await names_.ask<schema::Session::ListxattrResults>(
      [ino](schema::Session::Client& session) {
        auto request = session.listxattrRequest();
        request.setIno(ino.value);
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  std::vector<std::string> names;
  for (auto bytes : answer.getNames()) {
    auto name = textOf(bytes);
    auto space = xattrSpace(name);
    bool shown = space.ok() && (trusted || *space != XattrSpace::TRUSTED);
    if (shown) names.push_back(kj::mv(name));
  }
  co_return kj::mv(names);
}

Task<Outcome<Acl>> Client::accessAclOf(Attr attr) {
  if (!attr.xattrs) co_return Acl();
  auto value = co_await getxattrNow(attr.ino, std::string(kAccessAclName));
  if (value.err() == Errno::NO_DATA) co_return Acl();
  if (!value.ok()) co_return value.err();
  co_return Acl::parse(*value);
}

}  // namespace dfs
