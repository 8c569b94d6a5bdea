#pragma once
// Starting, watching and stopping daemons as processes of their own: for the embedded cluster and for `dfs dev`.
//
// Thread: the caller's; everything here may block. No loop is needed.

#include "common/ids.h"

#include <sys/types.h>

#include <string>
#include <vector>

namespace dfs {

struct ProcessId {
  // A pid alone may name another process after a while; with the time of its birth it does not.
  pid_t pid = 0;
  uint64_t born = 0;  // clock ticks since boot, /proc/PID/stat field 22
};

uint64_t bornAt(pid_t pid);              // 0: there is no such process
bool isAlive(const ProcessId& process);  // a zombie is not

struct Launch {
  std::vector<std::string> argv;  // argv[0] is a path
  std::string output;             // where stdout and stderr go, appended
  bool ownSession = true;         // signals to the terminal's group do not reach it
};
ProcessId launch(const Launch& what);
// Throws with a sentence if the program cannot be started. No descriptor but the standard ones is passed on.

bool stopProcess(const ProcessId& process, uint32_t graceMs);
// SIGTERM, and SIGKILL when the time is over. True once it is gone. Reaps it if it is our child.

std::string programBeside(const std::string& name);
// The path of another program of ours: beside this one, else as PATH has it.

std::string lastLines(const std::string& file, size_t lines);

std::string quickGet(const std::string& address, const std::string& path, uint32_t timeoutMs);
// GET over HTTP from "HOST:PORT" or "unix:/path": the body of a 200, else an empty string.

std::string socketDirectory(const std::string& data);
// Where Unix sockets for that data directory lie: DATA/run, or a directory of a hashed name below /run/dfs (or /tmp) if paths
// there would not fit into a socket's address (108 bytes).

}  // namespace dfs
