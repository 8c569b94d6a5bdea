#include "common/xattr.h"

#include "common/limits.h"

namespace dfs {
namespace {

struct Prefix {
  std::string_view text;
  XattrSpace space;
};
constexpr Prefix kPrefixes[] = {{"user.", XattrSpace::USER},
                                {"trusted.", XattrSpace::TRUSTED},
                                {"security.", XattrSpace::SECURITY}};

}  // namespace

Outcome<XattrSpace> xattrSpace(std::string_view name) {
  if (name.empty() || name.size() > kXattrNameBytesMax) return Errno::RANGE;
  if (name.find('\0') != name.npos) return Errno::INVAL;
  if (name == kAccessAclName) return XattrSpace::ACCESS_ACL;
  if (name == kDefaultAclName) return XattrSpace::DEFAULT_ACL;
  for (auto& prefix : kPrefixes) {
    if (name.substr(0, prefix.text.size()) != prefix.text) continue;
    if (name.size() == prefix.text.size()) return Errno::INVAL;
    return prefix.space;
  }
  return Errno::NOT_SUP;
}

}  // namespace dfs
