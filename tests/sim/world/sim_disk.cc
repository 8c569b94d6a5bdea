#include "tests/sim/world/sim_disk.h"

#include "tests/sim/world/memory_kv.h"
#include "tests/sim/world/sim_file.h"

#include <set>

namespace dfs {

SimDisk::SimDisk(VirtualTime& time, SimRandom& random) : time_(time), random_(random) {}
SimDisk::~SimDisk() noexcept(false) {}

kj::Promise<void> SimDisk::delay() {
  return time_.timer.afterDelay(random_.between(delayUs_[0], delayUs_[1]) * kj::MICROSECONDS);
}

kj::Promise<void> SimDisk::syncDelay() {
  ++syncs_;
  return time_.timer.afterDelay(random_.between(syncDelayUs_[0], syncDelayUs_[1]) *
                                kj::MICROSECONDS);
}

void SimDisk::setDelayUs(uint64_t low, uint64_t high, uint64_t syncLow, uint64_t syncHigh) {
  delayUs_[0] = low;
  delayUs_[1] = high;
  syncDelayUs_[0] = syncLow;
  syncDelayUs_[1] = syncHigh;
}

void SimDisk::rename(std::function<void(Names&)> change) {
  change(names_);
  unsyncedSteps_.push_back(kj::mv(change));
}

void SimDisk::powerCut() {
  size_t kept = random_.below(unsyncedSteps_.size() + 1);
  for (size_t i = 0; i < kept; ++i) unsyncedSteps_[i](durableNames_);
  unsyncedSteps_.clear();
  names_ = durableNames_;
  std::set<SimFile*> done;
  for (auto& [name, file] : names_) {
    if (done.insert(file.get()).second) file->powerCut(random_);
  }
  memory_.clear();
  for (auto& [name, kv] : kvs_) kv->powerCut(random_);
}

bool SimDisk::flipBit(const std::string& path, uint64_t offset, uint8_t bit) {
  auto found = names_.find(path);
  return found != names_.end() && found->second->flip(offset, bit);
}

std::vector<std::string> SimDisk::files() {
  std::vector<std::string> all;
  for (auto& [name, file] : names_) {
    if (!name.ends_with("/")) all.push_back(name);
  }
  return all;
}

kj::Array<kj::byte> SimDisk::contents(const std::string& path) {
  auto found = names_.find(path);
  if (found == names_.end()) return nullptr;
  auto bytes = kj::heapArray<kj::byte>(found->second->size);
  found->second->read(0, bytes);
  return bytes;
}

uint64_t SimDisk::usedBytes() {
  uint64_t used = 0;
  std::set<SimFile*> seen;
  for (auto& [name, file] : names_) {
    if (seen.insert(file.get()).second) used += file->taken();
  }
  return used;
}

struct SimDisk::Op final : public kj::Refcounted {
  // A write that its process has begun. It takes effect when its time is over; if the process dies
  // before, any prefix of it does.
  Op(SimRandom& random, std::shared_ptr<SimFile> file, uint64_t offset, kj::Array<kj::byte> data)
      : random(random), file(kj::mv(file)), offset(offset), data(kj::mv(data)) {}
  ~Op() noexcept(false) {
    if (done) return;
    size_t part = random.below(data.size() + 1);
    if (part > 0) file->write(offset, data.slice(0, part));
  }
  SimRandom& random;
  std::shared_ptr<SimFile> file;
  uint64_t offset;
  kj::Array<kj::byte> data;
  bool done = false;
};

class SimDiskFile final : public DiskFile {
 public:
  SimDiskFile(SimDisk& disk, std::shared_ptr<SimFile> file) : disk_(disk), file_(kj::mv(file)) {}

  kj::Promise<Outcome<size_t>> read(uint64_t offset, kj::ArrayPtr<kj::byte> into) override {
    return disk_.delay().then(
        [file = file_, offset, into]() -> Outcome<size_t> { return file->read(offset, into); });
  }

  kj::Promise<Errno> write(uint64_t offset, Bytes data) override {
    if (disk_.failWrites_) return Errno::IO;
    if (disk_.usedBytes() + file_->wouldTake(offset, data.size()) > disk_.capacity_) {
      return disk_.delay().then([]() { return Errno::NO_SPACE; });
    }
    file_->reserve(offset, data.size());
    auto op = kj::refcounted<SimDisk::Op>(disk_.random_, file_, offset, kj::heapArray(data));
    auto& o = *op;
    auto written = disk_.delay().then([&o]() {
      o.file->write(o.offset, o.data);
      o.done = true;
      return Errno::OK;
    });
    return written.attach(kj::mv(op));
  }

  kj::Promise<Errno> sync() override {
    if (disk_.failSyncs_) return Errno::IO;
    auto state = file_->beginSync();
    return disk_.syncDelay().then([file = file_, state = kj::mv(state)]() {
      file->endSync(state);
      return Errno::OK;
    });
  }

  kj::Promise<Errno> allocate(uint64_t offset, uint64_t bytes) override {
    if (disk_.usedBytes() + file_->wouldTake(offset, bytes) > disk_.capacity_) {
      return disk_.delay().then([]() { return Errno::NO_SPACE; });
    }
    file_->reserve(offset, bytes);
    return disk_.delay().then([file = file_, offset, bytes]() {
      file->size = kj::max(file->size, offset + bytes);
      return Errno::OK;
    });
  }

  kj::Promise<Errno> punch(uint64_t offset, uint64_t bytes) override {
    return disk_.delay().then([file = file_, offset, bytes]() {
      file->zero(offset, bytes);
      file->release(offset, bytes);
      return Errno::OK;
    });
  }

  kj::Promise<Errno> truncate(uint64_t bytes) override {
    return disk_.delay().then([file = file_, bytes]() {
      file->truncate(bytes);
      return Errno::OK;
    });
  }

  uint64_t size() override { return file_->size; }

 private:
  SimDisk& disk_;
  std::shared_ptr<SimFile> file_;
};

class SimSinceCell final : public SinceCell {
 public:
  SimSinceCell(SimDisk& disk, Uuid store) : disk_(disk), store_(store) {}
  uint64_t since() override {
    return disk_.memory_.count(store_) ? disk_.memory_[store_].since : 0;
  }
  uint64_t sequence() override {
    return disk_.memory_.count(store_) ? disk_.memory_[store_].sequence : 0;
  }
  void reset(uint64_t since) override { disk_.memory_[store_] = {since, 0}; }
  void setSequence(uint64_t sequence) override { disk_.memory_[store_].sequence = sequence; }
  void forget() override { disk_.memory_.erase(store_); }

 private:
  SimDisk& disk_;
  const Uuid store_;
};

class SimDirectory final : public Disk {
  // Directories are entries whose path ends in '/'.
 public:
  SimDirectory(SimDisk& disk, std::string root) : disk_(disk), root_(kj::mv(root) + "/") {}

  kj::Promise<Outcome<kj::Own<DiskFile>>> open(kj::StringPtr name, OpenMode mode) override {
    auto path = pathOf(name);
    auto found = disk_.names_.find(path);
    bool there = found != disk_.names_.end();
    if (!there && mode == OpenMode::MUST_EXIST) return Outcome<kj::Own<DiskFile>>(Errno::NO_ENT);
    if (there && mode == OpenMode::CREATE_NEW) return Outcome<kj::Own<DiskFile>>(Errno::EXIST);
    if (!there) {
      auto slash = path.rfind('/');
      auto parent = path.substr(0, slash + 1);
      if (parent != root_ && disk_.names_.count(parent) == 0) {
        return Outcome<kj::Own<DiskFile>>(Errno::NO_ENT);
      }
      auto file = std::make_shared<SimFile>();
      disk_.rename([path, file](SimDisk::Names& names) { names[path] = file; });
    }
    auto file = disk_.names_.at(path);
    return disk_.delay().then([this, file]() -> Outcome<kj::Own<DiskFile>> {
      return kj::Own<DiskFile>(kj::heap<SimDiskFile>(disk_, file));
    });
  }

  kj::Promise<Errno> makeDirectory(kj::StringPtr name) override {
    auto path = pathOf(name) + "/";
    if (disk_.names_.count(path) == 0) {
      auto file = std::make_shared<SimFile>();
      disk_.rename([path, file](SimDisk::Names& names) { names[path] = file; });
    }
    return Errno::OK;
  }

  kj::Promise<Outcome<kj::Array<kj::String>>> list(kj::StringPtr directory) override {
    auto prefix = directory.size() == 0 ? root_ : pathOf(directory) + "/";
    if (prefix != root_ && disk_.names_.count(prefix) == 0) {
      return Outcome<kj::Array<kj::String>>(Errno::NO_ENT);
    }
    std::set<std::string> names;
    for (auto it = disk_.names_.lower_bound(prefix);
         it != disk_.names_.end() && it->first.starts_with(prefix); ++it) {
      auto rest = it->first.substr(prefix.size());
      if (rest.empty()) continue;
      names.insert(rest.substr(0, rest.find('/')));
    }
    auto result = kj::heapArrayBuilder<kj::String>(names.size());
    for (auto& n : names) result.add(kj::str(n));
    return Outcome<kj::Array<kj::String>>(result.finish());
  }

  kj::Promise<Errno> remove(kj::StringPtr name) override {
    auto path = pathOf(name);
    if (disk_.names_.count(path) == 0) path += "/";
    if (disk_.names_.count(path) == 0) return Errno::NO_ENT;
    disk_.rename([path](SimDisk::Names& names) { names.erase(path); });
    return disk_.delay().then([]() { return Errno::OK; });
  }

  kj::Promise<Errno> rename(kj::StringPtr from, kj::StringPtr to) override {
    auto old = pathOf(from), now = pathOf(to);
    if (disk_.names_.count(old) == 0) return Errno::NO_ENT;
    disk_.rename([old, now](SimDisk::Names& names) {
      auto found = names.find(old);
      if (found == names.end()) return;
      names[now] = found->second;
      names.erase(old);
    });
    return disk_.delay().then([]() { return Errno::OK; });
  }

  kj::Promise<Errno> syncDirectory(kj::StringPtr) override {
    if (disk_.failSyncs_) return Errno::IO;
    size_t steps = disk_.unsyncedSteps_.size();
    auto names = disk_.names_;
    return disk_.syncDelay().then([this, steps, names = kj::mv(names)]() {
      // Another sync may have been quicker: what it has made durable is no longer in the list.
      size_t now = disk_.unsyncedSteps_.size();
      if (now >= steps && steps > 0) {
        for (size_t i = 0; i < steps; ++i) disk_.unsyncedSteps_[i](disk_.durableNames_);
        disk_.unsyncedSteps_.erase(disk_.unsyncedSteps_.begin(),
                                   disk_.unsyncedSteps_.begin() + steps);
      } else {
        for (auto& step : disk_.unsyncedSteps_) step(disk_.durableNames_);
        disk_.unsyncedSteps_.clear();
      }
      return Errno::OK;
    });
  }

  Outcome<SpaceInfo> space() override {
    uint64_t used = disk_.usedBytes();
    return SpaceInfo{disk_.capacity_, used > disk_.capacity_ ? 0 : disk_.capacity_ - used};
  }

  kj::Promise<kj::Own<Kv>> openKv(kj::StringPtr directory) override {
    auto& state = disk_.kvs_[pathOf(directory)];
    if (!state) state = std::make_shared<MemoryKvState>();
    return newMemoryKv(state, disk_.time_, disk_.random_);
  }

  kj::Own<SinceCell> sinceCell(const Uuid& store) override {
    return kj::heap<SimSinceCell>(disk_, store);
  }

 private:
  std::string pathOf(kj::StringPtr name) const { return root_ + name.cStr(); }

  SimDisk& disk_;
  const std::string root_;
};

kj::Own<Disk> SimDisk::open(std::string directory) {
  return kj::heap<SimDirectory>(*this, kj::mv(directory));
}

}  // namespace dfs
