// Contents: written, read, cut, filled, punched and copied through open files.

#include "common/xattr.h"
#include "tests/sim/model_workload.h"

namespace dfs {
namespace {

constexpr uint64_t kFarBytes = 300'000;  // some writes go behind this: several blocks, and holes

}  // namespace

uint64_t ModelWorkload::place(const ModelNode& node) {
  if (random_.chance(10)) return kFarBytes + random_.below(70'000);
  if (random_.chance(30)) return random_.below(10) * 4096;
  return random_.below(node.bytes.size() + 9'000);
}

Task<void> ModelWorkload::onHandle(size_t number) {
  auto h = handles_[number];
  auto& c = cluster_.client(h.client);
  if (!c.attached || away_.count(h.client) != 0 || c.starts != h.start) co_return;
  auto what = c.machine + " ino " + std::to_string(h.ino.value) + " ";
  auto kind = random_.below(28);
  auto offset = place(*h.node);
  auto bytes = static_cast<uint32_t>(1 + random_.below(random_.chance(20) ? 40'000 : 5000));
  auto range = std::to_string(offset) + "+" + std::to_string(bytes);
  if (kind < 8) {
    co_await writeSome(&c, h, offset, bytes, kind < 2, what);
  } else if (kind < 13) {
    now_ = what += "read " + range;
    co_await compareRange(&c, h, offset, bytes, what);
  } else if (kind < 15) {
    co_await truncate(&c, h, offset, what);
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
    co_await close(&c, h, what);
  }
}

Task<void> ModelWorkload::writeSome(SimClient* c, Open h, uint64_t offset, uint32_t bytes,
                                    bool append, std::string what) {
  now_ = what +=
      (append ? "append " : "write ") + std::to_string(offset) + "+" + std::to_string(bytes);
  std::string data(bytes, '\0');
  auto seed = random_.next();
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(1 + (seed >> (i % 48)) % 251 + (i % 3));
  }
  auto done = co_await c->call(kj::Promise<Outcome<uint32_t>>(
      c->kernel->write(*c->vfs, h.ino, h.handle, offset, data, append)));
  if (!expect(what, done, Errno::OK)) co_return;
  if (*done != bytes) journal_.fail(what + " was short");
  h.node->xattrs.erase(std::string(kCapabilityName));
  Model::write(*h.node, append ? h.node->bytes.size() : offset, data);
}

Task<void> ModelWorkload::truncate(SimClient* c, Open h, uint64_t offset, std::string what) {
  auto size = random_.below(2) != 0 ? offset : random_.below(h.node->bytes.size() + 1);
  now_ = what += "truncate " + std::to_string(size);
  SetAttr set;
  set.size = true;
  set.to.size = size;
  auto done = co_await c->call(c->vfs->setattr(h.ino, set, h.handle, {}));
  if (done.ok()) c->kernel->knows(*done);
  h.node->bytes.resize(size, '\0');
  h.node->xattrs.erase(std::string(kCapabilityName));
  if (expect(what, done, Errno::OK)) expectAttr(what, *done, *h.node);
}

Task<void> ModelWorkload::close(SimClient* c, Open h, std::string what) {
  now_ = what += "close";
  auto err = co_await c->call(c->vfs->flush(h.handle));
  expect(what + " flush", err, Errno::OK);
  err = co_await c->call(c->vfs->release(h.handle));
  expect(what, err, Errno::OK);
  c->kernel->unhold(h.ino);
  for (auto i = handles_.begin(); i != handles_.end(); ++i) {
    if (i->client != h.client || i->handle != h.handle || i->start != h.start) continue;
    handles_.erase(i);
    break;
  }
}

Task<void> ModelWorkload::changeSpace(SimClient* c, Open h, uint64_t offset, uint64_t bytes,
                                      std::string what) {
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
  h.node->xattrs.erase(std::string(kCapabilityName));
  if (change == SpaceChange::ALLOCATE || offset >= all.size()) co_return;
  auto count = kj::min(bytes, all.size() - offset);
  all.replace(offset, count, std::string(count, '\0'));
}

Task<void> ModelWorkload::copy(SimClient* c, Open h, uint64_t to, std::string what) {
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

Task<void> ModelWorkload::compareRange(SimClient* c, Open h, uint64_t offset, uint32_t bytes,
                                       std::string what) {
  // No READ of a kernel is longer than kReadBytesMax.
  constexpr uint32_t kPiece = kReadBytesMax / 2;
  for (uint32_t at = 0; at < bytes; at += kPiece) {
    co_await comparePiece(c, h, offset + at, kj::min(kPiece, bytes - at), what);
  }
}

Task<void> ModelWorkload::comparePiece(SimClient* c, Open h, uint64_t offset, uint32_t bytes,
                                       std::string what) {
  auto got = co_await c->call(
      kj::Promise<Outcome<std::string>>(c->kernel->read(*c->vfs, h.ino, h.handle, offset, bytes)));
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
                std::to_string(wanted.size()) + ", other from byte " + std::to_string(offset + at) +
                " (" + std::to_string(differ) + " differ, got " +
                std::to_string(at < got->size() ? (*got)[at] : -1) + ", not " +
                std::to_string(at < wanted.size() ? wanted[at] : -1) + ")");
}

}  // namespace dfs
