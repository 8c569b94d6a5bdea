#include "tests/sim/model_workload.h"

#include <fcntl.h>

namespace dfs {

std::string ModelWorkload::text(const std::vector<std::string>& path) {
  std::string all;
  for (auto& p : path) all += "/" + p;
  return all.empty() ? "/" : all;
}

void ModelWorkload::clientLossBegins(uint32_t client) {
  std::deque<Open> kept;
  for (auto& h : handles_) {
    if (h.client != client) kept.push_back(h);
  }
  handles_ = kept;
}

void ModelWorkload::wait(kj::Promise<void> promise) {
  bool there = cluster_.done(120'000, kj::mv(promise));
  if (!there) journal_.fail("an operation does not end: " + now_);
}

kj::Promise<void> ModelWorkload::quiet(Work work) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  asked_.push_back({kj::mv(work), kj::mv(paf.fulfiller)});
  return kj::mv(paf.promise);
}

Task<void> ModelWorkload::saveAll() {
  for (uint32_t i = 0; i < cluster_.clients(); ++i) co_await save(i);
  ++pauses_;
}

Task<void> ModelWorkload::saveAndLeave(uint32_t i) {
  co_await save(i);
  away_.insert(i);
}

Task<void> ModelWorkload::save(uint32_t i) {
  auto& c = cluster_.client(i);
  if (c.vfs.get() == nullptr || !c.attached || away_.count(i) != 0) co_return;
  now_ = "sync of " + c.machine;
  auto err = co_await c.call(c.vfs->fsync(kRootInode, false));
  expect("sync of everything", err, Errno::OK);
}

void ModelWorkload::expectAttr(const std::string& what, const Attr& attr, const ModelNode& node) {
  if (attr.kind != node.kind || attr.nlink != node.nlink || attr.mode != node.mode ||
      attr.xattrs == node.xattrs.empty() || (!node.directory() && attr.size != node.size())) {
    journal_.fail(what + ": kind " + std::to_string(static_cast<int>(attr.kind)) + " nlink " +
                  std::to_string(attr.nlink) + " mode " + std::to_string(attr.mode) + " size " +
                  std::to_string(attr.size) + ", and not nlink " + std::to_string(node.nlink) +
                  " mode " + std::to_string(node.mode) + " size " + std::to_string(node.size()));
  }
}

Task<void> ModelWorkload::loop() {
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

std::vector<std::string> ModelWorkload::directory() {
  auto all = model_.directories();
  return all[random_.below(all.size())];
}

ModelRef ModelWorkload::nodeAt(const std::vector<std::string>& path) {
  auto node = model_.root();
  for (auto& p : path) {
    auto found = node->entries.find(p);
    if (found == node->entries.end()) return nullptr;
    node = found->second;
  }
  return node;
}

Task<void> ModelWorkload::step(uint32_t client) {
  auto& c = cluster_.client(client);
  if (random_.chance(5)) c.kernel->forgetAll(*c.vfs);
  auto kind = random_.below(100);
  if (kind < 2) {
    co_await linkUnnamed(client);
  } else if (kind < 34) {
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

Task<Outcome<Attr>> ModelWorkload::walk(SimClient* c, std::vector<std::string> path) {
  auto attr = co_await c->call(kj::Promise<Outcome<Attr>>(c->kernel->walk(*c->vfs, kj::mv(path))));
  co_return kj::mv(attr);
}

Task<void> ModelWorkload::compareDirectory(uint32_t client, std::vector<std::string> path,
                                           std::string when) {
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

Task<void> ModelWorkload::compareAll(std::string when) {
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

kj::Own<Workload> newModelWorkload(SimCluster& cluster, Journal& journal) {
  return kj::heap<ModelWorkload>(cluster, journal);
}

}  // namespace dfs
