// Method: one contract for the host's disk in a temporary directory and the simulated one; then what
// only the host has: threads, a full file system, memory that outlives the process.

#include "common/aligned_bytes.h"
#include "common/kv_contract.h"
#include "common/real_env.h"
#include "common/test_folder.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace dfs {
namespace {

struct RealWorld {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  TestFolder folder;
  const std::string& directory = folder.path;
  kj::Own<WorkerPool> pool = kj::heap<WorkerPool>(4, "test");
  kj::Own<Disk> disk;

  RealWorld() {
    std::filesystem::create_directory(directory + "/data");
    disk = newRealDisk(*pool, directory + "/data", directory + "/memory");
  }
};

std::string pattern(size_t bytes, uint32_t seed) {
  std::string text(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) text[i] = char((i * 2654435761u + seed) >> 7);
  return text;
}

struct Contract {
  Disk& disk;
  kj::WaitScope& scope;

  kj::Own<DiskFile> open(kj::StringPtr name, OpenMode mode) {
    auto opened = disk.open(name, mode).wait(scope);
    EXPECT_TRUE(opened.ok()) << name.cStr();
    return kj::mv(*opened);
  }
  Errno refusal(kj::StringPtr name, OpenMode mode) {
    return disk.open(name, mode).wait(scope).err();
  }
  std::string read(DiskFile& file, uint64_t offset, size_t bytes) {
    std::string text(bytes, '?');
    auto into = kj::arrayPtr(reinterpret_cast<kj::byte*>(text.data()), bytes);
    auto n = file.read(offset, into).wait(scope);
    EXPECT_TRUE(n.ok());
    text.resize(*n);
    return text;
  }
  Errno write(DiskFile& file, uint64_t offset, const std::string& text) {
    return file.write(offset, KvModel::bytes(text)).wait(scope);
  }
  std::string names(kj::StringPtr directory) {
    auto listed = disk.list(directory).wait(scope);
    if (!listed.ok()) return "none";
    std::string all;
    for (auto& n : *listed) all += std::string(n.cStr()) + " ";
    return all;
  }

  void filesKeepWhatIsWritten() {
    auto file = open("file", OpenMode::CREATE_NEW);
    EXPECT_EQ(file->size(), 0u);
    EXPECT_EQ(read(*file, 0, 10), "");
    for (size_t bytes : {1, 511, 4096, 70'000, 1 << 20}) {
      auto text = pattern(bytes, uint32_t(bytes));
      EXPECT_EQ(write(*file, 12'345, text), Errno::OK);
      EXPECT_GE(file->size(), 12'345 + bytes);
      EXPECT_EQ(read(*file, 12'345, bytes), text);
      EXPECT_EQ(read(*file, 12'344, 2), std::string(1, 0) + text[0]);
    }
    uint64_t size = 12'345 + (1 << 20);
    EXPECT_EQ(file->size(), size);
    EXPECT_EQ(read(*file, size - 3, 100).size(), 3u);
    EXPECT_EQ(read(*file, size + 3, 100).size(), 0u);
    EXPECT_EQ(file->sync().wait(scope), Errno::OK);
    auto other = open("file", OpenMode::CREATE);
    EXPECT_EQ(other->size(), size);
    EXPECT_EQ(read(*other, 0, 12'345), std::string(12'345, 0));
  }

  void largeAndSmallWritesMeetInOneFile() {
    // The large ones may go around the page cache, in which the small ones and the reads are.
    auto file = open("large", OpenMode::CREATE);
    std::string model(4 << 20, 0);
    uint32_t seed = 1;
    auto put = [&](uint64_t at, size_t bytes, bool large) {
      auto text = pattern(bytes, ++seed);
      auto data = kj::StringPtr(text.c_str(), text.size()).asBytes();
      auto done = large ? file->writeLarge(at, data) : file->write(at, data);
      EXPECT_EQ(done.wait(scope), Errno::OK);
      model.replace(at, bytes, text);
    };
    put((3 << 20) + 5, 100, false);
    for (uint64_t at : {0u, 4096u, 1u << 20, 12'345u}) {
      put(at + 8192, 10'000, false);
      EXPECT_EQ(read(*file, at, 1 << 20), model.substr(at, 1 << 20));
      put(at, 1 << 20, true);
      put(at + 100'000, 5000, false);
      put(at + 262'144, 262'144 + 3, true);
      EXPECT_EQ(read(*file, 0, 3 << 20), model.substr(0, 3 << 20));
    }
    std::vector<std::string> texts;
    std::vector<kj::Promise<Errno>> together;
    for (uint64_t i = 0; i < 12; ++i) texts.push_back(pattern(262'144, 100 + uint32_t(i)));
    for (uint64_t i = 0; i < 12; ++i) {
      model.replace(i * 262'144, 262'144, texts[i]);
      together.push_back(file->writeLarge(
          i * 262'144, kj::StringPtr(texts[i].c_str(), texts[i].size()).asBytes()));
    }
    for (auto& one : together) EXPECT_EQ(one.wait(scope), Errno::OK);
    EXPECT_EQ(file->sync().wait(scope), Errno::OK);
    EXPECT_EQ(read(*file, 0, 3 << 20), model.substr(0, 3 << 20));
    for (auto at : {uint64_t(0), uint64_t(4096), uint64_t(5)}) {
      put(at + 8192, 10'000, false);  // lies in the page cache, and not yet on the disk
      auto into = alignedBytes(1 << 20);
      EXPECT_EQ(*file->readLarge(at, into).wait(scope), into.size());
      EXPECT_EQ(std::string(into.asChars().begin(), into.size()), model.substr(at, 1 << 20));
    }
    auto past = alignedBytes(1 << 20);
    uint64_t last = file->size() / 4096 * 4096;
    auto got = file->readLarge(last, past).wait(scope);
    EXPECT_EQ(*got, file->size() - last);
    EXPECT_EQ(std::string(past.asChars().begin(), *got), model.substr(last, *got));
  }

  void spaceIsReservedGivenBackAndCutOff() {
    auto file = open("space", OpenMode::CREATE);
    EXPECT_EQ(file->allocate(0, 1 << 20).wait(scope), Errno::OK);
    EXPECT_EQ(file->size(), 1u << 20);
    EXPECT_EQ(read(*file, 5000, 100), std::string(100, 0));
    auto text = pattern(64 << 10, 3);
    EXPECT_EQ(write(*file, 0, text), Errno::OK);
    EXPECT_EQ(file->punch(4096, 8192).wait(scope), Errno::OK);
    auto left = read(*file, 0, text.size());
    EXPECT_EQ(left.substr(0, 4096), text.substr(0, 4096));
    EXPECT_EQ(left.substr(4096, 8192), std::string(8192, 0));
    EXPECT_EQ(left.substr(12288), text.substr(12288));
    EXPECT_EQ(file->size(), 1u << 20);
    EXPECT_EQ(file->truncate(100).wait(scope), Errno::OK);
    EXPECT_EQ(file->size(), 100u);
    EXPECT_EQ(file->truncate(200).wait(scope), Errno::OK);
    EXPECT_EQ(read(*file, 0, 300), text.substr(0, 100) + std::string(100, 0));
    auto space = disk.space();
    ASSERT_TRUE(space.ok());
    EXPECT_GT((*space).totalBytes, 0u);
    EXPECT_LE((*space).freeBytes, (*space).totalBytes);
  }

  void namesAreAsInAnyFileSystem() {
    EXPECT_EQ(refusal("a", OpenMode::MUST_EXIST), Errno::NO_ENT);
    EXPECT_EQ(refusal("d/a", OpenMode::CREATE), Errno::NO_ENT);
    EXPECT_EQ(names("d"), "none");
    EXPECT_EQ(disk.remove("a").wait(scope), Errno::NO_ENT);
    EXPECT_EQ(disk.rename("a", "b").wait(scope), Errno::NO_ENT);
    EXPECT_EQ(disk.makeDirectory("d").wait(scope), Errno::OK);
    EXPECT_EQ(disk.makeDirectory("d").wait(scope), Errno::OK);
    for (auto name : {"d/c", "d/a", "d/b"}) {
      auto file = open(name, OpenMode::CREATE_NEW);
      EXPECT_EQ(write(*file, 0, name), Errno::OK);
    }
    EXPECT_EQ(refusal("d/a", OpenMode::CREATE_NEW), Errno::EXIST);
    EXPECT_EQ(names("d"), "a b c ");
    auto held = open("d/a", OpenMode::MUST_EXIST);
    EXPECT_EQ(disk.rename("d/b", "d/a").wait(scope), Errno::OK);
    EXPECT_EQ(read(*held, 0, 9), "d/a");  // the file that has lost its name
    auto now = open("d/a", OpenMode::MUST_EXIST);
    EXPECT_EQ(read(*now, 0, 9), "d/b");
    EXPECT_EQ(disk.remove("d/c").wait(scope), Errno::OK);
    EXPECT_EQ(disk.syncDirectory("d").wait(scope), Errno::OK);
    EXPECT_EQ(disk.syncDirectory("").wait(scope), Errno::OK);
    EXPECT_EQ(names("d"), "a ");
    EXPECT_EQ(names(""), "d ");
  }

  void manyCallsOverlap() {
    auto file = open("many", OpenMode::CREATE);
    auto text = pattern(64 * 8192, 9);
    std::vector<kj::Promise<Errno>> writes;
    for (size_t i = 0; i < 64; ++i) {
      writes.push_back(file->write(i * 8192, KvModel::bytes(text).slice(i * 8192, (i + 1) * 8192)));
    }
    for (auto& w : writes) EXPECT_EQ(w.wait(scope), Errno::OK);
    EXPECT_EQ(read(*file, 0, text.size()), text);
  }

  void all() {
    namesAreAsInAnyFileSystem();
    filesKeepWhatIsWritten();
    largeAndSmallWritesMeetInOneFile();
    spaceIsReservedGivenBackAndCutOff();
    manyCallsOverlap();
  }

  void aFullDiskSaysSoAndGoesOn(uint64_t bytesMost) {
    auto file = open("full", OpenMode::CREATE);
    EXPECT_EQ(file->allocate(0, bytesMost * 2).wait(scope), Errno::NO_SPACE);
    EXPECT_EQ(file->truncate(0).wait(scope), Errno::OK);
    auto text = pattern(64 << 10, 1);
    Errno err = Errno::OK;
    uint64_t at = 0;
    for (; err == Errno::OK && at <= bytesMost; at += text.size()) err = write(*file, at, text);
    EXPECT_EQ(err, Errno::NO_SPACE);
    EXPECT_EQ(read(*file, 0, text.size()), text);
    EXPECT_EQ(write(*file, 0, text), Errno::OK);  // what is there may be overwritten
    EXPECT_EQ(file->truncate(0).wait(scope), Errno::OK);
    EXPECT_EQ(write(*file, 0, text), Errno::OK);
  }
};

TEST(RealDisk, KeepsTheContractOfDisks) {
  RealWorld w;
  Contract{*w.disk, w.io.waitScope}.all();
}

TEST(SimDisk, KeepsTheContractOfDisks) {
  SimWorld sim(3);
  auto process = sim.machine("m").process("/data");
  Contract{process->env.disk, sim.scope}.all();
}

TEST(SimDisk, AFullDiskSaysSoAndGoesOn) {
  SimWorld sim(3);
  sim.machine("m").disk.setCapacity(1 << 20);
  auto process = sim.machine("m").process("/data");
  Contract{process->env.disk, sim.scope}.aFullDiskSaysSoAndGoesOn(1 << 20);
}

TEST(RealDisk, AFullDiskSaysSoAndGoesOn) {
  RealWorld w;
  auto tiny = w.directory + "/data";
  if (mount("tmpfs", tiny.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  }
  Contract{*w.disk, w.io.waitScope}.aFullDiskSaysSoAndGoesOn(1 << 20);
  umount2(tiny.c_str(), MNT_DETACH);
}

TEST(RealDisk, DroppedCallsLeaveTheirBuffersAlone) {
  // The buffers go at once after the promise: a thread that still used them would be seen by ASan.
  RealWorld w;
  Contract c{*w.disk, w.io.waitScope};
  auto file = c.open("file", OpenMode::CREATE);
  ASSERT_EQ(c.write(*file, 0, pattern(1 << 20, 1)), Errno::OK);
  for (int i = 0; i < 300; ++i) {
    auto bytes = kj::heapArray<kj::byte>(256 << 10);
    auto write = file->write(1 << 20, bytes);
    auto into = kj::heapArray<kj::byte>(256 << 10);
    auto read = file->read(0, into);
    if (i % 3 == 0) read = file->read(0, into.slice(0, 100'000));
    if (i % 2 == 0) kj::evalLater([]() {}).wait(w.io.waitScope);
  }
  EXPECT_EQ(c.read(*file, 0, 1 << 20), pattern(1 << 20, 1));
  auto sync = file->sync();
  EXPECT_EQ(sync.wait(w.io.waitScope), Errno::OK);
}

TEST(RealDisk, TheSinceCellOutlivesAKilledProcessAndNotItsBootOrItsForgetting) {
  RealWorld w;
  Uuid store{};
  EXPECT_EQ(w.disk->sinceCell(store)->since(), 0u);
  pid_t child = fork();
  if (child == 0) {
    auto cell = w.disk->sinceCell(store);
    cell->reset(77);
    for (uint64_t i = 1; i <= 1000; ++i) cell->setSequence(i);
    kill(getpid(), SIGKILL);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  {
    auto cell = w.disk->sinceCell(store);
    EXPECT_EQ(cell->since(), 77u);
    EXPECT_EQ(cell->sequence(), 1000u);
  }
  std::string path;
  for (auto& f : std::filesystem::directory_iterator(w.directory + "/memory")) path = f.path();
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(17).put('x');
  EXPECT_EQ(w.disk->sinceCell(store)->since(), 0u);
  EXPECT_EQ(w.disk->sinceCell(store)->sequence(), 0u);
  w.disk->sinceCell(store)->reset(78);
  auto cell = w.disk->sinceCell(store);
  EXPECT_EQ(cell->since(), 78u);
  EXPECT_EQ(cell->sequence(), 0u);
  cell->forget();
  EXPECT_EQ(cell->since(), 0u);
  cell = nullptr;
  EXPECT_EQ(w.disk->sinceCell(store)->since(), 0u);
}

TEST(MemoryKv, DoesAsAMap) {
  // The suite of OverlayKv, so that the simulator stands for what production has.
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SimWorld sim(seed);
    auto process = sim.machine("m").process("/data");
    kvDoesAsAMap([&]() { return process->env.disk.openKv("kv").wait(sim.scope); }, sim.scope, seed,
                 2000);
  }
}

TEST(RealDisk, AStoreWhoseFileWasDamagedThrowsOrGivesWhatWasWritten) {
  // One bit in each page of records in turn; a value that reads is a right one.
  RealWorld w;
  KvModel::Tables model;
  {
    auto kv = w.disk->openKv("kv").wait(w.io.waitScope);
    for (int i = 0; i < 200; ++i) {
      auto key = "key" + std::to_string(i);
      auto value = pattern(size_t(i * 13 % 700), uint32_t(i));
      kv->put(KvTable(1), KvModel::bytes(key), KvModel::bytes(value));
      model[{uint8_t(1), key}] = value;
    }
    kv->commit().wait(w.io.waitScope);
  }
  auto file = w.directory + "/data/kv/data.mdb";
  std::ifstream in(file, std::ios::binary);
  std::string good((std::istreambuf_iterator<char>(in)), {});
  size_t refused = 0;
  for (size_t at = 8192; at < good.size(); at += 4096) {
    size_t key = good.rfind("key", at + 4095);
    if (key == std::string::npos || key < at) continue;
    auto bad = good;
    bad[key + 12] ^= 1;  // in a value or its seal, which LMDB does not know
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bad;
    auto kv = w.disk->openKv("kv").wait(w.io.waitScope);
    bool threw = false;
    for (auto& entry : model) {
      auto error = kj::runCatchingExceptions([&]() {
        KJ_IF_MAYBE(v, kv->get(KvTable(1), KvModel::bytes(entry.first.second))) {
          EXPECT_EQ(KvModel::text(*v), entry.second);
        }
      });
      threw = threw || error != nullptr;
    }
    refused += threw;
  }
  EXPECT_GE(refused, 5u);
}

}  // namespace
}  // namespace dfs
