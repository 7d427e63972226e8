// SPDX-License-Identifier: Apache-2.0
#include "control/api/reviews.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "control/api/identity.h"
#include "control/api/json_access.h"
#include "control/api/normalize.h"

namespace fairlead::api {
namespace {

constexpr char kAuthorization[] = "authorization.k8s.io";
constexpr char kAuthentication[] = "authentication.k8s.io";

Attributes AttributesOf(const Json& spec) {
  const Json& resource = Get(spec, "resourceAttributes");
  const Json& path = Get(spec, "nonResourceAttributes");
  Attributes what;
  what.is_resource = resource.is_object();
  if (!what.is_resource) {
    what.verb = Text(path, "verb");
    what.path = Text(path, "path");
    return what;
  }
  what.verb = Text(resource, "verb");
  what.group = Text(resource, "group");
  what.version = Text(resource, "version");
  what.resource = Text(resource, "resource");
  what.subresource = Text(resource, "subresource");
  what.ns = Text(resource, "namespace");
  what.name = Text(resource, "name");
  return what;
}

void Decide(const Authorizer& authorizer, const User& user, Json& object) {
  const Decision decision =
      authorizer.Authorize(user, AttributesOf(Get(object, "spec")));
  object["status"] = {{"allowed", decision.allowed}};
  if (!decision.reason.empty()) object["status"]["reason"] = decision.reason;
}

void AnswerWhoAmI(const Authorizer&, const User& user, absl::Time now,
                  Json& object) {
  Json& info = Sub(object, "status")["userInfo"];
  info = {{"username", user.name}, {"groups", user.groups}};
  if (!user.uid.empty()) info["uid"] = user.uid;
  if (!user.extra.empty()) info["extra"] = user.extra;
  Sub(object, "metadata")["creationTimestamp"] = absl::FormatTime(
      "%Y-%m-%dT%H:%M:%SZ", now, absl::UTCTimeZone());
}

void AnswerAccess(const Authorizer& authorizer, const User& user, absl::Time,
                  Json& object) {
  Decide(authorizer, user, object);
}

// About whom the spec names, whoever asks.
void AnswerAccessOf(const Authorizer& authorizer, const User&, absl::Time,
                    Json& object) {
  const Json& spec = Get(object, "spec");
  User user{std::string(Text(spec, "user")),
            std::string(Text(spec, "uid")),
            {},
            {}};
  for (const Json& group : List(spec, "groups")) {
    user.groups.emplace_back(Text(group));
  }
  Decide(authorizer, user, object);
}

void AnswerRules(const Authorizer& authorizer, const User& user, absl::Time,
                 Json& object) {
  Json resources = Json::array(), paths = Json::array();
  for (const PolicyRule& rule :
       authorizer.RulesFor(user, Text(object, {"spec", "namespace"}))) {
    Json out = {{"verbs", rule.verbs}};
    if (!rule.urls.empty()) {
      out["nonResourceURLs"] = rule.urls;
      paths.push_back(std::move(out));
      continue;
    }
    out["apiGroups"] = rule.groups;
    out["resources"] = rule.resources;
    if (!rule.names.empty()) out["resourceNames"] = rule.names;
    resources.push_back(std::move(out));
  }
  // Nothing of what was asked is in the answer.
  object.erase("spec");
  Sub(object, "metadata").erase("managedFields");
  object["status"] = {{"resourceRules", std::move(resources)},
                      {"nonResourceRules", std::move(paths)},
                      {"incomplete", false}};
}

// The object came with a spec at most; this is the only place that makes one
// of these, and the Table of one is its name.
Kind Row(const std::shared_ptr<const SchemaSet>& schemas, const char* group,
         const char* plural, const char* name,
         void (*answer)(const Authorizer&, const User&, absl::Time,
                        Json&)) {
  Kind kind;
  kind.resource = {group, "v1", plural, name, false};
  kind.singular = std::string(plural, std::string_view(plural).size() - 1);
  std::string package = group == std::string_view(kAuthorization)
                            ? "io.k8s.api.authorization.v1."
                            : "io.k8s.api.authentication.v1.";
  kind.schema = schemas->Find(package + name);
  kind.columns = {{"Name", "string", "name"}};
  kind.cells = [](const Json& object, absl::Time) {
    return std::vector<Json>{Get(object, {"metadata", "name"})};
  };
  kind.field_value = [](const Json&, std::string_view) {
    return std::string();
  };
  kind.prepare = [](WriteVerb, Json&, const Json*) {};
  kind.set_defaults = [schemas, type = kind.schema](Json& object) {
    Normalize(*type, object);
  };
  kind.validate = [](const Json&, const Json*) { return FieldErrors(); };
  kind.warnings = [](const Json&, const Json*) {
    return std::vector<std::string>();
  };
  kind.review = answer;
  return kind;
}

}  // namespace

std::vector<Kind> ReviewKinds(
    const std::shared_ptr<const SchemaSet>& schemas) {
  std::vector<Kind> kinds;
  kinds.push_back(Row(schemas, kAuthentication, "selfsubjectreviews",
                      "SelfSubjectReview", AnswerWhoAmI));
  kinds.push_back(Row(schemas, kAuthorization, "selfsubjectaccessreviews",
                      "SelfSubjectAccessReview", AnswerAccess));
  kinds.push_back(Row(schemas, kAuthorization, "selfsubjectrulesreviews",
                      "SelfSubjectRulesReview", AnswerRules));
  kinds.push_back(Row(schemas, kAuthorization, "subjectaccessreviews",
                      "SubjectAccessReview", AnswerAccessOf));
  return kinds;
}

}  // namespace fairlead::api
