// SPDX-License-Identifier: Apache-2.0
// The verbs of the API, the same for every kind.
//
// Threads: the event loop's only. A verb answers its Responder once, now or
// later.
#ifndef FAIRLEAD_CONTROL_API_VERBS_H_
#define FAIRLEAD_CONTROL_API_VERBS_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/authorization.h"
#include "control/api/field_validation.h"
#include "control/api/http.h"
#include "control/api/patch.h"
#include "control/api/registry.h"
#include "control/api/selector.h"

namespace fairlead::api {

// A request that has been matched to a kind.
struct ApiRequest {
  kube::Request http;
  User user;
  Query query;
  Representation representation;
  Served* served = nullptr;
  std::string ns;           // "" for all namespaces and cluster-scoped kinds
  std::string name;         // "" for a collection
  std::string subresource;  // "status", "scale", ...

  const Kind& kind() const { return *served->kind; }
  std::string_view Header(std::string_view header) const {
    return FindHeader(http.headers, header);
  }
};
// Shared with the operation that will answer it.
using ApiRequestRef = std::shared_ptr<const ApiRequest>;

// What a list or watch selects.
struct Selection {
  std::string ns, name;  // "": any
  LabelSelector labels;
  struct FieldTerm {
    size_t index;  // in Kind::selectable_fields
    std::string value;
    bool equal;
  };
  std::vector<FieldTerm> fields;
  // Terms about metadata.name and metadata.namespace that are not plain
  // equality (or contradict each other).
  std::vector<FieldSelector::Term> metadata_terms;

  bool selects_all() const {
    return labels.empty() && fields.empty() && metadata_terms.empty() &&
           name.empty();
  }
  bool Matches(const store::Object& object) const;
};
[[nodiscard]] absl::StatusOr<Selection> ParseSelection(
    const ApiRequest& request);

class Verbs {
 public:
  // Both must outlive it.
  Verbs(Registry* registry, const Authorization* authorization)
      : registry_(registry), authorization_(authorization) {}

  void Get(ApiRequestRef request, ResponderRef responder);
  void List(ApiRequestRef request, ResponderRef responder);
  void Create(ApiRequestRef request, ResponderRef responder);
  void Update(ApiRequestRef request, ResponderRef responder);
  void Patch(ApiRequestRef request, ResponderRef responder);
  void Apply(ApiRequestRef request, ResponderRef responder);
  void Delete(ApiRequestRef request, ResponderRef responder);
  void DeleteCollection(ApiRequestRef request, ResponderRef responder);
  // POST of a kind that is a question (Kind::review).
  void Review(ApiRequestRef request, ResponderRef responder);

  // Sub-resources other than status (subresources.cc).
  void GetScale(ApiRequestRef request, ResponderRef responder);
  void WriteScale(ApiRequestRef request, ResponderRef responder);
  void Bind(ApiRequestRef request, ResponderRef responder);
  void Evict(ApiRequestRef request, ResponderRef responder);
  void FinalizeNamespace(ApiRequestRef request, ResponderRef responder);

  Registry* registry() { return registry_; }

 private:
  void FinishWrite(const ApiRequest& request, Responder& responder,
                   std::vector<std::string> warnings,
                   absl::StatusOr<Registry::Outcome> outcome);
  // `planner`, whose object the sender must be allowed to write.
  Registry::Planner Checked(ApiRequestRef request, Registry::Planner planner);

  Registry* registry_;
  const Authorization* authorization_;
};

// The options that writes share: dryRun, fieldValidation, fieldManager.
struct WriteOptions {
  bool dry_run = false;
  FieldValidation validation = FieldValidation::kWarn;
};
// `options_kind`: "CreateOptions", for the error's text.
[[nodiscard]] absl::StatusOr<WriteOptions> ParseWriteOptions(
    const Query& query, std::string_view options_kind);

// Who makes the write of a request.
FieldManager ManagerOf(const ApiRequest& request);

// A deletion as a step of Registry::Write.
struct DeleteOptions {
  bool dry_run = false;
  std::optional<int64_t> grace_period_seconds;
  std::string propagation_policy;
  std::string uid, resource_version;  // preconditions
};
[[nodiscard]] absl::StatusOr<DeleteOptions> ParseDeleteOptions(
    const ApiRequest& request);
Registry::Planner PlanDelete(Registry* registry, const Kind* kind,
                             std::string name, DeleteOptions options);

// Errors that the name, namespace, uid and resourceVersion of a new version of
// an object may give. `patch`: the words for a PATCH.
[[nodiscard]] absl::Status CheckIdentity(const Kind& kind, std::string_view ns,
                                         std::string_view name, bool patch,
                                         const Json& object,
                                         const Json* before);

// One object in the form that was asked for (tables, metadata only, YAML).
kube::Response RenderObject(const ApiRequest& request, int status,
                            const Json& object, absl::Time now);
// The same of one that is stored.
kube::Response RenderStored(const ApiRequest& request, int status,
                            const store::Object& object, absl::Time now);
// What a write has made.
kube::Response RenderOutcome(const ApiRequest& request, int status,
                             const Registry::Outcome& outcome, absl::Time now);
void SendError(const ApiRequest& request, Responder& responder,
               const absl::Status& status);
void AddWarnings(const std::vector<std::string>& warnings,
                 kube::Response* response);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_VERBS_H_
