// The frame of many clients at once: workers, losses, and what is checked in the end.

#include "tests/sim/shared_workload.h"

#include <fcntl.h>

namespace dfs {

kj::Promise<void> SharedWorkload::run() {
  auto workers = kj::heapArrayBuilder<kj::Promise<void>>(cluster_.clients() * 3);
  for (uint32_t i = 0; i < cluster_.clients() * 3; ++i) {
    workers.add(worker(i % cluster_.clients(), i));
  }
  return kj::joinPromises(workers.finish());
}

std::string SharedWorkload::waitsFor() {
  std::string all;
  for (auto& [id, what] : now_) all += what + "; ";
  return all;
}

void SharedWorkload::finalCheck() {
  finish(checkAll("at the end"));
  finish(syncAll());
}

void SharedWorkload::afterPowerCut() {
  for (auto& f : files_) {
    for (auto& p : f) {
      if (p.firm < p.least()) p.firm = p.least();
    }
  }
  finish(checkAll("after the power cut"));
}

void SharedWorkload::clientLossBegins(uint32_t client) {
  ++lost_[client];
  ++losses_;
  ++lossesOf_[client];
  everLost_[client] = true;
  weaken(client);
}

void SharedWorkload::clientLossEnds(uint32_t client) {
  weaken(client);
  --lost_[client];
}

void SharedWorkload::storeLoss() {
  storesLost_ = true;
  for (uint32_t i = 0; i < cluster_.clients(); ++i) weaken(i);
  inFlightWeak_ = cluster_.world.time.nowNs();
}

kj::Promise<void> SharedWorkload::beforeFullDisk() {
  ++full_;
  return kj::READY_NOW;
}

void SharedWorkload::fullDiskEnds() {
  --full_;
  fullUntilNs_ = cluster_.world.time.nowNs() + kHeldUpNs;
}

void SharedWorkload::finish(kj::Promise<void> promise) {
  if (!cluster_.done(120'000, kj::mv(promise))) {
    journal_.fail("an operation does not end: " + waitsFor());
  }
}

void SharedWorkload::weaken(uint32_t client) {
  for (auto& file : files_) {
    for (auto& piece : file) {
      for (size_t i = piece.firm + 1; i < piece.writes.size(); ++i) {
        if (piece.writes[i].client == client) piece.writes[i].weak = true;
      }
    }
  }
  for (auto& r : records_) {
    if (r.client == client && !r.firm) r.weak = true;
  }
}

bool SharedWorkload::weakSince(uint32_t client, uint64_t start) {
  return lost_[client] > 0 || start <= inFlightWeak_;
}

bool SharedWorkload::mayFail(uint32_t client, Errno err, bool data) {
  if (data && err == Errno::NO_SPACE && wasFull()) return true;
  return err == Errno::IO && (everLost_[client] || (data && storesLost_));
}

void SharedWorkload::result(uint32_t client, const std::string& what, Errno err, bool data) {
  journal_.note(what + " = " + nameOf(err).cStr());
  if (err != Errno::OK && !mayFail(client, err, data)) {
    journal_.fail(what + " answered " + nameOf(err).cStr());
  }
}

Task<void> SharedWorkload::prepareNow() {
  auto& c = cluster_.client(0);
  for (uint32_t i = 0; i <= kFiles; ++i) {
    auto made = co_await c.vfs->create(kRootInode, fileName(i), 0644, O_RDWR | O_CREAT, {});
    KJ_REQUIRE(made.ok());
    co_await c.vfs->release(made->opened.handle);  // OK: it is open
  }
  auto dir = co_await c.vfs->mkdir(kRootInode, "set", 0755, {});
  KJ_REQUIRE(dir.ok());
  for (uint32_t i = 0; i < kTokens; ++i) {
    tokens_[i] = {"t" + std::to_string(i) + ".0"};
    auto token = co_await c.vfs->mknod(dir->ino, tokens_[i][0], schema::Kind::FILE, 0600, 0, {});
    KJ_REQUIRE(token.ok());
  }
  files_.assign(kFiles, std::vector<Piece>(kPieces));
}

std::string SharedWorkload::fileName(uint32_t i) {
  return i < kFiles ? "registers" + std::to_string(i) : "log";
}

Task<bool> SharedWorkload::open(uint32_t client) {
  auto& c = cluster_.client(client);
  auto& m = mounts_[client];
  if (m.start == c.starts) co_return true;
  Mount fresh;
  fresh.start = c.starts;
  for (uint32_t i = 0; i <= kFiles; ++i) {
    auto attr = co_await c.call(c.vfs->lookup(kRootInode, fileName(i)));
    result(client, c.machine + " lookup " + fileName(i), attr.err(), false);
    if (!attr.ok()) co_return false;
    c.kernel->knows(*attr);
    auto opened = co_await c.call(c.vfs->open(attr->ino, O_RDWR, {}));
    result(client, c.machine + " open " + fileName(i), opened.err(), false);
    if (!opened.ok()) co_return false;
    fresh.inos[i] = attr->ino;
    fresh.handles[i] = opened->handle;
  }
  auto set = co_await c.call(c.vfs->lookup(kRootInode, "set"));
  result(client, c.machine + " lookup set", set.err(), false);
  if (!set.ok()) co_return false;
  fresh.set = set->ino;
  mounts_[client] = fresh;
  co_return true;
}

Task<void> SharedWorkload::worker(uint32_t client, uint32_t id) {
  while (!stopping_ && !journal_.failed()) {
    co_await cluster_.world.time.timer.afterDelay(random_.between(0, 300) * kj::MILLISECONDS);
    auto& c = cluster_.client(client);
    if (!c.attached) continue;
    auto failure = co_await guarded(one(client, id));
    now_.erase(id);
    if (failure.size() > 0 && failure.find("the client was killed") == std::string::npos) {
      journal_.fail(c.machine + " threw: " + failure);
    }
  }
}

kj::Promise<std::string> SharedWorkload::guarded(kj::Promise<void> work) {
  return work.then([]() { return std::string(); },
                   [](kj::Exception&& e) { return std::string(kj::str(e).cStr()); });
}

Task<void> SharedWorkload::one(uint32_t client, uint32_t id) {
  auto opened = co_await open(client);
  if (!opened) co_return;
  auto kind = random_.below(100);
  if (kind < 30) {
    co_await writePiece(client, id);
  } else if (kind < 62) {
    auto file = static_cast<uint32_t>(random_.below(kFiles));
    auto first = static_cast<uint32_t>(random_.below(kPieces));
    co_await readPiece(client, id, file, first, "");
  } else if (kind < 70) {
    co_await syncFile(client, id);
  } else if (kind < 78) {
    co_await append(client, id);
  } else if (kind < 82) {
    co_await lockSome(client, id);
  } else if (kind < 86) {
    co_await readLog(client, id, "");
  } else if (kind < 92) {
    co_await changeSet(client, id);
  } else if (kind < 95) {
    co_await listSet(client, id, "");
  } else {
    co_await moveToken(client, id);
  }
}

Task<void> SharedWorkload::syncAll() {
  for (uint32_t i = 0; i < cluster_.clients(); ++i) {
    auto& c = cluster_.client(i);
    now_[0] = c.machine + " sync";
    auto err = co_await c.call(c.vfs->fsync(kRootInode, false));
    result(i, c.machine + " sync of everything", err, true);
  }
  // Said once more by those who had been told of a loss, it holds for everything else.
  for (auto& r : records_) r.firm = r.firm || (r.done && !r.weak);
}

Task<void> SharedWorkload::checkAll(std::string when) {
  for (uint32_t i = 0; i < cluster_.clients(); ++i) {
    auto opened = co_await open(i);
    if (!opened) journal_.fail(cluster_.client(i).machine + " cannot open the files " + when);
    if (!opened) co_return;
    co_await readLog(i, 0, " " + when);
    co_await listSet(i, 0, " " + when);
    for (uint32_t file = 0; file < kFiles; ++file) {
      for (uint32_t p = 0; p < kPieces; ++p) co_await readPiece(i, 0, file, p, " " + when);
    }
  }
}

kj::Own<Workload> newSharedWorkload(SimCluster& cluster, Journal& journal) {
  return kj::heap<SharedWorkload>(cluster, journal);
}

}  // namespace dfs
