// SPDX-License-Identifier: Apache-2.0
// The kinds that this control plane serves.
#ifndef FAIRLEAD_CONTROL_API_KINDS_H_
#define FAIRLEAD_CONTROL_API_KINDS_H_

#include "control/api/kind.h"

namespace fairlead::api {

// Parses the embedded schemas (a few ms) and makes the rows. The rows share
// ownership of the schema, so a copy of a row keeps it alive; `Kind::schema`
// of a row is valid as long as any row of the same table lives.
KindTable MakeKindTable();

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_KINDS_H_
