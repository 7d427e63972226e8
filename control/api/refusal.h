// SPDX-License-Identifier: Apache-2.0
// How an Admission (kind.h) refuses an object as a whole: the only one of its
// errors, answered as a 403 ("... is forbidden: MESSAGE") instead of a 422
// that lists fields.
#ifndef FAIRLEAD_CONTROL_API_REFUSAL_H_
#define FAIRLEAD_CONTROL_API_REFUSAL_H_

#include <string>
#include <utility>

#include "control/api/kind.h"

namespace fairlead::api {

inline FieldError Refusal(std::string message) {
  return {"Forbidden", "", std::move(message)};
}
inline bool IsRefusal(const FieldErrors& errors) {
  return errors.size() == 1 && errors[0].field.empty();
}

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_REFUSAL_H_
