// SPDX-License-Identifier: Apache-2.0
// Role, ClusterRole, RoleBinding and ClusterRoleBinding as rows of the kind
// table: what they print, their defaults, their rules; and the objects of
// them that every cluster has.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_RBAC_KINDS_H_
#define FAIRLEAD_CONTROL_API_RBAC_KINDS_H_

#include <vector>

#include "control/api/kind.h"
#include "control/api/tables.h"

namespace fairlead::api {

Printer RolePrinter();  // of ClusterRoles too
Printer RoleBindingPrinter();
void DefaultRoleBinding(Json& object);
FieldErrors ValidateRole(const Json& object, const Json* before);
FieldErrors ValidateRoleBinding(const Json& object, const Json* before);

// ClusterRoles and ClusterRoleBindings, whole.
std::vector<Json> DefaultRoles();

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_RBAC_KINDS_H_
