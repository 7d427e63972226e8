// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "control/api/json_access.h"
#include "control/api/protobuf.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Json = nlohmann::json;

constexpr size_t kFirstBuffer = 1024;

class MessageWriter {
 public:
  explicit MessageWriter(BackwardWriter* out) : out_(*out) {}

  void Object(const Type& type, const Json& value) {
    const auto& fields = type.by_number;
    for (size_t i = fields.size(); i > 0;) {
      const Field* field = fields[--i];
      if (field->outer == 0) {
        Member(*field, value);
        continue;
      }
      // The embedded message whose fields JSON shows as this type's own.
      size_t before = out_.size();
      uint32_t outer = field->outer;
      Member(*field, value);
      while (i > 0 && fields[i - 1]->outer == outer) {
        Member(*fields[--i], value);
      }
      out_.CloseMessage(outer, before);
    }
  }

 private:
  void Member(const Field& field, const Json& object) {
    const Json& value = Get(object, field.name);
    const Type& type = *field.type;
    if (type.shape == Shape::kList) {
      return Elements(*type.element, field.number, value);
    }
    if (type.shape == Shape::kMap) {
      return Entries(*type.element, field.number, value);
    }
    bool only_if_given = field.presence == Presence::kPointer ||
                         type.shape == Shape::kAny ||
                         type.shape == Shape::kBytes;
    if (value.is_null() && only_if_given) return;
    Value(type, field.number, value);
  }

  void Elements(const Type& element, uint32_t number, const Json& list) {
    const Json& items = List(list);
    for (size_t i = items.size(); i > 0; --i) {
      Value(element, number, items[i - 1]);
    }
  }

  // Sorted by key, as a std::map is.
  void Entries(const Type& element, uint32_t number, const Json& map) {
    const Json& entries = Map(map);
    for (auto it = entries.end(); it != entries.begin();) {
      --it;
      size_t before = out_.size();
      Value(element, 2, *it);
      out_.Bytes(1, it.key());
      out_.CloseMessage(number, before);
    }
  }

  void Integer(uint32_t number, int64_t value) {
    out_.Varint(static_cast<uint64_t>(value));
    out_.Tag(number, 0);
  }

  // One value, or the zero value for a null.
  void Value(const Type& type, uint32_t number, const Json& value) {
    size_t before = out_.size();
    switch (type.shape) {
      case Shape::kString:
        return out_.Bytes(number, Text(value));
      case Shape::kInteger:
        return Integer(number, Int(value));
      case Shape::kBoolean:
        return Integer(number, IsTrue(value) ? 1 : 0);
      case Shape::kNumber:
        return Number(number, value);
      case Shape::kBytes: {
        std::string bytes;
        absl::Base64Unescape(Absl(Text(value)), &bytes);
        return out_.Bytes(number, bytes);
      }
      case Shape::kObject:
        Object(type, value);
        break;
      case Shape::kList:  // only as a map's value
        Elements(*type.element, 1, value);
        break;
      case Shape::kMap:
        Entries(*type.element, 1, value);
        break;
      case Shape::kQuantity:
        out_.Bytes(1, value.is_number() ? value.dump()
                      : value.is_null() ? "0"
                                        : std::string(Text(value)));
        break;
      case Shape::kIntOrString:
        out_.Bytes(3, Text(value));
        Integer(2, Int(value));
        Integer(1, value.is_string() ? 1 : 0);
        break;
      case Shape::kTime:
      case Shape::kMicroTime:
        Time(type, value);
        break;
      case Shape::kAny:
        out_.Bytes(1, value.dump(-1, ' ', false,
                                 Json::error_handler_t::replace));
        break;
    }
    out_.CloseMessage(number, before);
  }

  void Number(uint32_t number, const Json& value) {
    double real = value.is_number() ? value.get<double>() : 0;
    char bits[sizeof real];
    std::memcpy(bits, &real, sizeof real);
    out_.Raw({bits, sizeof bits});
    out_.Tag(number, 1);
  }

  // No time is an empty message.
  void Time(const Type& type, const Json& value) {
    absl::Time time;
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, Absl(Text(value)), &time,
                         &error)) {
      return;
    }
    int64_t seconds = absl::ToUnixSeconds(time);
    int64_t nanos = 0;
    if (type.shape == Shape::kMicroTime) {
      nanos = absl::ToInt64Microseconds(
                  time - absl::FromUnixSeconds(seconds)) * 1000;
    }
    Integer(2, nanos);
    Integer(1, seconds);
  }

  BackwardWriter& out_;
};

}  // namespace

void BackwardWriter::Raw(std::string_view bytes) {
  if (start_ < bytes.size()) {
    size_t used = size();
    size_t grown = std::max({kFirstBuffer, buffer_.size() * 2,
                             used + bytes.size()});
    std::string bigger(grown, '\0');
    std::copy(buffer_.end() - used, buffer_.end(), bigger.end() - used);
    buffer_ = std::move(bigger);
    start_ = buffer_.size() - used;
  }
  start_ -= bytes.size();
  std::copy(bytes.begin(), bytes.end(), buffer_.begin() + start_);
}

void BackwardWriter::Varint(uint64_t value) {
  char bytes[10];
  size_t size = 0;
  while (value >= 0x80) {
    bytes[size++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  bytes[size++] = static_cast<char>(value);
  Raw({bytes, size});
}

void WriteMessage(const Type& type, const Json& value, BackwardWriter* out) {
  MessageWriter(out).Object(type, value);
}

}  // namespace fairlead::api
