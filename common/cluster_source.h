#pragma once
// How a cluster, or a place in it, is named in one word: what stands first in a line of fstab, and
// what `dfs put` and `dfs get` take.
//
//   HOST[:PORT][,HOST[:PORT]...][:/PATH]     HOST may be [v6]; without a port it is kNamePort
//   unix:/SOCKET[,...][:/PATH]               a name server of this machine
//   none, dfs                                what the configuration names, or the embedded cluster
//
// Thread: any. Nothing is looked up.

#include <cstdint>
#include <string>
#include <vector>

namespace dfs {

inline constexpr uint16_t kNamePort = 7400;  // of a name server that says nothing else

struct ClusterSource {
  std::vector<std::string> nameservers;  // "HOST:PORT" or "unix:/path"; empty: none was named
  std::string path;   // from the cluster's root, beginning with '/'; may be empty
  std::string wrong;  // a sentence if it cannot be read; empty: it can
};

ClusterSource parseClusterSource(const std::string& text);

bool looksLikeSource(const std::string& text);
// "HOST:/path" and the like: what no path of this machine is meant by. A path with ":/" in it is one
// if it begins with '/' or '.'.

}  // namespace dfs
