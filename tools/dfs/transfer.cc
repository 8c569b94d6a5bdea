// dfs put and dfs get: files between this machine and a cluster, without a mount.

#include "common/cluster_source.h"
#include "common/mount_note.h"
#include "common/mounts.h"
#include "tools/dev/command_failure.h"
#include "tools/dfs/verb.h"
#include "tools/transfer/get.h"
#include "tools/transfer/put.h"

#include <sys/sysmacros.h>

#include <iostream>
#include <memory>

namespace dfs {
namespace {

struct Arguments {
  std::string from;
  std::string to;
  TransferOptions options;
  bool quiet = false;
};

struct Place {
  std::vector<std::string> nameservers;
  std::string path;  // from the cluster's root
};

kj::Maybe<Place> inMount(const std::string& given) {
  auto path = mountPath(given);
  auto mount = dfsMountHolding(path);
  KJ_IF_MAYBE(m, mount) {
    auto note = mountNoteAt(makedev(m->major, m->minor));
    KJ_IF_MAYBE(n, note) {
      auto inside = path.substr(m->point == "/" ? 0 : m->point.size());
      if (given.ends_with("/")) inside += "/";
      return Place{n->nameservers, n->subdir + "/" + inside};
    }
    failCommand(kExitUsage, "the mount of " + given +
                                " does not say to you which cluster it is of; name the file "
                                "HOST:PORT:/PATH");
  }
  return nullptr;
}

Place placeIn(const Where& where, const std::string& given) {
  if (looksLikeSource(given)) {
    auto source = parseClusterSource(given);
    return {source.nameservers, source.path};
  }
  if (where.root.empty() && where.nameservers.empty()) {
    auto mounted = inMount(given);
    KJ_IF_MAYBE(place, mounted) return kj::mv(*place);
    if (!given.starts_with("/")) {
      failCommand(kExitUsage, given +
                                  " is no place in a cluster: that is HOST:PORT:/PATH, a path "
                                  "inside a mount, or with --nameserver or --root a path from "
                                  "the cluster's root");
    }
  }
  return {findNameservers(where), given};
}

int ended(uint64_t failed) {
  if (failed == 0) return kExitOk;
  std::cerr << "dfs: " << failed << (failed == 1 ? " entry was" : " entries were")
            << " not copied\n";
  return kExitPartial;
}

int put(const Where& where, const Arguments& a) {
  if (a.from == "-" && (a.options.resume || a.options.preserve)) {
    failCommand(kExitUsage, "standard input cannot be resumed, and has no mode and time to keep");
  }
  auto place = placeIn(where, a.to);
  Remote remote(place.nameservers, "dfs put");
  Progress progress(remote.env(), !a.quiet);
  Put work(remote, progress, a.options);
  remote.run(work.all(a.from, place.path));
  return ended(work.failed());
}

int get(const Where& where, const Arguments& a) {
  if (a.to == "-" && (a.options.resume || a.options.preserve)) {
    failCommand(kExitUsage, "standard output cannot be resumed, and keeps no mode and time");
  }
  auto place = placeIn(where, a.from);
  Remote remote(place.nameservers, "dfs get");
  Progress progress(remote.env(), !a.quiet);
  Get work(remote, progress, a.options);
  remote.run(work.all(place.path, a.to));
  return ended(work.failed());
}

void addOptions(Tool& tool, CLI::App* verb, std::shared_ptr<Arguments> a) {
  addClusterOptions(tool, verb, false);
  verb->add_flag("-r,--recursive", a->options.recursive,
                 "A directory, so that its copy holds what it holds");
  verb->add_flag("-p,--preserve", a->options.preserve,
                 "Modes and times become those of the source");
  verb->add_flag("--resume", a->options.resume,
                 "Keep what was copied if it is interrupted, go on from there when it is repeated, "
                 "and pass over files of the same size and time; keeps times");
  verb->add_flag("-q,--quiet", a->quiet, "Show no progress");
  verb->footer(
      "A place in a cluster is HOST:PORT:/PATH, a path inside a mount, or, with --nameserver,\n"
      "--root or nameserver in /etc/dfs/client.toml, a path from the cluster's root.\n"
      "A file appears under its name when all of it is there, never half.\n"
      "Examples:\n"
      "  dfs put big.iso host1:7400:/iso/           dfs get host1:7400:/iso/big.iso .\n"
      "  tar c src | dfs put - /mnt/dfs/src.tar     dfs put -rp --resume photos n1,n2:/photos");
}

}  // namespace

void addTransfer(Tool& tool) {
  auto a = std::make_shared<Arguments>();
  auto verb = tool.app.add_subcommand("put", "Copy files into a cluster, without a mount");
  verb->add_option("source", a->from, "A file or directory here; - is standard input")->required();
  verb->add_option("target", a->to, "Where it is to be in the cluster")->required();
  addOptions(tool, verb, a);
  verb->callback([&tool, a]() { tool.action = [&tool, a]() { return put(tool.where, *a); }; });

  auto b = std::make_shared<Arguments>();
  verb = tool.app.add_subcommand("get", "Copy files out of a cluster, without a mount");
  verb->add_option("source", b->from, "A file or directory of the cluster")->required();
  verb->add_option("target", b->to, "Where it is to be here; - is standard output")->required();
  addOptions(tool, verb, b);
  verb->callback([&tool, b]() { tool.action = [&tool, b]() { return get(tool.where, *b); }; });
}

}  // namespace dfs
