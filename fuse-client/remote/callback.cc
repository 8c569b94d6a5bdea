#include "fuse-client/remote/callback.h"

namespace dfs {

kj::Promise<void> NameClient::CallbackServer::recall(RecallContext context) {
  auto params = context.getParams();
  if (current_()) events_.recall(InodeId(params.getIno()), params.getSequence());
  return kj::READY_NOW;
}

kj::Promise<void> NameClient::CallbackServer::stillUsed(StillUsedContext context) {
  // After everything that has already arrived has been seen: an answer to a lookup that came before
  // this call counts as use (G4).
  return kj::evalLast([this, context]() mutable {
    std::vector<InodeId> asked;
    for (auto ino : context.getParams().getInos()) asked.push_back(InodeId(ino));
    std::vector<InodeId> used;
    if (current_()) used = events_.stillUsed(kj::mv(asked));
    auto list = context.getResults().initUsed(used.size());
    for (size_t i = 0; i < used.size(); ++i) list.set(i, used[i].value);
  });
}

kj::Promise<void> NameClient::CallbackServer::viewChanged(ViewChangedContext context) {
  // The view is followed by a call that hangs until there is a newer one; nothing more to do.
  return kj::READY_NOW;
}

}  // namespace dfs
