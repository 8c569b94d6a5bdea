#include "fuse-client/fuse/newer_requests.h"

#include <sys/sysmacros.h>

#include <cstring>

namespace dfs {
namespace {

struct Header {  // fuse_in_header
  uint32_t bytes, opcode;
  uint64_t unique, node;
  uint32_t uid, gid, pid, extensions;
};
static_assert(sizeof(Header) == 40);

struct Getattr {  // fuse_getattr_in; fuse_statx_in begins with it
  uint32_t flags, unused;
  uint64_t handle;
};

constexpr uint32_t kGetattr = 3;
constexpr uint32_t kCreate = 35;
constexpr uint32_t kTmpfile = 51;
constexpr uint32_t kStatx = 52;
constexpr uint32_t kWithHandle = 1;

statx_timestamp toStatx(const timespec& t) {
  statx_timestamp to{};
  to.tv_sec = t.tv_sec;
  to.tv_nsec = static_cast<uint32_t>(t.tv_nsec);
  return to;
}

}  // namespace

void translateNewer(kj::ArrayPtr<kj::byte> request) {
  Header header;
  if (request.size() < sizeof header) return;
  memcpy(&header, request.begin(), sizeof header);
  if (header.opcode == kTmpfile) {
    header.opcode = kCreate;
  } else if (header.opcode == kStatx && request.size() >= sizeof header + sizeof(Getattr)) {
    header.opcode = kGetattr;
    Getattr get{kWithHandle, 0, kStatxHandle};
    memcpy(request.begin() + sizeof header, &get, sizeof get);
  } else {
    return;
  }
  memcpy(request.begin(), &header, sizeof header);
}

StatxAnswer statxAnswer(const struct stat& st, timespec btime) {
  StatxAnswer answer;
  auto& to = answer.stat;
  to.stx_mask = STATX_BASIC_STATS | STATX_BTIME;
  to.stx_blksize = static_cast<uint32_t>(st.st_blksize);
  to.stx_nlink = static_cast<uint32_t>(st.st_nlink);
  to.stx_uid = st.st_uid;
  to.stx_gid = st.st_gid;
  to.stx_mode = static_cast<uint16_t>(st.st_mode);
  to.stx_ino = st.st_ino;
  to.stx_size = static_cast<uint64_t>(st.st_size);
  to.stx_blocks = static_cast<uint64_t>(st.st_blocks);
  to.stx_atime = toStatx(st.st_atim);
  to.stx_btime = toStatx(btime);
  to.stx_ctime = toStatx(st.st_ctim);
  to.stx_mtime = toStatx(st.st_mtim);
  to.stx_rdev_major = major(st.st_rdev);
  to.stx_rdev_minor = minor(st.st_rdev);
  return answer;
}

}  // namespace dfs
