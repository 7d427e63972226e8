// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "control/api/go_format.h"
#include "control/api/protobuf.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Json = nlohmann::json;

// More than any schema is deep.
constexpr int kMaxDepth = 100;
// The seconds of 0000-01-01 and of 9999-12-31: what RFC 3339 can say.
constexpr int64_t kFirstSecond = -62167219200;
constexpr int64_t kLastSecond = 253402300799;

absl::Status Error(std::string_view text) {
  return absl::InvalidArgumentError(Absl(text));
}

std::string_view ShortName(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    unsigned char first = text[i];
    if (first < 0x80) {
      ++i;
      continue;
    }
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || i + more >= text.size()) {
      return false;
    }
    uint32_t code = first & (0x3f >> more);
    for (int k = 1; k <= more; ++k) {
      unsigned char next = text[i + k];
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    bool too_long = (more == 2 && code < 0x800) ||
                    (more == 3 && code < 0x10000);
    if (too_long || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      return false;
    }
    i += 1 + more;
  }
  return true;
}

bool IsZero(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return true;
    case Json::value_t::string:
      return value.get_ref<const std::string&>().empty();
    case Json::value_t::boolean: return !value.get<bool>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return value.get<int64_t>() == 0;
    default: return false;
  }
}

uint32_t WireTypeOf(Shape shape) {
  switch (shape) {
    case Shape::kInteger:
    case Shape::kBoolean: return 0;
    case Shape::kNumber: return 1;
    default: return 2;
  }
}

class MessageReader {
 public:
  // `outer`: the embedded message of `type` that `bytes` are; 0: `type`.
  absl::Status Object(const Type& type, uint32_t outer, std::string_view bytes,
                      Json* out) {
    if (++depth_ > kMaxDepth) return Error("proto: nested too deep");
    WireReader reader(bytes);
    WireField wire;
    while (!reader.done()) {
      FL_RETURN_IF_ERROR(reader.Next(ShortName(type.name), &wire));
      FL_RETURN_IF_ERROR(Member(type, outer, wire, out));
    }
    --depth_;
    return absl::OkStatus();
  }

 private:
  absl::Status Member(const Type& type, uint32_t outer, const WireField& wire,
                      Json* out) {
    const Field* found = nullptr;
    for (const Field* field : type.by_number) {
      if (field->outer == outer && field->number == wire.number) {
        found = field;
        break;
      }
      if (outer == 0 && field->outer == wire.number) {
        if (wire.wire_type != 2) return WrongType(wire, "embedded message");
        return Object(type, wire.number, wire.bytes, out);
      }
    }
    if (found == nullptr) return absl::OkStatus();
    return Assign(*found, wire, out);
  }

  absl::Status Assign(const Field& field, const WireField& wire, Json* out) {
    const Type& type = *field.type;
    if (type.shape == Shape::kList) {
      Json& list = (*out)[field.name];
      if (!list.is_array()) list = Json::array();
      return Element(*type.element, field.name, wire, &list);
    }
    if (type.shape == Shape::kMap) {
      Json& map = (*out)[field.name];
      if (!map.is_object()) map = Json::object();
      if (wire.wire_type != 2) return WrongType(wire, field.name);
      return Entry(*type.element, field.name, wire.bytes, &map);
    }
    Json& value = (*out)[field.name];
    FL_RETURN_IF_ERROR(Value(type, field.name, wire, &value));
    // The API's decoder shows a 0 that is a number or a text.
    bool keep = field.presence == Presence::kPointer ||
                type.shape == Shape::kObject ||
                type.shape == Shape::kIntOrString;
    if (value.is_null() || (!keep && IsZero(value))) out->erase(field.name);
    return absl::OkStatus();
  }

  // Numbers may come one by one or packed.
  absl::Status Element(const Type& type, std::string_view name,
                       const WireField& wire, Json* list) {
    if (WireTypeOf(type.shape) == 0 && wire.wire_type == 2) {
      return Packed(type, name, wire.bytes, list);
    }
    Json value;
    FL_RETURN_IF_ERROR(Value(type, name, wire, &value));
    list->push_back(std::move(value));
    return absl::OkStatus();
  }

  absl::Status Packed(const Type& type, std::string_view name,
                      std::string_view bytes, Json* list) {
    uint64_t number = 0;
    int shift = 0;
    for (char c : bytes) {
      if (shift > 63) return Error("proto: integer overflow");
      number |= uint64_t(c & 0x7f) << shift;
      shift += 7;
      if (c & 0x80) continue;
      Json value;
      WireField wire{1, 0, number, {}};
      FL_RETURN_IF_ERROR(Value(type, name, wire, &value));
      list->push_back(std::move(value));
      number = 0;
      shift = 0;
    }
    return shift == 0 ? absl::OkStatus() : Error("unexpected EOF");
  }

  absl::Status Entry(const Type& type, std::string_view name,
                     std::string_view bytes, Json* map) {
    std::string key;
    Json value = Zero(type);
    WireReader reader(bytes);
    WireField wire;
    while (!reader.done()) {
      FL_RETURN_IF_ERROR(reader.Next(name, &wire));
      if (wire.number == 1) {
        FL_RETURN_IF_ERROR(String(wire, name, &key));
      } else if (wire.number == 2) {
        FL_RETURN_IF_ERROR(Value(type, name, wire, &value));
      }
    }
    (*map)[key] = std::move(value);
    return absl::OkStatus();
  }

  static Json Zero(const Type& type) {
    switch (type.shape) {
      case Shape::kInteger:
      case Shape::kNumber: return 0;
      case Shape::kBoolean: return false;
      case Shape::kObject:
      case Shape::kMap: return Json::object();
      case Shape::kList: return Json::array();
      case Shape::kQuantity: return "0";
      default: return "";
    }
  }

  absl::Status Value(const Type& type, std::string_view name,
                     const WireField& wire, Json* out) {
    if (wire.wire_type != WireTypeOf(type.shape)) return WrongType(wire, name);
    switch (type.shape) {
      case Shape::kString: {
        std::string text;
        FL_RETURN_IF_ERROR(String(wire, name, &text));
        *out = std::move(text);
        return absl::OkStatus();
      }
      case Shape::kInteger:
        // The decoder of 32 bits drops what does not fit.
        *out = type.name == "int64" ? static_cast<int64_t>(wire.varint)
                                    : static_cast<int32_t>(wire.varint);
        return absl::OkStatus();
      case Shape::kBoolean:
        *out = wire.varint != 0;
        return absl::OkStatus();
      case Shape::kNumber: {
        double number;
        std::memcpy(&number, &wire.varint, sizeof number);
        *out = number;
        return absl::OkStatus();
      }
      case Shape::kBytes: {
        std::string text;
        absl::Base64Escape(Absl(wire.bytes), &text);
        *out = std::move(text);
        return absl::OkStatus();
      }
      case Shape::kObject:
        if (!out->is_object()) *out = Json::object();
        return Object(type, 0, wire.bytes, out);
      default:
        return Wrapped(type, name, wire.bytes, out);
    }
  }

  // Shapes that are messages of their own on the wire.
  absl::Status Wrapped(const Type& type, std::string_view name,
                       std::string_view bytes, Json* out) {
    if (type.shape == Shape::kMap) return Error("proto: map in a map");
    if (type.shape == Shape::kList && !out->is_array()) *out = Json::array();
    std::string text;        // the last field of bytes
    int64_t numbers[3] = {};  // by field number
    WireReader reader(bytes);
    WireField wire;
    while (!reader.done()) {
      FL_RETURN_IF_ERROR(reader.Next(name, &wire));
      if (type.shape == Shape::kList) {
        if (wire.number != 1) continue;
        FL_RETURN_IF_ERROR(Element(*type.element, name, wire, out));
      } else if (wire.wire_type == 2) {
        FL_RETURN_IF_ERROR(String(wire, name, &text));
      } else if (wire.wire_type == 0 && wire.number <= 2) {
        numbers[wire.number] = static_cast<int64_t>(wire.varint);
      }
    }
    switch (type.shape) {
      case Shape::kQuantity:
        *out = text.empty() ? "0" : std::move(text);
        return absl::OkStatus();
      case Shape::kIntOrString:
        if (numbers[1] > 1 || numbers[1] < 0) {
          return Error("impossible IntOrString.Type");
        }
        if (numbers[1] == 1) {
          *out = std::move(text);
        } else {
          *out = static_cast<int32_t>(numbers[2]);
        }
        return absl::OkStatus();
      case Shape::kTime:
      case Shape::kMicroTime:
        return Time(type, numbers[1], numbers[2], out);
      case Shape::kAny: {
        absl::StatusOr<Json> json = ParseJson(text);
        if (!json.ok()) return Error(StrCat(name, " holds no JSON"));
        *out = *std::move(json);
        return absl::OkStatus();
      }
      default:
        return absl::OkStatus();
    }
  }

  static absl::Status Time(const Type& type, int64_t seconds, int64_t nanos,
                           Json* out) {
    *out = nullptr;
    if (seconds == 0 && nanos == 0) return absl::OkStatus();
    if (seconds < kFirstSecond || seconds > kLastSecond || nanos < 0 ||
        nanos > 999999999) {
      return Error("a time is outside of the years 0 to 9999");
    }
    bool micro = type.shape == Shape::kMicroTime;
    absl::Time time = absl::FromUnixSeconds(seconds);
    if (micro) time += absl::Microseconds(nanos / 1000);
    *out = absl::FormatTime(
        micro ? "%E4Y-%m-%dT%H:%M:%E6SZ" : "%E4Y-%m-%dT%H:%M:%SZ", time,
        absl::UTCTimeZone());
    return absl::OkStatus();
  }

  static absl::Status String(const WireField& wire, std::string_view name,
                             std::string* out) {
    if (wire.wire_type != 2) return WrongType(wire, name);
    if (!IsUtf8(wire.bytes)) {
      return Error(StrCat("proto: field ", name, " contains invalid UTF-8"));
    }
    *out = std::string(wire.bytes);
    return absl::OkStatus();
  }

  static absl::Status WrongType(const WireField& wire, std::string_view name) {
    std::string field(name);
    if (!field.empty()) field[0] = absl::ascii_toupper(field[0]);
    return Error(StrCat("proto: wrong wireType = ", wire.wire_type,
                        " for field ", field));
  }

  int depth_ = 0;
};

}  // namespace

absl::Status WireReader::Varint(uint64_t* out) {
  *out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) return Error("unexpected EOF");
    unsigned char byte = rest_.front();
    rest_.remove_prefix(1);
    *out |= uint64_t(byte & 0x7f) << shift;
    if (byte < 0x80) return absl::OkStatus();
  }
  return Error("proto: integer overflow");
}

absl::Status WireReader::Fixed(size_t size, uint64_t* out) {
  if (rest_.size() < size) return Error("unexpected EOF");
  *out = 0;
  std::memcpy(out, rest_.data(), size);
  rest_.remove_prefix(size);
  return absl::OkStatus();
}

absl::Status WireReader::Next(std::string_view message, WireField* out) {
  uint64_t key;
  FL_RETURN_IF_ERROR(Varint(&key));
  *out = {};
  out->wire_type = key & 7;
  uint64_t number = key >> 3;
  if (out->wire_type == 4) {
    return Error(StrCat("proto: ", message,
                        ": wiretype end group for non-group"));
  }
  if (number == 0 || number > INT32_MAX) {
    return Error(StrCat("proto: ", message, ": illegal tag ",
                        static_cast<int32_t>(number), " (wire type ",
                        out->wire_type, ")"));
  }
  out->number = static_cast<uint32_t>(number);
  switch (out->wire_type) {
    case 0:
      return Varint(&out->varint);
    case 1:
      return Fixed(8, &out->varint);
    case 5:
      return Fixed(4, &out->varint);
    case 2: {
      uint64_t size;
      FL_RETURN_IF_ERROR(Varint(&size));
      if (size > INT64_MAX) {
        return Error(
            "proto: negative length found during unmarshaling");
      }
      if (size > rest_.size()) return Error("unexpected EOF");
      out->bytes = rest_.substr(0, size);
      rest_.remove_prefix(size);
      return absl::OkStatus();
    }
    default:  // groups are not used
      return Error(StrCat("proto: illegal wireType ", out->wire_type));
  }
}

absl::StatusOr<Json> ReadMessage(const Type& type, std::string_view bytes) {
  Json out = Json::object();
  FL_RETURN_IF_ERROR(MessageReader().Object(type, 0, bytes, &out));
  return out;
}

}  // namespace fairlead::api
