// rename and renameat2: what becomes of both names, and which error comes first.
#include <fcntl.h>
#include <stdio.h>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

TEST(Rename, ExchangeSwapsTwoNames) {
  Place p;
  makeFile(p.here("a"), "one");
  makeDirectory(p.here("b"));
  makeFile(p.here("b/inside"), "two");
  auto a = statOf(p.here("a")).st_ino, b = statOf(p.here("b")).st_ino;

  ASSERT_OK(
      renameat2(AT_FDCWD, p.here("a").c_str(), AT_FDCWD, p.here("b").c_str(), RENAME_EXCHANGE));
  EXPECT_EQ(statOf(p.there("a")).st_ino, b);
  EXPECT_EQ(statOf(p.there("b")).st_ino, a);
  EXPECT_EQ(contentsOf(p.there("b")), "one");
  EXPECT_EQ(contentsOf(p.there("a/inside")), "two");
}

TEST(Rename, NoReplaceRefusesWhatExists) {
  Place p;
  makeFile(p.here("a"), "one");
  makeFile(p.here("b"), "two");
  EXPECT_ERRNO(EEXIST, renameat2(AT_FDCWD, p.here("a").c_str(), AT_FDCWD, p.here("b").c_str(),
                                 RENAME_NOREPLACE));
  EXPECT_EQ(contentsOf(p.there("b")), "two");
  EXPECT_OK(
      renameat2(AT_FDCWD, p.here("a").c_str(), AT_FDCWD, p.here("c").c_str(), RENAME_NOREPLACE));
  EXPECT_EQ(contentsOf(p.there("c")), "one");
  EXPECT_ERRNO(ENOENT, access(p.there("a").c_str(), F_OK));
}

}  // namespace
}  // namespace dfs::posix
