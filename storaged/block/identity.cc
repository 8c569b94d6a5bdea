// The file `identity`: which store this is, and of which cluster. 56 bytes: magic "DFSSTORE", version, store, cluster (16 each),
// checksum; little-endian. Replaced by rename, so a crash leaves the old one or the new one.

#include "common/checksum.h"
#include "common/task.h"
#include "storaged/block/block_store.h"

#include <kj/debug.h>

#include <cstring>

namespace dfs {
namespace {

constexpr const char* kName = "identity";
constexpr const char* kNewName = "identity.new";
constexpr uint64_t kMagic = 0x45524f5453534644;
constexpr uint64_t kVersion = 1;
constexpr size_t kNumbers = 7;

using Encoded = std::array<kj::byte, kNumbers * 8>;

Encoded encode(const uint64_t (&numbers)[kNumbers]) {
  Encoded bytes;
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<kj::byte>(numbers[i / 8] >> (8 * (i % 8)));
  return bytes;
}

Task<kj::Maybe<StoreIdentity>> readNow(Env& env) {
  auto opened = co_await env.disk.open(kName, OpenMode::MUST_EXIST);
  if (!opened.ok()) {
    KJ_REQUIRE(opened.err() == Errno::NO_ENT, "the store's identity cannot be read",
               nameOf(opened.err()));
    auto names = co_await env.disk.list("");
    KJ_REQUIRE(names.ok(), "the data directory cannot be listed", nameOf(names.err()));
    for (auto& name : *names) {
      KJ_REQUIRE(name != "segments" && name != "index",
                 "the data directory holds a store that has lost its file `identity`: it is left "
                 "as it is");
    }
    co_return nullptr;
  }
  Encoded bytes;
  auto n = co_await (*opened)->read(0, kj::arrayPtr(bytes.data(), bytes.size()));
  KJ_REQUIRE(n.ok() && *n == bytes.size(),
             "the store's file `identity` is damaged: it is too short");
  uint64_t numbers[kNumbers] = {};
  for (size_t i = 0; i < bytes.size(); ++i) numbers[i / 8] |= uint64_t(bytes[i]) << (8 * (i % 8));
  KJ_REQUIRE(numbers[0] == kMagic && numbers[6] == checksum(kj::arrayPtr(bytes.data(), 48)),
             "the store's file `identity` is damaged: its checksum is wrong");
  KJ_REQUIRE(numbers[1] == kVersion, "the store is of a version that this program does not know",
             numbers[1]);
  co_return StoreIdentity{{numbers[2], numbers[3]}, {numbers[4], numbers[5]}};
}

Task<void> writeNow(Env& env, StoreIdentity identity) {
  uint64_t numbers[kNumbers] = {kMagic,
                                kVersion,
                                identity.store.high,
                                identity.store.low,
                                identity.cluster.high,
                                identity.cluster.low,
                                0};
  auto bytes = encode(numbers);
  numbers[6] = checksum(kj::arrayPtr(bytes.data(), 48));
  bytes = encode(numbers);
  auto opened = co_await env.disk.open(kNewName, OpenMode::CREATE);
  KJ_REQUIRE(opened.ok(), "the store's identity cannot be written", nameOf(opened.err()));
  auto err = co_await (*opened)->truncate(0);
  if (err == Errno::OK)
    err = co_await (*opened)->write(0, kj::arrayPtr(bytes.data(), bytes.size()));
  if (err == Errno::OK) err = co_await (*opened)->sync();
  if (err == Errno::OK) err = co_await env.disk.rename(kNewName, kName);
  if (err == Errno::OK) err = co_await env.disk.syncDirectory("");
  KJ_REQUIRE(err == Errno::OK, "the store's identity cannot be written", nameOf(err));
}

}  // namespace

kj::Promise<kj::Maybe<StoreIdentity>> readIdentity(Env& env) {
  return readNow(env);
}
kj::Promise<void> writeIdentity(Env& env, StoreIdentity identity) {
  return writeNow(env, identity);
}

}  // namespace dfs
