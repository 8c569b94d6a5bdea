// Method: notes of devices that do not exist, in the directory of this user.

#include "common/mount_note.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <unistd.h>

#include <fstream>

namespace dfs {
namespace {

constexpr uint64_t kNoDevice = 0xfffffffffff1;

TEST(MountNote, IsReadAsItWasWrittenUntilItIsRemoved) {
  writeMountNote({kNoDevice, "/mnt/a b", {"host:1", "unix:/x"}, 42, "/sub", {"soft"}});
  auto note = KJ_ASSERT_NONNULL(mountNoteAt(kNoDevice));
  EXPECT_EQ(note.path, "/mnt/a b");
  EXPECT_EQ(note.nameservers, (std::vector<std::string>{"host:1", "unix:/x"}));
  EXPECT_EQ(note.pid, 42);
  EXPECT_EQ(note.subdir, "/sub");
  EXPECT_EQ(note.words, std::vector<std::string>{"soft"});
  removeMountNote(kNoDevice, 43);  // the number was another mount's before
  EXPECT_FALSE(mountNoteAt(kNoDevice) == nullptr);
  removeMountNote(kNoDevice, 42);
  EXPECT_TRUE(mountNoteAt(kNoDevice) == nullptr);
  EXPECT_TRUE(mountNoteOf("/nonexistent/file") == nullptr);
}

TEST(MountNote, OneThatSomebodyHasSpoiltCountsAsNone) {
  writeMountNote({kNoDevice, "/mnt", {"host:1"}, 42, "", {}});
  auto directory = geteuid() == 0 ? std::string("/run/dfs/mounts")
                                  : "/tmp/dfs-mounts-" + std::to_string(geteuid());
  auto file = directory + "/" + std::to_string(kNoDevice) + ".json";
  for (auto text : {"", "[]", "{\"nameservers\": 3}", "{\"nameservers\": [1]}",
                    "{\"nameservers\": [\"a\"], \"path\": 3}"}) {
    std::ofstream(file) << text;
    EXPECT_TRUE(mountNoteAt(kNoDevice) == nullptr) << text;
  }
  remove(file.c_str());
}

}  // namespace
}  // namespace dfs
