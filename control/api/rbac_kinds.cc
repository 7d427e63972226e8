// SPDX-License-Identifier: Apache-2.0
#include "control/api/rbac_kinds.h"

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_join.h"
#include "control/api/json_access.h"
#include "control/api/rbac.h"
#include "control/api/tables_cells.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

bool IsClusterScoped(const Json& object) {
  return Text(object, "kind").starts_with("Cluster");
}

std::string SubjectNames(const Json& binding, std::string_view kind) {
  std::vector<std::string> names;
  for (const Json& subject : List(binding, "subjects")) {
    if (Text(subject, "kind") != kind) continue;
    names.push_back(kind == "ServiceAccount"
                        ? StrCat(Text(subject, "namespace"), "/",
                                 Text(subject, "name"))
                        : std::string(Text(subject, "name")));
  }
  return absl::StrJoin(names, ", ");
}

void ValidateRule(const Json& rule, bool cluster, const std::string& at,
                  FieldErrorList* errors) {
  const Json& urls = List(rule, "nonResourceURLs");
  const bool no_groups = List(rule, "apiGroups").empty();
  const bool no_resources = List(rule, "resources").empty();
  if (List(rule, "verbs").empty()) {
    errors->Required(Child(at, "verbs"),
                     "verbs must contain at least one value");
  }
  if (!urls.empty()) {
    if (!cluster) {
      errors->Invalid(Child(at, "nonResourceURLs"), urls,
                      "namespaced rules cannot apply to non-resource URLs");
    }
    if (!no_groups || !no_resources || !List(rule, "resourceNames").empty()) {
      errors->Invalid(Child(at, "nonResourceURLs"), urls,
                      "rules cannot apply to both regular resources and "
                      "non-resource URLs");
    }
    return;
  }
  if (no_groups) {
    errors->Required(Child(at, "apiGroups"),
                     "resource rules must supply at least one api group");
  }
  if (no_resources) {
    errors->Required(Child(at, "resources"),
                     "resource rules must supply at least one resource");
  }
}

void ValidateSubject(const Json& subject, const std::string& at,
                     FieldErrorList* errors) {
  const std::string_view kind = Text(subject, "kind");
  if (Text(subject, "name").empty()) errors->Required(Child(at, "name"));
  const bool account = kind == "ServiceAccount";
  if (!account && kind != "User" && kind != "Group") {
    errors->NotSupported(Child(at, "kind"), kind,
                         {"Group", "ServiceAccount", "User"});
    return;
  }
  const std::string_view group = account ? "" : kRbacGroup;
  if (Text(subject, "apiGroup") != group) {
    errors->NotSupported(Child(at, "apiGroup"), Text(subject, "apiGroup"),
                         {group});
  }
  if (!account) return;
  if (!Text(subject, "name").empty()) {
    errors->InvalidEach(Child(at, "name"), Text(subject, "name"),
                        CheckDnsSubdomain(Text(subject, "name")));
  }
  if (Text(subject, "namespace").empty()) {
    errors->Required(Child(at, "namespace"));
  }
}

}  // namespace

Printer RolePrinter() {
  Printer printer{Columns({"Name", "Created At"}),
                  [](const Json& o, absl::Time) -> std::vector<Json> {
                    return {Name(o),
                            Text(o, {"metadata", "creationTimestamp"})};
                  }};
  printer.columns[1].type = "date";
  return printer;
}

Printer RoleBindingPrinter() {
  return {Columns({"Name", "Role", "Age", "+Users", "+Groups",
                   "+ServiceAccounts"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o),
                    StrCat(Text(o, {"roleRef", "kind"}), "/",
                           Text(o, {"roleRef", "name"})),
                    Age(o, now),
                    SubjectNames(o, "User"),
                    SubjectNames(o, "Group"),
                    SubjectNames(o, "ServiceAccount")};
          }};
}

void DefaultRoleBinding(Json& object) {
  // One that is missing is one with nothing in it.
  Json& ref = object["roleRef"];
  if (ref.is_null()) ref = Json::object();
  if (ref.is_object() && Text(ref, "apiGroup").empty()) {
    ref["apiGroup"] = kRbacGroup;
  }
  auto subjects = object.find("subjects");
  if (subjects == object.end() || !subjects->is_array()) return;
  for (Json& subject : *subjects) {
    if (!subject.is_object() || !Text(subject, "apiGroup").empty()) continue;
    if (Text(subject, "kind") == "User" || Text(subject, "kind") == "Group") {
      subject["apiGroup"] = kRbacGroup;
    }
  }
}

FieldErrors ValidateRole(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kPathSegment, &errors);
  const Json& rules = List(object, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    ValidateRule(rules[i], IsClusterScoped(object), At("rules", i), &errors);
  }
  const Json& aggregation = Get(object, "aggregationRule");
  if (aggregation.is_object() &&
      List(aggregation, "clusterRoleSelectors").empty()) {
    errors.Required("aggregationRule.clusterRoleSelectors",
                    "at least one clusterRoleSelector required if "
                    "aggregationRule is non-nil");
  }
  return errors.Take();
}

FieldErrors ValidateRoleBinding(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kPathSegment, &errors);
  const Json& ref = Get(object, "roleRef");
  if (Text(ref, "apiGroup") != kRbacGroup) {
    errors.NotSupported("roleRef.apiGroup", Text(ref, "apiGroup"),
                        {kRbacGroup});
  }
  const std::string_view kind = Text(ref, "kind");
  if (IsClusterScoped(object)) {
    if (kind != "ClusterRole") {
      errors.NotSupported("roleRef.kind", kind, {"ClusterRole"});
    }
  } else if (kind != "Role" && kind != "ClusterRole") {
    errors.NotSupported("roleRef.kind", kind, {"ClusterRole", "Role"});
  }
  if (Text(ref, "name").empty()) {
    errors.Required("roleRef.name");
  } else {
    errors.InvalidEach("roleRef.name", Text(ref, "name"),
                       CheckPathSegment(Text(ref, "name")));
  }
  const Json& subjects = List(object, "subjects");
  for (size_t i = 0; i < subjects.size(); ++i) {
    ValidateSubject(subjects[i], At("subjects", i), &errors);
  }
  if (before != nullptr && ref != Get(*before, "roleRef")) {
    errors.Invalid("roleRef", ref, "cannot change roleRef");
  }
  return errors.Take();
}

}  // namespace fairlead::api
