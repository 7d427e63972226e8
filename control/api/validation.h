// SPDX-License-Identifier: Apache-2.0
// What an object of each kind must satisfy, told in the API server's words.
// Pure functions. Objects have their defaults; `before` is null for a create.
#ifndef FAIRLEAD_CONTROL_API_VALIDATION_H_
#define FAIRLEAD_CONTROL_API_VALIDATION_H_

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/kind.h"

namespace fairlead::api {

// Collects errors; one method for each reason.
class FieldErrorList {
 public:
  using Words = std::vector<std::string_view>;

  void Invalid(std::string field, const Json& value, std::string_view message);
  void Required(std::string field, std::string_view message = "");
  void NotSupported(std::string field, const Json& value, const Words& allowed);
  void Duplicate(std::string field, const Json& value);
  void Forbidden(std::string field, std::string_view message);
  void NotFound(std::string field, const Json& value);
  void TooLong(std::string field, size_t max_bytes);
  void TooMany(std::string field, size_t count, size_t max);
  // Where the value is printed in a way of its own.
  void Add(std::string reason, std::string field, std::string message) {
    errors_.push_back(
        {std::move(reason), std::move(field), std::move(message)});
  }

  // `value`'s errors, if any, each as an Invalid of `field`.
  void InvalidEach(const std::string& field, std::string_view value,
                   const std::vector<std::string>& messages);
  // Must be one of `allowed`; empty is NotSupported too.
  void OneOf(std::string field, const Json& value, const Words& allowed);
  void NotNegative(std::string field, const Json& value);  // absent is fine

  bool empty() const { return errors_.empty(); }
  size_t size() const { return errors_.size(); }
  FieldErrors Take() { return std::move(errors_); }
  void Append(FieldErrors more);

 private:
  FieldErrors errors_;
};

// "f[3]", "f.g", "f[key]"
std::string At(std::string_view field, size_t index);
std::string Child(std::string_view field, std::string_view name);
std::string Keyed(std::string_view field, std::string_view key);

// Formats of names and values. Empty when fine, else what is wrong.
using Messages = std::vector<std::string>;
Messages CheckDnsLabel(std::string_view text);        // RFC 1123
Messages CheckDnsSubdomain(std::string_view text);    // RFC 1123
Messages CheckQualifiedName(std::string_view text);   // "prefix/name"
Messages CheckLabelValue(std::string_view text);
Messages CheckPortNumber(int64_t port);
Messages CheckPortName(std::string_view text);        // "http-alt"
Messages CheckIp(std::string_view text);
// Of an address that others are to reach: not loopback, link-local, ...
Messages CheckReachableIp(std::string_view text);
Messages CheckCidr(std::string_view text);
Messages CheckConfigKey(std::string_view text);
Messages CheckEnvName(std::string_view text);
Messages CheckPathSegment(std::string_view text);
// A DNS-1123 label without dots, a subdomain, or what a path can hold.
enum class NameRule { kLabel, kSubdomain, kPathSegment, kAny };

// metadata: name by `rule`, labels, annotations, owners, finalizers and, on an
// update, what may not change.
void ValidateMetadata(const Json& object, const Json* before, NameRule rule,
                      FieldErrorList* errors);
void ValidateLabels(const Json& labels, const std::string& field,
                    FieldErrorList* errors);
void ValidateLabelSelector(const Json& selector, const std::string& field,
                           FieldErrorList* errors);
// Whether a LabelSelector matches labels.
bool SelectorMatches(const Json& selector, const Json& labels);

// A pod's spec, or with `template_only` one that has not become a pod yet.
void ValidatePodSpec(const Json& spec, const std::string& field,
                     FieldErrorList* errors);
std::vector<std::string> PodSpecWarnings(const Json& spec,
                                         const std::string& field);
void ValidateContainers(const Json& spec, const std::string& field,
                        FieldErrorList* errors);
void ValidateScheduling(const Json& spec, const std::string& field,
                        FieldErrorList* errors);

// spec.template of a workload, whose labels spec.selector must match and whose
// pods are restarted for ever.
void ValidateWorkloadTemplate(const Json& spec, FieldErrorList* errors);
// A count, or a percentage; false when it is neither.
bool ValidateCount(const Json& value, const std::string& field,
                   FieldErrorList* errors);
// spec.selector may not change.
void ValidateSelectorKept(const Json& object, const Json* before,
                          FieldErrorList* errors);

FieldErrors ValidateNamespace(const Json& object, const Json* before);
FieldErrors ValidateNode(const Json& object, const Json* before);
FieldErrors ValidatePod(const Json& object, const Json* before);
FieldErrors ValidateService(const Json& object, const Json* before);
FieldErrors ValidateEndpointSlice(const Json& object, const Json* before);
FieldErrors ValidateConfigMap(const Json& object, const Json* before);
FieldErrors ValidateSecret(const Json& object, const Json* before);
FieldErrors ValidateServiceAccount(const Json& object, const Json* before);
FieldErrors ValidateEvent(const Json& object, const Json* before);
FieldErrors ValidateLease(const Json& object, const Json* before);
FieldErrors ValidateReplicaSet(const Json& object, const Json* before);
FieldErrors ValidateDeployment(const Json& object, const Json* before);
FieldErrors ValidateDaemonSet(const Json& object, const Json* before);
FieldErrors ValidateControllerRevision(const Json& object, const Json* before);
FieldErrors ValidateJob(const Json& object, const Json* before);
FieldErrors ValidatePodDisruptionBudget(const Json& object,
                                        const Json* before);
FieldErrors ValidatePriorityClass(const Json& object, const Json* before);
FieldErrors ValidateEndpoints(const Json& object, const Json* before);
FieldErrors ValidateIpAddress(const Json& object, const Json* before);
FieldErrors ValidateServiceCidr(const Json& object, const Json* before);

std::vector<std::string> ServiceWarnings(const Json& object,
                                         const Json* before);
std::vector<std::string> PodWarnings(const Json& object, const Json* before);
// Of a Deployment or ReplicaSet.
std::vector<std::string> WorkloadWarnings(const Json& object,
                                          const Json* before);

std::vector<std::string> EndpointsWarnings(const Json& object,
                                           const Json* before);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_VALIDATION_H_
