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

// What everybody may read, whatever their roles.
Json PublicUrls() {
  return {"/healthz", "/livez", "/readyz", "/version", "/version/"};
}
Json DiscoveryUrls() {
  return {"/api",     "/api/*",   "/apis",      "/apis/*",
          "/healthz", "/livez",   "/openapi",   "/openapi/*",
          "/readyz",  "/version", "/version/"};
}

bool Contains(const Json& list, std::string_view text) {
  for (const Json& each : list) {
    if (Text(each) == text) return true;
  }
  return false;
}

bool MayAsk(const Json& attributes) {
  return Text(attributes, "verb") == "create" &&
         ((Text(attributes, "group") == kAuthorization &&
           (Text(attributes, "resource") == "selfsubjectaccessreviews" ||
            Text(attributes, "resource") == "selfsubjectrulesreviews")) ||
          (Text(attributes, "group") == kAuthentication &&
           Text(attributes, "resource") == "selfsubjectreviews"));
}

void AnswerWhoAmI(const User& user, absl::Time now, Json& object) {
  Json& info = Sub(object, "status")["userInfo"];
  info = {{"username", user.name}, {"groups", user.groups}};
  if (!user.uid.empty()) info["uid"] = user.uid;
  Sub(object, "metadata")["creationTimestamp"] = absl::FormatTime(
      "%Y-%m-%dT%H:%M:%SZ", now, absl::UTCTimeZone());
}

void AnswerAccess(const User& user, absl::Time, Json& object) {
  const Json& resource = Get(object, {"spec", "resourceAttributes"});
  const Json& path = Get(object, {"spec", "nonResourceAttributes"});
  bool allowed = user.is_master();
  if (resource.is_object()) allowed |= MayAsk(resource);
  if (path.is_object()) {
    allowed |= Text(path, "verb") == "get" &&
               (Contains(DiscoveryUrls(), Text(path, "path")) ||
                Text(path, "path").starts_with("/apis/") ||
                Text(path, "path").starts_with("/api/"));
  }
  object["status"] = {{"allowed", allowed}};
}

void AnswerRules(const User& user, absl::Time, Json& object) {
  auto rule = [](Json verbs, Json groups, Json resources) {
    return Json{{"verbs", std::move(verbs)},
                {"apiGroups", std::move(groups)},
                {"resources", std::move(resources)}};
  };
  auto urls = [](Json verbs, const Json& paths) {
    return Json{{"verbs", std::move(verbs)}, {"nonResourceURLs", paths}};
  };
  const Json all = Json::array({"*"}), create = Json::array({"create"});
  Json resources = Json::array();
  resources.push_back(
      rule(create, Json::array({kAuthorization}),
           Json::array({"selfsubjectaccessreviews",
                        "selfsubjectrulesreviews"})));
  resources.push_back(rule(create, Json::array({kAuthentication}),
                           Json::array({"selfsubjectreviews"})));
  Json paths = Json::array({urls(Json::array({"get"}), PublicUrls())});
  if (user.is_master()) {
    resources.push_back(rule(all, all, all));
    paths.push_back(urls(all, all));
  }
  paths.push_back(urls(Json::array({"get"}), DiscoveryUrls()));
  object["status"] = {{"resourceRules", std::move(resources)},
                      {"nonResourceRules", std::move(paths)},
                      {"incomplete", false}};
}

// The object came with a spec at most; this is the only place that makes one
// of these, and the Table of one is its name.
Kind Row(const std::shared_ptr<const SchemaSet>& schemas, const char* group,
         const char* plural, const char* name,
         void (*answer)(const User&, absl::Time, Json&)) {
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
  return kinds;
}

}  // namespace fairlead::api
