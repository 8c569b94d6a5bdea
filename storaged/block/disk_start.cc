// Opening a store: the intents that the index does not hold yet are replayed into it (B4).
//
// Nothing on the disk is changed before all has been read and found trustworthy.

#include "common/checksum.h"
#include "storaged/block/disk_block_store.h"

#include <kj/debug.h>

#include <algorithm>

namespace dfs::block {
namespace {

struct LogFile {
  uint64_t number;
  kj::Array<kj::byte> bytes;
};

bool laterIntentProves(const LogFile& file, size_t from, uint64_t sequence) {
  // Is there an intent behind the damage which knew that `sequence` was on the disk?
  for (size_t at = from; at + kIntentHeadBytes <= file.bytes.size(); at += 8) {
    if (!looksLikeIntent(file.bytes.begin() + at)) continue;
    size_t used = 0;
    auto found = decodeIntent(file.bytes.slice(at, file.bytes.size()), file.number, used);
    KJ_IF_MAYBE(intent, found) {
      if (intent->logSynced >= sequence) return true;
    }
  }
  return false;
}

std::vector<Intent> readIntents(const std::vector<LogFile>& files, uint64_t sequence) {
  // Those that follow `sequence` without a gap. Throws where a gap is damage and no torn tail.
  std::vector<Intent> intents;
  for (size_t f = 0; f < files.size(); ++f) {
    auto& file = files[f];
    size_t at = 0;
    for (;;) {
      size_t used = 0;
      auto found = decodeIntent(file.bytes.slice(at, file.bytes.size()), file.number, used);
      bool next = false;
      KJ_IF_MAYBE(intent, found) {
        if (intent->sequence == sequence + 1) {
          ++sequence;
          intents.push_back(kj::mv(*intent));
          at += used;
          next = true;
        }
      }
      if (!next) break;
    }
    for (size_t later = f; later < files.size(); ++later) {
      bool proved = laterIntentProves(files[later], later == f ? at : 0, sequence + 1);
      if (later > f && !proved) continue;
      KJ_REQUIRE(!proved,
                 "the intent log is damaged where it was synced: this store cannot be trusted and "
                 "is left as it is. Its data is on "
                 "the other members of its chains: move the data directory away and start the "
                 "daemon on an empty one",
                 IntentLog::nameOf(file.number), at);
    }
  }
  return intents;
}

}  // namespace

struct DiskBlockStore::Replay {
  // What the intents make of one block.
  std::vector<const Intent*> intents;

  bool exists = false;
  bool wiped = false;  // the sums of the index no longer mean anything
  BlockRecord record;
  struct Unit {
    std::vector<uint64_t> sums;  // what may lie there, oldest first; 0: nothing
    bool based =
        false;  // the first of them is known to have been there: what was before counts no more
    bool check = false;  // bytes of the last may not have reached the disk
  };
  std::map<uint32_t, Unit> units;

  void run(kj::Maybe<BlockRecord> base, uint64_t trusted) {
    exists = wiped = false;
    record = BlockRecord();
    units.clear();
    KJ_IF_MAYBE(b, base) {
      exists = true;
      record = *b;
    }
    for (auto* intent : intents) step(*intent, intent->sequence > trusted);
  }

 private:
  void push(uint32_t unit, uint64_t sum, bool check) {
    auto& u = units[unit];
    if (!check) {
      u.sums.clear();
      u.based = true;
    }
    u.sums.push_back(sum);
    u.check = check;
  }

  void step(const Intent& intent, bool check) {
    if (intent.kind == IntentKind::COMMIT) {
      if (exists && record.at == intent.record.at) record.committed = true;
      return;
    }
    if (intent.kind == IntentKind::ERASE) {
      exists = false;
      wiped = true;
      units.clear();
      return;
    }
    if (intent.kind == IntentKind::INSTALL) {
      units.clear();
      wiped = true;
    }
    uint32_t oldUnits = exists ? (record.length + kUnitBytes - 1) / kUnitBytes : 0;
    for (uint32_t unit = intent.clearFirst; unit < oldUnits; ++unit) push(unit, 0, check);
    for (uint32_t i = 0; i < intent.sums.size(); ++i)
      push(intent.firstUnit + i, intent.sums[i], check);
    exists = true;
    record = intent.record;
  }
};

Task<void> DiskBlockStore::start() {
  for (auto name : {"segments", "intents"}) {
    auto made = co_await env_.disk.makeDirectory(name);
    KJ_REQUIRE(made == Errno::OK, "the store's directories cannot be made", name, nameOf(made));
  }
  auto synced = co_await env_.disk.syncDirectory("");
  KJ_REQUIRE(synced == Errno::OK, "the data directory cannot be synced", nameOf(synced));
  Meta meta;
  meta.log = 1;
  auto stored = index_->get(kMetaTable, bytesOf(std::string("meta")));
  KJ_IF_MAYBE(bytes, stored) {
    meta = decodeMeta(*bytes);
  }

  std::vector<LogFile> files;
  std::vector<uint64_t> old;
  uint64_t last = meta.log;
  auto names = co_await env_.disk.list("intents");
  KJ_REQUIRE(names.ok(), "the intent logs cannot be listed", nameOf(names.err()));
  for (auto& name : *names) {
    uint64_t number = strtoull(name.cStr(), nullptr, 10);
    last = kj::max(last, number);
    if (number < meta.log) {
      old.push_back(number);
      continue;
    }
    auto opened = co_await env_.disk.open(IntentLog::nameOf(number), OpenMode::MUST_EXIST);
    KJ_REQUIRE(opened.ok(), "an intent log cannot be opened", name, nameOf(opened.err()));
    auto bytes = kj::heapArray<kj::byte>((*opened)->size());
    auto n = co_await (*opened)->read(0, bytes);
    KJ_REQUIRE(n.ok() && *n == bytes.size(), "an intent log cannot be read", name, nameOf(n.err()));
    files.push_back({number, kj::mv(bytes)});
  }
  auto intents = readIntents(files, meta.sequence);
  files.clear();
  sequence_ = meta.sequence + intents.size();

  // What is known to be on the disk, or at least in the page cache of a machine that has not lost its memory.
  uint64_t trusted = meta.sequence;
  for (auto& intent : intents) trusted = kj::max(trusted, intent.dataSynced);
  bool remembered = cell_->since() != 0 && sequence_ >= cell_->sequence();
  if (remembered) trusted = kj::max(trusted, cell_->sequence());

  std::map<BlockId, Replay> replays;
  for (auto& intent : intents) replays[intent.block].intents.push_back(&intent);
  for (auto& [block, replay] : replays) {
    bool doubtful = false;
    for (bool settled = false; !settled;) {
      settled = true;
      auto base = record(block);
      bool hadBase = base != nullptr;
      replay.run(kj::mv(base), trusted);
      if (!replay.exists) break;
      auto unit = kj::heapArray<kj::byte>(kUnitBytes);
      for (auto& [number, u] : replay.units) {
        if (!u.check || u.sums.back() == 0) continue;
        auto n = co_await segments_.read(replay.record.slot, number * kUnitBytes, unit);
        KJ_REQUIRE(n.ok(), "a block cannot be read", block.value, nameOf(n.err()));
        memset(unit.begin() + *n, 0, kUnitBytes - *n);
        auto sum = checksum(unit);
        if (sum == u.sums.back()) continue;
        doubtful = true;
        // Bytes of an earlier state, or none that anybody knows.
        std::vector<uint64_t> earlier(u.sums.begin(), u.sums.end() - 1);
        if (!u.based)
          earlier.insert(earlier.begin(), hadBase && !replay.wiped ? sums(block, number, 1)[0] : 0);
        if (std::find(earlier.begin(), earlier.end(), sum) != earlier.end()) {
          u.sums.back() = sum;
        } else if (std::find(earlier.begin(), earlier.end(), uint64_t(0)) != earlier.end()) {
          u.sums.back() = 0;
        } else {
          u.sums.back() = kTornSum;
        }
      }
      // A whole block whose bytes did not all arrive never was: back to what was before.
      auto& list = replay.intents;
      auto torn = std::find_if(list.rbegin(), list.rend(), [&](const Intent* i) {
        return i->kind == IntentKind::INSTALL && i->sequence > trusted;
      });
      if (doubtful && torn != list.rend()) {
        list.erase(std::prev(torn.base()), list.end());
        settled = false;
      }
    }
    if (doubtful && replay.exists) {
      replay.record.doubtful = true;
      replay.record.committed = false;
      replay.record.request = RequestId();  // its repeat must be done, not answered (B4)
      KJ_LOG(WARNING, "a block was being written at the crash: it will be compared", block.value);
    }
  }

  // All is trusted: now it may be written down.
  for (auto& [block, replay] : replays) {
    if (!replay.exists) {
      eraseSums(block, 0);
      index_->erase(kRecordTable, bytesOf(recordKey(block)));
      continue;
    }
    if (replay.wiped) eraseSums(block, 0);
    for (auto& [number, u] : replay.units) putSums(block, number, kj::arrayPtr(&u.sums.back(), 1));
    put(block, replay.record);
    segments_.markDirty(replay.record.slot);
  }
  for (auto c = index_->from(kRecordTable, bytesOf(recordKey(BlockId(0)))); c->valid(); c->next()) {
    auto r = decodeRecord(c->value());
    segments_.markUsed(r.slot);
    ++blockCount_;
    if (!r.committed || r.doubtful) uncertain_.insert(blockOfKey(c->key()));
  }
  if (!remembered) {
    uint64_t since = 0;
    while (since == 0) since = env_.random.next();
    cell_->reset(since);
  }

  auto prepared = co_await log_.prepare(last + 1, logBytes_);
  KJ_REQUIRE(prepared == Errno::OK,
             "there is no room for the intent log: free some space on this disk", nameOf(prepared));
  log_.use();
  auto err = co_await syncOnce();
  KJ_REQUIRE(err == Errno::OK, "the store cannot be synced");
  dataSynced_ = logSynced_ = syncStartedThrough_ = sequence_;
  index_->put(kMetaTable, bytesOf(std::string("meta")),
              bytesOf(encode(Meta{log_.number(), sequence_})));
  co_await index_->commit();
  changedSinceCheckpoint_ = false;
  cell_->setSequence(sequence_);
  for (uint64_t number = meta.log; number <= last; ++number) old.push_back(number);
  for (auto number : old) {
    // Absent is as good.
    (void)co_await env_.disk.remove(IntentLog::nameOf(number));
  }
  tasks_.add(keepCheckpoints());
}

namespace {

Task<kj::Own<BlockStore>> openStore(Env& env) {
  auto identity = co_await readIdentity(env);
  KJ_REQUIRE(identity != nullptr, "the store has no identity");
  auto index = co_await env.disk.openKv("index");
  auto cell = env.disk.sinceCell(KJ_ASSERT_NONNULL(identity).store);
  auto store = kj::heap<DiskBlockStore>(env, kj::mv(index), kj::mv(cell));
  co_await store->start();
  co_return kj::mv(store);
}

}  // namespace
}  // namespace dfs::block

namespace dfs {

kj::Promise<kj::Own<BlockStore>> openBlockStore(Env& env) {
  return block::openStore(env);
}

}  // namespace dfs
