// SPDX-License-Identifier: Apache-2.0
// Sets of the fields of an object, in the form in which managedFields carry
// them (FieldsV1), which is also the one they are computed in: a tree of JSON
// objects with "f:NAME" for a field, "k:{...}" for an element of a list by its
// keys, "v:VALUE" for one by its value, and "i:N" for one by its place. A node
// is in the set if it is {} or holds "."; the root never counts.
//
// Threads: pure functions. Recursion is as deep as the set, which the limit on
// the depth of JSON bounds.
#ifndef FAIRLEAD_CONTROL_API_FIELD_SET_H_
#define FAIRLEAD_CONTROL_API_FIELD_SET_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace fairlead::api {

using FieldSet = nlohmann::json;

inline constexpr const char* kSelf = ".";

// Whether a node that is not the root is in the set.
bool IsMember(const FieldSet& node);
// Puts `node`, with its children, under `key`; nothing if it has no members.
// `member`: the node itself is in the set too.
void PutNode(FieldSet& parent, const std::string& key, FieldSet node,
             bool member);

void AddFields(FieldSet& set, const FieldSet& more);
void TakeFields(FieldSet& set, const FieldSet& less);
FieldSet CommonFields(const FieldSet& a, const FieldSet& b);

// ".spec.ports[port=80,protocol=\"TCP\"].name" of each, parents first.
std::vector<std::string> FieldPaths(const FieldSet& set);

// Makes a set that a client sent one of this form; says what is wrong.
[[nodiscard]] absl::Status CanonicalFields(FieldSet& set);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_FIELD_SET_H_
