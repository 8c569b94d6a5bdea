#pragma once
// What every daemon does first and last: the allocator's settings, signals, file limits.
//
// Thread: main's, before any other is started. Owner: main().

#include <kj/async-unix.h>

namespace dfs {

void prepareProcess();
// Allocator: keeps the memory of large messages (1 MiB and more) instead of giving it back with
// each. SIGPIPE is ignored. The limit of open files is raised as far as it goes. SIGTERM, SIGINT
// and SIGHUP are left to endSignal(). REQUIRES: called first in main(), before a kj::UnixEventPort
// exists.

void prepareCommand();
// The same for a command that a person waits for: SIGTERM and SIGINT end it as they end any other.

kj::Promise<int> endSignal(kj::UnixEventPort& port);
// Resolves with the first SIGTERM or SIGINT.

bool isLoopback(kj::StringPtr address);
// "127.x:p", "[::1]:p", "localhost:p" and "unix:..." are.

kj::Maybe<kj::String> wrongAddress(kj::StringPtr address);
// A sentence if that is no address to call: "HOST:PORT" with a port from 1 to 65535, or "unix:/path". Nothing is looked up.

}  // namespace dfs
