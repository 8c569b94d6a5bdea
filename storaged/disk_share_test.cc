// Whoever has the room of a disk together, and that nothing that is mounted beside a store is ever entered.

#include "storaged/disk_share.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dfs {
namespace {
namespace fs = std::filesystem;

struct DiskShare : testing::Test {
  DiskShare() {
    char name[] = "/tmp/dfs-share.XXXXXX";
    top = mkdtemp(name);
    store("one");
  }
  ~DiskShare() override { fs::remove_all(top); }
  void store(const std::string& name) {
    fs::create_directory(top / name);
    std::ofstream(top / name / "identity") << "x";
  }
  fs::path top;
};

TEST_F(DiskShare, StoresSideBySideAreCounted) {
  EXPECT_EQ(storesOnDisk(top / "one"), 1u);
  store("two");
  fs::create_directory(top / "none");
  std::ofstream(top / "file") << "x";
  EXPECT_EQ(storesOnDisk(top / "one"), 2u);
  EXPECT_EQ(storesOnDisk((top / "two/").string()), 2u);
}

TEST_F(DiskShare, AStoreCountsWhereItsDirectoryReallyIs) {
  store("two");
  fs::create_directory(top / "links");
  fs::create_directory_symlink(top / "one", top / "links/a");
  EXPECT_EQ(storesOnDisk(top / "links/a"), 2u);
}

TEST_F(DiskShare, WhatIsNotThereCountsAsOne) {
  EXPECT_EQ(storesOnDisk(top / "missing"), 1u);
  EXPECT_EQ(storesOnDisk("/"), 1u);
}

TEST_F(DiskShare, WhatIsMountedBesideAStoreIsNotEntered) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  store("two");
  fs::create_directory(top / "mounted");
  ASSERT_EQ(mount((top / "two").c_str(), (top / "mounted").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(storesOnDisk(top / "one"), 2u);  // of the same device, and all the same not looked into
  EXPECT_EQ(storesOnDisk(top / "mounted"), 2u);
  ASSERT_EQ(umount((top / "mounted").c_str()), 0);
}

}  // namespace
}  // namespace dfs
