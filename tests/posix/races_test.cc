// Processes that work on the same files at once, on one mount or on both: nobody sees what never was, and nothing is lost.

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <set>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

bool goesOn(std::chrono::steady_clock::time_point end) {
  return std::chrono::steady_clock::now() < end && !testing::Test::HasFailure();
}
std::chrono::steady_clock::time_point inSeconds(int seconds) {
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

TEST(Races, AppendsOfManyAreWholeAndInTheOrderOfEach) {
  Place p;
  makeFile(p.here("f"));
  constexpr int kWriters = 4, kRecords = 60;
  auto record = [](int who, int which) {
    char head[32];
    snprintf(head, sizeof head, "%d:%04d:", who, which);
    return head + std::string(static_cast<size_t>(900 + who * 37), static_cast<char>('a' + who)) +
           "\n";
  };
  std::vector<std::function<void()>> works;
  for (int who = 0; who < kWriters; ++who) {
    auto path = who % 2 == 0 ? p.here("f") : p.there("f");
    works.push_back([=] {
      Fd fd(open(path.c_str(), O_WRONLY | O_APPEND));
      for (int i = 0; i < kRecords; ++i) {
        auto text = record(who, i);
        ASSERT_EQ(write(fd, text.data(), text.size()), ssize_t(text.size()));
      }
    });
  }
  atOnce(works);
  auto all = contentsOf(p.here("f"));
  std::vector<int> next(kWriters);
  for (size_t at = 0; at < all.size();) {
    int who = all[at] - '0';
    ASSERT_TRUE(who >= 0 && who < kWriters) << "at " << at;
    auto wanted = record(who, next[static_cast<size_t>(who)]++);
    ASSERT_EQ(all.compare(at, wanted.size(), wanted), 0) << "at " << at;
    at += wanted.size();
  }
  EXPECT_EQ(next, std::vector<int>(kWriters, kRecords));
}

TEST(Races, WhoReadsWhatGrowsSeesNoHole) {
  // Through O_DIRECT and through pages.
  Place p;
  for (int flags : {0, O_DIRECT}) {
    constexpr size_t kPiece = 16 << 10;
    makeFile(p.here("f"));
    auto end = inSeconds(2);
    auto writer = [&] {
      std::unique_ptr<void, decltype(&free)> piece(aligned_alloc(4096, kPiece), free);
      memset(piece.get(), 1, kPiece);
      Fd fd(open(p.here("f").c_str(), O_WRONLY | flags));
      for (off_t at = 0; goesOn(end); at += off_t(kPiece)) {
        ASSERT_EQ(pwrite(fd, piece.get(), kPiece, at), ssize_t(kPiece));
      }
    };
    auto reader = [&] {
      Fd fd(open(p.there("f").c_str(), O_RDONLY));
      std::string bytes(9000, '\0');
      while (goesOn(end)) {
        auto size = statOf(fd).st_size;
        auto n = pread(fd, bytes.data(), bytes.size(), std::max<off_t>(0, size - 5000));
        ASSERT_GE(n, 0) << errnoName(errno);
        auto seen = bytes.substr(0, static_cast<size_t>(n));
        ASSERT_EQ(seen.find('\0'), std::string::npos) << "of size " << size;
      }
    };
    atOnce({writer, reader});
    ASSERT_OK(unlink(p.here("f").c_str()));
  }
}

TEST(Races, WhoReadsWhatIsCutAndWrittenSeesOldBytesOrZeros) {
  Place p;
  std::string text(100'000, 'A');
  makeFile(p.here("f"), text);
  auto end = inSeconds(2);
  auto writer = [&] {
    Fd fd(open(p.here("f").c_str(), O_RDWR));
    while (goesOn(end)) {
      ASSERT_OK(ftruncate(fd, 100));
      ASSERT_OK(ftruncate(fd, off_t(text.size())));
      ASSERT_EQ(pwrite(fd, text.data(), text.size() - 100, 100), ssize_t(text.size() - 100));
    }
  };
  auto reader = [&] {
    Fd fd(open(p.there("f").c_str(), O_RDONLY));
    std::string bytes(text.size(), '?');
    while (goesOn(end)) {
      auto n = pread(fd, bytes.data(), bytes.size(), 0);
      ASSERT_GE(n, 100);
      ASSERT_EQ(bytes.substr(0, 100), text.substr(0, 100));
      auto seen = bytes.substr(0, static_cast<size_t>(n));
      ASSERT_EQ(seen.find_first_not_of(std::string("A\0", 2)), std::string::npos);
    }
  };
  atOnce({writer, reader});
}

TEST(Races, OfOneMountsStoresAndWritesOnDifferentPagesLoseNothing) {
  Place p;
  constexpr size_t kPage = 4096, kProcesses = 4, kPagesEach = 16;
  constexpr size_t kBytes = kPage * kProcesses * kPagesEach;
  makeFile(p.here("f"), std::string(kBytes, '\0'));
  std::vector<std::function<void()>> works;
  for (size_t who = 0; who < kProcesses; ++who) {
    works.push_back([&p, who] {
      Fd fd(open(p.here("f").c_str(), O_RDWR));
      auto map =
          static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
      ASSERT_NE(map, MAP_FAILED);
      for (uint32_t i = 0; i < 200; ++i) {
        auto at = (i * 7 % kPagesEach * kProcesses + who) * kPage;
        uint32_t word = i * 4 + uint32_t(who), read = 0;
        if (i % 2 == 0) {
          memcpy(map + at, &word, sizeof word);
        } else {
          ASSERT_EQ(pwrite(fd, &word, sizeof word, off_t(at)), ssize_t(sizeof word));
        }
        ASSERT_EQ(pread(fd, &read, sizeof read, off_t(at)), ssize_t(sizeof read));
        ASSERT_EQ(read, word) << "by a call, at " << at << ", step " << i;
        memcpy(&read, map + at, sizeof read);
        ASSERT_EQ(read, word) << "in memory, at " << at << ", step " << i;
        if (i % 40 == 0) ASSERT_OK(msync(map, kBytes, MS_SYNC));
      }
    });
  }
  atOnce(works);
}

TEST(Races, InATreeEndInAResultOrAnErrorThatNamesTheCause) {
  Place p;
  auto end = inSeconds(3);
  std::vector<std::function<void()>> works;
  for (unsigned who = 0; who < 4; ++who) {
    auto top = who % 2 == 0 ? p.here() : p.there();
    works.push_back([=] {
      std::mt19937 random(who);
      auto directory = [&] {
        return top + "/d" + std::to_string(random() % 3) + "/e" + std::to_string(random() % 3);
      };
      auto file = [&] { return directory() + "/f" + std::to_string(random() % 3); };
      const std::set<int> expected = {0, ENOENT, EEXIST, ENOTEMPTY};
      while (goesOn(end)) {
        auto upper = top + "/d" + std::to_string(random() % 3);
        auto what = random() % 8;
        errno = 0;
        int result = what == 0   ? mkdir(upper.c_str(), 0777)
                     : what == 1 ? mkdir(directory().c_str(), 0777)
                     : what == 2 ? Fd(open(file().c_str(), O_CREAT | O_WRONLY, 0644))
                     : what == 3 ? unlink(file().c_str())
                     : what == 4 ? rmdir(directory().c_str())
                     : what == 5 ? rmdir(upper.c_str())
                     : what == 6 ? rename(directory().c_str(), directory().c_str())
                                 : link(file().c_str(), file().c_str());
        if (result >= 0) continue;
        ASSERT_EQ(expected.count(errno), 1u) << what << " gave " << errnoName(errno);
      }
    });
  }
  atOnce(works);
  for (auto& name : namesIn(p.here())) {
    auto inside = namesIn(p.here(name));
    EXPECT_EQ(inside, namesIn(p.there(name)));
    EXPECT_EQ(statOf(p.here(name)).st_nlink, inside.size() + 2);
  }
}

TEST(Races, ADirectoryWhoseEntriesAreRenamedWhileItIsReadHasAnEnd) {
  Place p;
  constexpr size_t kNames = 300;
  for (size_t i = 0; i < kNames; ++i) makeFile(p.here("f" + std::to_string(i)));
  DIR* dir = opendir(p.there().c_str());
  ASSERT_NE(dir, nullptr);
  std::set<std::string> seen;
  size_t entries = 0;
  while (auto entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name[0] != 'f') continue;
    ASSERT_LT(++entries, 4 * kNames);
    seen.insert(name);
    ASSERT_OK(rename(p.here(name).c_str(), p.here("aside").c_str()));
    ASSERT_OK(rename(p.here("aside").c_str(), p.here(name).c_str()));
  }
  closedir(dir);
  EXPECT_EQ(seen.size(), kNames);
}

}  // namespace
}  // namespace dfs::posix
