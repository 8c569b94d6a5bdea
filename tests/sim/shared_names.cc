// What many clients name at once: a directory as a set, and tokens that are renamed.

#include "tests/sim/shared_workload.h"

#include <algorithm>
#include <set>

namespace dfs {

Task<void> SharedWorkload::changeSet(uint32_t client, uint32_t id) {
  auto& c = cluster_.client(client);
  std::string victim;
  if (random_.chance(40)) {
    for (auto& [name, e] : set_) {
      if (!e.busy && e.createEnd != ~uint64_t(0) && e.removeStart == ~uint64_t(0)) victim = name;
      if (!victim.empty() && random_.chance(30)) break;
    }
  }
  if (!victim.empty()) {
    set_[victim].busy = true;
    set_[victim].removeStart = now();
    auto what = c.machine + " unlink " + victim;
    now_[id] = what;
    auto err = co_await c.call(c.vfs->unlink(mounts_[client].set, victim, {}));
    result(client, what, err, false);
    if (err == Errno::OK) set_[victim].removeEnd = now();
    co_return;
  }
  auto name = "e" + std::to_string(++entries_);
  set_[name] = Entry{now()};
  auto what = c.machine + " mknod " + name;
  now_[id] = what;
  auto made =
      co_await c.call(c.vfs->mknod(mounts_[client].set, name, schema::Kind::FILE, 0600, 0, {}));
  result(client, what, made.err(), false);
  if (!made.ok()) co_return;
  c.vfs->forget(made->ino, 1);
  set_[name].createEnd = now();
  set_[name].busy = false;
}

Task<void> SharedWorkload::listSet(uint32_t client, uint32_t id, std::string when) {
  auto& c = cluster_.client(client);
  auto what = c.machine + " readdir" + when;
  now_[id] = what;
  auto start = now();
  auto dir = co_await c.call(c.vfs->opendir(mounts_[client].set));
  result(client, what, dir.err(), false);
  if (!dir.ok()) co_return;
  std::set<std::string> names;
  for (uint64_t cookie = 0;;) {
    auto part = co_await c.call(c.vfs->readdir(mounts_[client].set, *dir, cookie, 16, false));
    if (!part.ok()) result(client, what, part.err(), false);
    if (!part.ok() || part->empty()) break;
    for (auto& e : *part) {
      cookie = e.cookie;
      if (!names.insert(e.name).second) journal_.fail(what + ": twice " + e.name);
    }
  }
  c.vfs->releasedir(*dir);
  for (auto& [name, e] : set_) {
    bool must = e.createEnd < start && e.removeStart == ~uint64_t(0);
    bool mustNot = e.removeEnd < start;
    if (must && names.count(name) == 0) journal_.fail(what + ": without " + name);
    if (mustNot && names.count(name) != 0) journal_.fail(what + ": still with " + name);
  }
  if (when.empty()) co_return;
  for (auto& [number, places] : tokens_) {
    size_t found = 0;
    for (auto& place : places) found += names.count(place);
    if (found != 1)
      journal_.fail(what + ": token " + std::to_string(number) + " is there " +
                    std::to_string(found) + " times");
    for (auto& n : names) {
      bool of = n.starts_with("t" + std::to_string(number) + ".");
      if (of && std::find(places.begin(), places.end(), n) == places.end()) {
        journal_.fail(what + ": a token where it has left: " + n);
      }
    }
  }
}

Task<void> SharedWorkload::moveToken(uint32_t client, uint32_t id) {
  auto& c = cluster_.client(client);
  auto number = static_cast<uint32_t>(random_.below(kTokens));
  if (tokenBusy_[number] || tokens_[number].size() != 1) co_return;
  tokenBusy_[number] = true;
  KJ_DEFER(tokenBusy_[number] = false);
  auto from = tokens_[number][0];
  auto to = "t" + std::to_string(number) + "." + std::to_string(++moves_);
  auto what = c.machine + " rename " + from + " " + to;
  now_[id] = what;
  tokens_[number].push_back(to);  // unknown from now on; and for ever, if the client is killed
  auto set = mounts_[client].set;
  auto err = co_await c.call(c.vfs->rename(set, from, set, to, 0, {}));
  result(client, what, err, false);
  if (err == Errno::OK) tokens_[number] = {to};
}

}  // namespace dfs
