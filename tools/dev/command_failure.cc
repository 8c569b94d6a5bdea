#include "tools/dev/command_failure.h"

#include "common/config.h"

#include <errno.h>
#include <kj/debug.h>

#include <cstring>

namespace dfs {
namespace {

constexpr const char* kMark = "exit code";  // in place of a context's file; its line is the code

}  // namespace

void failCommand(int exitCode, const std::string& sentence) {
  kj::Exception e(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                  kj::heapString(sentence.c_str()));
  e.wrapContext(kMark, exitCode, kj::String());
  kj::throwFatalException(kj::mv(e));
}

int exitCodeOf(const kj::Exception& exception) {
  const kj::Exception::Context* context = nullptr;
  KJ_IF_MAYBE(head, exception.getContext()) context = head;
  while (context != nullptr) {
    if (strcmp(context->file, kMark) == 0) return context->line;
    const kj::Exception::Context* next = nullptr;
    KJ_IF_MAYBE(n, context->next) next = n->get();
    context = next;
  }
  return exception.getType() == kj::Exception::Type::DISCONNECTED ? kExitUnreachable : kExitFailed;
}

int exitCodeOf(int hostErrno) {
  switch (hostErrno) {
    case ENOENT:
    case ENOTDIR:
      return kExitNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return kExitDenied;
    default:
      return kExitFailed;
  }
}

}  // namespace dfs
