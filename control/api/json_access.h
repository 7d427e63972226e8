// SPDX-License-Identifier: Apache-2.0
// Reading JSON of a shape that nobody has checked: what is absent or of
// another type reads as empty. For .cc files of this room only (it costs the
// whole of json.hpp).
#ifndef FAIRLEAD_CONTROL_API_JSON_ACCESS_H_
#define FAIRLEAD_CONTROL_API_JSON_ACCESS_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace fairlead::api {

// Null when absent.
inline const nlohmann::json& Get(const nlohmann::json& object,
                                 std::string_view key) {
  static const nlohmann::json null;
  if (!object.is_object()) return null;
  auto it = object.find(key);
  return it == object.end() ? null : *it;
}
inline const nlohmann::json& Get(const nlohmann::json& object,
                                 std::initializer_list<std::string_view> path) {
  const nlohmann::json* at = &object;
  for (std::string_view key : path) at = &Get(*at, key);
  return *at;
}

inline std::string_view Text(const nlohmann::json& value) {
  return value.is_string() ? std::string_view(
                                 value.get_ref<const std::string&>())
                           : std::string_view();
}
inline std::string_view Text(const nlohmann::json& object,
                             std::string_view key) {
  return Text(Get(object, key));
}
inline std::string_view Text(const nlohmann::json& object,
                             std::initializer_list<std::string_view> path) {
  return Text(Get(object, path));
}

inline int64_t Int(const nlohmann::json& value, int64_t otherwise = 0) {
  return value.is_number_integer() ? value.get<int64_t>() : otherwise;
}
inline int64_t Int(const nlohmann::json& object, std::string_view key,
                   int64_t otherwise = 0) {
  return Int(Get(object, key), otherwise);
}
inline bool IsTrue(const nlohmann::json& value) {
  return value.is_boolean() && value.get<bool>();
}
inline bool IsTrue(const nlohmann::json& object, std::string_view key) {
  return IsTrue(Get(object, key));
}

// The elements of a list; none when it is not one.
inline const nlohmann::json& List(const nlohmann::json& value) {
  static const nlohmann::json empty = nlohmann::json::array();
  return value.is_array() ? value : empty;
}
inline const nlohmann::json& List(const nlohmann::json& object,
                                  std::string_view key) {
  return List(Get(object, key));
}
inline const nlohmann::json& List(
    const nlohmann::json& object,
    std::initializer_list<std::string_view> path) {
  return List(Get(object, path));
}
inline const nlohmann::json& Map(const nlohmann::json& value) {
  static const nlohmann::json empty = nlohmann::json::object();
  return value.is_object() ? value : empty;
}
inline const nlohmann::json& Map(const nlohmann::json& object,
                                 std::string_view key) {
  return Map(Get(object, key));
}

// The object under `key`, made if it is not there.
inline nlohmann::json& Sub(nlohmann::json& object, std::string_view key) {
  nlohmann::json& value = object[std::string(key)];
  if (!value.is_object()) value = nlohmann::json::object();
  return value;
}

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_JSON_ACCESS_H_
