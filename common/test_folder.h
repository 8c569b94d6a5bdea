#pragma once
// A directory of a test's own, which goes with it.
//
// Thread: any. Owner: the test.

#include <kj/debug.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace dfs {

class TestFolder {
 public:
  TestFolder() {
    // mkdtemp() puts what nobody else has in the place of the marks at the end.
    std::string name = "/tmp/dfs-test-" + std::string(6, 'X');
    KJ_REQUIRE(mkdtemp(name.data()) != nullptr, "no directory for a test", name.c_str());
    path = std::filesystem::canonical(name).string();
  }
  ~TestFolder() noexcept {
    std::error_code ignored;  // a test that leaves something behind is no worse for it
    std::filesystem::remove_all(path, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string path;  // absolute, without symbolic links
};

}  // namespace dfs
