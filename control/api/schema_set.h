// SPDX-License-Identifier: Apache-2.0
// Types parsed from the text form in schemas/*.fls (its README.md says how it
// is written).
//
// Threads: immutable once parsed. Owns its types.
#ifndef FAIRLEAD_CONTROL_API_SCHEMA_SET_H_
#define FAIRLEAD_CONTROL_API_SCHEMA_SET_H_

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "control/api/schema.h"

namespace fairlead::api {

class SchemaSet {
 public:
  // Errors name the line.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SchemaSet>> Parse(
      const std::vector<std::string_view>& texts);

  SchemaSet(const SchemaSet&) = delete;
  SchemaSet& operator=(const SchemaSet&) = delete;

  // By full name ("io.k8s.api.core.v1.Pod"); null when there is none.
  const Type* Find(std::string_view name) const;
  size_t size() const { return types_.size(); }

 private:
  friend class SchemaParser;
  SchemaSet() = default;

  std::deque<Type> types_;  // stable addresses
  absl::flat_hash_map<std::string, const Type*> by_name_;
};

// The embedded schemas/*.fls.
std::vector<std::string_view> EmbeddedSchemas();

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SCHEMA_SET_H_
