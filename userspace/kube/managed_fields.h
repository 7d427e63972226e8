// SPDX-License-Identifier: Apache-2.0
// An object's JSON text without metadata.managedFields, which are often more
// than the rest of it: cut before the text becomes a tree.
//
// Pure; what is no JSON object comes back as it is. Not recursive.
#ifndef FAIRLEAD_USERSPACE_KUBE_MANAGED_FIELDS_H_
#define FAIRLEAD_USERSPACE_KUBE_MANAGED_FIELDS_H_

#include <string>
#include <string_view>

namespace fairlead::kube {

std::string WithoutManagedFields(std::string_view object);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_MANAGED_FIELDS_H_
