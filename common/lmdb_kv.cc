#include "common/lmdb_kv.h"

#include "common/overlay_kv.h"
#include "common/worker_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace dfs {
namespace {

constexpr size_t kMapBytes = size_t(1)
                             << 40;  // address space, not disk: far more than a disk holds
constexpr size_t kMapBytesLeast = size_t(1) << 32;
constexpr unsigned kReadersMax = 16;

void check(int rc, const char* what, kj::StringPtr directory) {
  if (rc == 0) return;
  if (rc == ENOSPC)
    KJ_FAIL_REQUIRE("the disk is full: a store could not be written", what, directory);
  KJ_FAIL_REQUIRE("a store on disk has failed", what, mdb_strerror(rc), directory);
}

MDB_val valueOf(Bytes bytes) {
  return {bytes.size(), const_cast<kj::byte*>(bytes.begin())};
}
MDB_val valueOf(const std::string& text) {
  return {text.size(), const_cast<char*>(text.data())};
}
Bytes bytesOf(const MDB_val& value) {
  return Bytes(static_cast<const kj::byte*>(value.mv_data), value.mv_size);
}

void syncNames(kj::StringPtr directory) {
  int fd;
  KJ_SYSCALL(fd = open(directory.cStr(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), directory);
  kj::AutoCloseFd own(fd);
  KJ_SYSCALL(fsync(own), directory);
}

class LmdbBacking final : public KvBacking {
 public:
  explicit LmdbBacking(kj::StringPtr directory)
      : directory_(kj::str(directory)), writer_(1, "dfs-store") {
    KJ_REQUIRE(mkdir(directory_.cStr(), 0700) == 0 || errno == EEXIST,
               "a store's directory cannot be made", directory_, strerror(errno));
    openEnvironment();
    makeTables();
    // LMDB syncs its file, but not the names that lead to it.
    syncNames(directory_);
    syncNames(kj::str(directory_, "/.."));
    check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_), "reading", directory_);
  }
  ~LmdbBacking() noexcept(false) {
    mdb_txn_abort(reader_);
    mdb_env_close(environment_);
  }
  KJ_DISALLOW_COPY(LmdbBacking);

  kj::Maybe<Bytes> get(uint8_t table, Bytes key) override {
    auto k = valueOf(key);
    MDB_val value;
    int rc = mdb_get(reader_, tables_[table], &k, &value);
    if (rc == MDB_NOTFOUND) return nullptr;
    check(rc, "reading", directory_);
    return bytesOf(value);
  }

  kj::Own<KvCursor> from(uint8_t table, Bytes key) override {
    return kj::heap<Cursor>(*this, table, key);
  }

  kj::Promise<void> commit(const KvDelta& delta) override {
    // The writer is the only thread that begins and ends write transactions.
    return writer_.run([this, &delta]() { write(delta); });
  }

  void renew() override {
    mdb_txn_reset(reader_);
    check(mdb_txn_renew(reader_), "reading", directory_);
  }

 private:
  class Cursor final : public KvCursor {
   public:
    Cursor(LmdbBacking& store, uint8_t table, Bytes key) : store_(store) {
      check(mdb_cursor_open(store.reader_, store.tables_[table], &cursor_), "reading",
            store.directory_);
      key_ = valueOf(key);
      take(mdb_cursor_get(cursor_, &key_, &value_, key.size() == 0 ? MDB_FIRST : MDB_SET_RANGE));
    }
    ~Cursor() noexcept(false) { mdb_cursor_close(cursor_); }
    bool valid() override { return valid_; }
    Bytes key() override { return bytesOf(key_); }
    Bytes value() override { return bytesOf(value_); }
    void next() override { take(mdb_cursor_get(cursor_, &key_, &value_, MDB_NEXT)); }

   private:
    void take(int rc) {
      valid_ = rc == 0;
      if (rc != MDB_NOTFOUND) check(rc, "reading", store_.directory_);
    }
    LmdbBacking& store_;
    MDB_cursor* cursor_;
    MDB_val key_{};
    MDB_val value_{};
    bool valid_ = false;
  };

  void openEnvironment() {
    // Less address space is left under some limits and sanitizers.
    for (size_t bytes = kMapBytes;; bytes /= 4) {
      check(mdb_env_create(&environment_), "opening", directory_);
      check(mdb_env_set_maxdbs(environment_, kKvTablesMax), "opening", directory_);
      check(mdb_env_set_maxreaders(environment_, kReadersMax), "opening", directory_);
      check(mdb_env_set_mapsize(environment_, bytes), "opening", directory_);
      int rc = mdb_env_open(environment_, directory_.cStr(), MDB_NOTLS | MDB_NORDAHEAD, 0600);
      if (rc == 0) break;
      mdb_env_close(environment_);
      if (rc != ENOMEM || bytes / 4 < kMapBytesLeast) check(rc, "opening", directory_);
    }
    int dead = 0;
    check(mdb_reader_check(environment_, &dead), "opening", directory_);
  }

  void makeTables() {
    MDB_txn* txn;
    check(mdb_txn_begin(environment_, nullptr, 0, &txn), "opening", directory_);
    int rc = 0;
    for (uint8_t t = 0; t < kKvTablesMax && rc == 0; ++t) {
      char name[8];
      std::snprintf(name, sizeof name, "t%02u", t);
      rc = mdb_dbi_open(txn, name, MDB_CREATE, &tables_[t]);
    }
    if (rc != 0) {
      mdb_txn_abort(txn);
      check(rc, "opening", directory_);
    }
    check(mdb_txn_commit(txn), "opening", directory_);
  }

  void write(const KvDelta& delta) {
    MDB_txn* txn;
    check(mdb_txn_begin(environment_, nullptr, 0, &txn), "committing", directory_);
    int rc = 0;
    for (uint8_t t = 0; t < kKvTablesMax && rc == 0; ++t) {
      for (auto& [key, value] : delta.tables[t]) {
        auto k = valueOf(key);
        if (value) {
          auto v = valueOf(*value);
          rc = mdb_put(txn, tables_[t], &k, &v, 0);
        } else {
          rc = mdb_del(txn, tables_[t], &k, nullptr);
          if (rc == MDB_NOTFOUND) rc = 0;  // made and erased since the last commit
        }
        if (rc != 0) break;
      }
    }
    if (rc != 0) {
      mdb_txn_abort(txn);
      check(rc, "committing", directory_);
    }
    check(mdb_txn_commit(txn), "committing", directory_);
  }

  const kj::String directory_;
  MDB_env* environment_ = nullptr;
  MDB_txn* reader_ = nullptr;
  MDB_dbi tables_[kKvTablesMax];
  WorkerPool writer_;  // goes first: it may be at work in the environment
};

}  // namespace

kj::Promise<kj::Own<Kv>> openLmdbKv(kj::StringPtr directory) {
  // Blocks for some milliseconds, once, before anybody is served.
  return kj::evalNow([&]() { return newOverlayKv(kj::heap<LmdbBacking>(directory)); });
}

}  // namespace dfs
