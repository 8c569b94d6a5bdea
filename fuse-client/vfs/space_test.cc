// Space, holes, seeking and copies of one client and of two, against the fake cluster.

#include "fuse-client/vfs/client_world.h"

#include <algorithm>
#include <random>

namespace dfs {
namespace {

using namespace fake;

constexpr uint64_t kB = kSmallBlock;

struct SpaceWorld : World {
  Errno change(Mount& m, FileHandle h, SpaceChange what, uint64_t offset, uint64_t bytes,
               bool keepSize = false) {
    return world.wait(m.vfs->fallocate(h, what, offset, bytes, keepSize, nullptr));
  }
  Errno punch(FileHandle h, uint64_t offset, uint64_t bytes) {
    return change(a, h, SpaceChange::PUNCH, offset, bytes, true);
  }
  kj::Maybe<uint64_t> seek(Mount& m, FileHandle h, uint64_t offset, bool data) {
    auto found = world.wait(m.vfs->seek(h, offset, data));
    EXPECT_EQ(found.err(), Errno::OK);
    return *found;
  }
  uint64_t copy(Mount& m, FileHandle from, uint64_t fromOffset, FileHandle to, uint64_t toOffset,
                uint64_t bytes) {
    // As often as it takes.
    uint64_t all = 0;
    for (;;) {
      auto done = world.wait(
          m.vfs->copyRange(from, fromOffset + all, to, toOffset + all, bytes - all, nullptr));
      EXPECT_EQ(done.err(), Errno::OK);
      if (!done.ok() || *done == 0) return all;
      all += *done;
      if (all == bytes) return all;
    }
  }
  Attr stat(Mount& m, InodeId ino) { return *world.wait(m.vfs->getattr(ino)); }
  std::string all(Mount& m, FileHandle h, uint64_t bytes) {
    std::string text;
    while (text.size() < bytes) {
      auto part = *m.read(h, text.size(), static_cast<uint32_t>(bytes - text.size()));
      if (part.empty()) break;
      text += part;
    }
    return text;
  }
};

#define EXPECT_AT(wanted, maybe)                           \
  do {                                                     \
    auto found = (maybe);                                  \
    ASSERT_TRUE(found != nullptr);                         \
    EXPECT_EQ(KJ_ASSERT_NONNULL(found), uint64_t(wanted)); \
  } while (false)

TEST(Space, APunchFreesWholeBlocksAndDrawsInTheEndsOfOthers) {
  SpaceWorld w;
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  ASSERT_EQ(w.a.write(h, 0, std::string(5 * kB, 'x')), Errno::OK);
  EXPECT_EQ(w.punch(h, kB / 2, 3 * kB), Errno::OK);
  auto attr = w.stat(w.a, made.attr.ino);
  EXPECT_EQ(attr.size, 5 * kB);
  EXPECT_EQ(attr.allocated, kB / 2 + 2 * kB);
  auto text = w.all(w.a, h, 5 * kB);
  EXPECT_EQ(text,
            std::string(kB / 2, 'x') + std::string(3 * kB, '\0') + std::string(3 * kB / 2, 'x'));
  EXPECT_AT(kB / 2, w.seek(w.a, h, 0, false));
  EXPECT_AT(3 * kB, w.seek(w.a, h, kB / 2, true));  // the rest of the hole is zeros in a block
  EXPECT_AT(5 * kB, w.seek(w.a, h, 3 * kB, false));
  Mount b(w.world, "b");
  auto other = b.open("f");
  EXPECT_EQ(w.all(b, other, 5 * kB), text);
  EXPECT_EQ(w.stat(b, made.attr.ino).allocated, attr.allocated);
  // What was there does not come back with a later write behind it.
  EXPECT_EQ(b.write(other, kB - 1, "y"), Errno::OK);
  EXPECT_EQ(*w.a.read(h, kB / 2, 2), std::string(2, '\0'));
}

TEST(Space, APunchToTheEndLeavesNoRow) {
  SpaceWorld w;
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  ASSERT_EQ(w.a.write(h, 0, std::string(kB + 100, 'x')), Errno::OK);
  EXPECT_EQ(w.punch(h, kB, 10 * kB), Errno::OK);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).size, kB + 100);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).allocated, kB);
  EXPECT_EQ(w.punch(h, kB + 100, 10), Errno::OK);
  EXPECT_EQ(w.punch(h, 0, 0), Errno::INVAL);
  EXPECT_EQ(w.punch(h, kFileBytesMax, 1), Errno::TOO_LARGE);
  EXPECT_EQ(w.punch(h, 0, 1), Errno::OK);
  EXPECT_EQ((*w.a.read(h, 0, 2))[1], 'x');
}

TEST(Space, WhatIsAllocatedIsWrittenAsZeros) {
  SpaceWorld w;
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  ASSERT_EQ(w.a.write(h, 10, "x"), Errno::OK);
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ALLOCATE, 0, 3 * kB + 5), Errno::OK);
  auto attr = w.stat(w.a, made.attr.ino);
  EXPECT_EQ(attr.size, 3 * kB + 5);
  EXPECT_EQ(attr.allocated, 3 * kB + 5);
  EXPECT_EQ((*w.a.read(h, 10, 2)), std::string("x\0", 2));
  EXPECT_EQ(w.world.wait(w.a.vfs->fsync(made.attr.ino, false)), Errno::OK);
  uint64_t stored = 0;
  for (auto& [block, bytes] : w.cluster.stores[0].blocks) stored += bytes.size();
  EXPECT_EQ(stored, 3 * kB + 5);
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ALLOCATE, 0, 9 * kB, true), Errno::OK);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).size, 3 * kB + 5);
}

TEST(Space, WhatDoesNotFitChangesNothing) {
  SpaceWorld w;
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  w.cluster.bytesFree = 2 * kB;
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ALLOCATE, 0, 3 * kB), Errno::NO_SPACE);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).size, 0u);
  w.cluster.bytesFree = 1u << 30;
  ASSERT_EQ(w.a.write(h, 0, "x"), Errno::OK);
  w.cluster.full = {1, 2};
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ALLOCATE, 0, 3 * kB), Errno::NO_SPACE);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).size, 1u);
}

TEST(Space, WhatDoesNotFitIsNotUndoneWhereOthersHaveWrittenMeanwhile) {
  // The first piece is there, the next one does not fit any more.
  for (bool otherMount : {false, true}) {
    SpaceWorld w;
    Mount b(w.world, "b");
    auto made = w.a.create("f");
    auto h = made.opened.handle;
    ASSERT_EQ(w.a.write(h, 0, "x"), Errno::OK);
    auto theirs = otherMount ? b.open("f") : w.a.open("f");
    w.cluster.holdWrites = true;
    auto filling = w.a.vfs->fallocate(h, SpaceChange::ALLOCATE, 0, 20 * kB, false, nullptr)
                       .eagerlyEvaluate(nullptr);
    w.world.pass(100);
    auto writing =
        (otherMount ? b : w.a).writing(theirs, 3 * kB + 7, "mine").eagerlyEvaluate(nullptr);
    w.world.pass(100);
    // From one held write to the next, until theirs is done.
    for (uint32_t tries = 0; tries < 100 && !writing.poll(w.world.scope); ++tries) {
      w.cluster.writesGo.wake();
      w.world.pass(10);
    }
    EXPECT_EQ(w.world.wait(kj::mv(writing)).err(), Errno::OK);
    ASSERT_FALSE(filling.poll(w.world.scope));
    w.cluster.full = {1, 2};
    w.cluster.holdWrites = false;
    w.cluster.writesGo.wake();
    EXPECT_EQ(w.world.wait(kj::mv(filling)), Errno::NO_SPACE);
    EXPECT_EQ((*b.read(b.open("f"), 3 * kB + 7, 4)), "mine") << otherMount;
  }
}

TEST(Space, ZeroedRangesKeepTheirSpace) {
  SpaceWorld w;
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  ASSERT_EQ(w.a.write(h, 0, std::string(3 * kB, 'x')), Errno::OK);
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ZERO, 100, 2 * kB), Errno::OK);
  auto text = w.all(w.a, h, 3 * kB);
  EXPECT_EQ(text, std::string(100, 'x') + std::string(2 * kB, '\0') + std::string(kB - 100, 'x'));
  EXPECT_EQ(w.stat(w.a, made.attr.ino).allocated, 3 * kB);
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ZERO, 2 * kB, 2 * kB, true), Errno::OK);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).size, 3 * kB);
  EXPECT_EQ(w.change(w.a, h, SpaceChange::ZERO, 2 * kB, 2 * kB), Errno::OK);
  EXPECT_EQ(w.stat(w.a, made.attr.ino).allocated, 4 * kB);
  EXPECT_EQ(w.all(w.a, h, 4 * kB).substr(2 * kB), std::string(2 * kB, '\0'));
}

TEST(Seek, FindsHolesAndDataOfWhatNobodyElseKnowsYet) {
  SpaceWorld w;
  Mount b(w.world, "b");
  auto made = w.a.create("f");
  auto h = made.opened.handle;
  ASSERT_EQ(w.a.write(h, 3 * kB, "data"), Errno::OK);
  for (auto m : {&w.a, &b}) {
    auto handle = m == &w.a ? h : b.open("f");
    EXPECT_AT(3 * kB, w.seek(*m, handle, 0, true));
    EXPECT_AT(3 * kB + 2, w.seek(*m, handle, 3 * kB + 2, true));
    EXPECT_AT(0u, w.seek(*m, handle, 0, false));
    EXPECT_AT(3 * kB + 4, w.seek(*m, handle, 3 * kB, false));
    EXPECT_TRUE(w.seek(*m, handle, 3 * kB + 4, true) == nullptr);
    EXPECT_TRUE(w.seek(*m, handle, 3 * kB + 4, false) == nullptr);
    EXPECT_TRUE(w.seek(*m, handle, ~uint64_t(0), true) == nullptr);
  }
}

TEST(Seek, WaitsForWritesThatWereAnsweredEarly) {
  EarlyWorld w;
  EXPECT_EQ(w.a.write(w.handle(), 2 * kB, "x"), Errno::OK);
  auto sought = w.a.vfs->seek(w.handle(), 5000, true);
  EXPECT_TRUE(w.waits(sought));
  w.go();
  EXPECT_AT(2 * kB, *w.world.wait(kj::mv(sought)));
}

TEST(Copy, OfWholeBlocksSharesThemAndWritesNothing) {
  SpaceWorld w;
  auto from = w.a.create("from");
  auto to = w.a.create("to");
  auto bytes = 40 * kB + 100;
  std::string text(bytes, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i / 1000 % 26);
  ASSERT_EQ(w.a.write(from.opened.handle, 0, text), Errno::OK);
  auto before = w.cluster.stores[0].blocks.size();
  EXPECT_EQ(w.copy(w.a, from.opened.handle, 0, to.opened.handle, 0, bytes), bytes);
  EXPECT_EQ(w.cluster.stores[0].blocks.size(), before);
  EXPECT_EQ(w.all(w.a, to.opened.handle, bytes), text);
  EXPECT_EQ(w.stat(w.a, to.attr.ino).size, bytes);
  EXPECT_EQ(w.stat(w.a, to.attr.ino).allocated, bytes);

  // Neither sees what is written to the other from then on, by whom ever.
  Mount b(w.world, "b");
  EXPECT_EQ(w.a.write(from.opened.handle, 5, "FROM"), Errno::OK);
  EXPECT_EQ(w.a.write(to.opened.handle, kB + 5, "TO"), Errno::OK);
  EXPECT_EQ(b.write(b.open("to"), bytes, "TAIL"), Errno::OK);
  auto mine = text, copied = text;
  mine.replace(5, 4, "FROM");
  copied.replace(kB + 5, 2, "TO");
  copied += "TAIL";
  EXPECT_EQ(w.all(b, b.open("from"), bytes + 10), mine);
  EXPECT_EQ(w.all(w.a, to.opened.handle, bytes + 10), copied);
}

TEST(Copy, TakesWhatOthersHaveNotYetPublished) {
  SpaceWorld w;
  Mount b(w.world, "b");
  auto from = b.create("from");
  auto to = w.a.create("to");
  auto bytes = 20 * kB;
  ASSERT_EQ(b.write(from.opened.handle, 0, std::string(bytes, 'x')), Errno::OK);
  ASSERT_EQ(w.a.write(to.opened.handle, 0, std::string(30 * kB, 'o')), Errno::OK);
  EXPECT_EQ(w.copy(w.a, w.a.open("from"), 0, to.opened.handle, 4 * kB, bytes), bytes);
  auto text = w.all(b, b.open("to"), 30 * kB);
  EXPECT_EQ(text, std::string(4 * kB, 'o') + std::string(bytes, 'x') + std::string(6 * kB, 'o'));
  // The source's holder of before does not write in place.
  EXPECT_EQ(b.write(from.opened.handle, 7, "changed"), Errno::OK);
  EXPECT_EQ(w.all(w.a, to.opened.handle, 30 * kB), text);
}

TEST(Copy, AtOddOffsetsGoesByBytesUpToTheNextBlock) {
  SpaceWorld w;
  auto from = w.a.create("from");
  auto to = w.a.create("to");
  std::string text(60 * kB, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(1 + i % 251);
  ASSERT_EQ(w.a.write(from.opened.handle, 0, text), Errno::OK);
  EXPECT_EQ(w.copy(w.a, from.opened.handle, 100, to.opened.handle, kB + 100, 50 * kB), 50 * kB);
  EXPECT_EQ(w.copy(w.a, from.opened.handle, 1, to.opened.handle, 60 * kB, 20 * kB), 20 * kB);
  auto got = w.all(w.a, to.opened.handle, 80 * kB);
  EXPECT_EQ(got.substr(kB + 100, 50 * kB), text.substr(100, 50 * kB));
  EXPECT_EQ(got.substr(60 * kB), text.substr(1, 20 * kB));
  EXPECT_EQ(w.copy(w.a, from.opened.handle, 60 * kB, to.opened.handle, 0, 1 << 20), 0u);
  auto over = w.world.wait(
      w.a.vfs->copyRange(from.opened.handle, 0, from.opened.handle, kB, 2 * kB, nullptr));
  EXPECT_EQ(over.err(), Errno::INVAL);
}

TEST(Copy, TwoThatCopyCrosswiseBothEnd) {
  SpaceWorld w;
  Mount b(w.world, "b");
  auto f = w.a.create("f");
  auto g = b.create("g");
  auto bytes = 20 * kB;
  ASSERT_EQ(w.a.write(f.opened.handle, 0, std::string(bytes, 'f')), Errno::OK);
  ASSERT_EQ(b.write(g.opened.handle, 0, std::string(bytes, 'g')), Errno::OK);
  auto gHere = w.a.open("g");
  auto fThere = b.open("f");
  for (int i = 0; i < 10; ++i) {
    auto one = w.a.vfs->copyRange(f.opened.handle, 0, gHere, 0, bytes, nullptr);
    auto two = b.vfs->copyRange(g.opened.handle, 0, fThere, 0, bytes, nullptr);
    EXPECT_EQ(w.world.wait(kj::mv(one)).err(), Errno::OK);
    EXPECT_EQ(w.world.wait(kj::mv(two)).err(), Errno::OK);
  }
}

TEST(Space, RandomChangesOfTwoFilesThroughTwoMountsAreThoseOfTheModel) {
  // Method: writes, holes, zeros, allocations, copies and truncations; every byte is compared.
  for (uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    SpaceWorld w;
    Mount b(w.world, "b");
    std::mt19937_64 random(seed);
    auto below = [&](uint64_t n) { return random() % n; };
    std::string model[2];
    FileHandle handles[2][2];
    Mount* mounts[2] = {&w.a, &b};
    InodeId inos[2];
    std::string done;
    for (int f = 0; f < 2; ++f) {
      auto name = f == 0 ? "f" : "g";
      auto made = w.a.create(name);
      inos[f] = made.attr.ino;
      handles[0][f] = made.opened.handle;
      handles[1][f] = b.open(name);
    }
    auto grow = [](std::string& text, uint64_t to) {
      if (text.size() < to) text.resize(to, '\0');
    };
    for (int i = 0; i < 120; ++i) {
      auto m = below(2), f = below(2);
      auto& mount = *mounts[m];
      auto h = handles[m][f];
      auto& text = model[f];
      auto offset = below(3) == 0 ? below(40) * kB : below(40 * kB);
      auto bytes = 1 + (below(2) == 0 ? below(3 * kB) : below(6) * kB);
      auto what = below(7);
      done += "\n" + std::to_string(m) + ": " + std::to_string(what) + " of " + std::to_string(f) +
              " " + std::to_string(offset) + "+" + std::to_string(bytes);
      if (what < 2) {
        std::string data(bytes, static_cast<char>('a' + below(26)));
        ASSERT_EQ(mount.write(h, offset, data), Errno::OK);
        grow(text, offset + bytes);
        text.replace(offset, bytes, data);
      } else if (what == 2) {
        ASSERT_EQ(w.change(mount, h, SpaceChange::PUNCH, offset, bytes, true), Errno::OK);
        if (offset < text.size()) {
          auto n = std::min(bytes, text.size() - offset);
          text.replace(offset, n, std::string(n, '\0'));
        }
      } else if (what == 3) {
        bool keep = below(2) == 0;
        ASSERT_EQ(w.change(mount, h, SpaceChange::ZERO, offset, bytes, keep), Errno::OK);
        if (!keep) grow(text, offset + bytes);
        if (offset < text.size()) {
          auto n = std::min(bytes, text.size() - offset);
          text.replace(offset, n, std::string(n, '\0'));
        }
      } else if (what == 4) {
        ASSERT_EQ(w.change(mount, h, SpaceChange::ALLOCATE, offset, bytes), Errno::OK);
        grow(text, offset + bytes);
      } else if (what == 5) {
        SetAttr set;
        set.size = true;
        set.to.size = below(40 * kB);
        ASSERT_EQ(w.world.wait(mount.vfs->setattr(inos[f], set, h, {})).err(), Errno::OK);
        text.resize(set.to.size, '\0');
      } else {
        auto from = below(2);
        auto fromOffset = below(2) == 0 ? below(20) * kB : offset % kB + below(20) * kB;
        auto n = 16 * kB + below(10 * kB);
        bool overlap = from == f && fromOffset < offset + n && offset < fromOffset + n;
        if (overlap) continue;
        done += " from " + std::to_string(from) + " " + std::to_string(fromOffset) + "+" +
                std::to_string(n);
        auto& source = model[from];
        auto there = fromOffset < source.size() ? std::min(n, source.size() - fromOffset) : 0;
        if (from == f) n = there;  // the end of the source would move while it is copied
        if (n == 0) continue;
        ASSERT_EQ(w.copy(mount, handles[m][from], fromOffset, h, offset, n), there);
        if (there > 0) {
          auto data = source.substr(fromOffset, there);
          grow(text, offset + there);
          text.replace(offset, there, data);
        }
      }
      if (i % 10 != 9) continue;
      for (int file = 0; file < 2; ++file) {
        auto reader = below(2);
        ASSERT_EQ(w.stat(*mounts[reader], inos[file]).size, model[file].size());
        auto got = w.all(*mounts[reader], handles[reader][file], 80 * kB);
        auto at = std::mismatch(got.begin(), got.end(), model[file].begin(), model[file].end());
        ASSERT_TRUE(got == model[file])
            << "file " << file << " through " << reader << " has " << got.size() << " bytes of "
            << model[file].size() << ", other from " << at.first - got.begin() << done;
        ASSERT_EQ(w.stat(*mounts[0], inos[file]).allocated,
                  w.stat(*mounts[1], inos[file]).allocated);
      }
    }
  }
}

}  // namespace
}  // namespace dfs
