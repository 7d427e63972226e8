// SPDX-License-Identifier: Apache-2.0
#include "control/api/go_format.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {

using Json = nlohmann::json;

namespace {

// Where parsing failed, and whether nesting was too deep.
class ErrorPosition : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth < kMaxJsonDepth; }
  bool end_object() override { return --depth >= 0; }
  bool start_array(std::size_t) override { return ++depth < kMaxJsonDepth; }
  bool end_array() override { return --depth >= 0; }
  bool parse_error(std::size_t at, const std::string&,
                   const nlohmann::detail::exception&) override {
    position = at;
    return false;
  }
  int depth = 0;
  std::size_t position = 0;
};

// A byte as Go shows it: as the code point of its number.
std::string ShownByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x80) return std::string(1, c);
  if (byte <= 0xa0 || byte == 0xad) return absl::StrCat("\\u00", absl::Hex(byte));
  return {static_cast<char>(0xc0 | byte >> 6),
          static_cast<char>(0x80 | (byte & 0x3f))};
}

// The length of the UTF-8 sequence that `text` begins with; 0: it is none.
size_t SequenceLength(std::string_view text) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const size_t length = first < 0xc2    ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = at(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) ||
                        (first == 0xf0 && second < 0x90);
  const bool no_character = (first == 0xed && second > 0x9f) ||  // surrogates
                            (first == 0xf4 && second > 0x8f);
  return overlong || no_character ? 0 : length;
}

// The code unit that "\\uXXXX" at the beginning of `text` stands for; -1: there
// is no such thing.
int EscapedUnit(std::string_view text) {
  if (text.size() < 6 || !text.starts_with("\\u")) return -1;
  int unit = 0;
  for (char c : text.substr(2, 4)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    unit = unit << 4 | digit;
  }
  return unit;
}

bool IsHighSurrogate(int unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool IsLowSurrogate(int unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// The length of the escape sequence that `text` begins with; 0: it is half of a
// pair of surrogates.
size_t EscapeLength(std::string_view text) {
  const int unit = EscapedUnit(text);
  if (IsLowSurrogate(unit)) return 0;
  if (!IsHighSurrogate(unit)) return 2;
  return IsLowSurrogate(EscapedUnit(text.substr(6))) ? 12 : 0;
}

// With U+FFFD for each byte in a string that is no UTF-8, and each escaped
// surrogate without its other half; "" when there is none.
std::string WithReplacedBytes(std::string_view text) {
  std::string out;
  bool in_string = false, replaced = false;
  while (!text.empty()) {
    if (text[0] == '"') in_string = !in_string;
    // A backslash takes what follows with it, a quote above all.
    const bool escapes = in_string && text[0] == '\\' && text.size() > 1 &&
                         SequenceLength(text.substr(1)) == 1;
    size_t length = escapes ? EscapeLength(text) : SequenceLength(text);
    if (in_string && length == 0) {
      out += "\xef\xbf\xbd";
      replaced = true;
      length = escapes ? 6 : 1;
    } else {
      length = std::max<size_t>(length, 1);
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return replaced ? out : "";
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, bool* repeats) {
  // Depth first: a cheap scan, so that the parser below can't recurse in the
  // destructor of what it has built.
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  if (deepest > kMaxJsonDepth) {
    return absl::InvalidArgumentError("exceeded max depth");
  }
  Json json = kube::JsonFromText(text, repeats);
  if (!json.is_discarded()) return json;
  // Go's decoder puts U+FFFD in the place of what is no UTF-8.
  const std::string replaced = WithReplacedBytes(text);
  if (!replaced.empty()) {
    json = Json::parse(replaced, nullptr, false);
    if (!json.is_discarded()) return json;
    text = replaced;
  }
  ErrorPosition error;
  Json::sax_parse(text, &error);
  if (error.position == 0 || error.position > text.size()) {
    return absl::InvalidArgumentError("unexpected end of JSON input");
  }
  return absl::InvalidArgumentError(
      StrCat("invalid character '", ShownByte(text[error.position - 1]),
             "' looking for beginning of value"));
}

std::string_view JsonTypeName(const Json& json) {
  switch (json.type()) {
    case Json::value_t::object: return "object";
    case Json::value_t::array: return "array";
    case Json::value_t::string: return "string";
    case Json::value_t::boolean: return "bool";
    case Json::value_t::null: return "null";
    default: return "number";
  }
}

std::string GoMapText(const Json& json) {
  switch (json.type()) {
    case Json::value_t::object: {
      std::string out = "map[";
      bool first = true;
      for (const auto& [key, value] : json.items()) {
        StrAppend(&out, first ? "" : " ", key, ":", GoMapText(value));
        first = false;
      }
      return out + "]";
    }
    case Json::value_t::array: {
      std::string out = "[";
      bool first = true;
      for (const Json& value : json) {
        StrAppend(&out, first ? "" : " ", GoMapText(value));
        first = false;
      }
      return out + "]";
    }
    case Json::value_t::string: return json.get<std::string>();
    case Json::value_t::null: return "<nil>";
    default: return json.dump();
  }
}

}  // namespace fairlead::api
