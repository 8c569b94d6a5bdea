// Listing directories: each entry that stays is seen exactly once, whatever happens meanwhile and in whatever pieces it is read.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

struct RawEntry {  // linux_dirent64
  uint64_t ino;
  int64_t offset;
  unsigned short bytes;
  unsigned char type;
  char name[];
};

std::map<std::string, int> countNames(int fd, size_t bufferBytes) {
  // By getdents itself, as a C library with that buffer would.
  std::map<std::string, int> counts;
  std::vector<char> buffer(bufferBytes);
  for (;;) {
    long n = syscall(SYS_getdents64, fd, buffer.data(), buffer.size());
    EXPECT_OK(n);
    if (n <= 0) return counts;
    for (long at = 0; at < n;) {
      auto entry = reinterpret_cast<RawEntry*>(buffer.data() + at);
      ++counts[entry->name];
      at += entry->bytes;
    }
  }
}

void makeMany(const std::string& directory, const char* prefix, int count) {
  for (int i = 0; i < count; ++i) {
    auto path = directory + "/" + prefix + std::to_string(i);
    EXPECT_OK(close(open(path.c_str(), O_CREAT | O_WRONLY, 0600)));
  }
}

TEST(Readdir, TellsTypesInodesAndBothDots) {
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("d/file"));
  makeDirectory(p.here("d/dir"));
  ASSERT_OK(symlink("x", p.here("d/link").c_str()));
  ASSERT_OK(mkfifo(p.here("d/fifo").c_str(), 0600));
  DIR* dir = opendir(p.there("d").c_str());
  ASSERT_NE(dir, nullptr);
  std::map<std::string, std::pair<int, ino_t>> all;
  while (auto e = readdir(dir)) all[e->d_name] = {e->d_type, e->d_ino};
  closedir(dir);
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(all["file"].first, DT_REG);
  EXPECT_EQ(all["dir"].first, DT_DIR);
  EXPECT_EQ(all["link"].first, DT_LNK);
  EXPECT_EQ(all["fifo"].first, DT_FIFO);
  EXPECT_EQ(all["."].first, DT_DIR);
  EXPECT_EQ(all[".."].first, DT_DIR);
  for (auto& [name, entry] : all) {
    EXPECT_EQ(entry.second, statOf(p.there("d/" + name)).st_ino) << name;
  }
}

TEST(Readdir, InTinyBuffersGivesAllOnce) {
  Place p;
  makeDirectory(p.here("d"));
  makeMany(p.here("d"), "name", 300);
  for (size_t bytes : {32, 64, 300, 4096, 100'000}) {
    Fd fd(open(p.there("d").c_str(), O_RDONLY | O_DIRECTORY));
    auto counts = countNames(fd, bytes);
    EXPECT_EQ(counts.size(), 302u) << bytes;
    for (auto& [name, count] : counts) EXPECT_EQ(count, 1) << name;
  }
  Fd fd(open(p.there("d").c_str(), O_RDONLY | O_DIRECTORY));
  char tiny[8];
  EXPECT_ERRNO(EINVAL, syscall(SYS_getdents64, int(fd), tiny, sizeof tiny));
  makeFile(p.here("f"));
  Fd file(open(p.there("f").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOTDIR, syscall(SYS_getdents64, int(file), tiny, sizeof tiny));
}

TEST(Readdir, IsStableUnderCreationAndRemoval) {
  // From both mounts; what stays is seen exactly once, what comes and goes at most once.
  Place p;
  makeDirectory(p.here("d"));
  makeMany(p.here("d"), "stays", 400);
  std::atomic<bool> stop = false;
  auto churn = [&](const std::string& directory, std::string prefix) {
    for (int i = 0; !stop; ++i) {
      auto path = directory + "/" + prefix + std::to_string(i % 50);
      Fd fd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
      if (fd < 0) EXPECT_OK(unlink(path.c_str()));
    }
  };
  std::thread a(churn, p.here("d"), "a"), b(churn, p.there("d"), "b");
  for (int round = 0; round < 12; ++round) {
    Fd fd(open((round % 2 == 0 ? p.here("d") : p.there("d")).c_str(), O_RDONLY | O_DIRECTORY));
    std::map<std::string, int> counts = countNames(fd, round % 3 == 0 ? 512 : 32768);
    int stayed = 0;
    for (auto& [name, count] : counts) {
      EXPECT_EQ(count, 1) << name;
      stayed += name.rfind("stays", 0) == 0;
    }
    EXPECT_EQ(stayed, 400);
  }
  stop = true;
  a.join();
  b.join();
}

TEST(Readdir, RemovingWhatItGivesEmptiesTheDirectory) {
  Place p;
  makeDirectory(p.here("d"));
  makeMany(p.here("d"), "x", 500);
  DIR* dir = opendir(p.here("d").c_str());
  ASSERT_NE(dir, nullptr);
  while (auto e = readdir(dir)) {
    if (e->d_name[0] != '.') EXPECT_OK(unlinkat(dirfd(dir), e->d_name, 0));
  }
  closedir(dir);
  EXPECT_EQ(namesIn(p.there("d")).size(), 0u);
  EXPECT_OK(rmdir(p.here("d").c_str()));
}

TEST(Seekdir, GoesBackToWhatTelldirSaid) {
  Place p;
  makeDirectory(p.here("d"));
  makeMany(p.here("d"), "x", 200);
  DIR* dir = opendir(p.there("d").c_str());
  ASSERT_NE(dir, nullptr);
  std::vector<std::pair<long, std::string>> order;  // where it stood, what came then
  for (;;) {
    long at = telldir(dir);
    auto e = readdir(dir);
    if (e == nullptr) break;
    order.push_back({at, e->d_name});
  }
  EXPECT_EQ(order.size(), 202u);
  makeMany(p.here("d"), "new", 20);
  for (size_t i = order.size(); i-- > 0;) {
    seekdir(dir, order[i].first);
    // What is new may come before it, in its own place.
    const char* name = nullptr;
    while (auto e = readdir(dir)) {
      name = e->d_name;
      if (std::string(name).rfind("new", 0) != 0) break;
    }
    EXPECT_EQ(name == nullptr ? "" : std::string(name), order[i].second);
  }
  closedir(dir);
}

TEST(Rewinddir, SeesWhatIsNew) {
  Place p;
  makeDirectory(p.here("d"));
  DIR* dir = opendir(p.here("d").c_str());
  ASSERT_NE(dir, nullptr);
  int count = 0;
  while (readdir(dir) != nullptr) ++count;
  EXPECT_EQ(count, 2);
  makeMany(p.there("d"), "x", 3);
  rewinddir(dir);
  for (count = 0; readdir(dir) != nullptr;) ++count;
  EXPECT_EQ(count, 5);
  closedir(dir);
}

TEST(Readdir, Of5000NamesIsComplete) {
  Place p;
  makeDirectory(p.here("d"));
  constexpr int kNames = 5'000;
  makeMany(p.here("d"), "entry-", kNames);
  EXPECT_EQ(namesIn(p.there("d")).size(), size_t(kNames));
  struct stat s;
  EXPECT_OK(stat(p.there("d/entry-4999").c_str(), &s));
  EXPECT_ERRNO(ENOTEMPTY, rmdir(p.there("d").c_str()));
}

}  // namespace
}  // namespace dfs::posix
