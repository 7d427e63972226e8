// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/yaml.h"

#include <simdjson.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

using nlohmann::json;

// Deeper documents are refused: the recursion below is bounded by it.
constexpr int kMaxDepth = 200;
// Aliases can blow a small text up to any size.
constexpr int kMaxNodes = 300'000;

std::optional<int64_t> ParseInteger(const std::string& text) {
  size_t start = text[0] == '-' || text[0] == '+' ? 1 : 0;
  std::string digits = text.substr(start);
  int base = 10;
  if (absl::StartsWith(digits, "0x")) {
    base = 16;
    digits = digits.substr(2);
  } else if (absl::StartsWith(digits, "0o")) {
    base = 8;
    digits = digits.substr(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  const char* allowed = base == 16  ? "0123456789abcdefABCDEF"
                        : base == 8 ? "01234567"
                                    : "0123456789";
  if (digits.empty() || digits.find_first_not_of(allowed) != digits.npos)
    return std::nullopt;
  errno = 0;
  int64_t value = std::strtoll(digits.c_str(), nullptr, base);
  if (errno != 0) return std::nullopt;
  return text[0] == '-' ? -value : value;
}

json PlainScalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" ||
      text == "NULL")
    return nullptr;
  // A word is a boolean in lower, title or upper case only.
  std::string lower = absl::AsciiStrToLower(text);
  std::string title = lower;
  title[0] = absl::ascii_toupper(title[0]);
  if (text == lower || text == title || text == absl::AsciiStrToUpper(lower)) {
    for (const char* word : {"y", "yes", "true", "on"})
      if (lower == word) return true;
    for (const char* word : {"n", "no", "false", "off"})
      if (lower == word) return false;
  }
  if (text.find_first_not_of("+-0123456789.eExXoabcdfABCDF") != text.npos ||
      text.find_first_of("0123456789") == text.npos)
    return text;
  if (std::optional<int64_t> integer = ParseInteger(text)) return *integer;
  double number;
  if (text.find_first_not_of("+-0123456789.eE") == text.npos &&
      absl::SimpleAtod(text, &number) && std::isfinite(number))
    return number;
  return text;
}

// A scalar's text. The library writes the escapes \N and \_ (U+0085, U+00A0) as
// one byte each; all else was UTF-8 when it came.
std::string Text(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (simdjson::validate_utf8(text.data(), text.size())) return text;
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x80 && byte < 0xc0) {
      out += '\xc2';
      out += text[i++];
      continue;
    }
    const size_t length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    out += text.substr(i, length);
    i += length;
  }
  return out;
}

absl::StatusOr<json> Convert(const YAML::Node& node, int depth, int* budget) {
  if (depth > kMaxDepth || --*budget < 0) {
    return absl::InvalidArgumentError(
        StrCat("line ", node.Mark().line + 1, ": nested too deeply"));
  }
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      return json(nullptr);
    case YAML::NodeType::Scalar:
      // "!" marks a quoted scalar, "?" a plain one.
      if (node.Tag() == "?") return PlainScalar(node.Scalar());
      return json(Text(node));
    case YAML::NodeType::Sequence: {
      json list = json::array();
      for (const YAML::Node& item : node) {
        FL_ASSIGN_OR_RETURN(json value, Convert(item, depth + 1, budget));
        list.push_back(std::move(value));
      }
      return list;
    }
    case YAML::NodeType::Map: {
      json object = json::object();
      for (const auto& entry : node) {
        if (!entry.first.IsScalar()) {
          return absl::InvalidArgumentError(StrCat(
              "line ", node.Mark().line + 1, ": a key is not a string"));
        }
        FL_ASSIGN_OR_RETURN(json value,
                            Convert(entry.second, depth + 1, budget));
        object[Text(entry.first)] = std::move(value);
      }
      return object;
    }
  }
  return json(nullptr);
}

// The library reports empty documents without end where one begins with what
// belongs into brackets, such as a comma.
class Progress : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (mark.pos == last_) {
      throw YAML::ParserException(mark, "a document can't begin like this");
    }
    last_ = mark.pos;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  int last_ = -1;
};

// Throws for a text that would be read forever.
void CheckProgress(const std::string& text) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  Progress progress;
  while (parser.HandleNextDocument(progress)) {
  }
}

// As Go's reader has it.
bool IsControl(char c) {
  return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' &&
          c != '\r') ||
         c == 0x7f;
}

}  // namespace

absl::StatusOr<std::vector<json>> JsonFromYaml(std::string_view text) {
  std::vector<json> documents;
  // The library would put U+FFFD in its place; kubectl and the API server don't.
  if (!simdjson::validate_utf8(text.data(), text.size())) {
    return absl::InvalidArgumentError("yaml: invalid leading UTF-8 octet");
  }
  // Also what the library would take for UTF-16 or UTF-32, and make strings of
  // that are no UTF-8.
  if (std::any_of(text.begin(), text.end(), IsControl)) {
    return absl::InvalidArgumentError(
        "yaml: control characters are not allowed");
  }
  try {
    const std::string copy(text);
    CheckProgress(copy);
    for (const YAML::Node& node : YAML::LoadAll(copy)) {
      int budget = kMaxNodes;
      FL_ASSIGN_OR_RETURN(json document, Convert(node, 0, &budget));
      if (!document.is_null()) documents.push_back(std::move(document));
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        StrCat("yaml: line ", error.mark.line + 1, ": ", error.msg));
  }
  return documents;
}

}  // namespace fairlead::kube
