#include "fuse-client/mount_helper.h"

#include "common/cluster_source.h"
#include "common/mount_note.h"
#include "common/mounts.h"
#include "fuse-client/mount_words.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>

namespace dfs {
namespace {

constexpr unsigned long kNoSymFollow = 256;  // MS_NOSYMFOLLOW, which older headers lack

struct Flag {
  unsigned long bit;
  bool on;
};

const std::map<std::string, Flag>& kernelFlags() {
  static const std::map<std::string, Flag> flags = {
      {"ro", {MS_RDONLY, true}},
      {"rw", {MS_RDONLY, false}},
      {"nosuid", {MS_NOSUID, true}},
      {"suid", {MS_NOSUID, false}},
      {"nodev", {MS_NODEV, true}},
      {"dev", {MS_NODEV, false}},
      {"noexec", {MS_NOEXEC, true}},
      {"exec", {MS_NOEXEC, false}},
      {"nosymfollow", {kNoSymFollow, true}},
      {"symfollow", {kNoSymFollow, false}},
      {"noatime", {MS_NOATIME, true}},
      {"nodiratime", {MS_NODIRATIME, true}},
      {"relatime", {MS_RELATIME, true}},
  };
  return flags;
}

void change(unsigned long& flags, const std::string& word) {
  auto found = kernelFlags().find(word);
  if (found == kernelFlags().end()) return;
  flags = found->second.on ? flags | found->second.bit : flags & ~found->second.bit;
}

void refuse(const std::string& path, int reason) {
  KJ_REQUIRE(reason != EBUSY,
             "it cannot be made read-only: programs have files open for writing there (`fuser -vm "
             "DIRECTORY` lists them)",
             path.c_str());
  KJ_REQUIRE(reason != EPERM, "only root may change a mount", path.c_str());
  KJ_FAIL_REQUIRE("the kernel does not change this mount", path.c_str(), strerror(reason));
}

}  // namespace

bool isHelperName(const std::string& program) {
  auto name = program.substr(program.rfind('/') + 1);
  return name == "mount.dfs" || name == "mount.fuse.dfs";
}

HelperCall readHelperCall(const std::vector<std::string>& args) {
  HelperCall call;
  std::vector<std::string> places;
  std::vector<std::string> options;
  for (size_t i = 0; i < args.size() && call.wrong.empty(); ++i) {
    auto& arg = args[i];
    if (arg == "--help" || arg == "--version") {
      call.help = true;
      call.args = {arg};
      return call;
    }
    if (arg.size() < 2 || arg[0] != '-') {
      places.push_back(arg);
      continue;
    }
    // Letters may stand together; -o, -t and -N take the rest of the word, or the next one.
    for (size_t at = 1; at < arg.size(); ++at) {
      char letter = arg[at];
      if (letter == 's') call.sloppy = true;
      if (letter == 'f') call.checkOnly = true;
      if (letter == 'v') call.verbose = true;
      if (strchr("sfnvrw", letter) != nullptr) {
        if (letter == 'r') options.push_back("ro");
        if (letter == 'w') options.push_back("rw");
        continue;
      }
      if (strchr("otN", letter) == nullptr) {
        call.wrong = std::string("there is no option -") + letter;
        break;
      }
      auto value = arg.substr(at + 1);
      if (value.empty() && i + 1 < args.size()) value = args[++i];
      if (letter == 'o') options.push_back(value);
      break;
    }
  }
  if (call.wrong.empty() && places.size() != 2) {
    call.wrong =
        "it is called with what to mount and where, like mount -t dfs HOST:PORT:/ /mnt/dfs";
  }
  if (!call.wrong.empty()) return call;
  call.source = places[0];
  auto source = parseClusterSource(call.source);
  call.wrong = source.wrong;
  call.args.push_back(places[1]);
  for (auto& address : source.nameservers) {
    call.args.push_back("--nameserver");
    call.args.push_back(address);
  }
  if (!source.path.empty()) {
    call.args.push_back("--subdir");
    call.args.push_back(source.path);
  }
  for (auto& option : options) {
    call.args.push_back("-o");
    call.args.push_back(option);
  }
  return call;
}

void remount(const Arguments& a) {
  auto path = mountPath(a.mount.mountpoint);
  auto found = mountedAt(path);
  KJ_IF_MAYBE(mount, found) {
    KJ_REQUIRE(mount->isDfs(), "no DFS is mounted there", path.c_str());
    std::vector<std::string> now;
    auto note = mountNoteAt(makedev(mount->major, mount->minor));
    KJ_IF_MAYBE(n, note) now = n->words;
    for (auto& word : a.mount.words) {
      KJ_REQUIRE(std::find(now.begin(), now.end(), word) != now.end(),
                 "this cannot be changed while it is mounted: unmount it and mount it anew",
                 word.c_str());
    }
    unsigned long flags = 0;
    std::istringstream words(mount->options + (mount->readOnly ? ",ro" : ",rw"));
    for (std::string word; std::getline(words, word, ',');) change(flags, word);
    for (auto& word : a.options) change(flags, word);
    bool asReadOnly = std::find(now.begin(), now.end(), "ro") != now.end();
    KJ_REQUIRE(!asReadOnly || (flags & MS_RDONLY) != 0,
               "it was mounted read-only: unmount it and mount it anew", path.c_str());
    if (::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | flags, nullptr) != 0) {
      refuse(path, errno);
    }
    return;
  }
  KJ_FAIL_REQUIRE("no DFS is mounted there", path.c_str());
}

}  // namespace dfs
