#pragma once
// One operation at a time, each on any client, checked against the model. Its topics have a file each.
//
// Thread: the simulator's. Owner: a run.
// Invariants:
//   1. Before what a client has not synced may be lost, it has synced everything and is left alone:
//      so every answer is exact. Where a client is killed amid an operation, that is the next one.

#include "tests/sim/model.h"
#include "tests/sim/workload.h"

#include <deque>

namespace dfs {

class ModelWorkload final : public Workload {
 public:
  ModelWorkload(SimCluster& cluster, Journal& journal)
      : cluster_(cluster), journal_(journal), random_(cluster.world.random.next()) {}

  void prepare() override {}
  kj::Promise<void> run() override { return loop(); }
  void stop() override { stopping_ = true; }
  std::string waitsFor() override { return now_; }
  void finalCheck() override { wait(compareAll("at the end")); }
  void afterPowerCut() override {
    handles_.clear();
    wait(compareAll("after the power cut"));
  }

  kj::Promise<void> beforeClientLoss(uint32_t client) override {
    return quiet([this, client]() { return saveAndLeave(client); });
  }
  void clientLossEnds(uint32_t client) override { away_.erase(client); }
  void clientLossBegins(uint32_t client) override;
  kj::Promise<void> beforeStoreLoss() override {
    return quiet([this]() { return saveAll(); });
  }
  void storeLoss() override { --pauses_; }
  kj::Promise<void> beforeFullDisk() override { return beforeStoreLoss(); }
  void fullDiskEnds() override { --pauses_; }

 private:
  struct Open {
    uint32_t client;
    uint64_t start;
    InodeId ino;
    FileHandle handle;
    ModelRef node;
  };
  using Work = kj::Function<kj::Promise<void>()>;

  void wait(kj::Promise<void> promise);
  kj::Promise<void> quiet(Work work);
  // Between two operations; the loop does it.
  Task<void> saveAll();
  Task<void> saveAndLeave(uint32_t i);
  Task<void> save(uint32_t i);

  void expect(const std::string& what, Errno got, Errno wanted) {
    journal_.note(what + " = " + nameOf(got).cStr());
    if (got != wanted) {
      journal_.fail(what + " answered " + nameOf(got).cStr() + ", and not " +
                    nameOf(wanted).cStr());
    }
  }
  template <typename T> bool expect(const std::string& what, Outcome<T>& got, Errno wanted) {
    expect(what, got.err(), wanted);
    return got.ok() && wanted == Errno::OK;
  }
  void expectAttr(const std::string& what, const Attr& attr, const ModelNode& node);

  // --- model_workload.cc
  Task<void> loop();
  Task<void> step(uint32_t client);
  std::string name() { return std::string(1, static_cast<char>('a' + random_.below(6))); }
  std::vector<std::string> directory();
  ModelRef nodeAt(const std::vector<std::string>& path);
  Task<Outcome<Attr>> walk(SimClient* c, std::vector<std::string> path);
  Task<void> compareDirectory(uint32_t client, std::vector<std::string> path, std::string when);
  Task<void> compareAll(std::string when);
  static std::string text(const std::vector<std::string>& path);
  static std::vector<std::string> with(std::vector<std::string> path, const std::string& n) {
    path.push_back(n);
    return path;
  }

  // --- model_names.cc
  Task<void> changeNames(uint32_t client);
  Task<void> linkUnnamed(uint32_t client);
  Task<void> openOrCreate(uint32_t client);
  Task<void> openNamed(SimClient* c, uint32_t client, InodeId parent, std::string n, ModelRef node,
                       std::string what);
  Task<void> createNew(SimClient* c, uint32_t client, InodeId parent, std::string n, ModelRef dir,
                       std::string what);
  Task<void> stat(uint32_t client);

  // --- model_data.cc
  uint64_t place(const ModelNode& node);
  Task<void> onHandle(size_t number);
  Task<void> writeSome(SimClient* c, Open h, uint64_t offset, uint32_t bytes, bool append,
                       std::string what);
  Task<void> truncate(SimClient* c, Open h, uint64_t offset, std::string what);
  Task<void> close(SimClient* c, Open h, std::string what);
  Task<void> changeSpace(SimClient* c, Open h, uint64_t offset, uint64_t bytes, std::string what);
  Task<void> copy(SimClient* c, Open h, uint64_t to, std::string what);
  Task<void> compareRange(SimClient* c, Open h, uint64_t offset, uint32_t bytes, std::string what);
  Task<void> comparePiece(SimClient* c, Open h, uint64_t offset, uint32_t bytes, std::string what);

  // --- model_xattrs.cc
  Task<void> onXattrs(SimClient* c, Open h, std::string what);

  SimCluster& cluster_;
  Journal& journal_;
  SimRandom random_;
  Model model_;
  std::deque<Open> handles_;
  std::set<uint32_t> away_;  // clients that are left alone
  uint32_t pauses_ = 0;
  bool stopping_ = false;
  std::string now_;
  std::deque<std::pair<Work, kj::Own<kj::PromiseFulfiller<void>>>> asked_;
};

}  // namespace dfs
