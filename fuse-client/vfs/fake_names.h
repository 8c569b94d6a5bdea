#pragma once
// The name server of the fake cluster: sessions that answer from its maps.
//
// Thread: the test's. Owner: the RPC system.

#include "fuse-client/vfs/fake_state.h"

#include <rpc-schema/cluster.capnp.h>

namespace dfs::fake {

inline void attrTo(uint64_t ino, const Inode& i, schema::Attr::Builder b) {
  b.setIno(ino);
  b.setKind(i.kind);
  b.setMode(i.mode);
  b.setNlink(1);
  b.setSize(i.size);
  b.setBlockBytes(i.blockBytes);
  toWire(i.mtime, b.initMtime());
  b.initDataVersion().setCount(i.version);
  uint64_t allocated = 0;
  for (auto& [index, row] : i.rows) allocated += row.end;
  b.setAllocated(allocated);
  b.setXattrs(!i.xattrs.empty());
}

class SessionServer final : public schema::Session::Server {
 public:
  SessionServer(Cluster& c, uint64_t id) : c_(c), id_(id) {}

  bool gone() { return c_.sessions.count(id_) == 0; }
  kj::Promise<void> claim(ClaimContext x) override {
    for (auto lease : x.getParams().getLeases()) {
      auto& i = c_.inodes[lease.getIno()];
      if (i.sequence == lease.getSequence()) ++c_.claimed;
    }
    if (c_.locks.refuseClaims) {
      c_.endSession(id_);
      x.getResults().setErr(Errno::STALE);
      return kj::READY_NOW;
    }
    if (x.getParams().getLast()) c_.locks.claim(id_, x.getParams().getLocks());
    return kj::READY_NOW;
  }
  kj::Promise<void> renew(RenewContext x) override {
    x.getResults().setErr(gone() ? Errno::STALE : Errno::OK);
    x.getResults().setLeaseMs(kSessionLeaseMs);
    return kj::READY_NOW;
  }
  kj::Promise<void> lookup(LookupContext x) override {
    auto p = x.getParams();
    auto& names = c_.inodes[p.getParent()].names;
    auto name = p.getName();
    auto found = names.find(std::string(name.asChars().begin(), name.size()));
    if (found == names.end()) {
      x.getResults().setErr(Errno::NO_ENT);
      return kj::READY_NOW;
    }
    auto ino = found->second;
    return c_.others(ino, id_).then(
        [this, ino, x]() mutable { attrTo(ino, c_.inodes[ino], x.getResults().initAttr()); });
  }
  kj::Promise<void> getattr(GetattrContext x) override {
    auto ino = x.getParams().getIno();
    if (gone() || c_.inodes.count(ino) == 0) {
      x.getResults().setErr(Errno::STALE);
      return kj::READY_NOW;
    }
    return c_.others(ino, id_).then(
        [this, ino, x]() mutable { attrTo(ino, c_.inodes[ino], x.getResults().initAttr()); });
  }
  kj::Promise<void> readdir(ReaddirContext x) override {
    auto p = x.getParams();
    auto& names = c_.inodes[p.getIno()].names;
    auto list = x.getResults().initEntries(p.getCookie() > 2 ? 0 : names.size());
    x.getResults().setParent(1);
    uint32_t n = 0;
    for (auto& [name, ino] : names) {
      if (n >= list.size()) break;
      list[n].setName(
          capnp::Data::Reader(reinterpret_cast<const kj::byte*>(name.data()), name.size()));
      list[n].setIno(ino);
      list[n].setKind(c_.inodes[ino].kind);
      list[n].setCookie(10 + n);
      if (p.getAttrs()) attrTo(ino, c_.inodes[ino], list[n].initAttr());
      ++n;
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> rows(RowsContext x) override {
    auto ino = x.getParams().getIno();
    ++c_.rowsCalls;
    c_.onRows();
    return c_.others(ino, id_).then([this, ino, x]() mutable {
      auto& i = c_.inodes[ino];
      auto r = x.getResults();
      r.setSize(i.size);
      r.setView(c_.view.version);
      r.initDataVersion().setCount(i.version);
      rowsTo(i, r.initRows(i.rows.size()));
    });
  }
  kj::Promise<void> acquire(AcquireContext x) override {
    auto ino = x.getParams().getIno();
    if (gone() || c_.inodes.count(ino) == 0) {
      x.getResults().setErr(Errno::STALE);
      return kj::READY_NOW;
    }
    return c_.others(ino, id_).then([this, ino, x]() mutable {
      auto& i = c_.inodes[ino];
      grantTo(i, x.getResults().initGrant());
      attrTo(ino, i, x.getResults().initAttr());
      rowsTo(i, x.getResults().initRows(i.rows.size()));
      x.getResults().setRowsComplete(true);
    });
  }
  kj::Promise<void> granted(GrantedContext) override { return kj::READY_NOW; }
  kj::Promise<void> release(ReleaseContext x) override {
    for (auto lease : x.getParams().getLeases()) {
      auto& i = c_.inodes[lease.getIno()];
      if (i.holder == id_ && i.sequence <= lease.getSequence()) i.holder = 0;
    }
    c_.changed.wake();
    return kj::READY_NOW;
  }
  kj::Promise<void> releasing(ReleasingContext) override { return kj::READY_NOW; }
  kj::Promise<void> unpin(UnpinContext) override { return kj::READY_NOW; }
  kj::Promise<void> allot(AllotContext x) override {
    std::vector<uint64_t> open;
    for (auto& [id, chain] : c_.view.chains) open.push_back(id.value);
    auto list = x.getResults().initRanges(open.size());
    for (uint32_t n = 0; n < open.size(); ++n) {
      list[n].setChain(open[n]);
      list[n].setFirst(c_.nextBlock[open[n]] + 1);
      list[n].setCount(8);
      c_.nextBlock[open[n]] += 8;
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> statfs(StatfsContext x) override {
    auto stat = x.getResults().initStat();
    stat.setBytes(c_.bytesFree);
    stat.setBytesFree(c_.bytesFree);
    return kj::READY_NOW;
  }
  kj::Promise<void> view(ViewContext x) override {
    if (c_.view.version > x.getParams().getKnown()) {
      toWire(c_.view, x.getResults().initView());
      return kj::READY_NOW;
    }
    return c_.changed.next().then([this, x]() mutable { return view(x); });
  }
  kj::Promise<void> lock(LockContext x) override {
    if (gone()) {
      x.getResults().setErr(Errno::STALE);
      return kj::READY_NOW;
    }
    auto p = x.getParams();
    auto lock = fromWire(p.getLock());
    return c_.locks.ask(id_, *lock, p.getWait(), p.getTicket()).then([this, x](Errno err) mutable {
      if (c_.locks.loseAnswers > 0) {
        --c_.locks.loseAnswers;
        kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the answer is lost"));
      }
      x.getResults().setErr(err);
    });
  }
  kj::Promise<void> testLock(TestLockContext x) override {
    auto lock = fromWire(x.getParams().getLock());
    auto to = x.getResults().initBlocker();
    KJ_IF_MAYBE(found, c_.locks.against(id_, *lock)) {
      auto& [owner, range] = *found;
      toWire({lock->ino, owner.second, lock->space, range.kind, range.span, range.pid}, to);
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> cancelLock(CancelLockContext x) override {
    c_.locks.cancel(id_, x.getParams().getTicket());
    return kj::READY_NOW;
  }
  kj::Promise<void> end(EndContext) override {
    c_.endSession(id_);
    return kj::READY_NOW;
  }
  kj::Promise<void> apply(ApplyContext x) override;
  kj::Promise<void> getxattr(GetxattrContext x) override {
    ++c_.xattrCalls;
    auto& xattrs = c_.inodes[x.getParams().getIno()].xattrs;
    auto name = x.getParams().getName().asChars();
    auto found = xattrs.find(std::string(name.begin(), name.size()));
    x.getResults().setErr(found == xattrs.end() ? Errno::NO_DATA : Errno::OK);
    if (found != xattrs.end()) x.getResults().setValue(dataOf(found->second));
    return kj::READY_NOW;
  }
  kj::Promise<void> listxattr(ListxattrContext x) override {
    ++c_.xattrCalls;
    auto& xattrs = c_.inodes[x.getParams().getIno()].xattrs;
    auto list = x.getResults().initNames(xattrs.size());
    uint32_t n = 0;
    for (auto& [name, value] : xattrs) list.set(n++, dataOf(name));
    return kj::READY_NOW;
  }

 private:
  static capnp::Data::Reader dataOf(const std::string& text) {
    return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(text.data()), text.size());
  }
  static void rowsTo(const Inode& i, capnp::List<schema::Row>::Builder list) {
    uint32_t n = 0;
    for (auto& [index, row] : i.rows) {
      list[n].setIndex(index);
      list[n].setBlock(row.block.value);
      list[n].setShared(row.shared);
      list[n++].setEnd(row.end);
    }
  }
  static BlockMap mapOf(const Inode& i) {
    BlockMap map;
    map.reset(i.size, i.blockBytes, true);
    for (auto& [index, row] : i.rows) map.put(index, row);
    return map;
  }
  void grantTo(Inode& i, schema::Grant::Builder b) {
    if (i.holder != id_) {
      i.holder = id_;
      i.sequence = c_.nextSequence++;
      ++i.version;
    }
    b.setSequence(i.sequence);
    b.setLease(schema::Lease::EXCLUSIVE);
    b.setView(c_.view.version);
  }
  std::pair<Errno, uint64_t> perform(schema::Command::Reader command);

  Cluster& c_;
  const uint64_t id_;
};

inline std::pair<Errno, uint64_t> SessionServer::perform(schema::Command::Reader command) {
  auto text = [](capnp::Data::Reader d) { return std::string(d.asChars().begin(), d.size()); };
  auto what = command.getDo();
  if (what.isCreate()) {
    auto create = what.getCreate();
    auto& names = c_.inodes[create.getParent()].names;
    if (names.count(text(create.getName())) != 0) return {Errno::EXIST, 0};
    ++c_.creates;
    auto ino = c_.nextIno++;
    names[text(create.getName())] = ino;
    c_.inodes[ino].kind = create.getKind();
    c_.inodes[ino].mode = create.getMode() & ~create.getUmask();
    c_.inodes[ino].blockBytes = c_.blockBytes;
    return {Errno::OK, ino};
  }
  if (what.isPublish()) {
    auto publish = what.getPublish();
    auto& i = c_.inodes[publish.getIno()];
    ++c_.published;
    i.size = publish.getSize();
    for (auto row : publish.getRows()) {
      BlockId block(row.getBlock());
      auto& old = i.rows[row.getIndex()];
      KJ_ASSERT(old.block != block || !old.shared || row.getEnd() <= old.end, "written in place");
      old = {block, row.getEnd(), old.block == block && old.shared};
    }
    if (publish.getSetMtime()) i.mtime = fromWire(publish.getMtime());
    ++i.version;
    return {Errno::OK, publish.getIno()};
  }
  if (what.isPunch()) {
    auto punch = what.getPunch();
    auto& i = c_.inodes[punch.getIno()];
    i.rows.erase(i.rows.lower_bound(punch.getFirst()), i.rows.lower_bound(punch.getEnd()));
    i.mtime = fromWire(punch.getMtime());
    ++i.version;
    return {Errno::OK, punch.getIno()};
  }
  if (what.isClone()) {
    auto clone = what.getClone();
    auto& from = c_.inodes[clone.getFrom()];
    auto& to = c_.inodes[clone.getTo()];
    if (from.holder != id_ || to.holder != id_) return {Errno::STALE, 0};
    auto map = mapOf(to);
    map.clone(mapOf(from), clone.getFromFirst(), clone.getCount(), clone.getToFirst(),
              clone.getSize());
    to.rows = map.rows();
    to.size = map.size();
    to.mtime = fromWire(clone.getMtime());
    ++to.version;
    auto source = mapOf(from);
    source.share(clone.getFromFirst(), clone.getCount());
    from.rows = source.rows();
    return {Errno::OK, clone.getTo()};
  }
  if (what.isSetattr()) {
    auto set = what.getSetattr();
    auto& i = c_.inodes[set.getIno()];
    if (set.getSet().getSize()) {
      auto map = mapOf(i);
      map.resize(set.getSize());
      i.rows = map.rows();
      i.size = set.getSize();
      ++i.mtime.sec;
    }
    if (set.getSet().getMtime()) i.mtime = fromWire(set.getMtime());
    ++i.version;
    return {Errno::OK, set.getIno()};
  }
  if (what.isSetxattr()) {
    auto set = what.getSetxattr();
    auto& i = c_.inodes[set.getIno()];
    bool there = i.xattrs.count(text(set.getName())) != 0;
    if (there && set.getCreate()) return {Errno::EXIST, 0};
    if (!there && (set.getReplace() || set.getRemove())) return {Errno::NO_DATA, 0};
    if (set.getRemove()) {
      i.xattrs.erase(text(set.getName()));
    } else {
      i.xattrs[text(set.getName())] = text(set.getValue());
    }
    return {Errno::OK, set.getIno()};
  }
  if (what.isRename()) {
    auto rename = what.getRename();
    auto& from = c_.inodes[rename.getFromParent()].names;
    auto found = from.find(text(rename.getFromName()));
    if (found == from.end()) return {Errno::NO_ENT, 0};
    c_.inodes[rename.getToParent()].names[text(rename.getToName())] = found->second;
    from.erase(found);
    return {Errno::OK, 0};
  }
  return {Errno::NOT_SUP, 0};
}

inline kj::Promise<void> SessionServer::apply(ApplyContext x) {
  auto r = x.getResults();
  if (gone()) {
    r.setErr(Errno::STALE);
    return kj::READY_NOW;
  }
  auto command = x.getParams().getCommand();
  auto key = std::make_pair(command.getRequest().getClient(), command.getRequest().getSequence());
  auto known = c_.answers.find(key);
  if (known == c_.answers.end()) known = c_.answers.emplace(key, perform(command)).first;
  if (c_.loseNextAnswer) {
    c_.loseNextAnswer = false;
    return KJ_EXCEPTION(DISCONNECTED, "the answer is lost");
  }
  auto [err, ino] = known->second;
  r.initOutcome().setErr(err);
  r.getOutcome().setIno(ino);
  if (err != Errno::OK || ino == 0) return kj::READY_NOW;
  auto& i = c_.inodes[ino];
  bool made = command.getDo().isCreate() && i.kind == schema::Kind::FILE;
  if (made && (i.holder == 0 || i.holder == id_)) grantTo(i, r.initGrant());
  attrTo(ino, i, r.initAttr());
  return kj::READY_NOW;
}

class NamesServer final : public schema::NameServer::Server {
 public:
  explicit NamesServer(Cluster& c) : c_(c) {}
  kj::Promise<void> attach(AttachContext x) override {
    auto p = x.getParams();
    auto r = x.getResults();
    auto id = p.getSession();
    if (p.getFresh()) {
      c_.sessions[id];
      c_.view.sessions.insert(SessionId(id));
      ++c_.view.version;
      c_.changed.wake();
    } else if (c_.sessions.count(id) == 0) {
      r.setErr(Errno::STALE);
      return kj::READY_NOW;
    }
    c_.sessions[id].callback = p.getCallback();
    r.setAttach(c_.nextAttach++);
    r.setSession(kj::heap<SessionServer>(c_, id));
    r.setLeaseMs(kSessionLeaseMs);
    r.setClaimsWanted(!p.getFresh());
    toWire(c_.view.cluster, r.initCluster());
    r.setView(c_.view.version);
    return kj::READY_NOW;
  }

 private:
  Cluster& c_;
};

class NameDoorServer final : public schema::NameDoor::Server {
 public:
  explicit NameDoorServer(Cluster& c) : c_(c) {}
  kj::Promise<void> nameServer(NameServerContext x) override {
    x.getResults().setNameServer(kj::heap<NamesServer>(c_));
    return kj::READY_NOW;
  }

 private:
  Cluster& c_;
};

}  // namespace dfs::fake
