// The status object and the metrics. The object's schema number moves when a member changes its
// meaning; members are added without.

#include "common/config.h"
#include "common/metrics.h"
#include "nameserver/admin/admin.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <ctime>

namespace dfs {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSessionsShown = 1000;
constexpr size_t kStoresShown = 4096;

std::string isoTime(const Time& time) {
  time_t sec = time.sec;
  struct tm parts {};
  if (gmtime_r(&sec, &parts) == nullptr) return "";
  char text[32];
  snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900,
           parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
  return text;
}

std::string sinceText(Env& env, uint64_t sinceMs) {
  auto time = env.clock.wallTime();
  auto now = env.clock.bootMs();
  if (sinceMs < now) time.sec -= static_cast<int64_t>((now - sinceMs) / 1000);
  return isoTime(time);
}

const char* nameOfState(schema::MemberState state) {
  switch (state) {
    case schema::MemberState::SERVING:
      return "serving";
    case schema::MemberState::SYNCING:
      return "syncing";
    case schema::MemberState::WAITING:
      return "waiting";
    case schema::MemberState::LAST_SERVING:
      return "lastServing";
    default:
      return "offline";
  }
}

struct ChainCounts {
  size_t total = 0, full = 0, degraded = 0, waiting = 0;
};

ChainCounts countChains(const View& view) {
  ChainCounts counts;
  for (auto& [id, chain] : view.chains) {
    counts.total += 1;
    auto serving = chain.servingCount();
    if (serving == 0) {
      counts.waiting += 1;
    } else if (serving < chain.replicas) {
      counts.degraded += 1;
    } else {
      counts.full += 1;
    }
  }
  return counts;
}

Json storesJson(const View& view, Cluster& cluster) {
  std::map<NodeId, std::map<std::string, uint64_t>> members;
  for (auto& [id, chain] : view.chains) {
    for (auto& member : chain.members) members[member.node][nameOfState(member.state)] += 1;
  }
  std::map<NodeId, NodeStatus> nodes;
  for (auto& status : cluster.nodes()) nodes[status.id] = status;
  Json stores = Json::array();
  for (auto& [id, node] : view.nodes) {
    if (stores.size() == kStoresShown) break;
    NodeStatus status{};
    if (nodes.count(id) != 0) status = nodes[id];
    Json chains;
    for (auto name : {"serving", "syncing", "waiting", "offline", "lastServing"}) {
      chains[name] = members[id][name];
    }
    stores.push_back({{"id", id.value},
                      {"name", node.name},
                      {"uuid", toString(node.uuid).cStr()},
                      {"host", node.host},
                      {"state", !status.broken.empty() ? "broken"
                                : node.online          ? "online"
                                                       : "offline"},
                      {"broken", status.broken},
                      {"silentMs", status.silentMs},
                      {"addresses", node.addresses},
                      {"http", node.http},
                      {"totalBytes", status.totalBytes},
                      {"freeBytes", status.freeBytes},
                      {"viewInstalled", status.viewInstalled},
                      {"viewSettled", status.viewSettled},
                      {"chains", chains}});
  }
  return stores;
}

Json sessionsJson(Sessions& sessions) {
  Json all = Json::array();
  for (auto& s : sessions.status()) {
    if (all.size() == kSessionsShown) break;
    all.push_back({{"id", s.id.value},
                   {"host", s.host},
                   {"what", s.what},
                   {"silentMs", s.silentMs},
                   {"attached", s.attached},
                   {"state", s.ending    ? "ending"
                             : s.claimed ? "live"
                                         : "claiming"},
                   {"leases", s.leases},
                   {"pins", s.pins},
                   {"locks", s.locks}});
  }
  return all;
}

Json recallsJson(Env& env, Sessions& sessions) {
  Json all = Json::array();
  for (auto& r : sessions.recalls()) {
    all.push_back({{"ino", r.recall.ino.value},
                   {"path", r.path},
                   {"holder", r.recall.holder.value},
                   {"host", r.host},
                   {"since", sinceText(env, r.recall.sinceMs)},
                   {"sent", r.recall.sent},
                   {"waitsFor", r.recall.waitsFor},
                   {"fencing", r.fencing},
                   {"waiters", r.recall.waiters}});
  }
  return all;
}

}  // namespace

std::string Admin::statusJson() {
  auto& view = cluster_.view();
  auto sentences = cluster_.health();
  for (auto& s : sessions_.health()) sentences.push_back(s);
  Json issues = Json::array();
  bool critical = false;
  for (auto& s : sentences) {
    critical = critical || s.critical;
    issues.push_back({{"code", s.code},
                      {"critical", s.critical},
                      {"what", s.what},
                      {"effect", s.effect},
                      {"since", sinceText(env_, s.sinceMs)},
                      {"doing", s.doing},
                      {"advice", s.advice}});
  }
  auto log = replicator_.status();
  auto chains = countChains(view);
  auto counts = queries_.counts();
  auto space = cluster_.space();
  Json cluster = Json::object();
  KJ_IF_MAYBE(info, queries_.cluster()) {
    cluster = {{"uuid", toString(info->uuid).cStr()},
               {"replicas", info->replicas},
               {"blockBytes", info->blockBytes}};
  }
  Json status = {{"schema", 1},
                 {"version", versionText()},
                 {"cluster", cluster},
                 {"ready", cluster_.ready() && sessions_.serving()},
                 {"health",
                  {{"state", issues.empty() ? "ok"
                             : critical     ? "critical"
                                            : "warn"},
                   {"issues", issues}}},
                 {"nameservers", Json::array({{{"id", options_.id},
                                               {"leading", log.leading},
                                               {"term", log.term},
                                               {"applied", log.appliedIndex},
                                               {"durable", log.durableAppliedIndex},
                                               {"logBytes", log.logBytes},
                                               {"http", options_.http}}})},
                 {"stores", storesJson(view, cluster_)},
                 {"chains",
                  {{"total", chains.total},
                   {"full", chains.full},
                   {"degraded", chains.degraded},
                   {"waiting", chains.waiting}}},
                 {"view", view.version},
                 {"space", {{"bytes", space.bytes}, {"bytesFree", space.bytesFree}}},
                 {"sessions", sessionsJson(sessions_)},
                 {"counts",
                  {{"inodes", counts.inodes},
                   {"orphans", counts.orphans},
                   {"reclaimBlocks", counts.reclaimBlocks}}},
                 {"recalls", recallsJson(env_, sessions_)}};
  // Names are bytes: what is not UTF-8 is shown with replacement characters.
  return status.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string Admin::metrics() {
  MetricsWriter out;
  auto log = replicator_.status();
  auto counts = queries_.counts();
  auto chains = countChains(cluster_.view());
  auto space = cluster_.space();
  auto& c = sessions_.counters();
  auto gauge = [&out](const char* name, const char* help, uint64_t value) {
    out.gauge(name, help, static_cast<double>(value));
  };
  gauge("dfs_nameserver_leading", "1 while this server leads", log.leading ? 1 : 0);
  gauge("dfs_nameserver_term", "Term of the log", log.term);
  gauge("dfs_nameserver_applied_index", "Last applied entry", log.appliedIndex);
  gauge("dfs_nameserver_durable_index", "Last entry that the store keeps", log.durableAppliedIndex);
  gauge("dfs_nameserver_log_bytes", "Bytes of the log", log.logBytes);
  gauge("dfs_nameserver_inodes", "Inodes", counts.inodes);
  gauge("dfs_nameserver_orphans", "Removed inodes that somebody may still use", counts.orphans);
  gauge("dfs_nameserver_reclaim_blocks", "Freed blocks not yet deleted", counts.reclaimBlocks);
  gauge("dfs_nameserver_chains", "Chains", chains.total);
  gauge("dfs_nameserver_chains_degraded", "Chains that lack a copy", chains.degraded);
  gauge("dfs_nameserver_chains_waiting", "Chains that nobody serves", chains.waiting);
  gauge("dfs_nameserver_space_bytes", "Room for user data", space.bytes);
  gauge("dfs_nameserver_space_free_bytes", "Room that is left", space.bytesFree);
  gauge("dfs_nameserver_sessions", "Live sessions", sessions_.status().size());
  gauge("dfs_nameserver_leases", "Inodes that are held, used or waited for",
        sessions_.leaseCount());
  gauge("dfs_nameserver_recalls", "Recalls that somebody waits for", sessions_.recalls().size());
  gauge("dfs_nameserver_unclaimed_sessions", "Sessions that the first phase waits for",
        sessions_.phaseOneWaits());
  gauge("dfs_nameserver_issues", "Sentences in the health report",
        cluster_.health().size() + sessions_.health().size());
  out.counter("dfs_nameserver_calls_total", "Calls of clients", c.calls);
  out.counter("dfs_nameserver_commands_total", "Commands of clients", c.commands);
  out.counter("dfs_nameserver_grants_total", "Exclusive leases granted", c.grants);
  out.counter("dfs_nameserver_recalls_sent_total", "Recalls sent", c.recallsSent);
  out.counter("dfs_nameserver_sessions_ended_total", "Sessions ended", c.ended);
  out.counter("dfs_nameserver_reaped_total", "Removed inodes freed", c.reaped);
  return out.finish();
}

}  // namespace dfs
