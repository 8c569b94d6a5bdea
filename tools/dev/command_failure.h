#pragma once
// A failure of a command for which dfs(1) names an exit code: not found, denied, usage, ...
//
// It is a kj::Exception like any other failure, so that it passes wherever they pass; main() asks for its code at the end.
//
// Thread: any.

#include <kj/exception.h>

#include <string>

namespace dfs {

[[noreturn]] void failCommand(int exitCode, const std::string& sentence);

int exitCodeOf(const kj::Exception& exception);
// Of failCommand() what it was given; otherwise that of an unreachable cluster if it is DISCONNECTED, else kExitFailed.

int exitCodeOf(int hostErrno);
// Not found, denied, or failed.

}  // namespace dfs
