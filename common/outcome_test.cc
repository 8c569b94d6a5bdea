#include "common/outcome.h"

#include <capnp/schema.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace dfs {
namespace {

TEST(Outcome, EveryEnumerantOfTheSchemaHasARow) {
  // Method: an enumerant without a row falls back to EIO, so those that mean EIO are listed here.
  for (auto e : capnp::Schema::from<Errno>().getEnumerants()) {
    auto err = static_cast<Errno>(e.getOrdinal());
    bool ours = err >= Errno::CORRUPT || err == Errno::IO;
    EXPECT_EQ(toHost(err) == EIO, ours) << e.getProto().getName().cStr();
  }
}

TEST(Outcome, ErrnosOfTheHostComeBackAsTheyWent) {
  for (int host : {EPERM, ENOENT, ENOSPC, ENOTEMPTY, ESTALE, EIO}) {
    EXPECT_EQ(toHost(fromHost(host)), host);
  }
  EXPECT_EQ(fromHost(EBADF), Errno::IO);
}

TEST(Outcome, ANumberFromANewerPeerIsAnInputOutputError) {
  EXPECT_EQ(toHost(static_cast<Errno>(999)), EIO);
  EXPECT_EQ(nameOf(static_cast<Errno>(999)), "UNKNOWN");
}

TEST(Outcome, AnExceptionIsNeverStale) {
  EXPECT_EQ(errnoOf(KJ_EXCEPTION(DISCONNECTED, "gone")), Errno::IO);
  EXPECT_EQ(errnoOf(KJ_EXCEPTION(UNIMPLEMENTED, "old peer")), Errno::NOT_SUP);
}

}  // namespace
}  // namespace dfs
