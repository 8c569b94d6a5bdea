#include "fuse-client/fuse/directory_places.h"

#include <gtest/gtest.h>
#include <kj/async.h>

#include <string>
#include <vector>

namespace dfs {
namespace {

struct Places : KernelEntries {
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  std::vector<std::string> drops;
  std::vector<kj::Own<kj::PromiseFulfiller<void>>> under;
  DirectoryPlaces places{timer};

  Places() { places.setKernel(*this); }
  kj::Promise<void> dropEntry(InodeId parent, const std::string& name) override {
    drops.push_back(std::to_string(parent.value) + "/" + name);
    auto pair = kj::newPromiseAndFulfiller<void>();
    under.push_back(kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }
  void told(uint64_t directory, uint64_t parent, const char* name) {
    places.told(InodeId(directory), InodeId(parent), name);
  }
  using Drops = std::vector<std::string>;
};

TEST(DirectoryPlaces, WhatAnotherMountHasMovedIsDroppedWhereItWas) {
  Places p;
  p.told(9, 2, "d");
  p.told(9, 2, "d");
  EXPECT_EQ(p.drops, Places::Drops());
  p.told(9, 3, "d");
  EXPECT_EQ(p.drops, Places::Drops{"2/d"});
  p.told(9, 2, "d");
  EXPECT_EQ(p.drops, (Places::Drops{"2/d", "3/d"}));
}

TEST(DirectoryPlaces, WhatTheKernelItselfHasMovedIsNotDropped) {
  Places p;
  p.told(9, 2, "d");
  p.places.renamed(InodeId(2), "d", InodeId(3), "e", false);
  p.told(9, 3, "e");
  EXPECT_EQ(p.drops, Places::Drops());
  p.told(8, 2, "d");
  p.places.renamed(InodeId(2), "d", InodeId(3), "e", true);
  p.told(9, 2, "d");
  p.told(8, 3, "e");
  EXPECT_EQ(p.drops, Places::Drops());
  p.places.renamed(InodeId(2), "file", InodeId(2), "d", true);  // a file and a directory
  p.told(9, 2, "file");
  EXPECT_EQ(p.drops, Places::Drops());
}

TEST(DirectoryPlaces, AnEntryThatBelongsToAnotherDirectoryNowStays) {
  Places p;
  p.told(9, 2, "d");
  p.told(8, 2, "d");  // another mount has replaced it
  p.told(9, 3, "d");
  EXPECT_EQ(p.drops, Places::Drops());
}

TEST(DirectoryPlaces, WhatTheKernelHasForgottenIsNowhere) {
  Places p;
  p.told(9, 2, "d");
  p.places.forgot(InodeId(9));
  p.told(9, 3, "d");
  EXPECT_EQ(p.drops, Places::Drops());
}

TEST(DirectoryPlaces, WhoWaitsForDropsGoesOnAfterThemOrAfterAWhile) {
  Places p;
  p.told(9, 2, "d");
  p.told(9, 3, "d");
  ASSERT_TRUE(p.places.dropping());
  auto first = p.places.dropped();
  EXPECT_FALSE(first.poll(p.scope));
  p.under[0]->fulfill();
  EXPECT_TRUE(first.poll(p.scope));
  EXPECT_FALSE(p.places.dropping());
  p.told(9, 2, "d");
  auto second = p.places.dropped();
  EXPECT_FALSE(second.poll(p.scope));
  p.timer.advanceTo(p.timer.now() + 20 * kj::MILLISECONDS);
  EXPECT_TRUE(second.poll(p.scope));
  EXPECT_TRUE(p.places.dropping());
}

}  // namespace
}  // namespace dfs
