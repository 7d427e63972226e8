// SPDX-License-Identifier: Apache-2.0
#include "control/api/go_format.h"

#include <nlohmann/json.hpp>

#include "userspace/base/strings.h"

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

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
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
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_discarded()) return json;
  ErrorPosition error;
  Json::sax_parse(text, &error);
  if (error.position == 0 || error.position > text.size()) {
    return absl::InvalidArgumentError("unexpected end of JSON input");
  }
  char c = text[error.position - 1];
  std::string shown(1, c);
  if (static_cast<unsigned char>(c) >= 0x80) {
    constexpr char kHex[] = "0123456789abcdef";
    shown = StrCat("\\u00", std::string(1, kHex[(c >> 4) & 15]),
                   std::string(1, kHex[c & 15]));
  }
  return absl::InvalidArgumentError(StrCat(
      "invalid character '", shown, "' looking for beginning of value"));
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
