// SPDX-License-Identifier: Apache-2.0
// An object of the API as it was sent, from a list or a watch, into the model:
// decoded, or refused by its name (Cluster::Reject...). Pure.
#ifndef FAIRLEAD_USERSPACE_MODEL_INTAKE_H_
#define FAIRLEAD_USERSPACE_MODEL_INTAKE_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "userspace/kube/encoded_object.h"
#include "userspace/model/cluster.h"

namespace fairlead::model {

// "namespace/name"; "" if the object has no name that can be read.
std::string KeyOf(const kube::EncodedObject& object);

struct Intake {
  // Without so much as a name: nothing has changed, and nobody can be told
  // which object it was.
  bool nameless = false;
  // Of a slice: its own word on when its endpoints changed.
  std::optional<absl::Time> last_change;
};
Intake PutService(const kube::EncodedObject& object, Cluster* cluster);
Intake PutEndpointSlice(const kube::EncodedObject& object, Cluster* cluster);
Intake DeleteService(const kube::EncodedObject& object, Cluster* cluster);
Intake DeleteEndpointSlice(const kube::EncodedObject& object,
                           Cluster* cluster);

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_INTAKE_H_
