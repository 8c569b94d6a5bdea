#pragma once
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

#include <map>
#include <string>
#include <vector>

namespace dfs {

class SharedWorkload final : public Workload {
 public:
  SharedWorkload(SimCluster& cluster, Journal& journal)
      : cluster_(cluster),
        journal_(journal),
        random_(cluster.world.random.next()),
        lost_(cluster.clients(), 0),
        everLost_(cluster.clients(), false) {}

  void prepare() override { finish(prepareNow()); }
  kj::Promise<void> run() override;
  void stop() override { stopping_ = true; }
  std::string waitsFor() override;
  void finalCheck() override;
  void afterPowerCut() override;

  kj::Promise<void> beforeClientLoss(uint32_t) override { return kj::READY_NOW; }
  void clientLossBegins(uint32_t client) override;
  void clientLossEnds(uint32_t client) override;
  kj::Promise<void> beforeStoreLoss() override { return kj::READY_NOW; }
  void storeLoss() override;
  kj::Promise<void> beforeFullDisk() override;
  void fullDiskEnds() override;

 private:
  static constexpr uint64_t kHeldUpNs = 10'000'000'000;
  // So late may an answer be to what was asked while a disk was full.
  static constexpr uint32_t kPieceBytes = 4096;
  static constexpr uint32_t kPieces = 28;  // of a file; every fourth lies in another block
  static constexpr uint32_t kFiles = 2;
  static constexpr uint32_t kTokens = 3;
  static constexpr size_t kRecordBytes = 64;
  static constexpr size_t kRecordsMax = 400;

  struct Write {
    uint32_t client = 0;
    bool done = false;  // acknowledged
    bool weak = false;
  };

  struct Piece {
    std::vector<Write> writes{Write{0, true, false}};  // [0]: never written, zeros
    size_t firm = 0;  // at least this one is there, whatever happens
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

  void finish(kj::Promise<void> promise);
  void weaken(uint32_t client);
  bool weakSince(uint32_t client, uint64_t start);
  bool wasFull() const { return full_ > 0 || cluster_.world.time.nowNs() < fullUntilNs_; }
  bool mayFail(uint32_t client, Errno err, bool data);
  void result(uint32_t client, const std::string& what, Errno err, bool data);
  uint64_t now() { return cluster_.world.time.nowNs(); }

  // --- files of a client, opened anew at each of its starts ---
  struct Mount {
    uint64_t start = 0;
    InodeId inos[kFiles + 1];
    FileHandle handles[kFiles + 1];
    InodeId set;
  };
  Task<void> prepareNow();
  static std::string fileName(uint32_t i);
  Task<bool> open(uint32_t client);
  Task<void> worker(uint32_t client, uint32_t id);
  static kj::Promise<std::string> guarded(kj::Promise<void> work);
  Task<void> one(uint32_t client, uint32_t id);

  // --- registers: shared_data.cc ---
  static uint64_t placeOf(uint32_t piece) {
    return uint64_t(piece) * kPieceBytes + (piece % 4) * 16 * kPieceBytes;
  }
  static std::string contents(uint32_t file, uint32_t piece, uint64_t number);
  Task<void> writePiece(uint32_t client, uint32_t id);
  Task<void> readPiece(uint32_t client, uint32_t id, uint32_t file, uint32_t number,
                       std::string when);
  Task<void> syncFile(uint32_t client, uint32_t id);
  uint64_t everLosses();

  // --- the append log: shared_data.cc ---
  static std::string recordText(uint64_t index);
  Task<void> append(uint32_t client, uint32_t id);
  Task<void> readLog(uint32_t client, uint32_t id, std::string when);

  // --- the directory as a set: shared_names.cc ---
  struct Entry {
    uint64_t createStart, createEnd = ~uint64_t(0);  // ~0: has not been answered
    uint64_t removeStart = ~uint64_t(0), removeEnd = ~uint64_t(0);
    bool busy = true;
  };
  Task<void> changeSet(uint32_t client, uint32_t id);
  Task<void> listSet(uint32_t client, uint32_t id, std::string when);
  Task<void> moveToken(uint32_t client, uint32_t id);

  // --- locks: shared_locks.cc ---
  struct Locked {
    uint32_t client;
    uint64_t losses;  // of that client when it asked
    LockSpan span;
    LockKind kind;
  };
  Task<void> lockSome(uint32_t client, uint32_t id);

  // --- all of it ---
  Task<void> syncAll();
  Task<void> checkAll(std::string when);

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

}  // namespace dfs
