// SPDX-License-Identifier: Apache-2.0
// Verbs: create, update, patch.
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "control/api/api_status.h"
#include "control/api/go_format.h"
#include "control/api/identity.h"
#include "control/api/json_access.h"
#include "control/api/managed_fields.h"
#include "control/api/verbs.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/yaml.h"

namespace fairlead::api {
namespace {

// generateName is cut so that prefix and suffix fit into a label.
constexpr size_t kMaxGeneratedPrefix = 58;

// So many are tried before the client is told that the name is taken.
constexpr int kGeneratedNames = 8;

using Plan = Registry::Plan;

// A namespace that takes new objects: there, and not on its way out.
absl::Status CheckNamespace(Registry* registry, const Kind& kind,
                            std::string_view ns, std::string_view name) {
  const Kind* row = registry->kinds().FindByKind("v1", "Namespace");
  Served* namespaces = row == nullptr ? nullptr : registry->Find(row);
  if (!kind.resource.namespaced || namespaces == nullptr) {
    return absl::OkStatus();
  }
  store::ObjectRef found = namespaces->cache.Find(ns);
  if (found == nullptr) return NotFound(*row, ns);
  // Each creation comes here: a namespace is read only if it may be ending.
  if (found->text.find("\"deletionTimestamp\"") == std::string::npos) {
    return absl::OkStatus();
  }
  Json object = ParseObject(*namespaces, *found);
  if (Get(object, {"metadata", "deletionTimestamp"}).is_null()) {
    return absl::OkStatus();
  }
  Json details = {{"name", name},
                  {"kind", kind.resource.plural},
                  {"causes",
                   {{{"reason", "NamespaceTerminating"},
                     {"message",
                      StrCat("namespace ", ns, " is being terminated")},
                     {"field", "metadata.namespace"}}}}};
  if (!kind.resource.group.empty()) details["group"] = kind.resource.group;
  return MakeStatus(
      {403, "Forbidden",
       StrCat(GroupResource(kind), " ", Quote(name),
              " is forbidden: unable to create new content in namespace ", ns,
              " because it is being terminated"),
       details.dump(), ""});
}

// A name with `prefix` that nobody has; the last one tried if all are taken.
std::string FreeName(Registry* registry, const ApiRequest& request,
                     std::string_view prefix) {
  prefix = prefix.substr(0, kMaxGeneratedPrefix);
  std::string name;
  for (int i = 0; i < kGeneratedNames; ++i) {
    name = StrCat(prefix, registry->NameSuffix());
    std::string key = ObjectKey(request.kind(), request.ns, name);
    if (request.served->cache.Find(key) == nullptr) break;
  }
  return name;
}

// The resourceVersion that an update names: none, "0", or the newest.
absl::Status CheckVersion(const Kind& kind, std::string_view name,
                          const Json& object, const Json& before) {
  std::string_view version = Text(object, {"metadata", "resourceVersion"});
  if (version.empty() || version == "0") return absl::OkStatus();
  uint64_t number;
  if (!absl::SimpleAtoi(Absl(version), &number)) {
    return InternalError(StrCat("strconv.ParseUint: parsing ", Quote(version),
                                ": invalid syntax"));
  }
  if (version != Text(before, {"metadata", "resourceVersion"})) {
    return Modified(kind, name);
  }
  return absl::OkStatus();
}

absl::Status NameMismatch(std::string_view object, std::string_view url) {
  return BadRequest(StrCat("the name of the object (", object,
                           ") does not match the name on the URL (", url, ")"));
}

// A patched object, checked like a body.
absl::Status ConformPatched(const Kind& kind, FieldValidation validation,
                            Json& object, std::vector<std::string>* warnings) {
  std::string text = object.dump();
  auto invalid = [&](std::string_view problem) {
    return Invalid("", "", "", {FieldInvalid("patch", Quote(text), problem)});
  };
  std::vector<std::string> problems;
  absl::Status conforms = ConformToSchema(kind.schema, object, &problems);
  if (!conforms.ok()) return invalid(Std(conforms.message()));
  if (validation == FieldValidation::kStrict && !problems.empty()) {
    return invalid(StrCat("strict decoding error: ",
                          absl::StrJoin(problems, ", ")));
  }
  if (validation == FieldValidation::kWarn) *warnings = std::move(problems);
  return absl::OkStatus();
}

absl::StatusOr<PatchKind> PatchKindOf(std::string_view content_type) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  if (type == "application/json-patch+json") return PatchKind::kJson;
  if (type == "application/merge-patch+json") return PatchKind::kMerge;
  if (type == "application/strategic-merge-patch+json") {
    return PatchKind::kStrategic;
  }
  return MakeStatus({415, "UnsupportedMediaType",
                     "415: Unsupported Media Type", "{}", ""});
}

bool IsApply(const ApiRequest& request) {
  std::string_view type = request.Header("content-type");
  return type.substr(0, type.find(';')) == "application/apply-patch+yaml";
}

// `fieldManager` and `force` depend on the kind of patch.
absl::Status CheckPatchOptions(const Query& query, bool apply) {
  FieldErrors errors;
  if (apply && query.Get("fieldManager").empty()) {
    errors.push_back(
        FieldRequired("fieldManager", "is required for apply patch"));
  }
  if (!apply && query.Has("force")) {
    errors.push_back(FieldForbidden(
        "force", "may not be specified for non-apply patch"));
  }
  if (errors.empty()) return absl::OkStatus();
  return Invalid("PatchOptions", "meta.k8s.io", "", errors);
}

// The body of an apply: JSON as kubectl sends it, or any YAML.
absl::StatusOr<Json> ParseConfig(std::string_view body) {
  if (body.starts_with('{')) {
    if (absl::StatusOr<Json> json = ParseJson(body); json.ok()) return json;
  }
  absl::StatusOr<std::vector<Json>> documents = kube::JsonFromYaml(body);
  if (!documents.ok()) {
    return BadRequest(
        StrCat("error decoding YAML: ", documents.status().message()));
  }
  if (documents->size() != 1 || !documents->front().is_object()) {
    return BadRequest("error decoding YAML: not one object");
  }
  return std::move(documents->front());
}

WriteVerb VerbOf(const ApiRequest& request) {
  return request.subresource == "status" ? WriteVerb::kUpdateStatus
                                         : WriteVerb::kUpdate;
}

// The duplicate keys of a patch are not the object's own: as warnings only.
std::vector<std::string> PatchWarnings(const ApiRequest& request,
                                       const WriteOptions& options) {
  if (options.validation == FieldValidation::kIgnore) return {};
  return DuplicateFields(request.http.body);
}

}  // namespace

absl::StatusOr<WriteOptions> ParseWriteOptions(const Query& query,
                                               std::string_view options_kind) {
  WriteOptions out;
  FieldErrors errors;
  for (std::string_view value : query.All("dryRun")) {
    if (value == "All") {
      out.dry_run = true;
    } else if (!value.empty()) {
      errors.push_back(FieldNotSupported(
          "dryRun", StrCat("[", Quote(value), "]"), "\"All\""));
    }
  }
  std::string_view validation = query.Get("fieldValidation");
  if (validation == "Ignore") {
    out.validation = FieldValidation::kIgnore;
  } else if (validation == "Strict") {
    out.validation = FieldValidation::kStrict;
  } else if (!validation.empty() && validation != "Warn") {
    errors.push_back(
        FieldNotSupported("fieldValidation", Quote(validation),
                          "\"\", \"Ignore\", \"Strict\", \"Warn\""));
  }
  if (query.Get("fieldManager").size() > 128) {
    errors.push_back({"FieldValueTooLong", "fieldManager",
                      "Too long: may not be more than 128 bytes"});
  }
  if (!errors.empty()) {
    return Invalid(options_kind, "meta.k8s.io", "", errors);
  }
  return out;
}

FieldManager ManagerOf(const ApiRequest& request) {
  return {ManagerName(request.query.Get("fieldManager"),
                      request.Header("user-agent")),
          request.subresource};
}

absl::Status CheckIdentity(const Kind& kind, std::string_view ns,
                           std::string_view name, bool patch,
                           const Json& object, const Json* before) {
  std::string_view own_name = Text(object, {"metadata", "name"});
  if (!own_name.empty() && own_name != name) {
    return NameMismatch(own_name, name);
  }
  std::string_view own_ns = Text(object, {"metadata", "namespace"});
  if (kind.resource.namespaced && !own_ns.empty() && own_ns != ns) {
    return BadRequest(
        "the namespace of the provided object does not match the namespace "
        "sent on the request");
  }
  if (before == nullptr) return absl::OkStatus();
  std::string_view uid = Text(object, {"metadata", "uid"});
  std::string_view real = Text(*before, {"metadata", "uid"});
  if (!uid.empty() && uid != real) {
    if (patch) {
      FieldError error =
          FieldInvalid("metadata.uid", Quote(uid), "field is immutable");
      // The API's update check runs twice over metadata, and both are listed.
      return InvalidObject(kind, name, {error, error});
    }
    return Conflict(
        kind.resource.plural, kind.resource.group, name,
        StrCat("StorageError: invalid object, Code: 4, Key: /registry/",
               kind.resource.plural, "/", ObjectKey(kind, ns, name),
               ", ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
               "UID in precondition: ",
               uid, ", UID in object meta: ", real));
  }
  return CheckVersion(kind, name, object, *before);
}

void Verbs::FinishWrite(const ApiRequest& request, Responder& responder,
                        std::vector<std::string> warnings,
                        absl::StatusOr<Registry::Outcome> outcome) {
  if (!outcome.ok()) return SendError(request, responder, outcome.status());
  kube::Response response =
      RenderOutcome(request, outcome->created ? 201 : 200, *outcome,
                    registry_->clock().Now());
  AddWarnings(warnings, &response);
  AddWarnings(outcome->warnings, &response);
  responder.Send(std::move(response));
}

void Verbs::Create(ApiRequestRef request, ResponderRef responder) {
  auto fail = [&](const absl::Status& status) {
    SendError(*request, *responder, status);
  };
  const Kind& kind = request->kind();
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "CreateOptions");
  if (!options.ok()) return fail(options.status());
  absl::StatusOr<Decoded> decoded =
      DecodeObject(kind, registry_->kinds(), request->Header("content-type"),
                   request->http.body, options->validation);
  if (!decoded.ok()) return fail(decoded.status());
  Json& object = decoded->object;
  Json& metadata = Sub(object, "metadata");
  std::string name(Text(metadata, "name"));
  std::string prefix(Text(metadata, "generateName"));
  const bool generated = name.empty() && !prefix.empty();
  if (generated) {
    name = FreeName(registry_, *request, prefix);
    metadata["name"] = name;
  }
  if (absl::Status status =
          CheckIdentity(kind, request->ns, name, false, object, nullptr);
      !status.ok()) {
    return fail(status);
  }
  std::string_view version = Text(metadata, "resourceVersion");
  if (!version.empty() && version != "0") {
    return fail(InternalError(
        "resourceVersion should not be set on objects to be created"));
  }
  if (absl::Status status =
          CheckNamespace(registry_, kind, request->ns, name);
      !status.ok()) {
    return fail(status);
  }
  if (name.empty()) {
    return fail(InvalidObject(
        kind, name,
        {FieldRequired("metadata.name",
                       "name or generateName is required")}));
  }
  // A name that is taken is an error only after all others (Registry).
  auto planner = [object = std::move(object), manager = ManagerOf(*request)](
                     const Json*) mutable -> absl::StatusOr<Plan> {
    return Plan{Plan::Action::kPut, std::move(object), false,
                WriteVerb::kCreate, std::move(manager)};
  };
  registry_->Write(
      request->served, request->ns, name, options->dry_run,
      Checked(request, std::move(planner)),
      [this, request, responder, name, generated,
       warnings = std::move(decoded->warnings)](
          absl::StatusOr<Registry::Outcome> outcome) {
        if (generated && !outcome.ok() &&
            ApiStatusOf(outcome.status()).reason == "AlreadyExists") {
          outcome = NoUniqueName(request->kind(), name);
        }
        FinishWrite(*request, *responder, warnings, std::move(outcome));
      });
}

Registry::Planner Verbs::Checked(ApiRequestRef request,
                                 Registry::Planner planner) {
  if (request->user.is_master()) return planner;
  return [this, request = std::move(request), planner = std::move(planner)](
             const Json* before) -> absl::StatusOr<Plan> {
    FL_ASSIGN_OR_RETURN(Plan plan, planner(before));
    FL_RETURN_IF_ERROR(authorization_->CheckWrite(
        request->user, {&request->kind(), request->ns, &plan.object, before}));
    return plan;
  };
}

void Verbs::Review(ApiRequestRef request, ResponderRef responder) {
  const Kind& kind = request->kind();
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "CreateOptions");
  if (!options.ok()) {
    return SendError(*request, *responder, options.status());
  }
  absl::StatusOr<Decoded> decoded =
      DecodeObject(kind, registry_->kinds(), request->Header("content-type"),
                   request->http.body, options->validation);
  if (!decoded.ok()) {
    return SendError(*request, *responder, decoded.status());
  }
  absl::Time now = registry_->clock().Now();
  // As of all that is created, though nobody will ever see it again.
  Json managed = TrackUpdate(
      kind, request->served->empty, decoded->object,
      api::Get(decoded->object, {"metadata", "managedFields"}),
      ManagerOf(*request), registry_->Now());
  if (!managed.empty()) {
    Sub(decoded->object, "metadata")["managedFields"] = std::move(managed);
  }
  kind.review(*authorization_, request->user, now, decoded->object);
  kind.set_defaults(decoded->object);
  kube::Response response = RenderObject(*request, 201, decoded->object, now);
  AddWarnings(decoded->warnings, &response);
  responder->Send(std::move(response));
}

void Verbs::Update(ApiRequestRef request, ResponderRef responder) {
  const Kind& kind = request->kind();
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "UpdateOptions");
  if (!options.ok()) return SendError(*request, *responder, options.status());
  absl::StatusOr<Decoded> decoded =
      DecodeObject(kind, registry_->kinds(), request->Header("content-type"),
                   request->http.body, options->validation);
  if (!decoded.ok()) return SendError(*request, *responder, decoded.status());
  auto planner = [this, request, object = std::move(decoded->object)](
                     const Json* before) mutable -> absl::StatusOr<Plan> {
    const Kind& kind = request->kind();
    FL_RETURN_IF_ERROR(CheckIdentity(kind, request->ns, request->name, false,
                                     object, before));
    if (before != nullptr) {
      return Plan{Plan::Action::kPut, std::move(object), false,
                  VerbOf(*request), ManagerOf(*request)};
    }
    if (!kind.put_creates || !request->subresource.empty()) {
      return NotFound(kind, request->name);
    }
    FL_RETURN_IF_ERROR(
        CheckNamespace(registry_, kind, request->ns, request->name));
    return Plan{Plan::Action::kPut, std::move(object), false,
                WriteVerb::kCreate, ManagerOf(*request)};
  };
  registry_->Write(
      request->served, request->ns, request->name, options->dry_run,
      Checked(request, std::move(planner)),
      [this, request, responder, warnings = std::move(decoded->warnings)](
          absl::StatusOr<Registry::Outcome> outcome) {
        FinishWrite(*request, *responder, warnings, std::move(outcome));
      });
}

void Verbs::Patch(ApiRequestRef request, ResponderRef responder) {
  if (IsApply(*request)) return Apply(request, responder);
  auto fail = [&](const absl::Status& status) {
    SendError(*request, *responder, status);
  };
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "PatchOptions");
  if (!options.ok()) return fail(options.status());
  absl::StatusOr<PatchKind> kind =
      PatchKindOf(request->Header("content-type"));
  if (!kind.ok()) return fail(kind.status());
  if (absl::Status status = CheckPatchOptions(request->query, false);
      !status.ok()) {
    return fail(status);
  }
  absl::StatusOr<Json> patch = ParsePatch(*kind, request->http.body);
  if (!patch.ok()) return fail(patch.status());
  auto warnings = std::make_shared<std::vector<std::string>>();
  auto planner = [request, patch = *std::move(patch), kind = *kind, warnings,
                  options = *options](
                     const Json* before) -> absl::StatusOr<Plan> {
    const Kind& row = request->kind();
    if (before == nullptr) return NotFound(row, request->name);
    FL_ASSIGN_OR_RETURN(Json object,
                        ApplyPatch(kind, *before, patch, row.schema));
    if (!object.is_object()) {
      return BadRequest("the patch leaves no object");
    }
    FL_RETURN_IF_ERROR(ConformPatched(row, options.validation, object,
                                      warnings.get()));
    std::vector<std::string> duplicates = PatchWarnings(*request, options);
    warnings->insert(warnings->end(), duplicates.begin(), duplicates.end());
    FL_RETURN_IF_ERROR(CheckIdentity(row, request->ns, request->name, true,
                                     object, before));
    return Plan{Plan::Action::kPut, std::move(object), false,
                VerbOf(*request), ManagerOf(*request)};
  };
  registry_->Write(request->served, request->ns, request->name,
                   options->dry_run,
                   Checked(request, std::move(planner)),
                   [this, request, responder, warnings](
                       absl::StatusOr<Registry::Outcome> outcome) {
                     FinishWrite(*request, *responder, std::move(*warnings),
                                 std::move(outcome));
                   });
}

void Verbs::Apply(ApiRequestRef request, ResponderRef responder) {
  auto fail = [&](const absl::Status& status) {
    SendError(*request, *responder, status);
  };
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "PatchOptions");
  if (!options.ok()) return fail(options.status());
  if (absl::Status status = CheckPatchOptions(request->query, true);
      !status.ok()) {
    return fail(status);
  }
  absl::StatusOr<Json> config = ParseConfig(request->http.body);
  if (!config.ok()) return fail(config.status());
  auto planner = [this, request, config = *std::move(config)](
                     const Json* before) -> absl::StatusOr<Plan> {
    const Kind& kind = request->kind();
    if (before == nullptr && !request->subresource.empty()) {
      return NotFound(kind, request->name);
    }
    ApplyRequest apply{&config, ManagerOf(*request),
                       request->query.Bool("force")};
    FL_ASSIGN_OR_RETURN(
        Json object, ApplyConfig(kind, before, apply, registry_->Now()));
    std::vector<std::string> ignored;
    absl::Status conforms = ConformToSchema(kind.schema, object, &ignored);
    if (!conforms.ok()) return BadRequest(Std(conforms.message()));
    FL_RETURN_IF_ERROR(CheckIdentity(kind, request->ns, request->name, true,
                                     object, before));
    if (before == nullptr) {
      FL_RETURN_IF_ERROR(
          CheckNamespace(registry_, kind, request->ns, request->name));
    }
    return Plan{Plan::Action::kPut, std::move(object), false,
                before == nullptr ? WriteVerb::kCreate : VerbOf(*request),
                apply.manager, true};
  };
  registry_->Write(request->served, request->ns, request->name,
                   options->dry_run,
                   Checked(request, std::move(planner)),
                   [this, request, responder](
                       absl::StatusOr<Registry::Outcome> outcome) {
                     FinishWrite(*request, *responder, {}, std::move(outcome));
                   });
}

}  // namespace fairlead::api
