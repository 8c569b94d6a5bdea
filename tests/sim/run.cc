#include "tests/sim/run.h"

#include "tests/sim/faults.h"

namespace dfs {
namespace {

constexpr uint64_t kHealMs = 120'000;  // then everything must be healthy
constexpr uint64_t kEndMs = 120'000;   // and all operations have ended

SimShape shapeOf(SimRandom& random) {
  SimShape shape;
  shape.stores = static_cast<uint32_t>(random.between(2, 4));
  shape.clients = static_cast<uint32_t>(random.between(1, 3));
  shape.replicas = shape.stores >= 3 && random.chance(40) ? 3 : 2;
  shape.blockBytes = random.chance(80) ? 16 * 4096 : kBlockBytes;
  if (random.chance(50)) shape.storeDiskBytes = kRoomyBytes / 2;
  return shape;
}

void history(SimCluster& cluster, Workload& work, Journal& journal, Faults& faults,
             uint64_t rageMs) {
  work.prepare();
  bool ended = false;
  auto running =
      work.run()
          .then([&ended]() { ended = true; },
                [&](kj::Exception&& e) {
                  ended = true;
                  journal.fail("the workload ended: " + std::string(e.getDescription().cStr()));
                })
          .eagerlyEvaluate(nullptr);
  cluster.pass(2000);
  faults.rage(rageMs);
  faults.heal();
  auto stopIf = [&journal]() { return journal.failed(); };
  if (stopIf()) return;
  if (!cluster.waitHealthy(kHealMs)) return journal.fail("not healthy: " + cluster.trouble());
  cluster.pass(17'000);  // what clients were told to avoid is over
  work.stop();
  if (!cluster.passUntil([&]() { return ended; }, kEndMs)) {
    return journal.fail("does not end: " + work.waitsFor());
  }
  if (stopIf()) return;
  work.finalCheck();
  if (stopIf()) return;
  for (auto& problem : cluster.fsck()) journal.fail("fsck: " + problem);
  if (stopIf()) return;

  journal.note("power cut of every machine");
  cluster.expectEnds(false);
  cluster.powerCutAll();
  cluster.pass(500);
  cluster.startAll();
  if (!cluster.waitHealthy(kHealMs)) {
    return journal.fail("not healthy after the power cut: " + cluster.trouble());
  }
  work.afterPowerCut();
  if (stopIf()) return;
  for (auto& problem : cluster.fsck()) journal.fail("fsck after the power cut: " + problem);
}

}  // namespace

RunResult runSeed(uint64_t seed) {
  RunResult result;
  SimRandom random(seed * 7919 + 1);
  auto shape = shapeOf(random);
  bool model = random.chance(50);
  auto rageMs = random.between(20'000, 60'000);
  SimCluster cluster(seed, shape);
  Journal journal(cluster.world.time);
  kj::Own<Workload> work;
  auto failure = kj::runCatchingExceptions([&]() {
    cluster.create();
    work = model ? newModelWorkload(cluster, journal) : newSharedWorkload(cluster, journal);
    Faults faults(cluster, *work, journal);
    result.about = std::string(model ? "model" : "shared") + ", " + std::to_string(shape.stores) +
                   " stores, " + std::to_string(shape.replicas) + " copies, " +
                   std::to_string(shape.clients) + " clients, blocks of " +
                   std::to_string(shape.blockBytes) + "; " + faults.kinds();
    history(cluster, *work, journal, faults, rageMs);
  });
  KJ_IF_MAYBE(e, failure) journal.fail(kj::str("thrown: ", *e).cStr());
  for (auto& end : cluster.unexpectedEnds) journal.fail(end);
  result.failures = journal.failures();
  result.lines = journal.lines();
  result.trace = journal.hash() ^ cluster.world.network.traceHash();
  result.virtualMs = cluster.world.time.nowNs() / 1'000'000;
  for (uint32_t i = 0; i < cluster.clients(); ++i) cluster.killClient(i);
  work = nullptr;
  return result;
}

}  // namespace dfs
