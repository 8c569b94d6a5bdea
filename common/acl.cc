#include "common/acl.h"

#include <kj/debug.h>

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kVersion = 2;
constexpr size_t kHeadBytes = 4;
constexpr size_t kEntryBytes = 8;
constexpr uint16_t kAll = 7;

uint32_t number(const kj::byte* from, size_t bytes) {
  uint32_t v = 0;
  for (size_t i = bytes; i-- > 0;) v = v << 8 | from[i];
  return v;
}

void put(std::vector<kj::byte>& to, uint32_t v, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i, v >>= 8) to.push_back(static_cast<kj::byte>(v));
}

using Tag = Acl::Tag;

bool named(Tag tag) {
  return tag == Tag::USER || tag == Tag::GROUP;
}

bool inOrder(const std::vector<Acl::Entry>& entries) {
  // One owner, users, one owning group, groups, at most one mask (needed with names), others last.
  size_t i = 0;
  auto next = [&](Tag tag) { return i < entries.size() && entries[i].tag == tag && ++i != 0; };
  if (!next(Tag::USER_OBJ)) return false;
  auto before = i;
  while (next(Tag::USER)) continue;
  bool names = i != before;
  if (!next(Tag::GROUP_OBJ)) return false;
  before = i;
  while (next(Tag::GROUP)) continue;
  names = names || i != before;
  bool mask = next(Tag::MASK);
  if (names && !mask) return false;
  return next(Tag::OTHER) && i == entries.size();
}

bool listPermits(const Acl& acl, uint32_t owningGroup, uint32_t uid,
                 kj::FunctionParam<bool(uint32_t)>& inGroup, uint32_t want) {
  // Of somebody who is not the owner.
  uint32_t mask = kAll;
  for (auto& entry : acl.entries()) {
    if (entry.tag == Tag::MASK) mask = entry.permissions;
  }
  bool member = false;
  for (auto& entry : acl.entries()) {
    bool all = (entry.permissions & want) == want;
    switch (entry.tag) {
      case Tag::USER:
        if (entry.id == uid) return all && (mask & want) == want;
        break;
      case Tag::GROUP_OBJ:
      case Tag::GROUP:
        if (!inGroup(entry.tag == Tag::GROUP ? entry.id : owningGroup)) break;
        member = true;
        if (all) return (mask & want) == want;
        break;
      case Tag::OTHER:
        return !member && all;
      case Tag::USER_OBJ:
      case Tag::MASK:
        break;
    }
  }
  return false;
}

}  // namespace

Outcome<Acl> Acl::parse(kj::ArrayPtr<const kj::byte> bytes) {
  Acl acl;
  if (bytes.size() == 0) return acl;
  if (bytes.size() < kHeadBytes) return Errno::INVAL;
  if (number(bytes.begin(), 4) != kVersion) return Errno::NOT_SUP;
  if ((bytes.size() - kHeadBytes) % kEntryBytes != 0) return Errno::INVAL;
  for (auto at = bytes.begin() + kHeadBytes; at != bytes.end(); at += kEntryBytes) {
    Entry entry{static_cast<Tag>(number(at, 2)), static_cast<uint16_t>(number(at + 2, 2)),
                number(at + 4, 4)};
    if ((entry.permissions & ~kAll) != 0) return Errno::INVAL;
    if (!named(entry.tag)) entry.id = kNoId;
    if (named(entry.tag) && entry.id == kNoId) return Errno::INVAL;
    acl.entries_.push_back(entry);
  }
  if (!acl.entries_.empty() && !inOrder(acl.entries_)) return Errno::INVAL;
  return acl;
}

std::vector<kj::byte> Acl::encode() const {
  KJ_REQUIRE(!empty(), "an empty list has no bytes");
  std::vector<kj::byte> bytes;
  bytes.reserve(kHeadBytes + entries_.size() * kEntryBytes);
  put(bytes, kVersion, 4);
  for (auto& entry : entries_) {
    put(bytes, static_cast<uint16_t>(entry.tag), 2);
    put(bytes, entry.permissions, 2);
    put(bytes, entry.id, 4);
  }
  return bytes;
}

Acl::Entry* Acl::find(Tag tag) {
  for (auto& entry : entries_) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

Acl::Entry& Acl::groupClass() {
  // Whose permissions the group bits of a mode are.
  auto mask = find(Tag::MASK);
  auto entry = mask != nullptr ? mask : find(Tag::GROUP_OBJ);
  KJ_ASSERT(entry != nullptr, "a list without its owning group");
  return *entry;
}

bool Acl::minimal() const {
  return std::none_of(entries_.begin(), entries_.end(),
                      [](auto& entry) { return named(entry.tag) || entry.tag == Tag::MASK; });
}

uint32_t Acl::toMode(uint32_t mode) const {
  mode &= ~0777u;
  uint32_t group = 0;
  for (auto& entry : entries_) {
    switch (entry.tag) {
      case Tag::USER_OBJ:
        mode |= entry.permissions << 6u;
        break;
      case Tag::GROUP_OBJ:
      case Tag::MASK:  // comes later, and counts
        group = entry.permissions;
        break;
      case Tag::OTHER:
        mode |= entry.permissions;
        break;
      case Tag::USER:
      case Tag::GROUP:
        break;
    }
  }
  return mode | group << 3;
}

void Acl::chmod(uint32_t mode) {
  if (empty()) return;
  find(Tag::USER_OBJ)->permissions = mode >> 6 & kAll;
  groupClass().permissions = mode >> 3 & kAll;
  find(Tag::OTHER)->permissions = mode & kAll;
}

uint32_t Acl::create(uint32_t mode) {
  if (empty()) return mode;
  find(Tag::USER_OBJ)->permissions &= mode >> 6;
  groupClass().permissions &= mode >> 3;
  find(Tag::OTHER)->permissions &= mode;
  return toMode(mode);
}

bool permits(const Guarded& object, const Acl& acl, uint32_t uid,
             kj::FunctionParam<bool(uint32_t gid)> inGroup, uint32_t want) {
  auto bits = object.mode;
  if (uid == object.uid) {
    bits >>= 6;
  } else if (!acl.empty() && (object.mode & 0070) != 0) {
    return listPermits(acl, object.gid, uid, inGroup, want);
  } else if (inGroup(object.gid)) {
    bits >>= 3;
  }
  return (bits & want) == want;
}

}  // namespace dfs
