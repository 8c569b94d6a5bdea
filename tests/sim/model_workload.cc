// One operation at a time, each on any client, checked against the model.
//
// Thread: the simulator's. Owner: a run.
// Invariants:
//   1. Before what a client has not synced may be lost, it has synced everything and is left alone:
//      so every answer is exact. Where a client is killed amid an operation, that is the next one.

#include "common/xattr.h"
#include "tests/sim/model.h"
#include "tests/sim/workload.h"

#include <fcntl.h>

#include <deque>

namespace dfs {
namespace {

constexpr uint64_t kFarBytes = 300'000;  // some writes go behind this: several blocks, and holes
constexpr size_t kHandlesMax = 12;

std::string text(const std::vector<std::string>& path) {
  std::string all;
  for (auto& p : path) all += "/" + p;
  return all.empty() ? "/" : all;
}

class ModelWorkload final : public Workload {
 public:
  ModelWorkload(SimCluster& cluster, Journal& journal)
      : cluster_(cluster), journal_(journal), random_(cluster.world.random.next()) {}

  void prepare() override {}
  kj::Promise<void> run() override { return loop(); }
  void stop() override { stopping_ = true; }
  std::string waitsFor() override { return now_; }
  void finalCheck() override { wait(compareAll("at the end")); }
  void afterPowerCut() override {
    handles_.clear();
    wait(compareAll("after the power cut"));
  }

  kj::Promise<void> beforeClientLoss(uint32_t client) override {
    return quiet([this, client]() { return saveAndLeave(client); });
  }
  void clientLossEnds(uint32_t client) override { away_.erase(client); }
  void clientLossBegins(uint32_t client) override {
    std::deque<Open> kept;
    for (auto& h : handles_) {
      if (h.client != client) kept.push_back(h);
    }
    handles_ = kept;
  }
  kj::Promise<void> beforeStoreLoss() override {
    return quiet([this]() { return saveAll(); });
  }
  void storeLoss() override { --pauses_; }
  kj::Promise<void> beforeFullDisk() override { return beforeStoreLoss(); }
  void fullDiskEnds() override { --pauses_; }

 private:
  struct Open {
    uint32_t client;
    uint64_t start;
    InodeId ino;
    FileHandle handle;
    ModelRef node;
  };
  using Work = kj::Function<kj::Promise<void>()>;

  void wait(kj::Promise<void> promise) {
    bool there = cluster_.done(120'000, kj::mv(promise));
    if (!there) journal_.fail("an operation does not end: " + now_);
  }
  kj::Promise<void> quiet(Work work) {
    // Between two operations; the loop does it.
    auto paf = kj::newPromiseAndFulfiller<void>();
    asked_.push_back({kj::mv(work), kj::mv(paf.fulfiller)});
    return kj::mv(paf.promise);
  }
  Task<void> saveAll() {
    for (uint32_t i = 0; i < cluster_.clients(); ++i) co_await save(i);
    ++pauses_;
  }
  Task<void> saveAndLeave(uint32_t i) {
    co_await save(i);
    away_.insert(i);
  }
  Task<void> save(uint32_t i) {
    auto& c = cluster_.client(i);
    if (c.vfs.get() == nullptr || !c.attached || away_.count(i) != 0) co_return;
    now_ = "sync of " + c.machine;
    auto err = co_await c.call(c.vfs->fsync(kRootInode, false));
    expect("sync of everything", err, Errno::OK);
  }

  void expect(const std::string& what, Errno got, Errno wanted) {
    journal_.note(what + " = " + nameOf(got).cStr());
    if (got != wanted) {
      journal_.fail(what + " answered " + nameOf(got).cStr() + ", and not " +
                    nameOf(wanted).cStr());
    }
  }
  template <typename T> bool expect(const std::string& what, Outcome<T>& got, Errno wanted) {
    expect(what, got.err(), wanted);
    return got.ok() && wanted == Errno::OK;
  }
  void expectAttr(const std::string& what, const Attr& attr, const ModelNode& node) {
    if (attr.kind != node.kind || attr.nlink != node.nlink || attr.mode != node.mode ||
        attr.xattrs == node.xattrs.empty() || (!node.directory() && attr.size != node.size())) {
      journal_.fail(what + ": kind " + std::to_string(static_cast<int>(attr.kind)) + " nlink " +
                    std::to_string(attr.nlink) + " mode " + std::to_string(attr.mode) + " size " +
                    std::to_string(attr.size) + ", and not nlink " + std::to_string(node.nlink) +
                    " mode " + std::to_string(node.mode) + " size " + std::to_string(node.size()));
    }
  }

  // --- the loop ---
  Task<void> loop() {
    while (!stopping_ && !journal_.failed()) {
      while (!asked_.empty()) {
        auto asked = kj::mv(asked_.front());
        asked_.pop_front();
        co_await asked.first();
        asked.second->fulfill();
      }
      co_await cluster_.world.time.timer.afterDelay(random_.between(0, 40) * kj::MILLISECONDS);
      std::vector<uint32_t> able;
      for (uint32_t i = 0; i < cluster_.clients(); ++i) {
        if (cluster_.client(i).attached && away_.count(i) == 0) able.push_back(i);
      }
      if (pauses_ > 0 || able.empty()) continue;
      co_await step(able[random_.below(able.size())]);
    }
  }

  std::string name() { return std::string(1, static_cast<char>('a' + random_.below(6))); }
  std::vector<std::string> directory() {
    auto all = model_.directories();
    return all[random_.below(all.size())];
  }
  ModelRef nodeAt(const std::vector<std::string>& path) {
    auto node = model_.root();
    for (auto& p : path) {
      auto found = node->entries.find(p);
      if (found == node->entries.end()) return nullptr;
      node = found->second;
    }
    return node;
  }

  Task<void> step(uint32_t client) {
    auto& c = cluster_.client(client);
    if (random_.chance(5)) c.kernel->forgetAll(*c.vfs);
    auto kind = random_.below(100);
    if (kind < 34) {
      co_await changeNames(client);
    } else if (kind < 46 || handles_.empty()) {
      co_await openOrCreate(client);
    } else if (kind < 88) {
      co_await onHandle(random_.below(handles_.size()));
    } else if (kind < 94) {
      co_await compareDirectory(client, directory(), "amid");
    } else {
      co_await stat(client);
    }
  }

  Task<Outcome<Attr>> walk(SimClient* c, std::vector<std::string> path) {
    auto attr =
        co_await c->call(kj::Promise<Outcome<Attr>>(c->kernel->walk(*c->vfs, kj::mv(path))));
    co_return kj::mv(attr);
  }

  Task<void> changeNames(uint32_t client) {
    auto& c = cluster_.client(client);
    auto path = directory();
    auto n = name();
    auto parentNode = nodeAt(path);
    auto what = c.machine + " in " + text(path) + " " + n + " ";
    now_ = what;
    auto parent = co_await walk(&c, path);
    if (!expect(what + "walk", parent, Errno::OK)) co_return;
    auto kind = random_.below(12);
    if (kind < 5) {
      bool dir = kind < 2, link = kind == 2;
      auto type = dir ? schema::Kind::DIRECTORY : link ? schema::Kind::SYMLINK : schema::Kind::FILE;
      uint32_t mode = link ? 0777 : static_cast<uint32_t>(random_.below(512));
      now_ = what += dir ? "mkdir" : link ? "symlink" : "mknod";
      auto wanted = model_.make(parentNode, n, type, mode, link ? "to/" + n : "");
      kj::Promise<Outcome<Attr>> sent = link  ? c.vfs->symlink(parent->ino, n, "to/" + n, {})
                                        : dir ? c.vfs->mkdir(parent->ino, n, mode, {})
                                              : c.vfs->mknod(parent->ino, n, type, mode, 0, {});
      auto made = co_await c.call(kj::mv(sent));
      if (made.ok()) c.kernel->counted(made->ino);
      if (expect(what, made, wanted)) expectAttr(what, *made, *parentNode->entries[n]);
    } else if (kind < 7) {
      now_ = what += "unlink";
      auto wanted = model_.unlink(parentNode, n);
      auto err = co_await c.call(c.vfs->unlink(parent->ino, n, {}));
      expect(what, err, wanted);
    } else if (kind < 8) {
      now_ = what += "rmdir";
      auto wanted = model_.rmdir(parentNode, n);
      auto err = co_await c.call(c.vfs->rmdir(parent->ino, n, {}));
      expect(what, err, wanted);
    } else {
      auto toPath = directory();
      auto to = co_await walk(&c, toPath);
      if (!expect(what + "walk", to, Errno::OK)) co_return;
      auto toName = name();
      auto toNode = nodeAt(toPath);
      what += "-> " + text(toPath) + " " + toName + " ";
      if (kind < 11) {
        uint32_t flags = random_.chance(70) ? 0 : static_cast<uint32_t>(1 + random_.below(2));
        now_ = what += "rename " + std::to_string(flags);
        auto wanted = model_.rename(parentNode, n, toNode, toName, flags);
        auto err = co_await c.call(c.vfs->rename(parent->ino, n, to->ino, toName, flags, {}));
        expect(what, err, wanted);
      } else {
        auto node = nodeAt(with(path, n));
        if (!node || node->directory()) co_return;
        now_ = what += "link";
        auto found = co_await walk(&c, with(path, n));
        if (!expect(what + " walk", found, Errno::OK)) co_return;
        auto wanted = model_.link(node, toNode, toName);
        auto made = co_await c.call(c.vfs->link(found->ino, to->ino, toName, {}));
        if (made.ok()) c.kernel->counted(made->ino);
        if (expect(what, made, wanted)) expectAttr(what, *made, *node);
      }
    }
  }

  static std::vector<std::string> with(std::vector<std::string> path, const std::string& n) {
    path.push_back(n);
    return path;
  }

  Task<void> openOrCreate(uint32_t client) {
    auto& c = cluster_.client(client);
    auto path = directory();
    auto n = name();
    auto what = c.machine + " " + text(path) + " " + n + " ";
    auto dir = nodeAt(path);
    auto node = nodeAt(with(path, n));
    if (node && node->kind != schema::Kind::FILE) co_return;
    if (handles_.size() >= kHandlesMax) co_return;
    now_ = what += node ? "open" : "create";
    auto parent = co_await walk(&c, path);
    if (!expect(what + " walk", parent, Errno::OK)) co_return;
    if (node) {
      auto attr = co_await c.call(c.vfs->lookup(parent->ino, n));
      if (!expect(what + " lookup", attr, Errno::OK)) co_return;
      c.kernel->counted(attr->ino);
      expectAttr(what, *attr, *node);
      int flags = random_.chance(20) ? O_RDWR | O_TRUNC : O_RDWR;
      auto opened = co_await c.call(c.vfs->open(attr->ino, flags, {}));
      if (!expect(what, opened, Errno::OK)) co_return;
      if ((flags & O_TRUNC) != 0) {
        node->bytes.clear();
        node->xattrs.erase(std::string(kCapabilityName));
      }
      handles_.push_back({client, c.starts, attr->ino, opened->handle, node});
      c.kernel->hold(attr->ino);
    } else {
      auto made = co_await c.call(c.vfs->create(parent->ino, n, 0640, O_RDWR | O_CREAT, {}));
      if (!expect(what, made, Errno::OK)) co_return;
      c.kernel->counted(made->attr.ino);
      model_.make(dir, n, schema::Kind::FILE, 0640, "");
      node = nodeAt(with(path, n));
      expectAttr(what, made->attr, *node);
      handles_.push_back({client, c.starts, made->attr.ino, made->opened.handle, node});
      c.kernel->hold(made->attr.ino);
    }
  }

  uint64_t place(const ModelNode& node) {
    if (random_.chance(10)) return kFarBytes + random_.below(70'000);
    if (random_.chance(30)) return random_.below(10) * 4096;
    return random_.below(node.bytes.size() + 9'000);
  }

  Task<void> onHandle(size_t number) {
    auto h = handles_[number];
    auto& c = cluster_.client(h.client);
    if (!c.attached || away_.count(h.client) != 0 || c.starts != h.start) co_return;
    auto what = c.machine + " ino " + std::to_string(h.ino.value) + " ";
    auto kind = random_.below(28);
    auto offset = place(*h.node);
    auto bytes = static_cast<uint32_t>(1 + random_.below(random_.chance(20) ? 40'000 : 5000));
    auto range = std::to_string(offset) + "+" + std::to_string(bytes);
    if (kind < 8) {
      bool append = kind < 2;
      now_ = what += (append ? "append " : "write ") + range;
      std::string data(bytes, '\0');
      auto seed = random_.next();
      for (size_t i = 0; i < data.size(); ++i) {
        data[i] = static_cast<char>(1 + (seed >> (i % 48)) % 251 + (i % 3));
      }
      auto done = co_await c.call(kj::Promise<Outcome<uint32_t>>(
          c.kernel->write(*c.vfs, h.ino, h.handle, offset, data, append)));
      if (!expect(what, done, Errno::OK)) co_return;
      if (*done != bytes) journal_.fail(what + " was short");
      h.node->xattrs.erase(std::string(kCapabilityName));
      Model::write(*h.node, append ? h.node->bytes.size() : offset, data);
    } else if (kind < 13) {
      now_ = what += "read " + range;
      co_await compareRange(&c, h, offset, bytes, what);
    } else if (kind < 15) {
      auto size = random_.below(2) != 0 ? offset : random_.below(h.node->bytes.size() + 1);
      now_ = what += "truncate " + std::to_string(size);
      SetAttr set;
      set.size = true;
      set.to.size = size;
      auto done = co_await c.call(c.vfs->setattr(h.ino, set, h.handle, {}));
      h.node->bytes.resize(size, '\0');
      h.node->xattrs.erase(std::string(kCapabilityName));
      if (expect(what, done, Errno::OK)) expectAttr(what, *done, *h.node);
    } else if (kind < 16) {
      now_ = what += "chmod";
      SetAttr set;
      set.mode = true;
      set.to.mode = static_cast<uint32_t>(random_.below(512));
      h.node->mode = set.to.mode;
      auto done = co_await c.call(c.vfs->setattr(h.ino, set, nullptr, {}));
      if (expect(what, done, Errno::OK)) expectAttr(what, *done, *h.node);
    } else if (kind < 18) {
      now_ = what += "fsync";
      auto err = co_await c.call(c.vfs->fsync(h.ino, false));
      expect(what, err, Errno::OK);
    } else if (kind < 22) {
      co_await changeSpace(&c, h, offset, random_.chance(30) ? 150'000 : bytes, what);
    } else if (kind < 24) {
      co_await copy(&c, h, offset, what);
    } else if (kind < 26) {
      co_await onXattrs(&c, h, what);
    } else {
      now_ = what += "close";
      auto err = co_await c.call(c.vfs->flush(h.handle));
      expect(what + " flush", err, Errno::OK);
      err = co_await c.call(c.vfs->release(h.handle));
      expect(what, err, Errno::OK);
      c.kernel->unhold(h.ino);
      for (auto i = handles_.begin(); i != handles_.end(); ++i) {
        if (i->client != h.client || i->handle != h.handle || i->start != h.start) continue;
        handles_.erase(i);
        break;
      }
    }
  }

  Task<void> changeSpace(SimClient* c, Open h, uint64_t offset, uint64_t bytes, std::string what) {
    static constexpr SpaceChange kChanges[] = {SpaceChange::PUNCH, SpaceChange::PUNCH,
                                               SpaceChange::ZERO, SpaceChange::ALLOCATE};
    auto change = kChanges[random_.below(4)];
    bool keepSize = change == SpaceChange::PUNCH || random_.chance(50);
    now_ = what += "fallocate " + std::to_string(static_cast<int>(change)) + " " +
                   std::to_string(offset) + "+" + std::to_string(bytes);
    auto err = co_await c->call(kj::Promise<Errno>(
        c->kernel->fallocate(*c->vfs, h.ino, h.handle, change, offset, bytes, keepSize)));
    expect(what, err, Errno::OK);
    auto& all = h.node->bytes;
    if (!keepSize && all.size() < offset + bytes) all.resize(offset + bytes, '\0');
    bool nothing = change == SpaceChange::PUNCH && offset >= all.size();
    if (!nothing) h.node->xattrs.erase(std::string(kCapabilityName));
    if (change == SpaceChange::ALLOCATE || offset >= all.size()) co_return;
    auto count = kj::min(bytes, all.size() - offset);
    all.replace(offset, count, std::string(count, '\0'));
  }

  Task<void> copy(SimClient* c, Open h, uint64_t to, std::string what) {
    // From any open file of this client, itself too; mostly at the beginnings of blocks.
    std::vector<Open> sources;
    for (auto& other : handles_) {
      if (other.client == h.client && other.start == h.start) sources.push_back(other);
    }
    if (sources.empty()) co_return;
    auto source = sources[random_.below(sources.size())];
    uint64_t from = place(*source.node);
    if (random_.chance(70)) {
      uint64_t block = cluster_.shape().blockBytes;
      from = from / block * block;
      to = to / block * block;
    }
    auto& text = source.node->bytes;
    uint64_t bytes = random_.chance(60) ? 1 << 20 : 1 + random_.below(100'000);
    if (source.node == h.node) {
      if (from >= to) co_return;
      bytes = kj::min(bytes, to - from);
    }
    now_ = what += "copy of ino " + std::to_string(source.ino.value) + " " + std::to_string(from) +
                   "+" + std::to_string(bytes) + " to " + std::to_string(to);
    auto there = from < text.size() ? kj::min(bytes, text.size() - from) : 0;
    auto data = there > 0 ? text.substr(from, there) : std::string();
    // The end of the source would move while it is copied.
    if (source.node == h.node) bytes = there;
    uint64_t done = 0;
    while (done < bytes) {
      auto some = co_await c->call(kj::Promise<Outcome<uint64_t>>(c->kernel->copyRange(
          *c->vfs, source.handle, from + done, h.ino, h.handle, to + done, bytes - done)));
      if (!expect(what, some, Errno::OK)) co_return;
      if (*some == 0) break;
      done += *some;
    }
    if (done != there) journal_.fail(what + " copied " + std::to_string(done));
    if (there > 0) h.node->xattrs.erase(std::string(kCapabilityName));
    Model::write(*h.node, to, data);
  }

  Task<void> onXattrs(SimClient* c, Open h, std::string what) {
    auto& all = h.node->xattrs;
    std::string n = random_.chance(50) ? "user." + name() : std::string(kCapabilityName);
    bool there = all.count(n) != 0;
    now_ = what += "attribute " + n;
    if (random_.chance(60)) {
      auto replace = static_cast<Vfs::Replace>(random_.below(3));
      auto wanted = replace == Vfs::Replace::CREATE && there     ? Errno::EXIST
                    : replace == Vfs::Replace::REPLACE && !there ? Errno::NO_DATA
                                                                 : Errno::OK;
      auto value = std::to_string(random_.next());
      auto bytes = kj::heapArray(reinterpret_cast<const kj::byte*>(value.data()), value.size());
      auto err = co_await c->call(c->vfs->setxattr(h.ino, n, kj::mv(bytes), replace, {}));
      if (wanted == Errno::OK) all[n] = value;
      expect(what + " set", err, wanted);
    } else if (random_.chance(30)) {
      auto err = co_await c->call(c->vfs->removexattr(h.ino, n, {}));
      all.erase(n);
      expect(what + " remove", err, there ? Errno::OK : Errno::NO_DATA);
    } else {
      auto got = co_await c->call(c->vfs->getxattr(h.ino, n));
      if (!expect(what + " get", got, there ? Errno::OK : Errno::NO_DATA)) co_return;
      std::string value(reinterpret_cast<const char*>(got->begin()), got->size());
      if (value != all[n]) journal_.fail(what + " is " + value + ", and not " + all[n]);
    }
  }

  Task<void> compareRange(SimClient* c, Open h, uint64_t offset, uint32_t bytes, std::string what) {
    auto got = co_await c->call(kj::Promise<Outcome<std::string>>(
        c->kernel->read(*c->vfs, h.ino, h.handle, offset, bytes)));
    if (!expect(what, got, Errno::OK)) co_return;
    auto& all = h.node->bytes;
    std::string wanted = offset < all.size() ? all.substr(offset, bytes) : "";
    if (*got == wanted) co_return;
    size_t at = 0;
    while (at < got->size() && at < wanted.size() && (*got)[at] == wanted[at]) ++at;
    size_t differ = 0;
    for (size_t i = at; i < kj::min(got->size(), wanted.size()); ++i) {
      differ += (*got)[i] != wanted[i];
    }
    journal_.fail(what + ": " + std::to_string(got->size()) + " bytes for " +
                  std::to_string(wanted.size()) + ", other from byte " +
                  std::to_string(offset + at) + " (" + std::to_string(differ) + " differ, got " +
                  std::to_string(at < got->size() ? (*got)[at] : -1) + ", not " +
                  std::to_string(at < wanted.size() ? wanted[at] : -1) + ")");
  }

  Task<void> stat(uint32_t client) {
    auto& c = cluster_.client(client);
    auto path = with(directory(), name());
    auto what = c.machine + " stat " + text(path);
    now_ = what;
    auto node = nodeAt(path);
    auto attr = co_await walk(&c, path);
    if (!expect(what, attr, node ? Errno::OK : Errno::NO_ENT)) co_return;
    expectAttr(what, *attr, *node);
    if (node->kind != schema::Kind::SYMLINK) co_return;
    auto target = co_await c.call(c.vfs->readlink(attr->ino));
    if (expect(what, target, Errno::OK) && *target != node->target) {
      journal_.fail(what + " points to " + *target);
    }
  }

  Task<void> compareDirectory(uint32_t client, std::vector<std::string> path, std::string when) {
    auto& c = cluster_.client(client);
    auto what = c.machine + " readdir " + text(path) + " " + when;
    now_ = what;
    auto attr = co_await walk(&c, path);
    if (!expect(what + " walk", attr, Errno::OK)) co_return;
    expectAttr(what, *attr, *nodeAt(path));
    auto opened = co_await c.call(c.vfs->opendir(attr->ino));
    if (!expect(what + " open", opened, Errno::OK)) co_return;
    std::map<std::string, schema::Kind> names;
    for (uint64_t cookie = 0;;) {
      auto part = co_await c.call(c.vfs->readdir(attr->ino, *opened, cookie, 3, false));
      if (!expect(what, part, Errno::OK)) co_return;
      if (part->empty()) break;
      for (auto& e : *part) {
        cookie = e.cookie;
        if (e.name == "." || e.name == "..") continue;
        if (!names.emplace(e.name, e.kind).second) journal_.fail(what + ": twice " + e.name);
      }
    }
    c.vfs->releasedir(*opened);
    std::map<std::string, schema::Kind> wanted;
    for (auto& [n, node] : nodeAt(path)->entries) wanted[n] = node->kind;
    if (names != wanted) {
      std::string list;
      for (auto& [n, k] : names) list += " " + n;
      journal_.fail(what + " has" + list);
    }
  }

  Task<void> compareAll(std::string when) {
    // Every directory, every file by name, and every open handle, on some client each.
    for (auto& path : model_.directories()) {
      auto client = static_cast<uint32_t>(random_.below(cluster_.clients()));
      co_await compareDirectory(client, path, when);
      for (auto& [n, node] : nodeAt(path)->entries) {
        if (node->kind != schema::Kind::FILE) continue;
        client = static_cast<uint32_t>(random_.below(cluster_.clients()));
        auto& c = cluster_.client(client);
        auto what = c.machine + " " + text(with(path, n)) + " " + when;
        now_ = what;
        auto attr = co_await walk(&c, with(path, n));
        if (!expect(what, attr, Errno::OK)) co_return;
        expectAttr(what, *attr, *node);
        auto opened = co_await c.call(c.vfs->open(attr->ino, O_RDONLY, {}));
        if (!expect(what, opened, Errno::OK)) co_return;
        Open open{client, c.starts, attr->ino, opened->handle, node};
        auto size = static_cast<uint32_t>(kj::max(node->bytes.size(), size_t(1)));
        co_await compareRange(&c, open, 0, size, what);
        co_await c.call(c.vfs->release(opened->handle));  // OK: it is open
      }
    }
    auto handles = handles_;
    for (auto& h : handles) {
      auto& c = cluster_.client(h.client);
      if (c.starts != h.start) continue;
      auto what = c.machine + " open ino " + std::to_string(h.ino.value) + " " + when;
      now_ = what;
      auto size = static_cast<uint32_t>(kj::max(h.node->bytes.size(), size_t(1)));
      co_await compareRange(&c, h, 0, size, what);
    }
    for (uint32_t i = 0; i < cluster_.clients(); ++i) co_await save(i);
  }

  SimCluster& cluster_;
  Journal& journal_;
  SimRandom random_;
  Model model_;
  std::deque<Open> handles_;
  std::set<uint32_t> away_;  // clients that are left alone
  uint32_t pauses_ = 0;
  bool stopping_ = false;
  std::string now_;
  std::deque<std::pair<Work, kj::Own<kj::PromiseFulfiller<void>>>> asked_;
};

}  // namespace

kj::Own<Workload> newModelWorkload(SimCluster& cluster, Journal& journal) {
  return kj::heap<ModelWorkload>(cluster, journal);
}

}  // namespace dfs
