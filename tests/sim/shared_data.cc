// What many clients write and read at once: registers, and a log of records.

#include "tests/sim/shared_workload.h"

#include <cinttypes>
#include <set>

namespace dfs {

std::string SharedWorkload::contents(uint32_t file, uint32_t piece, uint64_t number) {
  char stamp[33];
  snprintf(stamp, sizeof stamp, "%04u %04u %020" PRIu64 "\n", file, piece, number);
  std::string all;
  while (all.size() < kPieceBytes) all.append(stamp, 31);
  all.resize(kPieceBytes);
  return all;
}

Task<void> SharedWorkload::writePiece(uint32_t client, uint32_t id) {
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

Task<void> SharedWorkload::readPiece(uint32_t client, uint32_t id, uint32_t file, uint32_t number,
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

Task<void> SharedWorkload::syncFile(uint32_t client, uint32_t id) {
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

uint64_t SharedWorkload::everLosses() {
  return inFlightWeak_ + losses_;  // of any client, also of one that is back
}

std::string SharedWorkload::recordText(uint64_t index) {
  char line[kRecordBytes + 1];
  snprintf(line, sizeof line, "%020" PRIu64 " %042" PRIu64 "\n", index, index * 7919);
  return line;
}

Task<void> SharedWorkload::append(uint32_t client, uint32_t id) {
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

Task<void> SharedWorkload::readLog(uint32_t client, uint32_t id, std::string when) {
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

}  // namespace dfs
