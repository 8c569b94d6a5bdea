#pragma once
// Names of extended attributes: what stands before the first dot says whose they are (xattr(7)).
//
// Thread: any; values only.

#include "common/outcome.h"

#include <string_view>

namespace dfs {

inline constexpr std::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclName = "system.posix_acl_default";
inline constexpr std::string_view kCapabilityName = "security.capability";

enum class XattrSpace { USER, TRUSTED, SECURITY, ACCESS_ACL, DEFAULT_ACL };

Outcome<XattrSpace> xattrSpace(std::string_view name);
// RANGE: empty or longer than kXattrNameBytesMax. INVAL: only a prefix, or with a NUL. NOT_SUP: of no
// space that is known here.

}  // namespace dfs
