#include "storaged/server.h"

namespace dfs {

StoreSeam diskStore() {
  return {[](Env& env) { return openBlockStore(env); }, [](Env& env) { return readIdentity(env); },
          [](Env& env, StoreIdentity identity) { return writeIdentity(env, identity); }};
}

}  // namespace dfs
