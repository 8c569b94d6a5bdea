#include "fuse-client/mount_words.h"

#include "common/config.h"
#include "common/process.h"

#include <functional>
#include <iostream>
#include <map>
#include <set>

namespace dfs {
namespace {

constexpr uint64_t kSoftMs = 30'000;  // of soft without timeo

using Words = std::set<std::string>;

const Words& flagsOfTheMount() {
  static const Words words = {"suid", "nosuid", "dev", "nodev", "exec", "noexec", "nosymfollow"};
  return words;
}

const Words& forTheKernel() {
  // What libfuse and the kernel take besides.
  static const Words words = {"sync", "async", "dirsync", "auto_unmount", "debug"};
  return words;
}

const Words& forOthers() {
  // What stands in fstab for mount(8), systemd and people, and what says no more than the default.
  static const Words words = {"defaults",   "hard",          "default_permissions",
                              "_netdev",    "_rnetdev",      "nofail",
                              "auto",       "noauto",        "user",
                              "nouser",     "users",         "nousers",
                              "owner",      "noowner",       "group",
                              "nogroup",    "silent",        "loud",
                              "norelatime", "nostrictatime", "lazytime",
                              "nolazytime", "nomand",        "iversion",
                              "noiversion", "symfollow"};
  return words;
}

bool startsLikeOneForOthers(const std::string& word) {
  // The last three: as the kernel's table has them, from which mount(8) takes the words of a remount.
  for (auto start : {"x-", "X-", "user=", "comment=", "uhelper=", "helper=", "user_id=",
                     "group_id=", "blksize="}) {
    if (word.starts_with(start)) return true;
  }
  return false;
}

bool startsLikeOneForTheKernel(const std::string& word) {
  for (auto start : {"max_read=", "context=", "fscontext=", "defcontext=", "rootcontext="}) {
    if (word.starts_with(start)) return true;
  }
  return false;
}

kj::Maybe<uint64_t> secondsOf(const std::string& text) {
  // "30" or "30s".
  auto digits = text.ends_with("s") ? text.substr(0, text.size() - 1) : text;
  if (digits.empty() || digits.size() > 9) return nullptr;
  if (digits.find_first_not_of("0123456789") != std::string::npos) return nullptr;
  auto value = std::stoull(digits);
  if (value == 0) return nullptr;
  return value;
}

struct Reading {
  Arguments& a;
  bool soft;
  uint64_t timeoMs;
  kj::Maybe<kj::String> wrong;
};

using Plain = void (*)(Reading&);
using Valued = void (*)(Reading&, const std::string&);

const std::map<std::string, Plain>& plainWords() {
  static const std::map<std::string, Plain> words = {
      {"ro", [](Reading& r) { r.a.mount.readOnly = true; }},
      {"rw", [](Reading& r) { r.a.mount.readOnly = false; }},
      {"soft", [](Reading& r) { r.soft = true; }},
      {"hard", [](Reading& r) { r.soft = false; }},
      {"allow_other", [](Reading& r) { r.a.mount.allowOther = true; }},
      {"noatime", [](Reading& r) { r.a.mount.accessTimes = AccessTimes::NEVER; }},
      {"relatime", [](Reading& r) { r.a.mount.accessTimes = AccessTimes::RELATIME; }},
      {"atime", [](Reading& r) { r.a.mount.accessTimes = AccessTimes::RELATIME; }},
      {"strictatime", [](Reading& r) { r.a.mount.accessTimes = AccessTimes::STRICT; }},
      {"diratime", [](Reading& r) { r.a.mount.accessTimesOfDirectories = true; }},
      {"nodiratime", [](Reading& r) { r.a.mount.accessTimesOfDirectories = false; }},
      {"remount", [](Reading& r) { r.a.remount = true; }},
  };
  return words;
}

const std::map<std::string, Valued>& valuedWords() {
  static const std::map<std::string, Valued> words = {
      {"timeo",
       [](Reading& r, const std::string& value) {
         auto given = secondsOf(value);
         KJ_IF_MAYBE(seconds, given) {
           r.timeoMs = *seconds * 1000;
         } else {
           r.wrong = kj::str("timeo is a number of seconds, one or more, like timeo=30s, not \"",
                             value.c_str(), "\"");
         }
       }},
      {"nameserver",
       [](Reading& r, const std::string& value) {
         auto why = wrongAddress(value.c_str());
         if (why != nullptr) r.wrong = kj::mv(why);
         r.a.mount.nameservers.push_back(value);
       }},
      {"subdir", [](Reading& r, const std::string& value) { r.a.mount.subdir = value; }},
      {"data", [](Reading& r, const std::string& value) { r.a.embedded.data = value; }},
      {"log_file", [](Reading& r, const std::string& value) { r.a.log.file = value; }},
      {"log_level", [](Reading& r, const std::string& value) { r.a.log.level = value; }},
  };
  return words;
}

std::string unknown(const std::string& word) {
  std::vector<std::string> known;
  for (auto words : {&flagsOfTheMount(), &forTheKernel(), &forOthers()}) {
    known.insert(known.end(), words->begin(), words->end());
  }
  for (auto& [name, effect] : plainWords()) known.push_back(name);
  for (auto& [name, effect] : valuedWords()) known.push_back(name);
  auto name = word.substr(0, word.find('='));
  auto near = nearest(name, known);
  return "there is no option \"" + name + "\"" +
         (near.empty() ? "; mount.dfs(8) lists them" : "; did you mean \"" + near + "\"?");
}

void take(Reading& r, const std::string& word) {
  auto equals = word.find('=');
  auto plain = plainWords().find(word);
  auto valued = valuedWords().find(word.substr(0, equals));
  if (plain != plainWords().end()) {
    plain->second(r);
  } else if (equals != std::string::npos && valued != valuedWords().end()) {
    valued->second(r, word.substr(equals + 1));
  } else if (forOthers().count(word) != 0 || startsLikeOneForOthers(word)) {
    return;
  } else if (isFlagOfTheMount(word) || forTheKernel().count(word) != 0 ||
             startsLikeOneForTheKernel(word)) {
    r.a.mount.fuseOptions.push_back(word);
  } else if (r.a.sloppy) {
    std::cerr << "mount.dfs: " << unknown(word) << " (passed over)\n";
  } else {
    r.wrong = kj::str(unknown(word).c_str());
  }
}

std::vector<std::string> lasting(const MountOptions& m) {
  // What cannot be changed while it is mounted, each in one form.
  std::vector<std::string> words;
  if (m.softTimeoutMs != 0) words.push_back("soft=" + std::to_string(m.softTimeoutMs));
  if (m.accessTimes == AccessTimes::NEVER) words.push_back("noatime");
  if (m.accessTimes == AccessTimes::STRICT) words.push_back("strictatime");
  if (!m.accessTimesOfDirectories) words.push_back("nodiratime");
  for (auto& option : m.fuseOptions) {
    if (!isFlagOfTheMount(option)) words.push_back(option);
  }
  return words;
}

}  // namespace

bool isFlagOfTheMount(const std::string& word) {
  return flagsOfTheMount().count(word) != 0;
}

kj::Maybe<kj::String> takeWords(Arguments& a) {
  Reading reading{a, false, kSoftMs, nullptr};
  for (auto& word : a.options) {
    take(reading, word);
    if (reading.wrong != nullptr) return kj::mv(reading.wrong);
  }
  auto& m = a.mount;
  if (reading.soft) m.softTimeoutMs = reading.timeoMs;
  if (m.subdir == "/") m.subdir.clear();
  if (!m.subdir.empty() && m.subdir[0] != '/') {
    return kj::str("subdir is a path from the cluster's root, like subdir=/home, not \"",
                   m.subdir.c_str(), "\"");
  }
  m.words = lasting(m);
  return nullptr;
}

}  // namespace dfs
