#pragma once
// Settings of a program: one table, filled from the command line, the environment, a TOML file and
// defaults, in that order of precedence.
//
// A setting "cache-size" is --cache-size on the command line, DFS_CACHE_SIZE in the environment and
// cache_size in the file. An unknown key in the file is an error that names the nearest known one;
// so is a value of the wrong type.
//
// Thread: before the loop starts. Owner: main().

#include <kj/common.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dfs {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitPartial = 3;
inline constexpr int kExitNotFound = 4;
inline constexpr int kExitDenied = 5;
inline constexpr int kExitUnreachable = 6;
inline constexpr int kExitTimeout = 7;
inline constexpr int kExitUnsafe = 8;

const char* versionText();
// "0.1.0"

class Settings {
 public:
  Settings(std::string program, std::string about, std::string defaultFile);
  // `defaultFile`: read if it exists and --config does not name another; empty: none.
  ~Settings();
  KJ_DISALLOW_COPY(Settings);

  // Each keeps a reference to `into`, which holds the default and must outlive parse().
  void text(std::string& into, const char* name, const char* valueName, const char* help);
  void list(std::vector<std::string>& into, const char* name, const char* valueName,
            const char* help);
  // Commas separate in the environment and on the command line, where it may also be repeated.
  void number(uint64_t& into, const char* name, const char* valueName, const char* help);
  void flag(bool& into, const char* name, const char* help);
  void positional(std::string& into, const char* name, const char* help, bool required);
  void shortName(const char* name, char letter);  // of a setting that is there already
  void examples(std::string text);                // printed below --help

  kj::Maybe<int> parse(int argc, char** argv);
  // Null: go on. Otherwise the program ends with that code; help, version or the error have been
  // printed.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string nearest(const std::string& word, const std::vector<std::string>& known);
// The known word with the smallest edit distance, if that is at most a third of its length; else
// empty.

}  // namespace dfs
