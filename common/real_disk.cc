#include "common/checksum.h"
#include "common/limits.h"
#include "common/lmdb_kv.h"
#include "common/real_env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <kj/vector.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

namespace dfs {
namespace {

constexpr size_t kInlineBytesMax =
    64 << 10;  // a read of so much from the page cache is quicker than a thread

struct OpenFile {
  // The descriptor, shared with what threads still do with it.
  explicit OpenFile(int descriptor) : fd(descriptor) {}
  ~OpenFile() { close(fd); }
  const int fd;
};

Errno allBytes(int fd, uint64_t offset, const kj::byte* data, size_t bytes) {
  while (bytes > 0) {
    ssize_t n = pwrite(fd, data, bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fromHost(errno);
    }
    data += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
  return Errno::OK;
}

struct FreeBytes {
  void operator()(kj::byte* bytes) const { free(bytes); }
};

class DirectBuffers {
  // Memory as O_DIRECT wants it, used again: fresh pages cost more than the copy into them.
 public:
  using Buffer = std::shared_ptr<kj::byte>;

  Buffer take() {
    if (idle_.empty()) {
      auto bytes = static_cast<kj::byte*>(std::aligned_alloc(kUnitBytes, kWriteBytesMax));
      KJ_REQUIRE(bytes != nullptr, "out of memory");
      return Buffer(bytes, FreeBytes());
    }
    auto buffer = idle_.back();
    idle_.pop_back();
    return buffer;
  }
  void giveBack(Buffer buffer) {
    if (idle_.size() < kIdleMax) idle_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kIdleMax = 16;
  std::vector<Buffer> idle_;
};

Errno allBytesNow(int fd, uint64_t offset, Bytes data) {
  auto err = allBytes(fd, offset, data.begin(), data.size());
  // A hint: that it is refused costs nothing but a longer sync, which tells of errors.
  (void)sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(data.size()),
                        SYNC_FILE_RANGE_WRITE);
  return err;
}

Errno allBytesDirect(const OpenFile& direct, const OpenFile& cached, uint64_t offset, Bytes data,
                     kj::byte* buffer) {
  memcpy(buffer, data.begin(), data.size());
  auto err = allBytes(direct.fd, offset, buffer, data.size());
  // Blocks of this disk may be larger than our units.
  return err == Errno::INVAL ? allBytesNow(cached.fd, offset, data) : err;
}

Outcome<size_t> readBytes(int fd, uint64_t offset, kj::ArrayPtr<kj::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    ssize_t n =
        pread(fd, into.begin() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return fromHost(errno);
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

class RealFile final : public DiskFile {
 public:
  RealFile(WorkerPool& pool, std::shared_ptr<DirectBuffers> buffers, int fd, uint64_t size)
      : pool_(pool),
        buffers_(std::move(buffers)),
        file_(std::make_shared<OpenFile>(fd)),
        size_(size) {}

  kj::Promise<Outcome<size_t>> read(uint64_t offset, kj::ArrayPtr<kj::byte> into) override {
    if (into.size() <= kInlineBytesMax) {
      // What the page cache has costs no thread; RWF_NOWAIT says EAGAIN where the disk would have to be asked.
      iovec piece{into.begin(), into.size()};
      ssize_t n = preadv2(file_->fd, &piece, 1, static_cast<off_t>(offset), RWF_NOWAIT);
      if (n == static_cast<ssize_t>(into.size())) return Outcome<size_t>(static_cast<size_t>(n));
    }
    return pool_.run([file = file_, offset, into]() { return readBytes(file->fd, offset, into); });
  }

  kj::Promise<Errno> write(uint64_t offset, Bytes data) override {
    size_ = std::max(size_, offset + data.size());
    return pool_.run([file = file_, offset, data]() {
      return allBytes(file->fd, offset, data.begin(), data.size());
    });
  }

  kj::Promise<Errno> writeLarge(uint64_t offset, Bytes data) override {
    size_ = std::max(size_, offset + data.size());
    bool aligned = offset % kUnitBytes == 0 && data.size() % kUnitBytes == 0;
    if (aligned && data.size() <= kWriteBytesMax) openDirect();
    if (!aligned || data.size() > kWriteBytesMax || direct_ == nullptr) {
      return pool_.run(
          [file = file_, offset, data]() { return allBytesNow(file->fd, offset, data); });
    }
    auto buffer = buffers_->take();
    return pool_
        .run([direct = direct_, file = file_, offset, data, buffer]() {
          return allBytesDirect(*direct, *file, offset, data, buffer.get());
        })
        .then([buffers = buffers_, buffer](Errno err) {
          buffers->giveBack(buffer);
          return err;
        });
  }

  kj::Promise<Outcome<size_t>> readLarge(uint64_t offset, kj::ArrayPtr<kj::byte> into) override {
    bool aligned = offset % kUnitBytes == 0 && into.size() % kUnitBytes == 0 &&
                   reinterpret_cast<uintptr_t>(into.begin()) % kUnitBytes == 0;
    if (aligned) openDirect();
    if (!aligned || direct_ == nullptr) return read(offset, into);
    return pool_.run([direct = direct_, file = file_, offset, into]() {
      auto done = readBytes(direct->fd, offset, into);
      // Blocks of this disk may be larger than our units.
      return done.err() == Errno::INVAL ? readBytes(file->fd, offset, into) : done;
    });
  }

  kj::Promise<Errno> sync() override {
    return pool_.run([file = file_]() { return fdatasync(file->fd) == 0 ? Errno::OK : Errno::IO; });
  }

  kj::Promise<Errno> allocate(uint64_t offset, uint64_t bytes) override {
    return pool_
        .run([file = file_, offset, bytes]() {
          int rc;
          do {
            rc = posix_fallocate(file->fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
          } while (rc == EINTR);
          return fromHost(rc);
        })
        .then([this, offset, bytes](Errno err) {
          if (err == Errno::OK) size_ = std::max(size_, offset + bytes);
          return err;
        });
  }

  kj::Promise<Errno> punch(uint64_t offset, uint64_t bytes) override {
    return pool_.run([file = file_, offset, bytes]() {
      int rc = fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(offset), static_cast<off_t>(bytes));
      return rc == 0 ? Errno::OK : fromHost(errno);
    });
  }

  kj::Promise<Errno> truncate(uint64_t bytes) override {
    size_ = bytes;
    return pool_.run([file = file_, bytes]() {
      return ftruncate(file->fd, static_cast<off_t>(bytes)) == 0 ? Errno::OK : fromHost(errno);
    });
  }

  uint64_t size() override { return size_; }

 private:
  void openDirect() {
    if (triedDirect_) return;
    triedDirect_ = true;
    auto path = "/proc/self/fd/" + std::to_string(file_->fd);
    int fd = open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd >= 0) direct_ = std::make_shared<OpenFile>(fd);  // else: this file system has none
  }

  WorkerPool& pool_;
  std::shared_ptr<DirectBuffers> buffers_;
  std::shared_ptr<OpenFile> file_;
  std::shared_ptr<OpenFile> direct_;
  bool triedDirect_ = false;
  uint64_t size_;
};

class RealSinceCell final : public SinceCell {
  // 32 bytes: magic, since, checksum of magic, boot and since, and the sequence, which is stored
  // alone and often.
 public:
  RealSinceCell(const std::string& directory, const Uuid& store) {
    mkdir(directory.c_str(), 0755);
    path_ = directory + "/" + toString(store).cStr() + ".since";
    int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    KJ_REQUIRE(fd >= 0, "the file that tells a restart from a power cut cannot be made",
               path_.c_str(), strerror(errno));
    kj::AutoCloseFd own(fd);
    KJ_SYSCALL(ftruncate(fd, sizeof(Cell)), path_.c_str());
    void* memory = mmap(nullptr, sizeof(Cell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    KJ_REQUIRE(memory != MAP_FAILED,
               "the file that tells a restart from a power cut cannot be mapped", path_.c_str());
    cell_ = static_cast<Cell*>(memory);
  }
  ~RealSinceCell() noexcept(false) { munmap(cell_, sizeof(Cell)); }

  uint64_t since() override { return valid() ? cell_->since : 0; }
  uint64_t sequence() override { return valid() ? cell_->sequence : 0; }
  void reset(uint64_t since) override {
    cell_->sum = 0;
    cell_->sequence = 0;
    cell_->magic = kMagic;
    cell_->since = since;
    cell_->sum = sumOf(since);
  }
  void setSequence(uint64_t sequence) override { cell_->sequence = sequence; }
  void forget() override {
    cell_->sum = 0;
    // Gone or not, a cell without a right sum counts as absent.
    (void)unlink(path_.c_str());
  }

 private:
  struct Cell {
    uint64_t magic;
    uint64_t since;
    uint64_t sum;
    uint64_t sequence;
  };
  static constexpr uint64_t kMagic = 0x65636e6973736664;  // "dfssince"

  uint64_t sumOf(uint64_t since) const {
    return checksum(kj::arrayPtr(reinterpret_cast<const kj::byte*>(&since), sizeof since), boot_);
  }
  static uint64_t thisBoot() {
    // In the sum, so that a cell from before a power cut does not count even if its directory is
    // not on tmpfs, as in some containers.
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    bool known = static_cast<bool>(std::getline(file, id));
    KJ_REQUIRE(known, "/proc does not tell one boot of the machine from another");
    return checksum(kj::StringPtr(id.c_str()).asBytes(), kMagic);
  }
  bool valid() const {
    return cell_->magic == kMagic && cell_->since != 0 && cell_->sum == sumOf(cell_->since);
  }

  const uint64_t boot_ = thisBoot();
  std::string path_;
  Cell* cell_;
};

class RealDisk final : public Disk {
 public:
  RealDisk(WorkerPool& pool, std::string directory, std::string memoryDirectory)
      : pool_(pool), root_(kj::mv(directory)), memoryDirectory_(kj::mv(memoryDirectory)) {}

  kj::Promise<Outcome<kj::Own<DiskFile>>> open(kj::StringPtr name, OpenMode mode) override {
    struct Opened {
      int fd;
      int error;
      uint64_t size;
    };
    auto opened = pool_.run([path = pathOf(name), mode]() -> Opened {
      int flags = O_RDWR | O_CLOEXEC;
      if (mode != OpenMode::MUST_EXIST) flags |= O_CREAT;
      if (mode == OpenMode::CREATE_NEW) flags |= O_EXCL;
      int fd = ::open(path.c_str(), flags, 0600);
      if (fd < 0) return {-1, errno, 0};
      struct stat st {};
      fstat(fd, &st);
      return {fd, 0, static_cast<uint64_t>(st.st_size)};
    });
    return opened.then([this](Opened o) -> Outcome<kj::Own<DiskFile>> {
      if (o.fd < 0) return fromHost(o.error);
      return kj::Own<DiskFile>(kj::heap<RealFile>(pool_, buffers_, o.fd, o.size));
    });
  }

  kj::Promise<Errno> makeDirectory(kj::StringPtr name) override {
    return pool_.run([path = pathOf(name)]() {
      return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST ? Errno::OK : fromHost(errno);
    });
  }

  kj::Promise<Outcome<kj::Array<kj::String>>> list(kj::StringPtr directory) override {
    return pool_.run([path = pathOf(directory)]() -> Outcome<kj::Array<kj::String>> {
      DIR* dir = opendir(path.c_str());
      if (dir == nullptr) return fromHost(errno);
      KJ_DEFER(closedir(dir));
      std::vector<std::string> names;
      while (dirent* entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
          names.push_back(entry->d_name);
      }
      std::sort(names.begin(), names.end());
      auto result = kj::heapArrayBuilder<kj::String>(names.size());
      for (auto& n : names) result.add(kj::str(n.c_str()));
      return result.finish();
    });
  }

  kj::Promise<Errno> remove(kj::StringPtr name) override {
    return pool_.run([path = pathOf(name)]() {
      return ::remove(path.c_str()) == 0 ? Errno::OK : fromHost(errno);
    });
  }

  kj::Promise<Errno> rename(kj::StringPtr from, kj::StringPtr to) override {
    return pool_.run([old = pathOf(from), now = pathOf(to)]() {
      return ::rename(old.c_str(), now.c_str()) == 0 ? Errno::OK : fromHost(errno);
    });
  }

  kj::Promise<Errno> syncDirectory(kj::StringPtr directory) override {
    return pool_.run([path = pathOf(directory)]() {
      int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (fd < 0) return fromHost(errno);
      int rc = fsync(fd);
      close(fd);
      return rc == 0 ? Errno::OK : Errno::IO;
    });
  }

  Outcome<SpaceInfo> space() override {
    struct statvfs st {};
    if (statvfs(root_.c_str(), &st) != 0) return fromHost(errno);
    return SpaceInfo{st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize};
  }

  kj::Promise<kj::Own<Kv>> openKv(kj::StringPtr directory) override {
    return openLmdbKv(kj::str(pathOf(directory).c_str()));
  }

  kj::Own<SinceCell> sinceCell(const Uuid& store) override {
    return kj::heap<RealSinceCell>(memoryDirectory_, store);
  }

 private:
  std::string pathOf(kj::StringPtr name) const {
    return name.size() == 0 ? root_ : root_ + "/" + name.cStr();
  }

  WorkerPool& pool_;
  const std::shared_ptr<DirectBuffers> buffers_ = std::make_shared<DirectBuffers>();
  const std::string root_;
  const std::string memoryDirectory_;
};

}  // namespace

kj::Own<Disk> newRealDisk(WorkerPool& pool, std::string directory, std::string memoryDirectory) {
  return kj::heap<RealDisk>(pool, kj::mv(directory), kj::mv(memoryDirectory));
}

}  // namespace dfs
