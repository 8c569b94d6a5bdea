// Sessions and leases over the real state machine, with a replicator that applies at once (or when
// the test lets it), a cluster that settles when the test says so, and virtual time.

#include "nameserver/session/sessions.h"

#include "nameserver/meta/test_kv.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>

#include <deque>

namespace dfs {
namespace {

class FakeReplicator final : public Replicator {
 public:
  explicit FakeReplicator(Kv& kv) : machine_(kv) {}

  kj::Promise<OutcomeMessage> propose(CommandMessage command) override {
    if (!held) return applyNow(*command);
    auto pair = kj::newPromiseAndFulfiller<OutcomeMessage>();
    waiting_.push_back({kj::mv(command), kj::mv(pair.fulfiller)});
    return kj::mv(pair.promise);
  }
  void let() {
    held = false;
    while (!waiting_.empty()) {
      waiting_.front().done->fulfill(applyNow(*waiting_.front().command));
      waiting_.pop_front();
    }
  }
  kj::Promise<void> confirm() override {
    return kj::evalLater([]() {});
  }
  bool leading() override { return true; }
  uint64_t term() override { return termNumber; }
  kj::Promise<void> nextTerm() override { return kj::NEVER_DONE; }
  LogStatus status() override { return {}; }
  kj::Promise<void> failed() override { return kj::NEVER_DONE; }
  kj::Promise<void> stop() override { return kj::READY_NOW; }

  bool held = false;
  uint64_t termNumber = 1;

 private:
  struct Waiting {
    CommandMessage command;
    kj::Own<kj::PromiseFulfiller<OutcomeMessage>> done;
  };
  OutcomeMessage applyNow(capnp::MallocMessageBuilder& command) {
    capnp::MallocMessageBuilder message;
    auto commands = message.initRoot<schema::Entry>().initCommands(1);
    commands.setWithCaveats(0, command.getRoot<schema::Command>());
    auto outcome = kj::heap<capnp::MallocMessageBuilder>();
    machine_.apply(machine_.appliedIndex() + 1, termNumber,
                   message.getRoot<schema::Entry>().asReader(),
                   [&](uint32_t, schema::Outcome::Reader o) { outcome->setRoot(o); });
    return outcome;
  }
  StateMachine machine_;
  std::deque<Waiting> waiting_;
};

class FakeCluster final : public Cluster {
 public:
  explicit FakeCluster(Queries& queries) : queries_(queries) {}
  schema::Registry::Client registry() override { KJ_UNIMPLEMENTED("not here"); }
  const View& view() override {
    view_ = queries_.view();
    return view_;
  }
  kj::Promise<void> viewAfter(uint64_t) override { return kj::NEVER_DONE; }
  void viewMayHaveChanged() override {}
  kj::Promise<void> settled(uint64_t) override { return fence->wait(); }
  std::string unsettledBecause(uint64_t) override { return "store1"; }
  bool ready() override { return true; }
  kj::Promise<void> whenReady() override { return kj::READY_NOW; }
  Outcome<std::vector<std::pair<ChainId, uint32_t>>> place(uint32_t) override {
    return Errno::NO_SPACE;
  }
  Space space() override { return {1000, 900, true}; }
  std::vector<HealthSentence> health() override { return {}; }
  std::vector<NodeStatus> nodes() override { return {}; }
  void pauseReclaim(bool pause) override { paused = pause; }

  kj::Own<Gate> fence = kj::heap<Gate>();
  bool paused = false;

 private:
  Queries& queries_;
  View view_;
};

struct Client {
  // A mount: what the name server told it, and what it says when it is asked.
  struct Seen {
    std::vector<std::pair<uint64_t, uint64_t>> recalls;  // ino, sequence
    std::set<uint64_t> uses;
    size_t asked = 0;
  };
  class Callback final : public schema::Callback::Server {
   public:
    explicit Callback(Seen& seen) : seen_(seen) {}
    kj::Promise<void> recall(RecallContext context) override {
      auto p = context.getParams();
      seen_.recalls.push_back({p.getIno(), p.getSequence()});
      return kj::READY_NOW;
    }
    kj::Promise<void> stillUsed(StillUsedContext context) override {
      seen_.asked += 1;
      std::vector<uint64_t> used;
      for (auto ino : context.getParams().getInos()) {
        if (seen_.uses.count(ino) != 0) used.push_back(ino);
      }
      auto list = context.getResults().initUsed(static_cast<unsigned>(used.size()));
      for (unsigned i = 0; i < list.size(); ++i) list.set(i, used[i]);
      return kj::READY_NOW;
    }

   private:
    Seen& seen_;
  };

  uint64_t id;
  Seen seen;
  uint64_t sequence = 0;
  kj::Maybe<schema::Session::Client> session;
  schema::Session::Client& s() { return KJ_ASSERT_NONNULL(session); }
};

struct World {
  SimWorld world{1};
  kj::Own<SimProcess> process = world.machine("name1").process("/data");
  TestKv kv;
  Queries queries{kv};
  FakeReplicator replicator{kv};
  FakeCluster cluster{queries};
  kj::Own<Sessions> sessions;
  Client a{101, {}, 0, nullptr}, b{102, {}, 0, nullptr};

  World() {
    auto command = kj::heap<capnp::MallocMessageBuilder>();
    auto create = command->initRoot<schema::Command>().getDo().initCreateCluster();
    toWire(Uuid{1, 2}, create.initUuid());
    create.setRootMode(0777);
    create.setBlockBytes(4096);
    world.wait(replicator.propose(kj::mv(command)).ignoreResult());
    start();
  }
  void start() {
    sessions = nullptr;
    sessions = kj::heap<Sessions>(process->env, queries, replicator, cluster);
  }
  void restart() {
    replicator.termNumber += 1;
    a.session = nullptr;
    b.session = nullptr;
    start();
  }
  Errno attach(Client& c, bool fresh = true) {
    auto request = sessions->nameServer(c.id * 1000).attachRequest();
    request.setSession(c.id);
    request.setFresh(fresh);
    request.setHost(c.id == 101 ? "hosta" : "hostb");
    request.setCallback(kj::heap<Client::Callback>(c.seen));
    auto answer = request.send().wait(world.scope);
    if (answer.getErr() == Errno::OK) c.session = answer.getSession();
    return answer.getErr();
  }
  void claim(Client& c, std::vector<std::pair<uint64_t, uint64_t>> leases) {
    auto request = c.s().claimRequest();
    auto list = request.initLeases(static_cast<unsigned>(leases.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setIno(leases[i].first);
      list[i].setSequence(leases[i].second);
      list[i].setLease(schema::Lease::EXCLUSIVE);
    }
    request.setLast(true);
    EXPECT_EQ(request.send().wait(world.scope).getErr(), Errno::OK);
  }
  template <typename Fill> auto apply(Client& c, Fill&& fill, uint64_t repeat = 0) {
    auto request = c.s().applyRequest();
    auto command = request.initCommand();
    command.initRequest().setClient(c.id);
    command.getRequest().setSequence(repeat != 0 ? repeat : ++c.sequence);
    fill(command.getDo());
    return request.send();
  }
  auto create(Client& c, kj::StringPtr name, uint64_t repeat = 0) {
    return apply(
        c,
        [&](auto d) {
          auto r = d.initCreate();
          r.setParent(1);
          r.setName(name.asBytes());
          r.setKind(schema::Kind::FILE);
          r.setMode(0644);
        },
        repeat);
  }
  auto unlink(Client& c, kj::StringPtr name) {
    return apply(c, [&](auto d) {
      auto r = d.initUnlink();
      r.setParent(1);
      r.setName(name.asBytes());
    });
  }
  auto getattr(Client& c, uint64_t ino) {
    auto request = c.s().getattrRequest();
    request.setIno(ino);
    return request.send();
  }
  auto acquire(Client& c, uint64_t ino) {
    auto request = c.s().acquireRequest();
    request.setIno(ino);
    return request.send();
  }
  void granted(Client& c, uint64_t ino, uint64_t sequence) {
    auto request = c.s().grantedRequest();
    request.setIno(ino);
    request.setSequence(sequence);
    request.send().wait(world.scope);
  }
  void release(Client& c, uint64_t ino, uint64_t sequence) {
    auto request = c.s().releaseRequest();
    auto list = request.initLeases(1);
    list[0].setIno(ino);
    list[0].setSequence(sequence);
    request.send().wait(world.scope);
  }
  auto lock(Client& c, uint64_t ino, schema::FileLock::Kind kind, bool wait = false,
            uint64_t ticket = 0) {
    auto request = c.s().lockRequest();
    fillLock(request.initLock(), ino, kind);
    request.setWait(wait);
    request.setTicket(ticket);
    return request.send();
  }
  Errno locked(Client& c, uint64_t ino, schema::FileLock::Kind kind) {
    return lock(c, ino, kind).wait(world.scope).getErr();
  }
  static void fillLock(schema::FileLock::Builder to, uint64_t ino, schema::FileLock::Kind kind) {
    to.setIno(ino);
    to.setOwner(7);
    to.setKind(kind);
    to.setEnd(99);
    to.setPid(1234);
  }
  auto claimLocks(Client& c, std::vector<uint64_t> written) {
    auto request = c.s().claimRequest();
    auto list = request.initLocks(static_cast<unsigned>(written.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      fillLock(list[i], written[i], schema::FileLock::Kind::WRITE);
    }
    request.setLast(true);
    return request.send().wait(world.scope).getErr();
  }
  void renew(Client& c) { c.s().renewRequest().send().wait(world.scope); }
  template <typename P> bool done(P& promise) { return promise.poll(world.scope); }
};

TEST(Sessions, AReadWaitsForTheHolderAndTwoSessionsPassAFileBackAndForth) {
  World w;
  ASSERT_EQ(w.attach(w.a), Errno::OK);
  ASSERT_EQ(w.attach(w.b), Errno::OK);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  ASSERT_EQ(made.getOutcome().getErr(), Errno::OK);
  uint64_t ino = made.getOutcome().getIno(), sequence = made.getGrant().getSequence();
  EXPECT_EQ(made.getGrant().getLease(), schema::Lease::EXCLUSIVE);

  kj::Promise<void> read = w.getattr(w.b, ino).ignoreResult();
  EXPECT_FALSE(w.done(read));
  EXPECT_TRUE(w.a.seen.recalls.empty());  // G5: the grant is not acknowledged yet
  w.granted(w.a, ino, sequence);
  EXPECT_FALSE(w.done(read));
  ASSERT_EQ(w.a.seen.recalls.size(), 1u);
  EXPECT_EQ(w.a.seen.recalls[0].second, sequence);
  EXPECT_EQ(w.getattr(w.a, ino).wait(w.world.scope).getErr(), Errno::OK);  // its own: at once
  w.release(w.a, ino, sequence);
  EXPECT_TRUE(w.done(read));

  Client* turns[] = {&w.b, &w.a, &w.b};
  auto grant = w.acquire(w.a, ino).wait(w.world.scope).getGrant().getSequence();
  w.granted(w.a, ino, grant);
  Client* holder = &w.a;
  for (auto next : turns) {
    auto wanted = w.acquire(*next, ino);
    w.release(*holder, ino, grant);
    auto now = wanted.wait(w.world.scope).getGrant().getSequence();
    EXPECT_GT(now, grant);
    w.release(*holder, ino, grant);  // G1: below the latest grant
    EXPECT_EQ(w.acquire(*next, ino).wait(w.world.scope).getGrant().getSequence(), now);
    grant = now;
    holder = next;
  }
}

TEST(Sessions, ASilentHolderIsEndedOnlyWhenSomebodyNeedsItAndPassesOnOnlyWhenFenced) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno();
  w.granted(w.a, ino, made.getGrant().getSequence());
  for (int i = 0; i < 10; ++i) {
    w.world.pass(3000);
    w.renew(w.b);
  }
  EXPECT_TRUE(w.queries.session(SessionId(101)) != nullptr);  // S2: nobody needs it

  auto wanted = w.acquire(w.b, ino);
  w.world.pass(2000);
  EXPECT_TRUE(w.queries.session(SessionId(101)) == nullptr);
  EXPECT_FALSE(w.done(wanted));  // C3: not settled
  w.cluster.fence->open();
  EXPECT_EQ(wanted.wait(w.world.scope).getErr(), Errno::OK);
  EXPECT_EQ(w.attach(w.a, false), Errno::STALE);
}

TEST(Sessions, TheFirstPhaseWaitsForClaimsAndEndsWhoDoesNotClaim) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno(), sequence = made.getGrant().getSequence();
  w.restart();
  EXPECT_FALSE(w.sessions->serving());
  EXPECT_TRUE(w.cluster.paused);
  EXPECT_EQ(w.attach(w.b, false), Errno::OK);
  w.claim(w.b, {});
  kj::Promise<void> read = w.getattr(w.b, ino).ignoreResult();
  EXPECT_FALSE(w.done(read));
  EXPECT_EQ(w.attach(w.a, false), Errno::OK);
  w.claim(w.a, {{ino, sequence}});
  EXPECT_TRUE(w.sessions->serving());
  EXPECT_FALSE(w.done(read));  // it meets the claim
  ASSERT_FALSE(w.a.seen.recalls.empty());
  w.release(w.a, ino, sequence);
  EXPECT_TRUE(w.done(read));

  w.restart();
  w.cluster.fence->open();
  EXPECT_EQ(w.attach(w.b, false), Errno::OK);
  w.claim(w.b, {});
  w.world.pass(20000);
  EXPECT_FALSE(w.sessions->serving());  // nobody waits
  auto late = w.getattr(w.b, ino);
  w.world.pass(1000);
  EXPECT_TRUE(w.sessions->serving());
  EXPECT_TRUE(w.queries.session(SessionId(101)) == nullptr);
  EXPECT_EQ(late.wait(w.world.scope).getErr(), Errno::OK);
}

TEST(Sessions, ARepeatedCreateGrantsAnewAndNotTwice) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno(), sequence = made.getGrant().getSequence();
  auto old = w.a.s();
  EXPECT_EQ(w.attach(w.a, false), Errno::OK);
  w.claim(w.a, {});
  EXPECT_THROW(old.renewRequest().send().wait(w.world.scope), kj::Exception);  // G1
  auto other = w.acquire(w.b, ino).wait(w.world.scope);
  EXPECT_GT(other.getGrant().getSequence(), sequence);
  auto repeated = w.create(w.a, "f", 1);
  EXPECT_FALSE(w.done(repeated));  // S6: what the other one has written comes first
  w.granted(w.b, ino, other.getGrant().getSequence());
  w.release(w.b, ino, other.getGrant().getSequence());
  auto again = repeated.wait(w.world.scope);
  EXPECT_EQ(again.getOutcome().getIno(), ino);
  EXPECT_EQ(again.getAttr().getIno(), ino);
}

TEST(Sessions, AnUnlinkWaitsForItsVictimAndAnOrphanLivesAsLongAsItIsUsed) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno(), sequence = made.getGrant().getSequence();
  w.granted(w.a, ino, sequence);
  auto removed = w.unlink(w.b, "f");
  EXPECT_FALSE(w.done(removed));
  w.release(w.a, ino, sequence);
  EXPECT_EQ(removed.wait(w.world.scope).getOutcome().getErr(), Errno::OK);

  w.a.seen.uses.insert(ino);
  w.world.pass(1500);
  EXPECT_EQ(w.getattr(w.a, ino).wait(w.world.scope).getErr(), Errno::OK);
  EXPECT_EQ(w.getattr(w.b, ino).wait(w.world.scope).getErr(), Errno::STALE);  // G4
  w.a.seen.uses.clear();
  auto request = w.a.s().unpinRequest();
  request.initInos(1).set(0, ino);
  request.send().wait(w.world.scope);
  w.world.pass(1500);
  EXPECT_FALSE(w.queries.getattr(InodeId(ino)).ok());
}

constexpr auto kRead = schema::FileLock::Kind::READ;
constexpr auto kWrite = schema::FileLock::Kind::WRITE;
constexpr auto kNone = schema::FileLock::Kind::NONE;

TEST(SessionLocks, AreHeldWaitedForCancelledAndShown) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  uint64_t ino = w.create(w.a, "f").wait(w.world.scope).getOutcome().getIno();
  EXPECT_EQ(w.locked(w.a, ino, kWrite), Errno::OK);
  EXPECT_EQ(w.locked(w.b, ino, kRead), Errno::AGAIN);
  EXPECT_EQ(w.locked(w.b, 12345, kRead), Errno::STALE);
  auto waiting = w.lock(w.b, ino, kRead, true, 5);
  EXPECT_FALSE(w.done(waiting));
  auto shown = w.sessions->locks(InodeId(), 10);
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[0].path, "/f");
  EXPECT_EQ(shown[0].host, "hosta");
  EXPECT_EQ(shown[0].lock.lock.pid, 1234u);
  EXPECT_TRUE(shown[1].lock.waiting);
  EXPECT_EQ(shown[1].host, "hostb");

  auto test = w.b.s().testLockRequest();
  World::fillLock(test.initLock(), ino, kRead);
  auto blocker = test.send().wait(w.world.scope);
  EXPECT_EQ(blocker.getBlocker().getKind(), kWrite);
  EXPECT_EQ(blocker.getBlocker().getPid(), 0u);  // of another host

  auto cancel = w.b.s().cancelLockRequest();
  cancel.setTicket(5);
  cancel.send().wait(w.world.scope);
  EXPECT_EQ(waiting.wait(w.world.scope).getErr(), Errno::INTR);
  auto again = w.lock(w.b, ino, kRead, true, 6);
  EXPECT_EQ(w.locked(w.a, ino, kNone), Errno::OK);
  EXPECT_EQ(again.wait(w.world.scope).getErr(), Errno::OK);
  auto bad = w.a.s().lockRequest();
  World::fillLock(bad.initLock(), ino, kRead);
  bad.getLock().setStart(100);
  EXPECT_EQ(bad.send().wait(w.world.scope).getErr(), Errno::INVAL);
  // A cancel that comes together with what it cancels is not too early.
  EXPECT_EQ(w.locked(w.a, ino, kRead), Errno::OK);
  auto both = w.lock(w.b, ino, kWrite, true, 7);
  auto early = w.b.s().cancelLockRequest();
  early.setTicket(7);
  auto sent = early.send();
  EXPECT_EQ(both.wait(w.world.scope).getErr(), Errno::INTR);
}

TEST(SessionLocks, PassOnOnlyAtTheFencedEndOfASilentHolder) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  uint64_t ino = w.create(w.b, "f").wait(w.world.scope).getOutcome().getIno();
  EXPECT_EQ(w.locked(w.a, ino, kWrite), Errno::OK);
  for (int i = 0; i < 10; ++i) {
    w.world.pass(3000);
    w.renew(w.b);
  }
  EXPECT_TRUE(w.queries.session(SessionId(101)) != nullptr);  // S2: nobody needs it
  auto wanted = w.lock(w.b, ino, kRead, true, 1);
  w.world.pass(2000);
  EXPECT_TRUE(w.queries.session(SessionId(101)) == nullptr);
  EXPECT_FALSE(w.done(wanted));  // C3: not settled
  w.cluster.fence->open();
  EXPECT_EQ(wanted.wait(w.world.scope).getErr(), Errno::OK);
}

TEST(SessionLocks, WhoOnlyTriesEndsASilentHolderToo) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  w.cluster.fence->open();
  uint64_t ino = w.create(w.b, "f").wait(w.world.scope).getOutcome().getIno();
  EXPECT_EQ(w.locked(w.a, ino, kWrite), Errno::OK);
  w.world.pass(8000);
  w.renew(w.b);
  EXPECT_EQ(w.locked(w.b, ino, kWrite), Errno::AGAIN);
  w.world.pass(1000);
  EXPECT_EQ(w.locked(w.b, ino, kWrite), Errno::AGAIN);
  w.world.pass(3000);
  EXPECT_EQ(w.locked(w.b, ino, kWrite), Errno::AGAIN);
  w.world.pass(100);
  EXPECT_EQ(w.locked(w.b, ino, kWrite), Errno::OK);
}

TEST(SessionLocks, S5AreClaimedInTheFirstPhaseAndGivenToNobodyBefore) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  uint64_t ino = w.create(w.a, "f").wait(w.world.scope).getOutcome().getIno();
  EXPECT_EQ(w.locked(w.a, ino, kWrite), Errno::OK);
  w.restart();
  EXPECT_EQ(w.attach(w.b, false), Errno::OK);
  EXPECT_EQ(w.claimLocks(w.b, {}), Errno::OK);
  auto wanted = w.lock(w.b, ino, kRead, true, 1);
  EXPECT_FALSE(w.done(wanted));
  EXPECT_EQ(w.attach(w.a, false), Errno::OK);
  EXPECT_EQ(w.claimLocks(w.a, {ino}), Errno::OK);
  EXPECT_TRUE(w.sessions->serving());
  EXPECT_FALSE(w.done(wanted));
  EXPECT_EQ(w.locked(w.a, ino, kNone), Errno::OK);
  EXPECT_EQ(wanted.wait(w.world.scope).getErr(), Errno::OK);
}

TEST(SessionLocks, AClaimOfWhatIsAnothersEndsTheSessionAndWhatIsNotClaimedIsFree) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  w.cluster.fence->open();
  uint64_t ino = w.create(w.a, "f").wait(w.world.scope).getOutcome().getIno();
  EXPECT_EQ(w.locked(w.a, ino, kWrite), Errno::OK);
  EXPECT_EQ(w.attach(w.a, false), Errno::OK);
  EXPECT_EQ(w.claimLocks(w.a, {}), Errno::OK);
  EXPECT_EQ(w.locked(w.b, ino, kWrite), Errno::OK);
  EXPECT_EQ(w.attach(w.a, false), Errno::OK);
  EXPECT_EQ(w.claimLocks(w.a, {ino}), Errno::STALE);
  w.world.pass(500);
  EXPECT_TRUE(w.queries.session(SessionId(101)) == nullptr);
  EXPECT_EQ(w.locked(w.b, ino, kRead), Errno::OK);
}

TEST(Sessions, AnAttributeIsSetWhenNobodyElseHoldsTheFileAndReadAtOnce) {
  // A holder answers for itself that a file has none; so one that is set must recall it first.
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno(), sequence = made.getGrant().getSequence();
  w.granted(w.a, ino, sequence);
  auto set = [&](Client& c, kj::StringPtr name) {
    return w.apply(c, [&](auto d) {
      auto r = d.initSetxattr();
      r.setIno(ino);
      r.setName(name.asBytes());
      r.setValue(kj::StringPtr("1").asBytes());
    });
  };
  auto own = set(w.a, "trusted.a").wait(w.world.scope);
  EXPECT_EQ(own.getOutcome().getErr(), Errno::OK);
  EXPECT_TRUE(own.getAttr().getXattrs());
  EXPECT_TRUE(w.a.seen.recalls.empty());
  auto get = w.b.s().getxattrRequest();
  get.setIno(ino);
  get.setName(kj::StringPtr("trusted.a").asBytes());
  EXPECT_EQ(get.send().wait(w.world.scope).getValue().size(), 1u);
  auto list = w.b.s().listxattrRequest();
  list.setIno(ino);
  EXPECT_EQ(list.send().wait(w.world.scope).getNames().size(), 1u);
  EXPECT_TRUE(w.a.seen.recalls.empty());
  auto other = set(w.b, "trusted.b");
  EXPECT_FALSE(w.done(other));
  EXPECT_EQ(w.a.seen.recalls.size(), 1u);
  w.release(w.a, ino, sequence);
  EXPECT_EQ(other.wait(w.world.scope).getOutcome().getErr(), Errno::OK);
}

TEST(Sessions, ACommandKeepsItsPlaceWhenItsCallerHasGone) {
  World w;
  w.attach(w.a);
  w.attach(w.b);
  auto made = w.create(w.a, "f").wait(w.world.scope);
  uint64_t ino = made.getOutcome().getIno();
  w.release(w.a, ino, made.getGrant().getSequence());
  w.replicator.held = true;
  auto set = w.apply(w.a, [&](auto d) {
    auto r = d.initSetattr();
    r.setIno(ino);
    r.getSet().setMode(true);
    r.setMode(0600);
  });
  EXPECT_FALSE(w.done(set));
  w.sessions->connectionGone(101000);
  EXPECT_THROW(set.wait(w.world.scope), kj::Exception);
  auto wanted = w.acquire(w.b, ino);
  EXPECT_FALSE(w.done(wanted));  // the command may still be applied
  w.replicator.let();
  auto answer = wanted.wait(w.world.scope);
  EXPECT_EQ(answer.getAttr().getMode(), 0600u);
}

}  // namespace
}  // namespace dfs
