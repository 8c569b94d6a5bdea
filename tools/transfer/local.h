#pragma once
// Files of this machine, read and written in order by threads, so that the loop goes on meanwhile.
//
// Thread: the loop's; the calls that block run on the pool's. Owner: one transfer; goes before the pool.

#include "common/task.h"
#include "common/waiting.h"
#include "common/worker_pool.h"

#include <kj/array.h>
#include <kj/io.h>
#include <sys/stat.h>

#include <string>
#include <vector>

namespace dfs {

struct Chunk {
  uint64_t offset = 0;
  kj::Array<kj::byte> bytes;  // empty: the end, at `offset`
};

class LocalSource {
 public:
  LocalSource(WorkerPool& pool, const std::string& path);
  // "-": standard input. Throws not found, denied, ...: a command's failure.
  KJ_DISALLOW_COPY(LocalSource);

  Task<Chunk> next(const bool& stop);
  // In order; at most kWriteBytesMax, and none goes past a multiple of that. What a file has as holes is
  // left out. May be called again before it resolves. `stop`: set when no more is wanted, for a stream
  // may have nothing for long; then it is the end.
  Task<kj::Array<kj::byte>> read(uint64_t offset, size_t bytes);
  // Of a file, holes as zeros; less only at its end.
  void seek(uint64_t offset) { at_ = offset; }  // REQUIRES: a file; a multiple of kWriteBytesMax

  bool isFile() const { return S_ISREG(st_.st_mode); }
  const struct stat& info() const { return st_; }
  bool changed() const;  // since it was opened: a file's size or time
  const std::string& path() const { return path_; }

 private:
  WorkerPool& pool_;
  const std::string path_;
  kj::AutoCloseFd file_;  // of standard input a copy
  struct stat st_ {};
  uint64_t at_ = 0;
  bool atEnd_ = false;
  FifoLock turn_;
};

class LocalTarget {
  // Becomes `path` when it is whole. Until then it has another name in the same directory.
 public:
  LocalTarget(WorkerPool& pool, const std::string& path, const std::string& temporary, bool resume,
              mode_t mode);
  // "-": standard output. resume: goes on with what is there of that name. What is not finished stays.
  KJ_DISALLOW_COPY(LocalTarget);

  uint64_t size() const { return size_; }  // what was there already
  Task<void> write(uint64_t offset, kj::Array<kj::byte> bytes);
  // REQUIRES: in order. Blocks of zeros become holes in a file.
  void finish(uint64_t size, const struct stat& like, bool mode, bool times);
  // mode, times: they become those of `like`.

 private:
  [[noreturn]] void fail(int reason) const;

  WorkerPool& pool_;
  const std::string path_;
  const std::string temporary_;  // empty: standard output
  kj::AutoCloseFd file_;
  uint64_t size_ = 0;
};

std::string partName(const std::string& name, uint64_t mark);
// What is not whole yet is called so: hidden, at most 255 bytes, another for each mark.

std::string baseName(const std::string& path);
// The last part of a path; "" of "/" and "..".

}  // namespace dfs
