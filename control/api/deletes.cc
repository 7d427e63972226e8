// SPDX-License-Identifier: Apache-2.0
// Verbs: delete and deletecollection.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/verbs.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Plan = Registry::Plan;

constexpr int64_t kDefaultGraceSeconds = 30;
constexpr const char* kForeground = "foregroundDeletion";
constexpr const char* kOrphan = "orphan";

// Namespaces that the cluster can't be without.
bool IsPermanent(const Kind& kind, std::string_view name) {
  return kind.resource.kind == "Namespace" && kind.resource.group.empty() &&
         (name == "default" || name == "kube-system" ||
          name == "kube-public");
}

absl::Status CheckPreconditions(const Kind& kind, std::string_view name,
                                const DeleteOptions& options,
                                const Json& before) {
  std::string_view uid = Text(before, {"metadata", "uid"});
  if (!options.uid.empty() && options.uid != uid) {
    return Conflict(
        kind.resource.kind, kind.resource.group, name,
        StrCat("the UID in the precondition (", options.uid,
               ") does not match the UID in record (", uid,
               "). The object might have been deleted and then recreated"));
  }
  std::string_view version = Text(before, {"metadata", "resourceVersion"});
  if (!options.resource_version.empty() &&
      options.resource_version != version) {
    return Conflict(
        kind.resource.kind, kind.resource.group, name,
        StrCat("the ResourceVersion in the precondition (",
               options.resource_version,
               ") does not match the ResourceVersion in record (", version,
               "). The object might have been modified"));
  }
  return absl::OkStatus();
}

// Foreground and Orphan are wishes to the garbage collector, which finds them
// as finalizers.
void SetPropagation(const std::string& policy, Json& metadata) {
  if (policy.empty()) return;
  Json kept = Json::array();
  for (const Json& finalizer : List(metadata, "finalizers")) {
    if (finalizer != kForeground && finalizer != kOrphan) {
      kept.push_back(finalizer);
    }
  }
  if (policy == "Foreground") kept.push_back(kForeground);
  if (policy == "Orphan") kept.push_back(kOrphan);
  if (kept.empty()) {
    metadata.erase("finalizers");
  } else {
    metadata["finalizers"] = std::move(kept);
  }
}

// How long a graceful kind's object may take to end.
int64_t GraceSeconds(const Kind& kind, const DeleteOptions& options,
                     const Json& object) {
  if (!kind.graceful_deletion) return 0;
  // Nobody is there to end it.
  std::string_view phase = Text(object, {"status", "phase"});
  if (Text(object, {"spec", "nodeName"}).empty() || phase == "Succeeded" ||
      phase == "Failed") {
    return 0;
  }
  int64_t seconds = options.grace_period_seconds.value_or(
      Int(Get(object, {"spec", "terminationGracePeriodSeconds"}),
          kDefaultGraceSeconds));
  return seconds < 0 ? 1 : seconds;
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

Plan PlanFor(const Kind& kind, const DeleteOptions& options, const Json& before,
             absl::Time now) {
  Plan plan;
  plan.final = true;
  plan.object = before;
  Json& metadata = Sub(plan.object, "metadata");
  SetPropagation(options.propagation_policy, metadata);
  bool is_namespace =
      kind.resource.kind == "Namespace" && kind.resource.group.empty();
  bool held =
      !List(metadata, "finalizers").empty() ||
      (is_namespace && !List(plan.object, {"spec", "finalizers"}).empty());
  int64_t grace = GraceSeconds(kind, options, before);
  bool waits = held || (kind.graceful_deletion && grace > 0);
  if (!waits && !kind.graceful_deletion) {
    plan.action = Plan::Action::kDelete;
    return plan;
  }
  bool marked = metadata.contains("deletionTimestamp");
  int64_t old_grace = Int(metadata, "deletionGracePeriodSeconds");
  // A second deletion can only shorten the time.
  if (!marked || (kind.graceful_deletion && grace < old_grace)) {
    metadata["deletionTimestamp"] = TimeText(now + absl::Seconds(grace));
    if (!is_namespace) metadata["deletionGracePeriodSeconds"] = grace;
    if (kind.has_generation && !marked) {
      metadata["generation"] = Int(metadata, "generation") + 1;
    }
    if (is_namespace) Sub(plan.object, "status")["phase"] = "Terminating";
  }
  plan.action = waits ? Plan::Action::kPut : Plan::Action::kDelete;
  return plan;
}

kube::Response DeleteResponse(const ApiRequest& request,
                              const Registry::Outcome& outcome,
                              absl::Time now) {
  const Kind& kind = request.kind();
  if (!outcome.deleted || kind.delete_returns_object) {
    return RenderOutcome(request, 200, outcome, now);
  }
  Json details = {{"name", Text(*outcome.object, {"metadata", "name"})},
                  {"kind", kind.resource.plural},
                  {"uid", Text(*outcome.object, {"metadata", "uid"})}};
  if (!kind.resource.group.empty()) details["group"] = kind.resource.group;
  Json status = {{"kind", "Status"},
                 {"apiVersion", "v1"},
                 {"metadata", Json::object()},
                 {"status", "Success"},
                 {"details", std::move(details)}};
  return JsonResponse(200, status, request.representation.pretty);
}

// The deletions of one deletecollection.
struct Collection {
  size_t open = 1;  // one for the loop that starts them
  Json items = Json::array();
  absl::Status error;
};

}  // namespace

absl::StatusOr<DeleteOptions> ParseDeleteOptions(const ApiRequest& request) {
  FL_ASSIGN_OR_RETURN(
      WriteOptions write,
      ParseWriteOptions(request.query, "DeleteOptions"));
  FL_ASSIGN_OR_RETURN(Json body,
                      DecodeAny(request.Header("content-type"),
                                request.http.body, "DeleteOptions"));
  DeleteOptions out;
  out.dry_run = write.dry_run;
  for (const Json& value : List(body, "dryRun")) {
    if (value == "All") out.dry_run = true;
  }
  FL_ASSIGN_OR_RETURN(out.grace_period_seconds,
                      request.query.Integer("gracePeriodSeconds"));
  const Json& grace = Get(body, "gracePeriodSeconds");
  if (grace.is_number_integer()) out.grace_period_seconds = Int(grace);
  out.propagation_policy = std::string(request.query.Get("propagationPolicy"));
  if (!Text(body, "propagationPolicy").empty()) {
    out.propagation_policy = std::string(Text(body, "propagationPolicy"));
  }
  if (out.propagation_policy.empty()) {
    bool orphan = IsTrue(body, "orphanDependents") ||
                  request.query.Bool("orphanDependents");
    if (orphan) out.propagation_policy = "Orphan";
  }
  if (!Text(body, "propagationPolicy").empty() &&
      Get(body, "orphanDependents").is_boolean()) {
    return Invalid(
        "DeleteOptions", "meta.k8s.io", "",
        {FieldInvalid("propagationPolicy",
                      Quote(Text(body, "propagationPolicy")),
                      "orphanDependents and deletionPropagation cannot be "
                      "both set")});
  }
  out.uid = std::string(Text(body, {"preconditions", "uid"}));
  out.resource_version =
      std::string(Text(body, {"preconditions", "resourceVersion"}));
  const std::string& policy = out.propagation_policy;
  if (policy.empty() || policy == "Foreground" || policy == "Background" ||
      policy == "Orphan") {
    return out;
  }
  return Invalid("DeleteOptions", "meta.k8s.io", "",
                 {FieldNotSupported("propagationPolicy", Quote(policy),
                                    "\"Foreground\", \"Background\", "
                                    "\"Orphan\", \"nil\"")});
}

Registry::Planner PlanDelete(Registry* registry, const Kind* kind,
                             std::string name, DeleteOptions options) {
  return [registry, kind, name = std::move(name), options = std::move(options)](
             const Json* before) -> absl::StatusOr<Plan> {
    if (before == nullptr) return NotFound(*kind, name);
    if (IsPermanent(*kind, name)) {
      return Forbidden(*kind, name, "this namespace may not be deleted");
    }
    FL_RETURN_IF_ERROR(CheckPreconditions(*kind, name, options, *before));
    Plan plan = PlanFor(*kind, options, *before, registry->clock().Now());
    // A dry run answers the object as it is.
    if (options.dry_run) plan.object = *before;
    return plan;
  };
}

void Verbs::Delete(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<DeleteOptions> options = ParseDeleteOptions(*request);
  if (!options.ok()) return SendError(*request, *responder, options.status());
  registry_->Write(
      request->served, request->ns, request->name, options->dry_run,
      PlanDelete(registry_, &request->kind(), request->name, *options),
      [this, request, responder](absl::StatusOr<Registry::Outcome> outcome) {
        if (!outcome.ok()) {
          return SendError(*request, *responder, outcome.status());
        }
        responder->Send(
            DeleteResponse(*request, *outcome, registry_->clock().Now()));
      });
}

void Verbs::DeleteCollection(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<DeleteOptions> options = ParseDeleteOptions(*request);
  if (!options.ok()) return SendError(*request, *responder, options.status());
  absl::StatusOr<Selection> selection = ParseSelection(*request);
  if (!selection.ok()) {
    return SendError(*request, *responder, selection.status());
  }
  auto collection = std::make_shared<Collection>();
  auto finish = [this, request, responder, collection] {
    if (--collection->open > 0) return;
    if (!collection->error.ok()) {
      return SendError(*request, *responder, collection->error);
    }
    Json list = {
        {"kind", request->kind().resource.kind + "List"},
        {"apiVersion", request->kind().resource.ApiVersion()},
        {"metadata", {{"resourceVersion", StrCat(registry_->revision())}}},
        {"items", std::move(collection->items)}};
    responder->Send(JsonResponse(200, list, request->representation.pretty));
  };
  std::vector<std::string> keys;
  for (const auto& [key, object] : request->served->cache.objects()) {
    if (selection->Matches(*object)) keys.push_back(key);
  }
  for (const std::string& key : keys) {
    size_t slash = key.find('/');
    std::string ns = slash == key.npos ? "" : key.substr(0, slash);
    std::string name = slash == key.npos ? key : key.substr(slash + 1);
    ++collection->open;
    registry_->Write(
        request->served, ns, name, options->dry_run,
        PlanDelete(registry_, &request->kind(), name, *options),
        [request, collection,
         finish](absl::StatusOr<Registry::Outcome> outcome) {
          if (outcome.ok()) {
            Json object = outcome->Whole(*request->served);
            object.erase("kind");
            object.erase("apiVersion");
            collection->items.push_back(std::move(object));
          } else if (!absl::IsNotFound(outcome.status())) {
            collection->error = outcome.status();
          }
          finish();
        });
  }
  finish();
}

}  // namespace fairlead::api
