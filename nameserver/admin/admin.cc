#include "nameserver/admin/admin.h"

#include "common/limits.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kPathsMax = 4096;
constexpr uint32_t kLocksAskedMax = 512;  // of several inodes
constexpr uint32_t kLocksOfOneMax = 2048;

Bytes bytesOf(const std::string& text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

Outcome<InodeAttr> resolvePath(Queries& queries, Bytes path) {
  auto at = queries.getattr(kRootInode);
  for (size_t i = 0; i < path.size();) {
    size_t end = i;
    while (end < path.size() && path[end] != '/') ++end;
    if (end > i) {
      if (!at.ok()) return at;
      auto found = queries.lookup(at->ino, path.slice(i, end));
      if (!found.ok()) return found.err();
      at = queries.getattr(found->ino);
    }
    i = end + 1;
  }
  return at;
}

}  // namespace

class Admin::Server final : public schema::Admin::Server {
 public:
  explicit Server(kj::Own<Link> link) : link_(kj::mv(link)) {}

 protected:
  kj::Promise<void> status(StatusContext context) override {
    context.getResults().setJson(admin().statusJson().c_str());
    return kj::READY_NOW;
  }
#define DFS_FORWARD(rpc, Name)                              \
  kj::Promise<void> rpc(Name##Context context) override {   \
    return admin().calls_.wrap<void>(admin().rpc(context)); \
  }
  DFS_FORWARD(view, View)
  DFS_FORWARD(resolve, Resolve)
  DFS_FORWARD(rows, Rows)
  DFS_FORWARD(check, Check)
  DFS_FORWARD(namedBlocks, NamedBlocks)
  DFS_FORWARD(paths, Paths)
  DFS_FORWARD(settle, Settle)
  DFS_FORWARD(locks, Locks)
#undef DFS_FORWARD

 private:
  Admin& admin() {
    if (link_->admin == nullptr) {
      kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the name server stops"));
    }
    return *link_->admin;
  }

  kj::Own<Link> link_;
};

Admin::Admin(Env& env, Kv& kv, Queries& queries, Replicator& replicator, Cluster& cluster,
             Sessions& sessions, AdminOptions options)
    : env_(env),
      kv_(kv),
      queries_(queries),
      replicator_(replicator),
      cluster_(cluster),
      sessions_(sessions),
      options_(kj::mv(options)),
      link_(kj::refcounted<Link>(*this)) {}

Admin::~Admin() noexcept(false) {
  link_->admin = nullptr;
  calls_.cancel(KJ_EXCEPTION(DISCONNECTED, "the name server stops"));
}

schema::Admin::Client Admin::client() {
  return kj::heap<Server>(kj::addRef(*link_));
}

Task<void> Admin::view(Ctx<schema::Admin::ViewParams, schema::Admin::ViewResults> context) {
  co_await replicator_.confirm();
  toWire(queries_.view(), context.getResults().initView());
}

Task<void> Admin::resolve(
    Ctx<schema::Admin::ResolveParams, schema::Admin::ResolveResults> context) {
  auto path = context.getParams().getPath();
  auto results = context.getResults();
  if (path.size() > kPathsMax) {
    results.setErr(Errno::NAME_TOO_LONG);
    co_return;
  }
  co_await replicator_.confirm();
  auto attr = resolvePath(queries_, path);
  results.setErr(attr.err());
  if (attr.ok()) toWire(*attr, results.initAttr());
}

Task<void> Admin::rows(Ctx<schema::Admin::RowsParams, schema::Admin::RowsResults> context) {
  auto params = context.getParams();
  auto results = context.getResults();
  co_await replicator_.confirm();
  auto max = std::min(params.getCount(), kRowsPerAnswerMax);
  if (max == 0) max = kRowsPerAnswerMax;
  auto rows = queries_.rows(InodeId(params.getIno()), params.getFirst(), UINT64_MAX, max);
  results.setErr(rows.err());
  if (!rows.ok()) co_return;
  results.setAtEnd(rows->size() < max);
  auto list = results.initRows(static_cast<unsigned>(rows->size()));
  for (unsigned i = 0; i < list.size(); ++i) toWire((*rows)[i], list[i]);
}

Task<void> Admin::check(Ctx<schema::Admin::CheckParams, schema::Admin::CheckResults> context) {
  co_await replicator_.confirm();
  auto step = dfs::check(kv_, context.getParams().getCursor());
  auto results = context.getResults();
  auto problems = results.initProblems(static_cast<unsigned>(step.problems.size()));
  for (unsigned i = 0; i < problems.size(); ++i) {
    problems[i].setText(step.problems[i].text.c_str());
    problems[i].setSeverity(step.problems[i].severity);
  }
  results.setNext(bytesOf(step.next));
  results.setInodes(step.inodes);
  results.setRows(step.rows);
}

Task<void> Admin::namedBlocks(
    Ctx<schema::Admin::NamedBlocksParams, schema::Admin::NamedBlocksResults> context) {
  auto params = context.getParams();
  co_await replicator_.confirm();
  auto max = std::min(params.getBlocksMax(), kInventoryBlocksMax);
  if (max == 0) max = kInventoryBlocksMax;
  BlockId above(params.getAbove());
  auto named = queries_.namedBlocks(above, max);
  // What lies in a range that a session still has, and is named nowhere, in between.
  auto handedOut = queries_.handedOut(above, max);
  size_t n = 0, h = 0;
  std::vector<Queries::NamedBlock> all;
  while (all.size() < max && (n < named.size() || h < handedOut.size())) {
    if (n < named.size() && (h == handedOut.size() || named[n].block <= handedOut[h])) {
      if (h < handedOut.size() && named[n].block == handedOut[h]) ++h;
      all.push_back(named[n++]);
    } else {
      all.push_back({handedOut[h++], InodeId(), 0, 0, schema::Admin::Use::HANDED_OUT});
    }
  }
  auto results = context.getResults();
  results.setAtEnd(all.size() < max);
  auto list = results.initBlocks(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setBlock(all[i].block.value);
    list[i].setIno(all[i].ino.value);
    list[i].setIndex(all[i].index);
    list[i].setEnd(all[i].end);
    list[i].setUse(all[i].use);
  }
}

Task<void> Admin::paths(Ctx<schema::Admin::PathsParams, schema::Admin::PathsResults> context) {
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto paths = queries_.paths(InodeId(context.getParams().getIno()));
  results.setErr(paths.err());
  if (!paths.ok()) co_return;
  auto count = static_cast<unsigned>(std::min<size_t>(paths->size(), 256));  // a frame has a bound
  auto list = results.initPaths(count);
  for (unsigned i = 0; i < count; ++i) list.set(i, bytesOf((*paths)[i]));
}

Task<void> Admin::settle(Ctx<schema::Admin::SettleParams, schema::Admin::SettleResults> context) {
  co_await sessions_.whenServing();
  co_await replicator_.confirm();
  co_await sessions_.settleAll();
  context.getResults().setErr(Errno::OK);
}

Task<void> Admin::locks(Ctx<schema::Admin::LocksParams, schema::Admin::LocksResults> context) {
  auto params = context.getParams();
  co_await sessions_.whenServing();
  co_await replicator_.confirm();
  auto max = std::min(params.getLocksMax(), kLocksAskedMax);
  if (max == 0) max = kLocksAskedMax;
  auto locks = sessions_.locks(InodeId(params.getAbove()), max);
  auto results = context.getResults();
  results.setAtEnd(locks.empty());
  if (locks.size() > kLocksOfOneMax) locks.resize(kLocksOfOneMax);
  auto list = results.initLocks(static_cast<unsigned>(locks.size()));
  auto wall = env_.clock.wallTime();
  uint64_t wallMs = static_cast<uint64_t>(wall.sec) * 1000 + wall.nsec / 1'000'000;
  InodeId last;
  for (unsigned i = 0; i < list.size(); ++i) {
    auto& [report, path, host, mount] = locks[i];
    auto& lock = report.lock;
    list[i].setIno(lock.ino.value);
    if (lock.ino != last) list[i].setPath(path.c_str());
    last = lock.ino;
    list[i].setHost(host.c_str());
    list[i].setMount(mount.c_str());
    list[i].setPid(lock.pid);
    list[i].setFlock(lock.space == schema::FileLock::Space::FLOCK);
    list[i].setWrite(lock.kind == schema::FileLock::Kind::WRITE);
    list[i].setStart(lock.span.start);
    list[i].setEnd(lock.span.end);
    list[i].setWaiting(report.waiting);
    list[i].setSinceMs(wallMs - std::min(wallMs, env_.clock.bootMs() - report.sinceMs));
  }
}

}  // namespace dfs
