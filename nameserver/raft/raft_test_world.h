#pragma once
// What the tests of the log and of the replicator share: one machine, and a state machine that
// remembers in the Kv what it was told.
//
// Thread: the test's.

#include "nameserver/raft/raft_replicator.h"
#include "tests/sim/world/world.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace dfs {

class FakeMachine final : public Applier {
  // Each command's `ackedUpTo` is a number; applying it puts the number under the count of commands
  // so far. So a command that is applied twice, skipped or moved shows.
 public:
  explicit FakeMachine(Kv& kv) : kv_(kv) {
    applied_ = get(0);
    count_ = get(1);
  }
  uint64_t appliedIndex() override { return applied_; }
  void apply(uint64_t index, uint64_t term, schema::Entry::Reader entry,
             StateMachine::Answer answer) override {
    if (index <= applied_) return;
    EXPECT_EQ(index, applied_ + 1);
    uint32_t i = 0;
    for (auto command : entry.getCommands()) {
      set(++count_ + 1000, command.getAckedUpTo());
      capnp::MallocMessageBuilder message;
      auto outcome = message.initRoot<schema::Outcome>();
      outcome.setCount(command.getAckedUpTo());
      answer(i++, outcome.asReader());
    }
    set(1, count_);
    set(0, applied_ = index);
  }
  void skip(uint64_t index, uint64_t term) override {
    if (index <= applied_) return;
    EXPECT_EQ(index, applied_ + 1);
    set(0, applied_ = index);
  }
  std::vector<uint64_t> numbers() {
    std::vector<uint64_t> all;
    for (uint64_t i = 1; i <= count_; ++i) all.push_back(get(i + 1000));
    return all;
  }

 private:
  uint64_t get(uint64_t key) {
    uint64_t big = __builtin_bswap64(key), value = 0;
    KJ_IF_MAYBE(bytes, kv_.get(KvTable(0), Bytes(reinterpret_cast<kj::byte*>(&big), 8))) {
      memcpy(&value, bytes->begin(), 8);
    }
    return value;
  }
  void set(uint64_t key, uint64_t value) {
    uint64_t big = __builtin_bswap64(key);
    kv_.put(KvTable(0), Bytes(reinterpret_cast<kj::byte*>(&big), 8),
            Bytes(reinterpret_cast<kj::byte*>(&value), 8));
  }
  Kv& kv_;
  uint64_t applied_;
  uint64_t count_;
};

struct NameServer {
  // A running one: dropped, it was killed.
  kj::Own<SimProcess> process;
  kj::Own<Kv> kv;
  kj::Own<FakeMachine> machine;
  kj::Own<RaftReplicator> replicator;

  ~NameServer() noexcept(false) {
    replicator = nullptr;
    machine = nullptr;
    kv = nullptr;
    process = nullptr;
  }

  kj::Promise<OutcomeMessage> propose(uint64_t number, bool freeing = false) {
    auto command = kj::heap<capnp::MallocMessageBuilder>();
    auto root = command->initRoot<schema::Command>();
    root.setAckedUpTo(number);
    if (freeing) root.getDo().initUnlink().setParent(1);
    return replicator->propose(kj::mv(command));
  }
};

struct ReplicatorWorld {
  explicit ReplicatorWorld(uint64_t seed) : world(seed), machine(world.machine("ns")) {
    options.log.segmentBytes = 64 << 10;
    options.entryBytesMax = 16 << 10;
    auto process = machine.process("/data");
    world.wait(kj::Promise<void>(createLog(process->env, options)));
  }

  kj::Own<NameServer> start() {
    auto ns = kj::heap<NameServer>();
    ns->process = machine.process("/data");
    ns->kv = world.wait(ns->process->env.disk.openKv("store"));
    ns->machine = kj::heap<FakeMachine>(*ns->kv);
    ns->replicator = world.wait(kj::Promise<kj::Own<RaftReplicator>>(
        RaftReplicator::open(ns->process->env, *ns->kv, *ns->machine, options, nullptr)));
    world.wait(ns->replicator->confirm());
    return ns;
  }

  SimWorld world;
  SimMachine& machine;
  ReplicatorOptions options;
};

inline std::string sentenceOf(kj::Function<void()> work) {
  KJ_IF_MAYBE(e, kj::runCatchingExceptions([&]() { work(); })) {
    return std::string(e->getDescription().cStr());
  }
  return "";
}

}  // namespace dfs
