// Names: made, removed, moved, linked and opened.

#include "common/xattr.h"
#include "tests/sim/model_workload.h"

#include <fcntl.h>

namespace dfs {
namespace {

constexpr size_t kHandlesMax = 12;

}  // namespace

Task<void> ModelWorkload::changeNames(uint32_t client) {
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

Task<void> ModelWorkload::linkUnnamed(uint32_t client) {
  // What was made without a name gets one.
  std::vector<Open> unnamed;
  for (auto& h : handles_) {
    if (h.client == client && h.node->unnamed) unnamed.push_back(h);
  }
  auto& c = cluster_.client(client);
  if (unnamed.empty() || c.starts != unnamed[0].start) co_return;
  auto h = unnamed[random_.below(unnamed.size())];
  auto path = directory();
  auto n = name();
  auto what =
      c.machine + " link ino " + std::to_string(h.ino.value) + " to " + text(path) + " " + n;
  now_ = what;
  auto parent = co_await walk(&c, path);
  if (!expect(what + " walk", parent, Errno::OK)) co_return;
  auto wanted = model_.link(h.node, nodeAt(path), n);
  auto made = co_await c.call(c.vfs->link(h.ino, parent->ino, n, {}));
  if (made.ok()) c.kernel->counted(made->ino);
  if (expect(what, made, wanted)) expectAttr(what, *made, *h.node);
}

Task<void> ModelWorkload::openOrCreate(uint32_t client) {
  auto& c = cluster_.client(client);
  auto path = directory();
  auto n = name();
  auto dir = nodeAt(path);
  auto node = nodeAt(with(path, n));
  if (node && node->kind != schema::Kind::FILE) co_return;
  if (handles_.size() >= kHandlesMax) co_return;
  auto what = c.machine + " " + text(path) + " " + n + (node ? " open" : " create");
  now_ = what;
  auto parent = co_await walk(&c, path);
  if (!expect(what + " walk", parent, Errno::OK)) co_return;
  if (node) {
    co_await openNamed(&c, client, parent->ino, n, node, what);
  } else {
    co_await createNew(&c, client, parent->ino, n, dir, what);
  }
}

Task<void> ModelWorkload::openNamed(SimClient* c, uint32_t client, InodeId parent, std::string n,
                                    ModelRef node, std::string what) {
  auto attr = co_await c->call(c->vfs->lookup(parent, n));
  if (!expect(what + " lookup", attr, Errno::OK)) co_return;
  c->kernel->counted(attr->ino);
  expectAttr(what, *attr, *node);
  int flags = random_.chance(20) ? O_RDWR | O_TRUNC : O_RDWR;
  auto opened = co_await c->call(c->vfs->open(attr->ino, flags, {}));
  if (!expect(what, opened, Errno::OK)) co_return;
  if ((flags & O_TRUNC) != 0) {
    node->bytes.clear();
    node->xattrs.erase(std::string(kCapabilityName));
  }
  handles_.push_back({client, c->starts, attr->ino, opened->handle, node});
  c->kernel->hold(attr->ino);
}

Task<void> ModelWorkload::createNew(SimClient* c, uint32_t client, InodeId parent, std::string n,
                                    ModelRef dir, std::string what) {
  ModelRef node;
  if (random_.chance(30)) {
    now_ = what += " unnamed";
    n = "";
    node = Model::makeUnnamed(0640);
  }
  int flags = O_RDWR | (node ? O_TMPFILE : O_CREAT);
  auto made = co_await c->call(c->vfs->create(parent, n, 0640, flags, {}));
  if (!expect(what, made, Errno::OK)) co_return;
  c->kernel->counted(made->attr.ino);
  if (!node) {
    model_.make(dir, n, schema::Kind::FILE, 0640, "");
    node = dir->entries[n];
  }
  expectAttr(what, made->attr, *node);
  handles_.push_back({client, c->starts, made->attr.ino, made->opened.handle, node});
  c->kernel->hold(made->attr.ino);
}

Task<void> ModelWorkload::stat(uint32_t client) {
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

}  // namespace dfs
