// The exclusive lease on a file: asked for, used, recalled, given back (G).

#include "fuse-client/vfs/client.h"

namespace dfs {
namespace {

constexpr uint64_t kDropPatienceMs = 20;     // of a recall, for the kernel to forget pages
constexpr uint64_t kBusyDropPatienceMs = 2;  // where READs or WRITEs of ours hold some of them
constexpr uint64_t kIdleReleaseMs = 30'000;  // nothing dirty, nobody at work
constexpr uint64_t kRestMs = 50;  // the kernel sends it at once, if it is given a processor
constexpr uint64_t kRestTickMs = 10;
constexpr uint64_t kRestRunNs = 20'000'000;  // in the kernel, until the rest is sent
constexpr uint64_t kRestsMsMax = 1'000;      // of a recall; then those who ask have their turn
constexpr uint64_t kTickMs = 500;
constexpr uint64_t kPublishEarlyMs = 1'000;  // so that kPublishAfterMs holds with the work included
constexpr uint32_t kPublishTries = 10;       // of a recall, when the name server refuses

}  // namespace

Task<Outcome<kj::Own<LeaseUse>>> Client::exclusive(kj::Own<File> file, bool append) {
  for (;;) {
    file->lastUsedMs = nowMs();
    bool rest = append && file->restsAwaited > 0 && nowMs() < file->recalledAtMs + kRestsMsMax;
    if (file->held() && (!file->recalled || rest)) {
      if (names_.leaseValid()) co_return kj::heap<LeaseUse>(kj::mv(file));
      co_await names_.whenValid();
      continue;
    }
    auto pair = kj::newPromiseAndFulfiller<Outcome<kj::Own<LeaseUse>>>();
    file->waiters.push_back(kj::mv(pair.fulfiller));
    if (!file->acquiring && !file->recalled) {
      file->acquiring = true;
      tasks_.add(acquire(kj::addRef(*file)));
    }
    auto use = co_await kj::mv(pair.promise);
    co_return kj::mv(use);
  }
}

bool Client::mayBeInCall(int32_t tid, uint64_t ranNs) {
  KJ_IF_MAYBE(callers, callers_) {
    auto state = callers->thread(tid);
    KJ_IF_MAYBE(s, state) return s->ready && s->ranNs < ranNs + kRestRunNs;
  }
  return false;
}

Task<void> Client::awaitRest(kj::Own<LeaseUse> use, kj::Own<File> file, uint64_t request,
                             int32_t tid) {
  // The kernel ends a WRITE where a page ends that it does not have: what a program has appended in one
  // call may come in two, and nobody's bytes belong in between (O_APPEND is atomic).
  auto seen = file->appends;
  ++file->restsAwaited;
  KJ_DEFER(--file->restsAwaited);
  auto answered = [&file, request]() {
    auto found = file->requests.find(request);
    return found == file->requests.end() || found->second.early;
  };
  while (!answered() && use->good()) co_await file->changed.next();
  uint64_t ranNs = 0;
  KJ_IF_MAYBE(callers, callers_) {
    KJ_IF_MAYBE(state, callers->thread(tid)) ranNs = state->ranNs;
  }
  auto from = nowMs();
  auto until = from + kRestMs;
  while (nowMs() < until && file->appends == seen && use->good()) {
    auto late = env_.clock.timer().afterDelay((until - nowMs()) * kj::MILLISECONDS);
    co_await late.exclusiveJoin(file->changed.next());
    // On a busy machine it may not have had a processor yet.
    if (nowMs() >= until && nowMs() < from + kRestsMsMax && mayBeInCall(tid, ranNs)) {
      until = nowMs() + kRestTickMs;
    }
  }
}

Task<void> Client::acquire(kj::Own<File> file) {
  Backoff backoff(env_, 5, 200);
  Errno err = Errno::OK;
  while (!file->held()) {
    auto ino = file->ino.value;
    auto era = names_.era();
    auto changes = file->xattrChanges;
    auto tried = co_await attempt(kj::Promise<capnp::Response<schema::Session::AcquireResults>>(
        names_.ask<schema::Session::AcquireResults>([ino](schema::Session::Client& session) {
          auto request = session.acquireRequest();
          request.setIno(ino);
          return request;
        })));
    KJ_IF_MAYBE(failure, tried.failure) {
      KJ_LOG(ERROR, "a lease could not be had", file->ino, *failure);
      err = errnoOf(*failure);
      break;
    }
    auto& answer = KJ_ASSERT_NONNULL(tried.value);
    err = answer.getErr();
    if (err != Errno::OK) break;
    if (names_.era() != era) continue;  // granted to a session that has ended since
    auto grant = answer.getGrant();
    if (grant.getSequence() <= file->answered) {
      co_await backoff.wait();  // overtaken by its own recall (G1)
      continue;
    }
    install(*file, grant, answer.getAttr());
    if (file->xattrChanges != changes) file->xattrs = true;
    file->map.reset(answer.getAttr().getSize(), answer.getAttr().getBlockBytes(),
                    answer.getRowsComplete());
    for (auto row : answer.getRows()) {
      file->map.put(row.getIndex(), {BlockId(row.getBlock()), row.getEnd(), row.getShared()});
    }
  }
  file->acquiring = false;
  if (err != Errno::OK) {
    auto refused = kj::mv(file->waiters);
    file->waiters.clear();
    for (auto& waiter : refused) waiter->fulfill(err);
    co_return;
  }
  // All who waited have their use before a recall can come (G5).
  auto served = kj::mv(file->waiters);
  file->waiters.clear();
  for (auto& waiter : served) {
    if (waiter->isWaiting()) waiter->fulfill(kj::heap<LeaseUse>(kj::addRef(*file)));
  }
}

void Client::install(File& file, schema::Grant::Reader grant, schema::Attr::Reader attr) {
  file.sequence = grant.getSequence();
  file.leaseEra = names_.era();
  file.leaseView = grant.getView();
  file.recalled = false;
  file.publishedSize = attr.getSize();
  if (file.told.size != attr.getSize()) file.told.sure = false;
  file.allocatedBase = attr.getAllocated();
  file.mtime = fromWire(attr.getMtime());
  file.mtimeSet = file.mtime > fromWire(attr.getCtime());
  file.mode = attr.getMode();
  file.xattrs = attr.getXattrs();
  file.capability = true;
  if (attr.getBlockBytes() != 0) file.blockBytes = attr.getBlockBytes();
  file.mtimeDirty = false;
  file.dataDirty = false;
  file.lastUsedMs = nowMs();
  auto version = fromWire(attr.getDataVersion());
  if (file.pagesPresent && (file.pagesMixed || !(file.pagesVersion == version))) {
    // With the next GETATTR: the write that wanted the lease must not wait for it.
    file.pagesMixed = true;
  }
  file.pagesVersion = version;
  tasks_.add(sendGranted(file.ino, file.sequence));
}

Task<void> Client::sendGranted(InodeId ino, uint64_t sequence) {
  // The answer has nothing to say: without the acknowledgement no recall comes, with a newer grant
  // it is of no account.
  co_await names_.ask<schema::Session::GrantedResults>(
      [ino, sequence](schema::Session::Client& session) {
        auto request = session.grantedRequest();
        request.setIno(ino.value);
        request.setSequence(sequence);
        return request;
      });
}

void Client::decline(InodeId ino, uint64_t sequence) {
  // A grant that nobody here wants goes back at once: unacknowledged it would be recalled only after
  // a whole period. What the same grant is used for already (by an acquire that overtook) stays.
  KJ_IF_MAYBE(file, findFile(ino)) {
    if (file->held() && file->sequence == sequence) return;
  }
  recall(ino, sequence);
}

void Client::recall(InodeId ino, uint64_t sequence) {
  KJ_IF_MAYBE(file, findFile(ino)) {
    if (file->held() && file->sequence == sequence) {
      if (!file->recalled) tasks_.add(giveBack(kj::addRef(*file)));
      return;
    }
    if (file->sequence < sequence && file->answered < sequence) file->answered = sequence;
  }
  tasks_.add(sendRelease(ino, sequence));
}

Task<void> Client::giveBack(kj::Own<File> file) {
  file->recalled = true;
  file->recalledAtMs = nowMs();
  auto era = file->leaseEra;
  auto sequence = file->sequence;
  auto signs = kj::Promise<void>(sayReleasing(kj::addRef(*file))).eagerlyEvaluate(nullptr);
  Backoff backoff(env_, 50, 1000);
  for (uint32_t tries = 1;; ++tries) {
    while (file->uses > 0 && file->leaseEra == era) co_await file->changed.next();
    if (file->leaseEra != era || !file->dirty()) break;
    auto err = co_await publish(kj::addRef(*file));
    if (file->leaseEra != era) break;
    if (err == Errno::OK) continue;
    if (tries >= kPublishTries) {
      loseData(*file, "the name server does not take it");
      break;
    }
    co_await backoff.wait();
  }
  signs = nullptr;
  if (file->leaseEra == era) {
    bool pages = file->pagesPresent;
    dropLease(*file);
    file->answered = kj::max(file->answered, sequence);
    if (pages) co_await dropForRecall(kj::addRef(*file));
    file->recalled = false;
    file->changed.wake();
    co_await sendRelease(file->ino, sequence);
  }
  file->recalled = false;
  file->changed.wake();
  wakeWaiters(*file);
}

Task<void> Client::dropForRecall(kj::Own<File> file) {
  // V6: whatever the times say. To the end if it can be: the answer to a GETATTR that the drop overtakes is forgotten
  // (makeDropped), and then stores past the old end through a mapping would not be written. But a READ or WRITE holds its pages
  // and would itself wait for this recall, so the drop is left alone once one comes (V3). One that is still on its way here
  // cannot be seen: hence the time.
  auto patience = file->requests.empty() ? kDropPatienceMs : kBusyDropPatienceMs;
  auto dropped = dropPages(*file);
  auto comes = kj::Promise<void>(requestComes(kj::addRef(*file)));
  auto late = env_.clock.timer().afterDelay(patience * kj::MILLISECONDS);
  auto ended = dropped.exclusiveJoin(kj::mv(comes)).exclusiveJoin(kj::mv(late));
  co_await kj::mv(ended);
}

Task<void> Client::requestComes(kj::Own<File> file) {
  auto next = file->nextRequest;
  while (file->nextRequest == next) co_await file->changed.next();
}

void Client::wakeWaiters(File& file) {
  // What came during a recall asks for the lease anew.
  while (!file.waiters.empty() && !file.waiters.front()->isWaiting()) file.waiters.pop_front();
  if (file.waiters.empty() || file.acquiring || file.recalled) return;
  file.acquiring = true;
  tasks_.add(acquire(kj::addRef(file)));
}

void Client::dropLease(File& file) {
  file.sequence = 0;
  file.droppedAt = ++leasesDropped_;
  ++file.drops;  // a block read under this grant is thrown away (G3)
  file.map = BlockMap();
  file.publishedSize = 0;
  file.mtimeDirty = false;
  file.dataDirty = false;
  file.dirtySinceMs = 0;
  file.uncovered.clear();
  file.changed.wake();
}

Task<void> Client::sayReleasing(kj::Own<File> file) {
  for (;;) {
    co_await env_.clock.timer().afterDelay(kRecallSignMs * kj::MILLISECONDS);
    auto ino = file->ino.value;
    auto sequence = file->sequence;
    auto waitsFor = storage_.waitsFor();
    if (waitsFor.empty() && file->uses > 0) waitsFor = "work on the file";
    auto sent = kj::Promise<capnp::Response<schema::Session::ReleasingResults>>(
        names_.ask<schema::Session::ReleasingResults>(
            [ino, sequence, waitsFor](schema::Session::Client& session) {
              auto request = session.releasingRequest();
              request.setIno(ino);
              request.setSequence(sequence);
              request.setWaitsFor(waitsFor.c_str());
              return request;
            }));
    auto tried = co_await attempt(kj::mv(sent));
    KJ_IF_MAYBE(failure, tried.failure) {
      KJ_LOG(WARNING, "the name server did not take the sign of work on a recall", *failure);
    }
  }
}

Task<void> Client::sendRelease(InodeId ino, uint64_t sequence) {
  bool pinned = inodes_.inUse(ino);
  if (pinned) inodes_.pin(ino);
  // Whatever it says, the lease is not used any more; the name server ignores what is old (G1).
  co_await names_.ask<schema::Session::ReleaseResults>(
      [ino, sequence, pinned](schema::Session::Client& session) {
        auto request = session.releaseRequest();
        auto list = request.initLeases(1);
        list[0].setIno(ino.value);
        list[0].setSequence(sequence);
        list[0].setPinned(pinned);
        return request;
      });
}

std::vector<NameEvents::Claim> Client::claims() {
  std::vector<Claim> result;
  for (auto& [ino, file] : files_) {
    if (file->held()) result.push_back({ino, file->sequence, inodes_.inUse(ino)});
  }
  for (auto ino : inodes_.pinned()) {
    auto found = files_.find(ino);
    if (found == files_.end() || !found->second->held()) result.push_back({ino, 0, true});
  }
  return result;
}

std::vector<InodeId> Client::stillUsed(std::vector<InodeId> inos) {
  std::vector<InodeId> used;
  for (auto ino : inos) {
    bool mine = inodes_.inUse(ino);
    KJ_IF_MAYBE(file, findFile(ino)) {
      bool working = file->handles > 0 || file->uses > 0 || file->acquiring || file->recalled ||
                     !file->publishing.idle() || !file->requests.empty();
      mine = mine || working;
      // Removed, closed and forgotten: the lease alone would keep its space. Nobody can ask for what was not published; the
      // name server takes the lease with this answer.
      if (!mine && file->held()) {
        file->answered = kj::max(file->answered, file->sequence);
        dropLease(*file);
      }
    }
    if (!mine) continue;
    inodes_.pin(ino);
    unpins_.erase(ino);
    used.push_back(ino);
  }
  return used;
}

Task<Errno> Client::ensureRows(kj::Own<File> file, uint64_t first, uint64_t last) {
  // Under the lease: rows of a file too large for the answer to acquire.
  for (auto group = BlockMap::groupOf(first); group <= BlockMap::groupOf(last); ++group) {
    auto from = group * kRowsPerAnswerMax;
    if (file->map.groupKnown(group)) continue;
    if (!file->held()) co_return Errno::IO;
    auto sequence = file->sequence;
    auto cuts = file->map.cuts();
    auto ino = file->ino.value;
    auto answer = co_await names_.ask<schema::Session::RowsResults>(
        [ino, from](schema::Session::Client& session) {
          auto request = session.rowsRequest();
          request.setIno(ino);
          request.setFirst(from);
          request.setCount(kRowsPerAnswerMax);
          return request;
        });
    if (answer.getErr() != Errno::OK) co_return answer.getErr();
    if (file->sequence != sequence) co_return Errno::IO;
    if (file->map.groupKnown(group)) continue;
    if (file->map.cuts() != cuts) {
      --group;  // asked before a truncation: once more
      continue;
    }
    for (auto row : answer.getRows()) {
      file->map.put(row.getIndex(), {BlockId(row.getBlock()), row.getEnd(), row.getShared()});
    }
    file->map.setKnown(group);
  }
  co_return Errno::OK;
}

Task<void> Client::tick() {
  // Publishes what is due (Y4), gives back what nobody uses, forgets files of no account.
  for (;;) {
    co_await env_.clock.timer().afterDelay(kTickMs * kj::MILLISECONDS);
    auto now = nowMs();
    for (auto i = files_.begin(); i != files_.end();) {
      auto& file = *i->second;
      bool due = file.held() && file.dirty() &&
                 now >= file.dirtySinceMs + kPublishAfterMs - kPublishEarlyMs;
      if (due && file.publishing.idle()) {
        tasks_.add(publish(kj::addRef(file)).ignoreResult());  // errors are sticky in the file
      }
      bool quiet = file.uses == 0 && file.waiters.empty() && !file.acquiring && !file.recalled &&
                   file.requests.empty() && !file.dirty() && file.dropsRunning == 0 &&
                   file.publishing.idle() && file.ops.idle();
      if (quiet && file.held() && now >= file.lastUsedMs + kIdleReleaseMs) {
        tasks_.add(giveBack(kj::addRef(file)));
      }
      bool known = inodes_.inUse(file.ino) && file.pagesPresent;
      bool gone = quiet && !file.held() && file.handles == 0 && !known && !file.isShared() &&
                  file.unseen == Errno::OK;
      if (gone) {
        i = files_.erase(i);
      } else {
        ++i;
      }
    }
  }
}

}  // namespace dfs
