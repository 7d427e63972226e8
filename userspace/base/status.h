// SPDX-License-Identifier: Apache-2.0
// absl::Status conventions of the tree: two macros, and errno as a Status.
#ifndef FAIRLEAD_USERSPACE_BASE_STATUS_H_
#define FAIRLEAD_USERSPACE_BASE_STATUS_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Evaluates a Status expression and returns it if it is not OK.
#define FL_RETURN_IF_ERROR(expr)                     \
  do {                                               \
    if (absl::Status fl_status_ = (expr); !fl_status_.ok()) \
      return fl_status_;                             \
  } while (false)

#define FL_STATUS_CONCAT_INNER_(a, b) a##b
#define FL_STATUS_CONCAT_(a, b) FL_STATUS_CONCAT_INNER_(a, b)
#define FL_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = *std::move(tmp)

// FL_ASSIGN_OR_RETURN(auto x, StatusOrExpression());
#define FL_ASSIGN_OR_RETURN(lhs, expr)                                       \
  FL_ASSIGN_OR_RETURN_IMPL_(FL_STATUS_CONCAT_(fl_status_or_, __LINE__), lhs, \
                            expr)

namespace fairlead {

// The Status of a failed system call: "<operation> <object>: <strerror>".
// `error` is a positive errno. OK if it is 0.
[[nodiscard]] absl::Status ErrnoStatus(int error, std::string_view operation,
                                       std::string_view object = "");

// `status` with "context: " before its message; OK stays OK.
[[nodiscard]] absl::Status WithContext(const absl::Status& status,
                                       std::string_view context);

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_STATUS_H_
