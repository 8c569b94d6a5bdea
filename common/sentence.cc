#include "common/sentence.h"

#include <cctype>
#include <cstddef>
#include <vector>

namespace dfs {
namespace {

constexpr size_t kNone = std::string::npos;
constexpr const char* kRemote = "remote exception: ";
constexpr const char* kExpected = "expected ";

size_t endOfCode(const std::string& text, const std::string& until) {
  // The first `until` outside brackets and quotes, as C++ has them; kNone if there is none.
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote != 0) {
      if (c == '\\') {
        ++i;
      } else if (c == quote) {
        quote = 0;
      }
      continue;
    }
    if (depth == 0 && text.compare(i, until.size(), until) == 0) return i;
    // No quote: the apostrophe of a word, as in KJ's "(can't stringify)".
    bool word = c == '\'' && i > 0 && isalpha(static_cast<unsigned char>(text[i - 1]));
    if (c == '"' || (c == '\'' && !word)) quote = c;
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
  }
  return kNone;
}

bool isExpression(const std::string& text) {
  // Something to which a value can belong, and no word of a sentence: no blanks outside brackets, and it
  // begins as a C++ expression does.
  if (text.empty()) return false;
  char first = text[0];
  if (!isalpha(static_cast<unsigned char>(first)) && first != '_' && first != '(' && first != '*') {
    return false;
  }
  return endOfCode(text, " ") == kNone && endOfCode(text, ",") == kNone;
}

std::string withoutCall(const std::string& text) {
  // "fd = open(path.c_str(), flags): No such file" becomes "open: No such file".
  auto colon = endOfCode(text, ": ");
  if (colon == kNone || colon == 0 || text[colon - 1] != ')') return text;
  auto call = text.substr(0, colon);
  auto assigned = endOfCode(call, " = ");
  if (assigned != kNone) call = call.substr(assigned + 3);
  auto open = call.find('(');
  auto name = call.substr(0, open);
  while (name.starts_with(":")) name = name.substr(1);
  if (!isExpression(name)) return text;
  return name + text.substr(colon);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t at; (at = text.find("; ", from)) != kNone; from = at + 2) {
    parts.push_back(text.substr(from, at - from));
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::string read(std::string text) {
  while (text.starts_with(kRemote)) text = text.substr(std::string(kRemote).size());
  if (text.starts_with(kExpected)) {
    auto at = endOfCode(text, "; ");
    // Without a sentence it is a bug's report, and then the condition is all there is to tell.
    if (at == kNone) return text;
    text = text.substr(at + 2);
  }
  std::string sentence;
  bool values = false;
  for (auto& part : split(text)) {
    auto equals = endOfCode(part, " = ");
    bool value = equals != kNone && isExpression(part.substr(0, equals));
    if (sentence.empty()) {
      sentence = withoutCall(part);
      continue;
    }
    if (!value) {
      sentence += "; " + part;
      continue;
    }
    auto shown = read(part.substr(equals + 3));
    if (shown.empty()) continue;
    sentence += (values ? ", " : ": ") + shown;
    values = true;
  }
  return sentence;
}

}  // namespace

std::string sentenceOf(kj::StringPtr description) {
  return read(description.cStr());
}

std::string sentenceOf(const kj::Exception& exception) {
  return sentenceOf(exception.getDescription());
}

}  // namespace dfs
