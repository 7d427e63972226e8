// SPDX-License-Identifier: Apache-2.0
// Objects as server-side apply sees them: which fields one has, which differ
// between two, and an object with another one merged in or fields taken out.
// What merges and what is one value (atomic) is the schema's to say.
//
// Threads: pure functions. Recursion is as deep as the objects, which the
// limit on the depth of JSON bounds.
#ifndef FAIRLEAD_CONTROL_API_OBJECT_FIELDS_H_
#define FAIRLEAD_CONTROL_API_OBJECT_FIELDS_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/api/field_set.h"
#include "control/api/schema.h"

namespace fairlead::api {

// An object of `type` with nothing in it: the parts that every object has, as
// null or, of objects, as such empty objects again.
nlohmann::json EmptyObject(const Type& type);

// What is wrong with `object` as something to apply: fields that the schema
// doesn't have, values of another shape, list elements without a key or with
// the same one. ".spec.ports: duplicate entries for key [...]".
std::vector<std::string> ApplyProblems(const Type& type,
                                       const nlohmann::json& object);

// The fields that `object` gives.
FieldSet FieldsOf(const Type& type, const nlohmann::json& object);

struct FieldChanges {
  FieldSet changed;  // there only in `after`, or with another value
  FieldSet removed;  // there only in `before`
};
FieldChanges CompareFields(const Type& type, const nlohmann::json& before,
                           const nlohmann::json& after);

// `live` with what `config` gives. Elements of lists keep the order of
// `config`, those that only `live` has stay where they were among them.
nlohmann::json MergeApplied(const Type& type, const nlohmann::json& live,
                            const nlohmann::json& config);

// `object` without the fields and elements in `set`.
nlohmann::json WithoutFields(const Type& type, const nlohmann::json& object,
                             const FieldSet& set);

// `set`, and the named fields on the way to its members.
FieldSet WithNamedFields(const Type& type, const FieldSet& set);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_OBJECT_FIELDS_H_
