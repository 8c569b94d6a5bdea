// The methods of a session but apply(): each waits for what it must, then answers in one go.

#include "common/limits.h"
#include "nameserver/session/session_server.h"

#include <algorithm>

namespace dfs {
namespace {

constexpr uint32_t kIdsPerAllotMax = 4096;
constexpr uint64_t kInodesMax = uint64_t(1) << 40;
constexpr uint32_t kTriesMax = 64;  // of a question whose answer changes while it waits

template <typename Results> void putRows(const std::vector<RowInfo>& rows, Results results) {
  auto list = results.initRows(static_cast<unsigned>(rows.size()));
  for (unsigned i = 0; i < rows.size(); ++i) toWire(rows[i], list[i]);
}

}  // namespace

bool Sessions::deniedTo(CallOrigin caller, InodeId ino) {
  return current(caller).denied.count(ino) != 0;
}

void Sessions::attrToWire(const InodeAttr& attr, schema::Attr::Builder b) {
  toWire(attr, b);
  if (attr.kind == schema::Kind::FILE) versions_.toWire(attr.ino, b.initDataVersion());
}

uint64_t Sessions::grantTo(CallOrigin caller, InodeId ino, schema::Grant::Builder b) {
  bool stands = leases_.holder(ino) == caller.session;
  auto sequence = leases_.grant(ino, caller.session);
  if (!stands) {
    versions_.granted(ino, caller.session);
    counters_.grants += 1;
  }
  b.setSequence(sequence);
  b.setLease(schema::Lease::EXCLUSIVE);
  b.setView(queries_.viewVersion());
  return sequence;
}

Task<void> Sessions::renew(
    CallOrigin caller, Ctx<schema::Session::RenewParams, schema::Session::RenewResults> context) {
  co_await replicator_.confirm();
  current(caller);  // not ended meanwhile
  auto results = context.getResults();
  results.setErr(Errno::OK);
  results.setLeaseMs(kSessionLeaseMs);
  results.setView(queries_.viewVersion());
}

Task<void> Sessions::lookup(
    CallOrigin caller, Ctx<schema::Session::LookupParams, schema::Session::LookupResults> context) {
  auto params = context.getParams();
  InodeId parent(params.getParent());
  auto results = context.getResults();
  co_await admitted(caller);
  kj::Own<LeaseTable::Hold> hold;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    co_await replicator_.confirm();
    if (deniedTo(caller, parent)) {
      results.setErr(Errno::STALE);
      co_return;
    }
    auto found = queries_.lookup(parent, params.getName());
    if (!found.ok()) {
      results.setErr(found.err());
      co_return;
    }
    if (!leases_.heldByOther(found->ino, caller.session)) {
      auto attr = queries_.getattr(found->ino);
      results.setErr(attr.err());
      if (attr.ok()) attrToWire(*attr, results.initAttr());
      co_return;
    }
    auto ino = found->ino;
    hold = nullptr;
    hold = co_await leases_.use(ino, caller.session);
  }
  results.setErr(Errno::OVERLOADED);
}

Task<void> Sessions::getattr(
    CallOrigin caller,
    Ctx<schema::Session::GetattrParams, schema::Session::GetattrResults> context) {
  InodeId ino(context.getParams().getIno());
  co_await admitted(caller);
  auto hold = co_await leases_.use(ino, caller.session);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto attr = queries_.getattr(ino);
  if (deniedTo(caller, ino)) attr = Errno::STALE;
  results.setErr(attr.err());
  if (attr.ok()) attrToWire(*attr, results.initAttr());
}

Task<void> Sessions::readdir(
    CallOrigin caller,
    Ctx<schema::Session::ReaddirParams, schema::Session::ReaddirResults> context) {
  auto params = context.getParams();
  InodeId ino(params.getIno());
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto max = std::min(params.getEntriesMax(), kDirEntriesPerAnswerMax);
  if (max == 0) max = kDirEntriesPerAnswerMax;
  auto directory = queries_.getattr(ino);
  auto entries = queries_.readdir(ino, params.getCookie(), max);
  if (deniedTo(caller, ino)) entries = Errno::STALE;
  results.setErr(entries.err());
  if (!entries.ok() || !directory.ok()) co_return;
  results.setAtEnd(entries->size() < max);
  results.setParent(directory->parent.value);
  auto list = results.initEntries(static_cast<unsigned>(entries->size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    auto& entry = (*entries)[i];
    list[i].setName(Bytes(reinterpret_cast<const kj::byte*>(entry.name.data()), entry.name.size()));
    list[i].setIno(entry.ino.value);
    list[i].setKind(entry.kind);
    list[i].setCookie(entry.cookie);
    if (!params.getAttrs() || leases_.heldByOther(entry.ino, caller.session)) continue;  // G10
    auto attr = queries_.getattr(entry.ino);
    if (attr.ok()) attrToWire(*attr, list[i].initAttr());
  }
}

Task<void> Sessions::readlink(
    CallOrigin caller,
    Ctx<schema::Session::ReadlinkParams, schema::Session::ReadlinkResults> context) {
  InodeId ino(context.getParams().getIno());
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto target = queries_.readlink(ino);
  if (deniedTo(caller, ino)) target = Errno::STALE;
  results.setErr(target.err());
  if (!target.ok()) co_return;
  results.setTarget(Bytes(reinterpret_cast<const kj::byte*>(target->data()), target->size()));
}

Task<void> Sessions::getxattr(
    CallOrigin caller,
    Ctx<schema::Session::GetxattrParams, schema::Session::GetxattrResults> context) {
  // Nobody is recalled: who holds a file changes its attributes by commands, as everybody does.
  auto params = context.getParams();
  InodeId ino(params.getIno());
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto name = params.getName().asChars();
  auto value = queries_.getxattr(ino, std::string_view(name.begin(), name.size()));
  if (deniedTo(caller, ino)) value = Errno::STALE;
  results.setErr(value.err());
  if (!value.ok()) co_return;
  results.setValue(Bytes(reinterpret_cast<const kj::byte*>(value->data()), value->size()));
}

Task<void> Sessions::listxattr(
    CallOrigin caller,
    Ctx<schema::Session::ListxattrParams, schema::Session::ListxattrResults> context) {
  InodeId ino(context.getParams().getIno());
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto names = queries_.listxattr(ino);
  if (deniedTo(caller, ino)) names = Errno::STALE;
  results.setErr(names.err());
  if (!names.ok()) co_return;
  auto list = results.initNames(static_cast<unsigned>(names->size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    auto& name = (*names)[i];
    list.set(i, Bytes(reinterpret_cast<const kj::byte*>(name.data()), name.size()));
  }
}

Task<void> Sessions::rows(CallOrigin caller,
                          Ctx<schema::Session::RowsParams, schema::Session::RowsResults> context) {
  auto params = context.getParams();
  InodeId ino(params.getIno());
  co_await admitted(caller);
  auto hold = co_await leases_.use(ino, caller.session);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto attr = queries_.getattr(ino);
  if (deniedTo(caller, ino)) attr = Errno::STALE;
  if (!attr.ok() || attr->kind != schema::Kind::FILE) {
    results.setErr(!attr.ok()                              ? attr.err()
                   : attr->kind == schema::Kind::DIRECTORY ? Errno::IS_DIR
                                                           : Errno::INVAL);
    co_return;
  }
  auto rows = queries_.rows(ino, params.getFirst(), params.getCount(), kRowsPerAnswerMax);
  results.setErr(rows.err());
  if (!rows.ok()) co_return;
  results.setSize(attr->size);
  putRows(*rows, results);
  versions_.toWire(ino, results.initDataVersion());
  results.setView(queries_.viewVersion());
}

Task<void> Sessions::acquire(
    CallOrigin caller,
    Ctx<schema::Session::AcquireParams, schema::Session::AcquireResults> context) {
  InodeId ino(context.getParams().getIno());
  auto results = context.getResults();
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto attr = queries_.getattr(ino);
  if (deniedTo(caller, ino)) attr = Errno::STALE;
  if (!attr.ok() || attr->kind != schema::Kind::FILE) {
    results.setErr(!attr.ok()                              ? attr.err()
                   : attr->kind == schema::Kind::DIRECTORY ? Errno::IS_DIR
                                                           : Errno::INVAL);
    co_return;
  }
  kj::Own<LeaseTable::Hold> hold;
  if (leases_.holder(ino) != caller.session) {
    hold = co_await leases_.toGrant(ino, caller.session);
    co_await replicator_.confirm();  // S4: after the wait
  }
  attr = queries_.getattr(ino);
  if (deniedTo(caller, ino)) attr = Errno::STALE;
  results.setErr(attr.err());
  if (!attr.ok()) co_return;
  auto rows = queries_.rows(ino, 0, UINT64_MAX, kRowsPerAnswerMax);
  KJ_REQUIRE(rows.ok(), "a file without rows", ino, nameOf(rows.err()));
  grantTo(caller, ino, results.initGrant());
  attrToWire(*attr, results.initAttr());
  putRows(*rows, results);
  results.setRowsComplete(rows->size() < kRowsPerAnswerMax);
}

Task<void> Sessions::granted(
    CallOrigin caller,
    Ctx<schema::Session::GrantedParams, schema::Session::GrantedResults> context) {
  auto params = context.getParams();
  leases_.acknowledged(InodeId(params.getIno()), caller.session, params.getSequence());
  context.getResults().setErr(Errno::OK);
  co_return;
}

Task<void> Sessions::release(
    CallOrigin caller,
    Ctx<schema::Session::ReleaseParams, schema::Session::ReleaseResults> context) {
  // `pinned` is not kept: the reaper asks before it frees anything (G4).
  for (auto one : context.getParams().getLeases()) {
    leases_.released(InodeId(one.getIno()), caller.session, one.getSequence());
  }
  context.getResults().setErr(Errno::OK);
  co_return;
}

Task<void> Sessions::releasing(
    CallOrigin caller,
    Ctx<schema::Session::ReleasingParams, schema::Session::ReleasingResults> context) {
  constexpr size_t kWaitsForMax = 200;
  auto params = context.getParams();
  std::string waitsFor = params.getWaitsFor().cStr();
  if (waitsFor.size() > kWaitsForMax) waitsFor.resize(kWaitsForMax);
  leases_.sign(InodeId(params.getIno()), caller.session, params.getSequence(), kj::mv(waitsFor));
  context.getResults().setErr(Errno::OK);
  co_return;
}

Task<void> Sessions::unpin(
    CallOrigin caller, Ctx<schema::Session::UnpinParams, schema::Session::UnpinResults> context) {
  auto& live = current(caller);
  for (auto ino : context.getParams().getInos()) live.pins.erase(InodeId(ino));
  context.getResults().setErr(Errno::OK);
  co_return;
}

Task<void> Sessions::allot(
    CallOrigin caller, Ctx<schema::Session::AllotParams, schema::Session::AllotResults> context) {
  // One placement policy so far, the cluster's: forFile does not matter yet.
  auto params = context.getParams();
  auto results = context.getResults();
  if (params.getInodes() > kIdsPerAllotMax || params.getBlocks() > kIdsPerAllotMax) {
    results.setErr(Errno::INVAL);
    co_return;
  }
  co_await admitted(caller);
  std::vector<std::pair<ChainId, uint32_t>> wanted;
  if (params.getBlocks() != 0) {
    auto placed = cluster_.place(params.getBlocks());
    if (!placed.ok()) {
      results.setErr(placed.err());
      co_return;
    }
    wanted = kj::mv(*placed);
  }
  auto command = stamper_.own();
  auto allotment = command->getRoot<schema::Command>().getDo().initAllot();
  allotment.setSession(caller.session.value);
  allotment.setInodes(params.getInodes());
  auto list = allotment.initBlocks(static_cast<unsigned>(wanted.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setChain(static_cast<uint32_t>(wanted[i].first.value));
    list[i].setCount(wanted[i].second);
  }
  auto message = co_await replicator_.propose(kj::mv(command));
  auto outcome = message->getRoot<schema::Outcome>().asReader();
  results.setErr(outcome.getErr());
  results.setFirstInode(outcome.getFirstInode());
  results.setRanges(outcome.getRanges());
}

Task<void> Sessions::statfs(
    CallOrigin caller, Ctx<schema::Session::StatfsParams, schema::Session::StatfsResults> context) {
  co_await admitted(caller);
  co_await replicator_.confirm();
  auto results = context.getResults();
  auto space = cluster_.space();
  if (!space.settled) {
    results.setErr(Errno::AGAIN);
    co_return;
  }
  auto counts = queries_.counts();
  auto stat = results.initStat();
  stat.setBytes(space.bytes);
  stat.setBytesFree(space.bytesFree);
  stat.setInodes(kInodesMax);
  stat.setInodesFree(kInodesMax - std::min(kInodesMax, counts.inodes));
  stat.setNameBytesMax(kNameBytesMax);
  KJ_IF_MAYBE(cluster, queries_.cluster()) {
    stat.setBlockBytes(cluster->blockBytes);
  }
  results.setErr(Errno::OK);
}

Task<void> Sessions::viewCall(
    CallOrigin caller, Ctx<schema::Session::ViewParams, schema::Session::ViewResults> context) {
  auto known = context.getParams().getKnown();
  if (known != 0) {
    co_await cluster_.viewAfter(known);
  }
  auto results = context.getResults();
  results.setErr(Errno::OK);
  toWire(queries_.view(), results.initView());
}

}  // namespace dfs
