#include "storaged/block/read_once.h"

#include <gtest/gtest.h>

namespace dfs::block {
namespace {

TEST(ReadOnce, ASecondReadIsKnownAndAScanOfAnyLengthIsForgotten) {
  ReadOnce pieces(100);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(pieces.again(i));
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(pieces.again(i));
  for (uint64_t i = 1000; i < 1300; ++i) EXPECT_FALSE(pieces.again(i));
  for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(pieces.again(i));
}

TEST(ReadOnce, WhatIsReadAgainAndAgainStaysKnown) {
  ReadOnce pieces(100);
  pieces.again(7);
  for (uint64_t i = 1000; i < 3000; ++i) {
    pieces.again(i);
    if (i % 50 == 0) EXPECT_TRUE(pieces.again(7)) << i;
  }
}

}  // namespace
}  // namespace dfs::block
