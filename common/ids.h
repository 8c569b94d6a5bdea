#pragma once
// The numbers that name things. Each is a type of its own, so that one is never taken for another.

#include <rpc-schema/types.capnp.h>

#include <kj/string-tree.h>
#include <kj/string.h>
#include <compare>
#include <cstdint>
#include <cstdio>
#include <functional>

namespace dfs {

template <typename Tag> struct Id {
  uint64_t value = 0;  // 0 names nothing

  constexpr Id() = default;
  explicit constexpr Id(uint64_t v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
  explicit constexpr operator bool() const { return value != 0; }
};

template <typename Tag> auto KJ_STRINGIFY(Id<Tag> id) {
  return kj::toCharSequence(id.value);
}

using InodeId = Id<struct InodeTag>;      // root is 1; never reused
using SessionId = Id<struct SessionTag>;  // random, chosen by the client
using NodeId = Id<struct NodeTag>;        // a storage daemon's, from 1; 32 bit
using ChainId = Id<struct ChainTag>;      // from 1; 24 bit

inline constexpr InodeId kRootInode{1};

struct BlockId {
  // Chain in the upper 24 bits, sequence in the lower 40: a block never changes its chain.
  uint64_t value = 0;

  constexpr BlockId() = default;
  explicit constexpr BlockId(uint64_t v) : value(v) {}
  constexpr BlockId(ChainId chain, uint64_t sequence) : value(chain.value << 40 | sequence) {}
  constexpr ChainId chain() const { return ChainId(value >> 40); }
  constexpr uint64_t sequence() const { return value & ((uint64_t(1) << 40) - 1); }
  constexpr auto operator<=>(const BlockId&) const = default;
};
inline auto KJ_STRINGIFY(BlockId id) {
  return kj::toCharSequence(id.value);
}

struct Uuid {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const Uuid&) const = default;
  explicit operator bool() const { return high != 0 || low != 0; }
};
kj::String toString(const Uuid& uuid);
kj::Maybe<Uuid> parseUuid(kj::StringPtr text);
// "01234567-89ab-cdef-0123-456789abcdef", lower case out, any case in; null if it is not one.
inline Uuid fromWire(schema::Uuid::Reader r) {
  return {r.getHigh(), r.getLow()};
}
inline void toWire(const Uuid& u, schema::Uuid::Builder b) {
  b.setHigh(u.high);
  b.setLow(u.low);
}

struct RequestId {
  uint64_t client = 0;
  uint64_t sequence = 0;
  auto operator<=>(const RequestId&) const = default;
};
inline RequestId fromWire(schema::RequestId::Reader r) {
  return {r.getClient(), r.getSequence()};
}
inline void toWire(const RequestId& r, schema::RequestId::Builder b) {
  b.setClient(r.client);
  b.setSequence(r.sequence);
}

struct Time {
  // Of the world, UTC. For attributes only: no decision rests on it.
  int64_t sec = 0;
  uint32_t nsec = 0;  // below 10^9
  auto operator<=>(const Time&) const = default;
};
inline Time fromWire(schema::Time::Reader r) {
  return {r.getSec(), r.getNsec()};
}
inline void toWire(const Time& t, schema::Time::Builder b) {
  b.setSec(t.sec);
  b.setNsec(t.nsec);
}

}  // namespace dfs

template <typename Tag> struct std::hash<dfs::Id<Tag>> {
  size_t operator()(dfs::Id<Tag> id) const noexcept { return std::hash<uint64_t>()(id.value); }
};
template <> struct std::hash<dfs::BlockId> {
  size_t operator()(dfs::BlockId id) const noexcept { return std::hash<uint64_t>()(id.value); }
};
