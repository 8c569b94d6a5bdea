#pragma once
// A Vfs that does what a test says: it writes down each call, and answers with what was put in line for that type of answer,
// or with a plain success.
//
// Thread: the test's.

#include "fuse-client/vfs/vfs.h"

#include <kj/vector.h>

#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace dfs {

inline Attr fileAttr(uint64_t ino, uint64_t size = 0) {
  Attr a;
  a.ino = InodeId(ino);
  a.kind = schema::Kind::FILE;
  a.mode = 0644;
  a.uid = 1000;
  a.gid = 100;
  a.nlink = 1;
  a.size = size;
  a.allocated = size;
  a.blockBytes = 4 << 20;
  a.mtime = {1234, 567};
  return a;
}

template <typename T> class Line {
  // What the next calls with that type of answer get.
 public:
  void add(T value) { next_.push_back(kj::Promise<T>(kj::mv(value))); }
  void fail(kj::Exception&& e) { next_.push_back(kj::Promise<T>(kj::mv(e))); }
  kj::Own<kj::PromiseFulfiller<T>> hold() {
    auto pair = kj::newPromiseAndFulfiller<T>();
    next_.push_back(kj::mv(pair.promise));
    return kj::mv(pair.fulfiller);
  }
  template <typename F> kj::Promise<T> take(F&& otherwise) {
    if (next_.empty()) return otherwise();
    auto p = kj::mv(next_.front());
    next_.pop_front();
    return p;
  }

 private:
  std::deque<kj::Promise<T>> next_;
};

class FakeVfs final : public Vfs {
 public:
  std::vector<std::string> calls;
  Caller caller;  // of the last call that had one
  SetAttr set;    // of the last setattr
  std::string written;
  bool durable = false;            // of the last write
  kj::Maybe<uint64_t> found = 77;  // by seek
  FileLock lastLock;
  std::map<uint64_t, uint64_t> forgotten;
  bool throwAtOnce = false;
  InodeId rootInode = kRootInode;
  bool deafToSignals = false;  // a lock's wait is not ended by them

  Line<Outcome<std::vector<std::string>>> lists;
  Line<Outcome<Attr>> attrs;
  Line<Errno> errnos;
  Line<Outcome<std::string>> texts;
  Line<Outcome<Created>> createds;
  Line<Outcome<Opened>> openeds;
  Line<Outcome<kj::Array<kj::byte>>> datas;
  Line<Outcome<uint32_t>> counts;
  Line<Outcome<DirHandle>> dirs;
  Line<Outcome<FileLock>> locks;
  Line<Outcome<std::vector<Listing>>> listings;

  std::string last() const { return calls.empty() ? "" : calls.back(); }

  kj::Promise<Outcome<Attr>> lookup(InodeId parent, std::string name) override {
    return attr("lookup", parent, name);
  }
  InodeId root() const override { return rootInode; }
  void forget(InodeId ino, uint64_t lookups) override { forgotten[ino.value] += lookups; }
  kj::Promise<Outcome<Attr>> mknod(InodeId parent, std::string name, schema::Kind kind,
                                   uint32_t mode, uint64_t rdev, Caller who) override {
    caller = who;
    return attr("mknod", parent, name, static_cast<int>(kind), mode, rdev);
  }
  kj::Promise<Outcome<Attr>> mkdir(InodeId parent, std::string name, uint32_t mode,
                                   Caller who) override {
    caller = who;
    return attr("mkdir", parent, name, mode);
  }
  kj::Promise<Outcome<Attr>> symlink(InodeId parent, std::string name, std::string target,
                                     Caller who) override {
    caller = who;
    return attr("symlink", parent, name, target);
  }
  kj::Promise<Outcome<Attr>> link(InodeId ino, InodeId parent, std::string name,
                                  Caller who) override {
    caller = who;
    return attr("link", ino, parent, name);
  }
  kj::Promise<Errno> unlink(InodeId parent, std::string name, Caller who) override {
    caller = who;
    return err("unlink", parent, name);
  }
  kj::Promise<Errno> rmdir(InodeId parent, std::string name, Caller who) override {
    caller = who;
    return err("rmdir", parent, name);
  }
  kj::Promise<Errno> rename(InodeId from, std::string fromName, InodeId to, std::string toName,
                            uint32_t flags, Caller who) override {
    caller = who;
    return err("rename", from, fromName, to, toName, flags);
  }
  kj::Promise<Outcome<std::string>> readlink(InodeId ino) override {
    note("readlink", ino);
    return texts.take([]() { return Outcome<std::string>(std::string("target")); });
  }
  kj::Promise<Outcome<Attr>> getattr(InodeId ino) override { return attr("getattr", ino); }
  kj::Promise<Outcome<Attr>> getattrToRead(InodeId ino, FileHandle handle) override {
    return attr("getattrToRead", ino, handle);
  }
  kj::Promise<Outcome<Attr>> setattr(InodeId ino, SetAttr what, kj::Maybe<FileHandle> handle,
                                     Caller who) override {
    caller = who;
    set = what;
    uint64_t fh = 0;
    KJ_IF_MAYBE(h, handle) fh = *h;
    return attr("setattr", ino, fh);
  }
  kj::Promise<Outcome<FsStat>> statfs() override {
    note("statfs");
    return Outcome<FsStat>(FsStat{1 << 20, 1 << 19, 1000, 900, 4 << 20, 255});
  }
  kj::Promise<Errno> setxattr(InodeId ino, std::string name, kj::Array<kj::byte> value,
                              Replace replace, Caller who) override {
    caller = who;
    written.assign(reinterpret_cast<const char*>(value.begin()), value.size());
    return err("setxattr", ino, name, static_cast<int>(replace));
  }
  kj::Promise<Outcome<kj::Array<kj::byte>>> getxattr(InodeId ino, std::string name) override {
    note("getxattr", ino, name);
    return datas.take([]() {
      auto data = kj::heapArray<kj::byte>(5);
      memcpy(data.begin(), "value", 5);
      return Outcome<kj::Array<kj::byte>>(kj::mv(data));
    });
  }
  kj::Promise<Outcome<std::vector<std::string>>> listxattr(InodeId ino, Caller who) override {
    caller = who;
    note("listxattr", ino);
    return lists.take([]() {
      return Outcome<std::vector<std::string>>(std::vector<std::string>{"user.a", "user.bc"});
    });
  }
  kj::Promise<Errno> removexattr(InodeId ino, std::string name, Caller who) override {
    caller = who;
    return err("removexattr", ino, name);
  }
  kj::Promise<Outcome<Created>> create(InodeId parent, std::string name, uint32_t mode, int flags,
                                       Caller who) override {
    caller = who;
    note("create", parent, name, mode, flags);
    return createds.take([]() { return Outcome<Created>(Created{fileAttr(50), {5, true}}); });
  }
  kj::Promise<Outcome<Opened>> open(InodeId ino, int flags, Caller who) override {
    caller = who;
    note("open", ino, flags);
    return openeds.take([]() { return Outcome<Opened>(Opened{6, true}); });
  }
  kj::Promise<Errno> release(FileHandle handle) override { return err("release", handle); }
  kj::Promise<Errno> flush(FileHandle handle) override { return err("flush", handle); }
  kj::Promise<Outcome<kj::Array<kj::byte>>> read(FileHandle handle, uint64_t offset,
                                                 uint32_t bytes) override {
    note("read", handle, offset, bytes);
    return datas.take([bytes]() {
      auto data = kj::heapArray<kj::byte>(bytes);
      memset(data.begin(), 'x', bytes);
      return Outcome<kj::Array<kj::byte>>(kj::mv(data));
    });
  }
  kj::Promise<Outcome<uint32_t>> write(FileHandle handle, uint64_t offset, kj::Array<kj::byte> data,
                                       WriteHow how, kj::Maybe<Caller> unprivileged) override {
    written.assign(reinterpret_cast<const char*>(data.begin()), data.size());
    note("write", handle, offset, how.append, how.fromWriteback, unprivileged != nullptr);
    durable = how.durable;
    auto n = static_cast<uint32_t>(data.size());
    return counts.take([n]() { return Outcome<uint32_t>(n); });
  }
  kj::Promise<Errno> fsync(InodeId ino, bool dataOnly, FileHandle handle) override {
    return err("fsync", ino, dataOnly, handle);
  }
  kj::Promise<Errno> lock(FileHandle handle, FileLock lock, bool wait,
                          kj::Promise<void> interrupted) override {
    lastLock = lock;
    auto answer = err("lock", handle, wait);
    if (deafToSignals) return answer;
    return answer.exclusiveJoin(interrupted.then([]() { return Errno::INTR; }));
  }
  kj::Promise<Outcome<FileLock>> testLock(FileHandle handle, FileLock lock) override {
    lastLock = lock;
    note("testLock", handle);
    return locks.take([]() { return Outcome<FileLock>(FileLock()); });
  }
  kj::Promise<void> closeLocks(FileHandle handle, uint64_t owner) override {
    note("closeLocks", handle, owner);
    return kj::READY_NOW;
  }
  kj::Promise<Errno> fallocate(FileHandle handle, SpaceChange change, uint64_t offset,
                               uint64_t bytes, bool keepSize,
                               kj::Maybe<Caller> unprivileged) override {
    return err("fallocate", handle, static_cast<int>(change), offset, bytes, keepSize,
               unprivileged != nullptr);
  }
  kj::Promise<Outcome<kj::Maybe<uint64_t>>> seek(FileHandle handle, uint64_t offset,
                                                 bool data) override {
    note("seek", handle, offset, data);
    return Outcome<kj::Maybe<uint64_t>>(found);
  }
  kj::Promise<Outcome<uint64_t>> copyRange(FileHandle from, uint64_t fromOffset, FileHandle to,
                                           uint64_t toOffset, uint64_t bytes,
                                           kj::Maybe<Caller> unprivileged) override {
    note("copyRange", from, fromOffset, to, toOffset, bytes, unprivileged != nullptr);
    return Outcome<uint64_t>(bytes);
  }
  kj::Promise<Outcome<DirHandle>> opendir(InodeId ino) override {
    note("opendir", ino);
    return dirs.take([]() { return Outcome<DirHandle>(DirHandle(7)); });
  }
  kj::Promise<Outcome<std::vector<Listing>>> readdir(InodeId ino, DirHandle handle, uint64_t cookie,
                                                     uint32_t entriesMax, bool withAttrs) override {
    note("readdir", ino, handle, cookie, entriesMax, withAttrs);
    return listings.take([]() { return Outcome<std::vector<Listing>>(std::vector<Listing>()); });
  }
  void releasedir(DirHandle handle) override { note("releasedir", handle); }
  void setKernel(KernelCaches&) override {}
  void setCallers(Callers&) override {}
  kj::Promise<void> attach() override { return kj::READY_NOW; }
  kj::Promise<void> syncAll() override { return kj::READY_NOW; }
  kj::Promise<void> detach() override { return kj::READY_NOW; }
  std::string describe() override { return "{}"; }

 private:
  static kj::String text(InodeId ino) { return kj::str(ino.value); }
  static kj::String text(const std::string& s) { return kj::str(s.c_str()); }
  template <typename T> static kj::String text(const T& value) { return kj::str(value); }

  template <typename... A> void note(const char* what, const A&... arguments) {
    std::string line = what;
    ((line += std::string(" ") + text(arguments).cStr()), ...);
    calls.push_back(line);
    if (throwAtOnce) KJ_FAIL_REQUIRE("the test wants it");
  }
  template <typename... A> kj::Promise<Outcome<Attr>> attr(const char* what, const A&... a) {
    note(what, a...);
    return attrs.take([]() { return Outcome<Attr>(fileAttr(40, 4096)); });
  }
  template <typename... A> kj::Promise<Errno> err(const char* what, const A&... a) {
    note(what, a...);
    return errnos.take([]() { return Errno::OK; });
  }
};

}  // namespace dfs
