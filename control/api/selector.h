// SPDX-License-Identifier: Apache-2.0
// Label selectors ("app=web,tier notin (a,b),!old,n>5") and field selectors
// ("metadata.name=x,status.phase!=Running").
//
// Threads: values.
#ifndef FAIRLEAD_CONTROL_API_SELECTOR_H_
#define FAIRLEAD_CONTROL_API_SELECTOR_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead::api {

using Labels = std::vector<std::pair<std::string, std::string>>;  // sorted

class LabelSelector {
 public:
  // "" selects all. Errors are 400s in the server's words.
  [[nodiscard]] static absl::StatusOr<LabelSelector> Parse(
      std::string_view text);
  bool Matches(const Labels& labels) const;
  bool empty() const { return requirements_.empty(); }

 private:
  enum class Op { kIn, kNotIn, kExists, kAbsent, kGreater, kLess };
  struct Requirement {
    std::string key;
    Op op = Op::kExists;
    std::vector<std::string> values;  // sorted
    int64_t number = 0;               // of kGreater and kLess
  };
  friend class LabelParser;
  std::vector<Requirement> requirements_;
};

class FieldSelector {
 public:
  struct Term {
    std::string field;
    std::string value;
    bool equal = true;
  };
  // "" selects all. Whether the fields exist is the caller's question.
  [[nodiscard]] static absl::StatusOr<FieldSelector> Parse(
      std::string_view text);
  const std::vector<Term>& terms() const { return terms_; }

 private:
  std::vector<Term> terms_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SELECTOR_H_
