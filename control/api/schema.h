// SPDX-License-Identifier: Apache-2.0
// The types of the served kinds as data: one source for unknown-field checks,
// defaults, strategic merge, server-side apply, OpenAPI and protobuf.
//
// Threads: immutable after start; share freely. Types live as long as their
// SchemaSet.
#ifndef FAIRLEAD_CONTROL_API_SCHEMA_H_
#define FAIRLEAD_CONTROL_API_SCHEMA_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::api {

enum class Shape {
  kObject,  // named fields
  kMap,     // string -> element
  kList,    // of element
  kString,
  kInteger,
  kNumber,
  kBoolean,
  kBytes,        // base64 string
  kQuantity,     // "100m", "1Gi", or a number
  kIntOrString,  // 80, "25%"
  kTime,         // RFC 3339, seconds
  kMicroTime,    // RFC 3339, microseconds
  kAny,          // raw JSON
};

struct Type;

// What becomes of a field that has no value; what a typed decoder would do.
enum class Presence {
  kOmitEmpty,  // "", 0, false, [] and {} are the same as absent
  kPointer,    // kept whatever it is; absent only if it was not given
  kAlways,     // there in every answer: filled with its default or zero value
};

struct Field {
  std::string name;
  const Type* type = nullptr;
  Presence presence = Presence::kOmitEmpty;
  bool required = false;
  // Strategic merge of a list: by these keys ("name"; "" for primitives with
  // `patch_merge`), otherwise the list is replaced.
  bool patch_merge = false;
  bool patch_retain_keys = false;
  std::string merge_key;
  // Server-side apply: "map", "set" or "atomic" (of a list; "atomic" of a map
  // too), and the keys of "map".
  std::string list_type;
  std::vector<std::string> list_map_keys;
  std::string default_json;  // "" for none; JSON text
  std::vector<std::string> one_of;  // allowed values; empty: any
  // Protobuf: the field's number, 0 for none (the field is JSON only). When
  // JSON shows an embedded message's fields as the type's own, `outer` is the
  // number of that message and `number` counts inside it; else 0.
  uint32_t number = 0;
  uint32_t outer = 0;
};

struct Type {
  Shape shape = Shape::kAny;
  // "io.k8s.api.core.v1.Container" for objects, "int32" or "int64" for
  // integers, "any", "fieldsV1" or "rawExtension" for raw JSON, else "".
  std::string name;
  bool atomic = false;  // server-side apply takes the object as one value
  std::vector<Field> fields;    // of kObject, in the API's order
  const Type* element = nullptr;  // of kMap and kList
  // The fields that have numbers, as protobuf writes them: by `outer` (or
  // `number` where that is 0), then `number`.
  std::vector<const Field*> by_number;

  // Null when this type has no such field.
  const Field* Find(std::string_view field) const;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SCHEMA_H_
