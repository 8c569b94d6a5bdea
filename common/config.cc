#include "common/config.h"

#include "common/split.h"

#include <CLI/CLI.hpp>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <sstream>

#ifndef DFS_VERSION
#error "DFS_VERSION is defined by CMake"
#endif

namespace dfs {
namespace {

enum class Kind { TEXT, LIST, NUMBER, FLAG };

struct Setting {
  Kind kind;
  std::string name;  // with '-'
  std::string valueName;
  std::string help;
  void* into;
  CLI::Option* option = nullptr;
  char letter = 0;
  std::string given;  // what the command line said
  std::vector<std::string> givenList;
  bool givenFlag = false;
};

std::string fileKey(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string environmentKey(const std::string& name) {
  auto key = "DFS_" + fileKey(name);
  for (auto& c : key) c = static_cast<char>(toupper(c));
  return key;
}

struct BadSetting {
  std::string why;
};

uint64_t parseNumber(const std::string& text, const std::string& where) {
  char* end = nullptr;
  errno = 0;
  unsigned long long value = strtoull(text.c_str(), &end, 10);
  if (text.empty() || text[0] == '-' || *end != 0 || errno != 0) {
    throw BadSetting{where + " must be a whole number, not \"" + text + "\""};
  }
  return value;
}

bool parseBool(const std::string& text, const std::string& where) {
  if (text == "1" || text == "true" || text == "yes" || text == "on") return true;
  if (text == "0" || text == "false" || text == "no" || text == "off") return false;
  throw BadSetting{where + " must be true or false, not \"" + text + "\""};
}

void assignText(const Setting& s, const std::string& text, const std::string& where) {
  switch (s.kind) {
    case Kind::TEXT:
      *static_cast<std::string*>(s.into) = text;
      break;
    case Kind::LIST:
      *static_cast<std::vector<std::string>*>(s.into) = split(text, ',');
      break;
    case Kind::NUMBER:
      *static_cast<uint64_t*>(s.into) = parseNumber(text, where);
      break;
    case Kind::FLAG:
      *static_cast<bool*>(s.into) = parseBool(text, where);
      break;
  }
}

void assignToml(const Setting& s, const toml::node& node, const std::string& where) {
  if (s.kind == Kind::LIST && node.is_array()) {
    std::vector<std::string> items;
    for (auto& item : *node.as_array()) {
      if (!item.is_string()) throw BadSetting{where + " must be a list of strings"};
      items.push_back(item.as_string()->get());
    }
    *static_cast<std::vector<std::string>*>(s.into) = items;
  } else if ((s.kind == Kind::TEXT || s.kind == Kind::LIST) && node.is_string()) {
    assignText(s, node.as_string()->get(), where);
  } else if (s.kind == Kind::NUMBER && node.is_integer() && node.as_integer()->get() >= 0) {
    *static_cast<uint64_t*>(s.into) = static_cast<uint64_t>(node.as_integer()->get());
  } else if (s.kind == Kind::FLAG && node.is_boolean()) {
    *static_cast<bool*>(s.into) = node.as_boolean()->get();
  } else {
    const char* wanted[] = {"a string", "a string or a list of strings", "a whole number",
                            "true or false"};
    throw BadSetting{where + " must be " + wanted[static_cast<int>(s.kind)]};
  }
}

}  // namespace

const char* versionText() {
  return DFS_VERSION;
}

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t bestDistance = ~size_t(0);
  for (auto& k : known) {
    std::vector<size_t> row(k.size() + 1);
    for (size_t j = 0; j <= k.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= k.size(); ++j) {
        size_t change = diagonal + (word[i - 1] != k[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
      }
    }
    if (row[k.size()] < bestDistance) {
      bestDistance = row[k.size()];
      best = k;
    }
  }
  return bestDistance <= std::max<size_t>(1, best.size() / 3) ? best : "";
}

struct Settings::Impl {
  Impl(const std::string& program, const std::string& about) : app(about, program) {}

  CLI::App app;
  std::string program;
  std::string file;
  std::string defaultFile;
  std::vector<std::unique_ptr<Setting>> settings;

  void add(Kind kind, void* into, const char* name, const char* valueName, const char* help) {
    auto s = std::make_unique<Setting>();
    s->kind = kind;
    s->name = name;
    s->valueName = valueName;
    s->help = help;
    s->into = into;
    settings.push_back(std::move(s));
  }

  void declare() {
    // Late, because a short name may have been added.
    for (auto& s : settings) {
      std::string flags = "--" + s->name;
      if (s->letter != 0) flags = std::string("-") + s->letter + "," + flags;
      if (s->kind == Kind::FLAG) {
        s->option = app.add_flag(flags, s->givenFlag, s->help);
      } else if (s->kind == Kind::LIST) {
        s->option = app.add_option(flags, s->givenList, s->help)->type_name(s->valueName);
      } else {
        s->option = app.add_option(flags, s->given, s->help)->type_name(s->valueName);
        if (s->kind == Kind::TEXT) s->option->default_str(*static_cast<std::string*>(s->into));
        if (s->kind == Kind::NUMBER) {
          s->option->default_str(std::to_string(*static_cast<uint64_t*>(s->into)));
        }
      }
    }
  }

  void readFile() {
    bool named = !file.empty();
    std::string path = named ? file : defaultFile;
    if (path.empty() || (!named && !std::filesystem::exists(path))) return;
    toml::table table;
    try {
      table = toml::parse_file(path);
    } catch (const toml::parse_error& e) {
      std::ostringstream why;
      why << path << ", line " << e.source().begin.line << ": " << e.description();
      throw BadSetting{why.str()};
    }
    std::vector<std::string> known;
    for (auto& s : settings) known.push_back(fileKey(s->name));
    for (auto&& [key, node] : table) {
      std::string word(key.str());
      auto where = path + ": " + word;
      auto found = std::find(known.begin(), known.end(), word);
      if (found == known.end()) {
        auto near = nearest(word, known);
        throw BadSetting{path + ": unknown key \"" + word + "\"" +
                         (near.empty() ? std::string() : "; did you mean \"" + near + "\"?")};
      }
      assignToml(*settings[static_cast<size_t>(found - known.begin())], node, where);
    }
  }

  void readEnvironment() {
    for (auto& s : settings) {
      auto key = environmentKey(s->name);
      if (const char* value = getenv(key.c_str())) assignText(*s, value, key);
    }
  }

  void readFlags() {
    for (auto& s : settings) {
      if (s->option->count() == 0) continue;
      if (s->kind == Kind::FLAG) {
        *static_cast<bool*>(s->into) = s->givenFlag;
      } else if (s->kind == Kind::LIST) {
        std::vector<std::string> all;
        for (auto& item : s->givenList) {
          for (auto& part : split(item, ',')) all.push_back(part);
        }
        *static_cast<std::vector<std::string>*>(s->into) = all;
      } else {
        assignText(*s, s->given, "--" + s->name);
      }
    }
  }
};

Settings::Settings(std::string program, std::string about, std::string defaultFile)
    : impl_(std::make_unique<Impl>(program, about)) {
  impl_->program = program;
  impl_->defaultFile = defaultFile;
  impl_->app.set_version_flag("--version", program + " " + DFS_VERSION,
                              "Print the version and end");
  auto help =
      "Settings from this TOML file" +
      (defaultFile.empty() ? std::string() : " (default " + defaultFile + ", if it is there)");
  impl_->app.add_option("--config", impl_->file, help)->type_name("FILE");
}
Settings::~Settings() = default;

void Settings::text(std::string& into, const char* name, const char* valueName, const char* help) {
  impl_->add(Kind::TEXT, &into, name, valueName, help);
}
void Settings::list(std::vector<std::string>& into, const char* name, const char* valueName,
                    const char* help) {
  impl_->add(Kind::LIST, &into, name, valueName, help);
}
void Settings::number(uint64_t& into, const char* name, const char* valueName, const char* help) {
  impl_->add(Kind::NUMBER, &into, name, valueName, help);
}
void Settings::flag(bool& into, const char* name, const char* help) {
  impl_->add(Kind::FLAG, &into, name, "", help);
}
void Settings::positional(std::string& into, const char* name, const char* help, bool required) {
  auto option = impl_->app.add_option(name, into, help);
  if (required) option->required();
}
void Settings::shortName(const char* name, char letter) {
  for (auto& s : impl_->settings) {
    if (s->name == name) s->letter = letter;
  }
}
void Settings::examples(std::string text) {
  impl_->app.footer(text);
}

kj::Maybe<int> Settings::parse(int argc, char** argv) {
  impl_->declare();
  try {
    impl_->app.parse(argc, argv);
    impl_->readFile();
    impl_->readEnvironment();
    impl_->readFlags();
    return nullptr;
  } catch (const CLI::ParseError& e) {
    // Help and version come this way too.
    if (e.get_exit_code() == 0) return impl_->app.exit(e);
    std::cerr << impl_->program << ": " << e.what() << "\nTry '" << impl_->program << " --help'.\n";
    return kExitUsage;
  } catch (const BadSetting& e) {
    std::cerr << impl_->program << ": " << e.why << "\n";
    return kExitUsage;
  }
}

}  // namespace dfs
