// Many clients at once, each with workers of its own.
//
//   Registers: pieces of 4 KiB, each filled with its number in the history of that piece. At most
//   one write of a piece is under way; reads overlap with it freely. A read gives what was written
//   last or what is being written, and never goes back behind what somebody has read.
//   Append log: records of 64 bytes; each acknowledged one is there once, and each writer's are in
//   order. Directory as a set: a listing has all that was there throughout, and nothing that was
//   not there at all. Tokens: files renamed to a fresh name each time; none is lost or doubled.
//   Locks: byte ranges of a file; two who hold what conflicts never meet, but if one of them has been
//   cut off since.
//
// Thread: the simulator's. Owner: a run.
// Invariants:
//   1. A write that may be lost is marked (weak) before it can be; fsync and another client's read
//      make it firm. Everything that is not weak is demanded.
//   2. The outcome of a call of a killed client is unknown; of every other it is OK, unless the
//      client has ever been lost, the stores have ever lost data, or a disk is full.

#include "tests/sim/workload.h"

#include "common/checksum.h"

#include <fcntl.h>

#include <cinttypes>

namespace dfs {
namespace {

constexpr uint64_t kHeldUpNs = 10'000'000'000;  // an answer to what was asked while a disk was full
constexpr uint32_t kPieceBytes = 4096;
constexpr uint32_t kPieces = 28;  // of a file; every fourth lies in another block
constexpr uint32_t kFiles = 2;
constexpr uint32_t kTokens = 3;
constexpr size_t kRecordBytes = 64;
constexpr size_t kRecordsMax = 400;

uint64_t placeOf(uint32_t piece) {
  return uint64_t(piece) * kPieceBytes + (piece % 4) * 16 * kPieceBytes;
}

struct Write {
  uint32_t client = 0;
  bool done = false;  // acknowledged
  bool weak = false;
};

struct Piece {
  std::vector<Write> writes{Write{0, true, false}};  // [0]: never written, zeros
  size_t firm = 0;                                   // at least this one is there, whatever happens
  bool busy = false;

  size_t lastWeak() const {
    for (size_t i = writes.size() - 1; i > 0; --i) {
      if (writes[i].weak) return i;
    }
    return 0;
  }
  size_t least() const {
    for (size_t i = writes.size() - 1; i > firm; --i) {
      if (writes[i].done && !writes[i].weak) return i;
    }
    return firm;
  }
};

struct Record {
  uint32_t client;
  uint64_t number;
  bool done = false;
  bool weak = false;
  bool firm = false;
};

class SharedWorkload final : public Workload {
 public:
  SharedWorkload(SimCluster& cluster, Journal& journal)
      : cluster_(cluster),
        journal_(journal),
        random_(cluster.world.random.next()),
        lost_(cluster.clients(), 0),
        everLost_(cluster.clients(), false) {}

  void prepare() override { finish(prepareNow()); }
  kj::Promise<void> run() override {
    auto workers = kj::heapArrayBuilder<kj::Promise<void>>(cluster_.clients() * 3);
    for (uint32_t i = 0; i < cluster_.clients() * 3; ++i) {
      workers.add(worker(i % cluster_.clients(), i));
    }
    return kj::joinPromises(workers.finish());
  }
  void stop() override { stopping_ = true; }
  std::string waitsFor() override {
    std::string all;
    for (auto& [id, what] : now_) all += what + "; ";
    return all;
  }
  void finalCheck() override {
    finish(checkAll("at the end"));
    finish(syncAll());
  }
  void afterPowerCut() override {
    for (auto& f : files_) {
      for (auto& p : f) {
        if (p.firm < p.least()) p.firm = p.least();
      }
    }
    finish(checkAll("after the power cut"));
  }

  kj::Promise<void> beforeClientLoss(uint32_t) override { return kj::READY_NOW; }
  void clientLossBegins(uint32_t client) override {
    ++lost_[client];
    ++losses_;
    ++lossesOf_[client];
    everLost_[client] = true;
    weaken(client);
  }
  void clientLossEnds(uint32_t client) override {
    weaken(client);
    --lost_[client];
  }
  kj::Promise<void> beforeStoreLoss() override { return kj::READY_NOW; }
  void storeLoss() override {
    storesLost_ = true;
    for (uint32_t i = 0; i < cluster_.clients(); ++i) weaken(i);
    inFlightWeak_ = cluster_.world.time.nowNs();
  }
  kj::Promise<void> beforeFullDisk() override {
    ++full_;
    return kj::READY_NOW;
  }
  void fullDiskEnds() override {
    --full_;
    fullUntilNs_ = cluster_.world.time.nowNs() + kHeldUpNs;
  }

 private:
  void finish(kj::Promise<void> promise) {
    if (!cluster_.done(120'000, kj::mv(promise))) {
      journal_.fail("an operation does not end: " + waitsFor());
    }
  }
  void weaken(uint32_t client) {
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
  bool weakSince(uint32_t client, uint64_t start) {
    return lost_[client] > 0 || start <= inFlightWeak_;
  }
  bool wasFull() const { return full_ > 0 || cluster_.world.time.nowNs() < fullUntilNs_; }
  bool mayFail(uint32_t client, Errno err, bool data) {
    if (data && err == Errno::NO_SPACE && wasFull()) return true;
    return err == Errno::IO && (everLost_[client] || (data && storesLost_));
  }
  void result(uint32_t client, const std::string& what, Errno err, bool data) {
    journal_.note(what + " = " + nameOf(err).cStr());
    if (err != Errno::OK && !mayFail(client, err, data)) {
      journal_.fail(what + " answered " + nameOf(err).cStr());
    }
  }
  uint64_t now() { return cluster_.world.time.nowNs(); }

  // --- files of a client, opened anew at each of its starts ---
  struct Mount {
    uint64_t start = 0;
    InodeId inos[kFiles + 1];
    FileHandle handles[kFiles + 1];
    InodeId set;
  };

  Task<void> prepareNow() {
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
  static std::string fileName(uint32_t i) {
    return i < kFiles ? "registers" + std::to_string(i) : "log";
  }

  Task<bool> open(uint32_t client) {
    auto& c = cluster_.client(client);
    auto& m = mounts_[client];
    if (m.start == c.starts) co_return true;
    Mount fresh;
    fresh.start = c.starts;
    for (uint32_t i = 0; i <= kFiles; ++i) {
      auto attr = co_await c.call(c.vfs->lookup(kRootInode, fileName(i)));
      result(client, c.machine + " lookup " + fileName(i), attr.err(), false);
      if (!attr.ok()) co_return false;
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

  Task<void> worker(uint32_t client, uint32_t id) {
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
  static kj::Promise<std::string> guarded(kj::Promise<void> work) {
    return work.then([]() { return std::string(); },
                     [](kj::Exception&& e) { return std::string(kj::str(e).cStr()); });
  }

  Task<void> one(uint32_t client, uint32_t id) {
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

  // --- registers ---
  static std::string contents(uint32_t file, uint32_t piece, uint64_t number) {
    char stamp[33];
    snprintf(stamp, sizeof stamp, "%04u %04u %020" PRIu64 "\n", file, piece, number);
    std::string all;
    while (all.size() < kPieceBytes) all.append(stamp, 31);
    all.resize(kPieceBytes);
    return all;
  }

  Task<void> writePiece(uint32_t client, uint32_t id) {
    auto& c = cluster_.client(client);
    auto file = static_cast<uint32_t>(random_.below(kFiles));
    auto number = static_cast<uint32_t>(random_.below(kPieces));
    auto& piece = files_[file][number];
    if (piece.busy) co_return;
    piece.busy = true;
    KJ_DEFER(files_[file][number].busy = false);
    auto index = piece.writes.size();
    auto start = now();
    piece.writes.push_back(Write{client, false, weakSince(client, start)});
    auto what = c.machine + " write " + std::to_string(file) + "/" + std::to_string(number) + " #" +
                std::to_string(index);
    now_[id] = what;
    auto& m = mounts_[client];
    auto done = co_await c.call(kj::Promise<Outcome<uint32_t>>(
        c.kernel->write(*c.vfs, m.inos[file], m.handles[file], placeOf(number),
                        contents(file, number, index), false)));
    result(client, what, done.err(), true);
    auto& write = files_[file][number].writes[index];
    write.done = done.ok();
    if (weakSince(client, start)) write.weak = true;
  }

  Task<void> readPiece(uint32_t client, uint32_t id, uint32_t file, uint32_t number,
                       std::string when) {
    auto& c = cluster_.client(client);
    auto& piece = files_[file][number];
    auto least = piece.least();
    auto what = c.machine + " read " + std::to_string(file) + "/" + std::to_string(number) + when;
    now_[id] = what;
    auto& m = mounts_[client];
    auto got = co_await c.call(kj::Promise<Outcome<std::string>>(
        c.kernel->read(*c.vfs, m.inos[file], m.handles[file], placeOf(number), kPieceBytes)));
    if (!got.ok()) {
      result(client, what, got.err(), true);
      co_return;
    }
    auto text = *got;
    text.resize(kPieceBytes, '\0');
    size_t seen = 0;
    if (text != std::string(kPieceBytes, '\0')) {
      seen = strtoull(text.substr(10, 20).c_str(), nullptr, 10);
      bool sound = seen > 0 && seen < piece.writes.size() && text == contents(file, number, seen);
      // What no sync covered when the power went may be torn, as on a local disk (B4).
      if (!sound && storesLost_ && piece.least() < piece.lastWeak()) {
        journal_.note(what + " = torn by a power cut");
        co_return;
      }
      if (!sound) {
        journal_.fail(what + ": torn, or never written: " + text.substr(0, 31));
        co_return;
      }
    }
    // What was lost meanwhile may be missing now.
    least = kj::min(least, piece.least());
    journal_.note(what + " = #" + std::to_string(seen));
    if (seen < least) {
      journal_.fail(what + " gave #" + std::to_string(seen) + ", and #" + std::to_string(least) +
                    " was written");
    }
    bool others = piece.writes[seen].client != client && lost_[client] == 0;
    if (others && seen > piece.firm) piece.firm = seen;  // Y1
  }

  Task<void> syncFile(uint32_t client, uint32_t id) {
    auto& c = cluster_.client(client);
    auto file = static_cast<uint32_t>(random_.below(kFiles + 1));
    std::vector<size_t> least;
    if (file < kFiles) {
      for (auto& p : files_[file]) least.push_back(p.least());
    }
    auto records = records_;
    auto what = c.machine + " fsync " + fileName(file);
    now_[id] = what;
    auto start = now();
    auto losses = everLosses();
    auto err = co_await c.call(c.vfs->fsync(mounts_[client].inos[file], false));
    result(client, what, err, true);
    if (err != Errno::OK || losses != everLosses() || weakSince(client, start)) co_return;
    if (file < kFiles) {
      for (size_t i = 0; i < least.size(); ++i) {
        auto& p = files_[file][i];
        if (p.firm < least[i]) p.firm = least[i];
      }
    } else {
      for (size_t i = 0; i < records.size(); ++i) {
        if (records[i].done && !records[i].weak) records_[i].firm = true;
      }
    }
  }
  uint64_t everLosses() {
    return inFlightWeak_ + losses_;  // of any client, also of one that is back
  }

  // --- the append log ---
  static std::string recordText(uint64_t index) {
    char line[kRecordBytes + 1];
    snprintf(line, sizeof line, "%020" PRIu64 " %042" PRIu64 "\n", index, index * 7919);
    return line;
  }

  Task<void> append(uint32_t client, uint32_t id) {
    if (records_.size() >= kRecordsMax) co_return;
    auto& c = cluster_.client(client);
    auto index = records_.size();
    auto start = now();
    records_.push_back({client, id, false, weakSince(client, start), false});
    auto what = c.machine + " append #" + std::to_string(index);
    now_[id] = what;
    auto& m = mounts_[client];
    auto done = co_await c.call(kj::Promise<Outcome<uint32_t>>(
        c.kernel->write(*c.vfs, m.inos[kFiles], m.handles[kFiles], 0, recordText(index), true)));
    result(client, what, done.err(), true);
    records_[index].done = done.ok();
    if (weakSince(client, start)) records_[index].weak = true;
  }

  Task<void> readLog(uint32_t client, uint32_t id, std::string when) {
    auto& c = cluster_.client(client);
    auto before = records_;
    auto what = c.machine + " read of the log" + when;
    now_[id] = what;
    auto& m = mounts_[client];
    auto got = co_await c.call(kj::Promise<Outcome<std::string>>(
        c.kernel->read(*c.vfs, m.inos[kFiles], m.handles[kFiles], 0, 1 << 18)));
    result(client, what, got.err(), true);
    if (!got.ok()) co_return;
    if (got->size() % kRecordBytes != 0) {
      journal_.fail(what + ": a part of a record: " + std::to_string(got->size()));
      co_return;
    }
    std::set<uint64_t> seen;
    std::map<uint64_t, uint64_t> last;  // by worker
    for (size_t at = 0; at < got->size(); at += kRecordBytes) {
      auto text = got->substr(at, kRecordBytes);
      // Where the power cut took what no sync covered, a hole is left; fsync has told of it.
      if (storesLost_ && text == std::string(kRecordBytes, '\0')) continue;
      auto index = strtoull(text.c_str(), nullptr, 10);
      if (index >= records_.size() || text != recordText(index)) {
        journal_.fail(what + ": not a record at " + std::to_string(at) + ": " + text);
        co_return;
      }
      if (!seen.insert(index).second) journal_.fail(what + ": twice #" + std::to_string(index));
      auto& previous = last[records_[index].number];
      if (index < previous) journal_.fail(what + ": out of order #" + std::to_string(index));
      previous = index;
    }
    for (size_t i = 0; i < before.size(); ++i) {
      bool must = before[i].firm || (before[i].done && !before[i].weak && !records_[i].weak);
      if (must && seen.count(i) == 0) journal_.fail(what + ": without #" + std::to_string(i));
      if (seen.count(i) != 0 && records_[i].client != client && lost_[client] == 0) {
        records_[i].firm = true;
      }
    }
  }

  // --- the directory as a set ---
  struct Entry {
    uint64_t createStart, createEnd = ~uint64_t(0);  // ~0: has not been answered
    uint64_t removeStart = ~uint64_t(0), removeEnd = ~uint64_t(0);
    bool busy = true;
  };

  Task<void> changeSet(uint32_t client, uint32_t id) {
    auto& c = cluster_.client(client);
    std::string victim;
    if (random_.chance(40)) {
      for (auto& [name, e] : set_) {
        if (!e.busy && e.createEnd != ~uint64_t(0) && e.removeStart == ~uint64_t(0)) victim = name;
        if (!victim.empty() && random_.chance(30)) break;
      }
    }
    if (!victim.empty()) {
      set_[victim].busy = true;
      set_[victim].removeStart = now();
      auto what = c.machine + " unlink " + victim;
      now_[id] = what;
      auto err = co_await c.call(c.vfs->unlink(mounts_[client].set, victim, {}));
      result(client, what, err, false);
      if (err == Errno::OK) set_[victim].removeEnd = now();
      co_return;
    }
    auto name = "e" + std::to_string(++entries_);
    set_[name] = Entry{now()};
    auto what = c.machine + " mknod " + name;
    now_[id] = what;
    auto made =
        co_await c.call(c.vfs->mknod(mounts_[client].set, name, schema::Kind::FILE, 0600, 0, {}));
    result(client, what, made.err(), false);
    if (!made.ok()) co_return;
    c.vfs->forget(made->ino, 1);
    set_[name].createEnd = now();
    set_[name].busy = false;
  }

  Task<void> listSet(uint32_t client, uint32_t id, std::string when) {
    auto& c = cluster_.client(client);
    auto what = c.machine + " readdir" + when;
    now_[id] = what;
    auto start = now();
    auto dir = co_await c.call(c.vfs->opendir(mounts_[client].set));
    result(client, what, dir.err(), false);
    if (!dir.ok()) co_return;
    std::set<std::string> names;
    for (uint64_t cookie = 0;;) {
      auto part = co_await c.call(c.vfs->readdir(mounts_[client].set, *dir, cookie, 16, false));
      if (!part.ok()) result(client, what, part.err(), false);
      if (!part.ok() || part->empty()) break;
      for (auto& e : *part) {
        cookie = e.cookie;
        if (!names.insert(e.name).second) journal_.fail(what + ": twice " + e.name);
      }
    }
    c.vfs->releasedir(*dir);
    for (auto& [name, e] : set_) {
      bool must = e.createEnd < start && e.removeStart == ~uint64_t(0);
      bool mustNot = e.removeEnd < start;
      if (must && names.count(name) == 0) journal_.fail(what + ": without " + name);
      if (mustNot && names.count(name) != 0) journal_.fail(what + ": still with " + name);
    }
    if (when.empty()) co_return;
    for (auto& [number, places] : tokens_) {
      size_t found = 0;
      for (auto& place : places) found += names.count(place);
      if (found != 1)
        journal_.fail(what + ": token " + std::to_string(number) + " is there " +
                      std::to_string(found) + " times");
      for (auto& n : names) {
        bool of = n.starts_with("t" + std::to_string(number) + ".");
        if (of && std::find(places.begin(), places.end(), n) == places.end()) {
          journal_.fail(what + ": a token where it has left: " + n);
        }
      }
    }
  }

  Task<void> moveToken(uint32_t client, uint32_t id) {
    auto& c = cluster_.client(client);
    auto number = static_cast<uint32_t>(random_.below(kTokens));
    if (tokenBusy_[number] || tokens_[number].size() != 1) co_return;
    tokenBusy_[number] = true;
    KJ_DEFER(tokenBusy_[number] = false);
    auto from = tokens_[number][0];
    auto to = "t" + std::to_string(number) + "." + std::to_string(++moves_);
    auto what = c.machine + " rename " + from + " " + to;
    now_[id] = what;
    tokens_[number].push_back(to);  // unknown from now on; and for ever, if the client is killed
    auto set = mounts_[client].set;
    auto err = co_await c.call(c.vfs->rename(set, from, set, to, 0, {}));
    result(client, what, err, false);
    if (err == Errno::OK) tokens_[number] = {to};
  }

  // --- locks ---
  struct Locked {
    uint32_t client;
    uint64_t losses;  // of that client when it asked
    LockSpan span;
    LockKind kind;
  };

  Task<void> lockSome(uint32_t client, uint32_t id) {
    constexpr uint64_t kLockBytes = 8;
    auto& c = cluster_.client(client);
    FileLock lock;
    lock.owner = id + 1;
    lock.kind = random_.chance(50) ? LockKind::READ : LockKind::WRITE;
    lock.space = random_.chance(30) ? LockSpace::FLOCK : LockSpace::POSIX;
    lock.pid = id;
    if (lock.space == LockSpace::POSIX) {
      lock.span.start = random_.below(kLockBytes);
      lock.span.end = random_.between(lock.span.start, kLockBytes);
    }
    bool wait = random_.chance(60);
    auto what = c.machine + " lock " + std::to_string(lock.span.start) + "-" +
                std::to_string(lock.span.end) + (lock.kind == LockKind::READ ? " read" : " write") +
                (lock.space == LockSpace::FLOCK ? " flock" : "") + (wait ? ", waits" : "");
    now_[id] = what;
    auto handle = mounts_[client].handles[kFiles];
    Locked mine{client, lossesOf_[client], lock.span, lock.kind};
    auto err = co_await c.call(c.vfs->lock(handle, lock, wait, kj::NEVER_DONE));
    if (!wait && err == Errno::AGAIN) co_return;
    result(client, what, err, false);
    if (err != Errno::OK) co_return;
    auto& holders = locked_[lock.space == LockSpace::FLOCK];
    for (auto& [other, theirs] : holders) {
      bool cutOff = theirs.losses != lossesOf_[theirs.client] || lost_[theirs.client] > 0;
      if (cutOff || !theirs.span.overlaps(mine.span) || !conflict(theirs.kind, mine.kind)) continue;
      journal_.fail(what + ": and worker " + std::to_string(other) + " of client " +
                    std::to_string(theirs.client) + " holds it");
    }
    holders.emplace(id, mine);
    KJ_DEFER(locked_[lock.space == LockSpace::FLOCK].erase(id));
    co_await c.call(
        cluster_.world.time.timer.afterDelay(random_.between(0, 500) * kj::MILLISECONDS));
    now_[id] = what + ", and unlock";
    lock.kind = LockKind::NONE;
    locked_[lock.space == LockSpace::FLOCK].erase(id);
    err = co_await c.call(c.vfs->lock(handle, lock, false, kj::NEVER_DONE));
    result(client, what + ", and unlock", err, false);
  }

  // --- all of it ---
  Task<void> syncAll() {
    for (uint32_t i = 0; i < cluster_.clients(); ++i) {
      auto& c = cluster_.client(i);
      now_[0] = c.machine + " sync";
      auto err = co_await c.call(c.vfs->fsync(kRootInode, false));
      result(i, c.machine + " sync of everything", err, true);
    }
    // Said once more by those who had been told of a loss, it holds for everything else.
    for (auto& r : records_) r.firm = r.firm || (r.done && !r.weak);
  }
  Task<void> checkAll(std::string when) {
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

  SimCluster& cluster_;
  Journal& journal_;
  SimRandom random_;
  std::vector<std::vector<Piece>> files_;
  std::vector<Record> records_;
  std::map<std::string, Entry> set_;
  std::map<uint32_t, std::vector<std::string>> tokens_;  // where each may be
  std::map<uint32_t, bool> tokenBusy_;
  std::map<uint32_t, Mount> mounts_;
  std::map<uint32_t, std::string> now_;
  std::vector<uint32_t> lost_;  // clients that may lose data now: how many times over
  std::vector<bool> everLost_;
  bool storesLost_ = false;
  uint64_t losses_ = 0;
  std::map<uint32_t, uint64_t> lossesOf_;              // by client
  std::map<bool, std::map<uint32_t, Locked>> locked_;  // flock or not; by worker
  uint64_t inFlightWeak_ = 0;
  uint32_t full_ = 0;
  uint64_t fullUntilNs_ = 0;
  uint64_t entries_ = 0;
  uint64_t moves_ = 0;
  bool stopping_ = false;
};

}  // namespace

kj::Own<Workload> newSharedWorkload(SimCluster& cluster, Journal& journal) {
  return kj::heap<SharedWorkload>(cluster, journal);
}

}  // namespace dfs
