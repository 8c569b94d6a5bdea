#pragma once
// POSIX lists of access rights (ACLs): their bytes as the kernel hands them out, and what they decide.
// The draft POSIX.1e 17; where it is silent, what Linux does (acl(5), fs/posix_acl.c).
//
// Thread: any; values only.
// Format of the attribute: 32 bits 2, then for each entry tag and permissions (16 bits each) and an id
// (32 bits), all little-endian. Order: owner, named users, owning group, named groups, mask, others.

#include "common/outcome.h"

#include <kj/common.h>
#include <kj/function.h>

#include <cstdint>
#include <vector>

namespace dfs {

class Acl {
 public:
  enum class Tag : uint16_t {
    USER_OBJ = 0x01,
    USER = 0x02,
    GROUP_OBJ = 0x04,
    GROUP = 0x08,
    MASK = 0x10,
    OTHER = 0x20
  };
  struct Entry {
    Tag tag;
    uint16_t permissions;  // 4 read, 2 write, 1 execute
    uint32_t id;           // of USER and GROUP; else kNoId
    bool operator==(const Entry&) const = default;
  };
  static constexpr uint32_t kNoId = UINT32_MAX;

  static Outcome<Acl> parse(kj::ArrayPtr<const kj::byte> bytes);
  // Nothing, or no entries: an empty list, which stands for none. INVAL: not a valid one. NOT_SUP:
  // another version.
  std::vector<kj::byte> encode() const;  // REQUIRES: not empty

  bool empty() const { return entries_.empty(); }
  bool minimal() const;
  // It says no more than permission bits can: no named users and groups, no mask.
  uint32_t toMode(uint32_t mode) const;
  // `mode` with the permission bits that the list stands for; those of the group are the mask's, if
  // there is one.
  void chmod(uint32_t mode);
  // The reverse: takes the permission bits over.
  uint32_t create(uint32_t mode);
  // A default list becomes the access list of a new object that was asked for with `mode`: neither
  // gives what the other withholds. Returns the new object's mode.

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  Entry* find(Tag tag);
  Entry& groupClass();

  std::vector<Entry> entries_;  // valid, or empty
};

struct Guarded {
  // What an object says of itself.
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
};
bool permits(const Guarded& object, const Acl& acl, uint32_t uid,
             kj::FunctionParam<bool(uint32_t gid)> inGroup, uint32_t want);
// Whether this user may do all of `want` (4, 2, 1). An empty list: the mode alone decides. As in Linux
// the list is not looked at where the mode gives its group nothing. What root may is not asked here.

}  // namespace dfs
