#pragma once
// What the name server calls on a mount. Every call is answered at once (G5).
//
// Thread: the loop's. Owner: the connection that it was passed on. One for each attach: calls
// through one whose session has ended do nothing (G1).

#include "fuse-client/remote/name_client.h"

namespace dfs {

class NameClient::CallbackServer final : public schema::Callback::Server {
 public:
  CallbackServer(NameEvents& events, kj::Function<bool()> current)
      : events_(events), current_(kj::mv(current)) {}

  kj::Promise<void> recall(RecallContext context) override;
  kj::Promise<void> stillUsed(StillUsedContext context) override;
  kj::Promise<void> viewChanged(ViewChangedContext context) override;

 private:
  NameEvents& events_;
  kj::Function<bool()> current_;
};

}  // namespace dfs
