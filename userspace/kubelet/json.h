// SPDX-License-Identifier: Apache-2.0
// Reading JSON of unknown shape without exceptions: what is absent or of
// another type reads as the default. Pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBELET_JSON_H_
#define FAIRLEAD_USERSPACE_KUBELET_JSON_H_

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

namespace fairlead::kubelet {

using Json = nlohmann::json;

// The value at the path, or a null.
inline const Json& At(const Json& object,
                      std::initializer_list<const char*> path) {
  static const Json kNull;
  const Json* at = &object;
  for (const char* key : path) {
    if (!at->is_object()) return kNull;
    const auto it = at->find(key);
    if (it == at->end()) return kNull;
    at = &*it;
  }
  return *at;
}

inline std::string StringAt(const Json& object,
                            std::initializer_list<const char*> path,
                            std::string otherwise = "") {
  const Json& value = At(object, path);
  return value.is_string() ? value.get<std::string>() : std::move(otherwise);
}

inline int64_t IntAt(const Json& object,
                     std::initializer_list<const char*> path,
                     int64_t otherwise = 0) {
  const Json& value = At(object, path);
  return value.is_number() ? value.get<int64_t>() : otherwise;
}

inline bool BoolAt(const Json& object,
                   std::initializer_list<const char*> path,
                   bool otherwise = false) {
  const Json& value = At(object, path);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_JSON_H_
