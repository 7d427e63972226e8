// SPDX-License-Identifier: Apache-2.0
// Kinds that are questions: POST is answered with the object and its status
// filled in, and nothing is stored. SelfSubjectReview, SelfSubjectAccessReview,
// SelfSubjectRulesReview (kubectl auth whoami, can-i, can-i --list), and
// SubjectAccessReview, which asks about others.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_REVIEWS_H_
#define FAIRLEAD_CONTROL_API_REVIEWS_H_

#include <memory>
#include <vector>

#include "control/api/kind.h"
#include "control/api/schema_set.h"

namespace fairlead::api {

std::vector<Kind> ReviewKinds(const std::shared_ptr<const SchemaSet>& schemas);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_REVIEWS_H_
