// Extended attributes of open files, capabilities among them, which writes take away.

#include "common/xattr.h"
#include "tests/sim/model_workload.h"

namespace dfs {

Task<void> ModelWorkload::onXattrs(SimClient* c, Open h, std::string what) {
  auto& all = h.node->xattrs;
  std::string n = random_.chance(50) ? "user." + name() : std::string(kCapabilityName);
  bool there = all.count(n) != 0;
  now_ = what += "attribute " + n;
  if (random_.chance(60)) {
    auto replace = static_cast<Vfs::Replace>(random_.below(3));
    auto wanted = replace == Vfs::Replace::CREATE && there     ? Errno::EXIST
                  : replace == Vfs::Replace::REPLACE && !there ? Errno::NO_DATA
                                                               : Errno::OK;
    auto value = std::to_string(random_.next());
    auto bytes = kj::heapArray(reinterpret_cast<const kj::byte*>(value.data()), value.size());
    auto err = co_await c->call(c->vfs->setxattr(h.ino, n, kj::mv(bytes), replace, {}));
    if (wanted == Errno::OK) all[n] = value;
    expect(what + " set", err, wanted);
  } else if (random_.chance(30)) {
    auto err = co_await c->call(c->vfs->removexattr(h.ino, n, {}));
    all.erase(n);
    expect(what + " remove", err, there ? Errno::OK : Errno::NO_DATA);
  } else {
    auto got = co_await c->call(c->vfs->getxattr(h.ino, n));
    if (!expect(what + " get", got, there ? Errno::OK : Errno::NO_DATA)) co_return;
    std::string value(reinterpret_cast<const char*>(got->begin()), got->size());
    if (value != all[n]) journal_.fail(what + " is " + value + ", and not " + all[n]);
  }
}

}  // namespace dfs
