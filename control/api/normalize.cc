// SPDX-License-Identifier: Apache-2.0
#include "control/api/normalize.h"

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "control/api/quantity.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Json = nlohmann::json;

bool IsEmptyValue(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return true;
    case Json::value_t::string:
    case Json::value_t::array:
    case Json::value_t::object:
      return value.empty() || (value.is_string() &&
                               value.get_ref<const std::string&>().empty());
    case Json::value_t::boolean:
      return !value.get<bool>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return value.get<int64_t>() == 0;
    default:
      return false;
  }
}

Json ZeroOf(const Field& field) {
  if (!field.default_json.empty()) {
    return Json::parse(field.default_json, nullptr, /*allow_exceptions=*/false);
  }
  switch (field.type->shape) {
    case Shape::kObject:
      return Json::object();
    case Shape::kString:
    case Shape::kBytes:
      return "";
    case Shape::kInteger:
    case Shape::kNumber:
    case Shape::kIntOrString:
      return 0;
    case Shape::kBoolean:
      return false;
    case Shape::kQuantity:
      return "0";
    default:
      return nullptr;  // times and lists print null
  }
}

void NormalizeTime(const char* format, size_t size, Json& value) {
  auto& text = value.get_ref<std::string&>();
  if (text.size() == size && text.back() == 'Z') return;
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    text = absl::FormatTime(format, time, absl::UTCTimeZone());
  }
}

void NormalizeObject(const Type& type, Json& object);

void MakeZero(const Field& field, Json& value) {
  value = ZeroOf(field);
  if (value.is_object()) NormalizeObject(*field.type, value);
}

// Of a field that is there. False: it isn't, to whoever reads it.
bool NormalizeField(const Field& field, Json& value) {
  if (!value.is_null()) Normalize(*field.type, value);
  const Shape shape = field.type->shape;
  switch (field.presence) {
    case Presence::kOmitEmpty:
      // An object is empty only by its own rules; raw JSON never is.
      return !value.is_null() &&
             (!IsEmptyValue(value) || shape == Shape::kAny ||
              shape == Shape::kObject || shape == Shape::kQuantity ||
              shape == Shape::kIntOrString);
    case Presence::kPointer:
      return !value.is_null();
    case Presence::kAlways:
      // An empty text where there is a default is a missing one.
      if (value.is_null() ||
          (!field.default_json.empty() && IsEmptyValue(value))) {
        MakeZero(field, value);
      } else if (value.is_array() && value.empty()) {
        value = nullptr;
      }
      return true;
  }
  return true;
}

void NormalizeObject(const Type& type, Json& object) {
  for (auto it = object.begin(); it != object.end();) {
    const Field* field = type.Find(it.key());
    if (field != nullptr && !NormalizeField(*field, *it)) {
      it = object.erase(it);
    } else {
      ++it;
    }
  }
  for (const Field& field : type.fields) {
    if (field.presence != Presence::kAlways || object.contains(field.name)) {
      continue;
    }
    MakeZero(field, object[field.name]);
  }
}

}  // namespace

void Normalize(const Type& type, Json& value) {
  switch (type.shape) {
    case Shape::kObject:
      if (value.is_object()) NormalizeObject(type, value);
      break;
    case Shape::kMap:
      if (!value.is_object()) break;
      for (Json& element : value) Normalize(*type.element, element);
      break;
    case Shape::kList:
      if (!value.is_array()) break;
      for (Json& element : value) Normalize(*type.element, element);
      break;
    case Shape::kQuantity:
      if (auto quantity = Quantity::FromJson(value); quantity.ok()) {
        value = quantity->ToString();
      }
      break;
    case Shape::kTime:
      if (value.is_string()) NormalizeTime("%E4Y-%m-%dT%H:%M:%SZ", 20, value);
      break;
    case Shape::kMicroTime:
      if (value.is_string()) {
        NormalizeTime("%E4Y-%m-%dT%H:%M:%E6SZ", 27, value);
      }
      break;
    default:
      break;
  }
}

}  // namespace fairlead::api
