// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/json_text.h"

#include <simdjson.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace fairlead::kube {
namespace {

using Json = nlohmann::json;
namespace dom = simdjson::dom;

// The parser keeps some ten bytes for each of the longest text.
constexpr size_t kMaxBytes = 256u << 10;

// nullopt: to be left to Json::parse. Good until the thread's next call.
std::optional<dom::element> Read(std::string_view text) {
  static thread_local dom::parser parser;
  if (text.size() > kMaxBytes) return std::nullopt;
  dom::element root;
  if (parser.parse(text.data(), text.size()).get(root)) return std::nullopt;
  return root;
}

bool IsScalar(const dom::element& element) {
  return !element.is_object() && !element.is_array();
}

// REQUIRES: it is one.
template <typename T>
T As(const dom::element& element) {
  return element.get<T>().value_unsafe();
}

Json Scalar(const dom::element& element) {
  switch (element.type()) {
    case dom::element_type::STRING:
      return std::string(As<std::string_view>(element));
    case dom::element_type::INT64: {
      const auto number = As<int64_t>(element);
      // Json's own reader has unsigned numbers where it can.
      if (number >= 0) return static_cast<uint64_t>(number);
      return number;
    }
    case dom::element_type::UINT64:
      return As<uint64_t>(element);
    case dom::element_type::DOUBLE:
      return As<double>(element);
    case dom::element_type::BOOL:
      return As<bool>(element);
    default:
      return nullptr;
  }
}

Json Tree(const dom::element& element, bool* repeats) {
  if (element.is_array()) {
    const auto list = As<dom::array>(element);
    Json::array_t out;
    out.reserve(list.size());
    for (const dom::element& value : list) out.push_back(Tree(value, repeats));
    return out;
  }
  if (!element.is_object()) return Scalar(element);
  const auto object = As<dom::object>(element);
  Json::object_t out;
  for (const auto& [key, value] : object) {
    const bool added =
        out.insert_or_assign(std::string(key), Tree(value, repeats)).second;
    *repeats = *repeats || !added;
  }
  return out;
}

// What Json::dump knows better: fractions, and bytes that may be no UTF-8.
std::string Dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// How a byte is written in a string.
enum class Byte : uint8_t { kItself, kEscaped, kBeyondAscii };

constexpr std::array<Byte, 256> kBytes = [] {
  std::array<Byte, 256> out{};
  for (size_t c = 0; c < 0x20; ++c) out[c] = Byte::kEscaped;
  out['"'] = out['\\'] = Byte::kEscaped;
  for (size_t c = 0x80; c < 0x100; ++c) out[c] = Byte::kBeyondAscii;
  return out;
}();

void AppendEscaped(char c, std::string* out) {
  constexpr std::string_view kShort = "\bb\tt\nn\ff\rr\"\"\\\\";
  for (size_t i = 0; i < kShort.size(); i += 2) {
    if (kShort[i] != c) continue;
    *out += '\\';
    *out += kShort[i + 1];
    return;
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  *out += "\\u00";
  *out += kDigits[static_cast<uint8_t>(c) >> 4];
  *out += kDigits[static_cast<uint8_t>(c) & 15];
}

template <typename T>
void AppendInteger(T value, std::string* out) {
  std::array<char, 24> digits;
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out->append(digits.data(), end);
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  const size_t start = out->size();
  *out += '"';
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    switch (kBytes[static_cast<uint8_t>(text[i])]) {
      case Byte::kItself:
        break;
      case Byte::kEscaped:
        out->append(text, from, i - from);
        AppendEscaped(text[i], out);
        from = i + 1;
        break;
      case Byte::kBeyondAscii:
        out->resize(start);
        *out += Dumped(std::string(text));
        return;
    }
  }
  out->append(text, from);
  *out += '"';
}

void AppendJson(const Json& json, std::string* out) {
  switch (json.type()) {
    case Json::value_t::null:
      *out += "null";
      return;
    case Json::value_t::boolean:
      *out += json.get<bool>() ? "true" : "false";
      return;
    case Json::value_t::number_integer:
      return AppendInteger(json.get<int64_t>(), out);
    case Json::value_t::number_unsigned:
      return AppendInteger(json.get<uint64_t>(), out);
    case Json::value_t::string:
      return AppendJsonString(json.get_ref<const std::string&>(), out);
    case Json::value_t::array: {
      char before = '[';
      for (const Json& value : json) {
        *out += std::exchange(before, ',');
        AppendJson(value, out);
      }
      *out += before == '[' ? "[]" : "]";
      return;
    }
    case Json::value_t::object: {
      char before = '{';
      for (const auto& [key, value] :
           json.get_ref<const Json::object_t&>()) {
        *out += std::exchange(before, ',');
        AppendJsonString(key, out);
        *out += ':';
        AppendJson(value, out);
      }
      *out += before == '{' ? "{}" : "}";
      return;
    }
    default:
      *out += Dumped(json);
  }
}

std::string TextFromJson(const Json& json) {
  std::string out;
  AppendJson(json, &out);
  return out;
}

Json JsonFromText(std::string_view text, bool* repeats) {
  bool unused = false;
  if (repeats == nullptr) repeats = &unused;
  if (std::optional<dom::element> root = Read(text)) {
    *repeats = false;
    return Tree(*root, repeats);
  }
  *repeats = true;
  return Json::parse(text, nullptr, false);
}

Json OutlineFromText(std::string_view text) {
  const std::optional<dom::element> root = Read(text);
  if (!root.has_value()) {
    Json whole = Json::parse(text, nullptr, false);
    return whole.is_object() ? whole : Json(Json::value_t::discarded);
  }
  if (!root->is_object()) return Json(Json::value_t::discarded);
  Json::object_t out;
  bool unused = false;
  const auto object = As<dom::object>(*root);
  for (const auto& [key, value] : object) {
    if (IsScalar(value)) {
      out.insert_or_assign(std::string(key), Scalar(value));
    } else if (value.is_object()) {
      Json::object_t below;
      const auto members = As<dom::object>(value);
      for (const auto& [name, member] : members) {
        if (IsScalar(member) || (key == "metadata" && name == "labels")) {
          below.insert_or_assign(std::string(name), Tree(member, &unused));
        }
      }
      out.insert_or_assign(std::string(key), std::move(below));
    }
  }
  return out;
}

}  // namespace fairlead::kube
