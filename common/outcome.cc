#include "common/outcome.h"

#include <capnp/schema.h>

#include <cerrno>

namespace dfs {
namespace {

struct Pair {
  Errno ours;
  int host;
};

// The first row with an errno decides fromHost(); each Errno has one row.
constexpr Pair kTable[] = {
    {Errno::OK, 0},
    {Errno::PERM, EPERM},
    {Errno::NO_ENT, ENOENT},
    {Errno::IO, EIO},
    {Errno::NO_MEM, ENOMEM},
    {Errno::ACCESS, EACCES},
    {Errno::EXIST, EEXIST},
    {Errno::X_DEV, EXDEV},
    {Errno::NOT_DIR, ENOTDIR},
    {Errno::IS_DIR, EISDIR},
    {Errno::INVAL, EINVAL},
    {Errno::TOO_LARGE, EFBIG},
    {Errno::NO_SPACE, ENOSPC},
    {Errno::RO_FS, EROFS},
    {Errno::MANY_LINKS, EMLINK},
    {Errno::NAME_TOO_LONG, ENAMETOOLONG},
    {Errno::NOT_EMPTY, ENOTEMPTY},
    {Errno::LOOP, ELOOP},
    {Errno::NOT_SUP, EOPNOTSUPP},
    {Errno::STALE, ESTALE},
    {Errno::INTR, EINTR},
    {Errno::AGAIN, EAGAIN},
    {Errno::NO_SYS, ENOSYS},
    {Errno::RANGE, ERANGE},
    {Errno::NO_DATA, ENODATA},
    {Errno::BUSY, EBUSY},
    {Errno::OVERFLOW, EOVERFLOW},
    {Errno::DEAD_LOCK, EDEADLK},
    {Errno::NO_TTY, ENOTTY},
    {Errno::TIMED_OUT, ETIMEDOUT},
    {Errno::QUOTA, EDQUOT},
    {Errno::CORRUPT, EIO},
    {Errno::WRONG_EPOCH, EIO},
    {Errno::NOT_LIVE, EIO},
    {Errno::NO_BLOCK, EIO},
    {Errno::OVERLOADED, EIO},
    {Errno::WRONG_CLUSTER, EIO},
    {Errno::NOT_LEADER, EIO},
    {Errno::REFUSED, EIO},
};

}  // namespace

int toHost(Errno err) {
  for (auto& row : kTable) {
    if (row.ours == err) return row.host;
  }
  return EIO;
}

Errno fromHost(int hostErrno) {
  for (auto& row : kTable) {
    if (row.host == hostErrno) return row.ours;
  }
  return hostErrno == EDQUOT ? Errno::NO_SPACE : Errno::IO;
}

Errno errnoOf(const kj::Exception& exception) {
  return exception.getType() == kj::Exception::Type::UNIMPLEMENTED ? Errno::NOT_SUP : Errno::IO;
}

kj::StringPtr nameOf(Errno err) {
  auto enumerants = capnp::Schema::from<Errno>().getEnumerants();
  auto number = static_cast<uint16_t>(err);
  if (number >= enumerants.size()) return "UNKNOWN";
  return enumerants[number].getProto().getName();
}

}  // namespace dfs
