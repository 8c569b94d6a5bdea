#include "common/sentence.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <kj/debug.h>

namespace dfs {
namespace {

template <typename F> std::string said(F&& f) {
  KJ_IF_MAYBE(e, kj::runCatchingExceptions(kj::fwd<F>(f))) return sentenceOf(*e);
  return "nothing was thrown";
}

TEST(Sentence, AConditionGoesAndValuesLoseTheirExpressions) {
  std::string path = "/a; b";
  int stores = 0;
  EXPECT_EQ(said([&]() { KJ_REQUIRE(stores >= 1 && path != "; ", "from 1 to 64 stores", stores); }),
            "from 1 to 64 stores: 0");
  EXPECT_EQ(said([&]() { KJ_FAIL_REQUIRE("the disk is full", path.c_str(), stores); }),
            "the disk is full: /a; b, 0");
}

TEST(Sentence, ASentenceMayHaveASemicolonAndBeOfSeveralLines) {
  std::string path = "/a";
  EXPECT_EQ(said([&]() {
              KJ_REQUIRE(path.empty(),
                         "DFS is mounted there already; `dfs umount` "
                         "ends that",
                         path.c_str());
            }),
            "DFS is mounted there already; `dfs umount` ends that: /a");
}

TEST(Sentence, OfASystemCallItsNameAndTheReasonStay) {
  std::string path = "/nowhere";
  EXPECT_EQ(said([&]() {
              int fd;
              errno = ENOENT;
              KJ_FAIL_SYSCALL("open(path.c_str(), O_RDWR)", ENOENT, path);
              (void)fd;
            }),
            "open: No such file or directory: /nowhere");
  EXPECT_EQ(sentenceOf("fd = ::open(p(\")\"), 1): No such file or directory; p = /x"),
            "open: No such file or directory: /x");
}

TEST(Sentence, TheApostropheOfAWordOpensNoQuote) {
  EXPECT_EQ(sentenceOf("expected votes != nullptr [(can't stringify) != nullptr]; there is no cluster"),
            "there is no cluster");
}

TEST(Sentence, ReasonsInsideAValueAreReadToo) {
  EXPECT_EQ(sentenceOf("remote exception: nobody answers; text = h:1; e.getDescription() = "
                       "connect(fd, a, n): Connection refused"),
            "nobody answers: h:1, connect: Connection refused");
}

TEST(Sentence, OfABugTheConditionIsTold) {
  EXPECT_EQ(said([&]() { KJ_ASSERT(1 > 2); }), "expected 1 > 2 [1 > 2]");
}

}  // namespace
}  // namespace dfs
