// SPDX-License-Identifier: Apache-2.0
#include "control/api/schema.h"

namespace fairlead::api {

const Field* Type::Find(std::string_view field) const {
  for (const Field& f : fields) {
    if (f.name == field) return &f;
  }
  return nullptr;
}

}  // namespace fairlead::api
