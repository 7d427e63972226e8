// SPDX-License-Identifier: Apache-2.0
#include "control/api/schema.h"

namespace fairlead::api {

const Field* Type::Find(std::string_view field) const {
  if (field.empty()) return nullptr;
  // Names of one length mostly differ at once: few are compared whole.
  for (const Field& f : fields) {
    if (f.name.size() == field.size() && f.name[0] == field[0] &&
        f.name.back() == field.back() && f.name == field) {
      return &f;
    }
  }
  return nullptr;
}

}  // namespace fairlead::api
