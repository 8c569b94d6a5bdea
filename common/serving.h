#pragma once
// Whether a name server that was started has come far enough that mounts can be let in.
//
// Thread: the caller's, which it blocks. No loop is needed.

#include <string>

namespace dfs {

std::string whyNotServing(const std::string& http);
// Empty: it serves. Otherwise a sentence. `http` is the name server's address for HTTP.
// Clients of an earlier life that have not come back are no reason: it is only a new client's request that makes the name
// server end them, so whoever waited for that before mounting would wait for ever.

}  // namespace dfs
