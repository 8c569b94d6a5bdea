#include "fuse-client/vfs/vfs.h"

#include "fuse-client/vfs/client.h"

namespace dfs {

kj::Own<Vfs> newVfs(Env& env, VfsOptions options) {
  return kj::heap<Client>(env, kj::mv(options));
}

}  // namespace dfs
