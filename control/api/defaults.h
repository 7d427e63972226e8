// SPDX-License-Identifier: Apache-2.0
// What a write fills in and what it may not touch, kind by kind. Prepare*
// resets and keeps fields by the verb; Default* fills in, and is idempotent.
// Threads: pure functions, but that new pods and namespaces carry what they
// are given.
#ifndef FAIRLEAD_CONTROL_API_DEFAULTS_H_
#define FAIRLEAD_CONTROL_API_DEFAULTS_H_

#include <nlohmann/json_fwd.hpp>

#include "control/api/kind.h"

namespace fairlead::api {

// The rule of kinds with a status of their own: the main endpoint ignores
// `status`, the status endpoint everything but status and metadata.
void PrepareSpecAndStatus(WriteVerb verb, Json& object, const Json* before);

void PrepareNamespace(WriteVerb verb, Json& object, const Json* before);
void PrepareNode(WriteVerb verb, Json& object, const Json* before);
void PreparePod(WriteVerb verb, Json& object, const Json* before);
void PrepareService(WriteVerb verb, Json& object, const Json* before);
void PrepareDeployment(WriteVerb verb, Json& object, const Json* before);
void PrepareDaemonSet(WriteVerb verb, Json& object, const Json* before);
void PrepareJob(WriteVerb verb, Json& object, const Json* before);

void DefaultNamespace(Json& object);
void DefaultNode(Json& object);
void DefaultPod(Json& object);
void DefaultService(Json& object);
void DefaultEndpointSlice(Json& object);
void DefaultSecret(Json& object);
void DefaultReplicaSet(Json& object);
void DefaultDeployment(Json& object);
void DefaultDaemonSet(Json& object);
void DefaultJob(Json& object);
void DefaultEndpoints(Json& object);
void DefaultPriorityClass(Json& object);

// Of a pod's spec, also of one in a template.
void DefaultPodSpec(Json& spec);
// "Guaranteed", "Burstable" or "BestEffort".
std::string PodQosClass(const Json& spec);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_DEFAULTS_H_
