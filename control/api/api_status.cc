// SPDX-License-Identifier: Apache-2.0
#include "control/api/api_status.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_join.h"
#include "userspace/base/strings.h"
#include "userspace/kube/http_status.h"

namespace fairlead::api {
namespace {

constexpr absl::string_view kPayload = "fairlead.api/status";

// Text without invalid UTF-8, as JSON.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string DetailsText(std::string_view name, std::string_view group,
                        std::string_view kind) {
  Json details = Json::object();
  if (!name.empty()) details["name"] = name;
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  return Dump(details);
}

std::string WithGroup(std::string_view name, std::string_view group) {
  return group.empty() ? std::string(name) : StrCat(name, ".", group);
}

}  // namespace

absl::Status MakeStatus(ApiStatus status) {
  absl::Status out(kube::AbslCodeOf(status.code, status.reason),
                   Absl(status.message));
  Json payload = {{"code", status.code},
                  {"reason", status.reason},
                  {"details", status.details},
                  {"continue", status.continue_token}};
  out.SetPayload(kPayload, absl::Cord(Dump(payload)));
  return out;
}

ApiStatus ApiStatusOf(const absl::Status& status) {
  ApiStatus out;
  out.message = std::string(status.message());
  auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) {
    out.code = 500;
    out.reason = "InternalError";
    out.message = StrCat("Internal error occurred: ", status.message());
    out.details = Dump({{"causes", {{{"message", status.message()}}}}});
    return out;
  }
  Json json = Json::parse(std::string(*payload), nullptr, false);
  out.code = json.value("code", 500);
  out.reason = json.value("reason", "");
  out.details = json.value("details", "");
  out.continue_token = json.value("continue", "");
  return out;
}

Json StatusObject(const ApiStatus& status) {
  Json metadata = Json::object();
  if (!status.continue_token.empty()) {
    metadata["continue"] = status.continue_token;
  }
  Json json = {{"kind", "Status"},
               {"apiVersion", "v1"},
               {"metadata", std::move(metadata)},
               {"status", status.code < 400 ? "Success" : "Failure"},
               {"code", status.code}};
  if (!status.message.empty()) json["message"] = status.message;
  if (!status.reason.empty()) json["reason"] = status.reason;
  if (!status.details.empty()) {
    Json details = Json::parse(status.details, nullptr, false);
    if (details.is_object()) json["details"] = std::move(details);
  }
  return json;
}

std::string GroupResource(const Kind& kind) {
  return WithGroup(kind.resource.plural, kind.resource.group);
}

std::string GroupKind(const Kind& kind) {
  return WithGroup(kind.resource.kind, kind.resource.group);
}

absl::Status BadRequest(std::string_view message) {
  return MakeStatus({400, "BadRequest", std::string(message), "", ""});
}

absl::Status Forbidden(const Kind& kind, std::string_view name,
                       std::string_view message) {
  return Forbidden(kind.resource.group, kind.resource.plural, name, message);
}

absl::Status Forbidden(std::string_view group, std::string_view resource,
                       std::string_view name, std::string_view message) {
  std::string text = WithGroup(resource, group);
  if (!name.empty()) StrAppend(&text, " ", Quote(name));
  StrAppend(&text, text.empty() ? "forbidden: " : " is forbidden: ", message);
  return MakeStatus({403, "Forbidden", std::move(text),
                     DetailsText(name, group, resource), ""});
}

absl::Status Unauthorized() {
  return MakeStatus({401, "Unauthorized", "Unauthorized", "", ""});
}

absl::Status NotFound(const Kind& kind, std::string_view name) {
  return NotFound(kind.resource.group, kind.resource.plural, name);
}

absl::Status NotFound(std::string_view group, std::string_view resource,
                      std::string_view name) {
  return MakeStatus({404, "NotFound",
                     StrCat(WithGroup(resource, group), " ", Quote(name),
                            " not found"),
                     DetailsText(name, group, resource), ""});
}

absl::Status NoSuchResource() {
  return MakeStatus({404, "NotFound",
                     "the server could not find the requested resource", "{}",
                     ""});
}

absl::Status TooLarge(size_t limit) {
  return MakeStatus({413, "RequestEntityTooLarge",
                     StrCat("Request entity too large: limit is ", limit), "",
                     ""});
}

absl::Status MethodNotAllowed() {
  return MakeStatus(
      {405, "MethodNotAllowed",
       "the server does not allow this method on the requested resource",
       "{}", ""});
}

absl::Status AlreadyExists(const Kind& kind, std::string_view name) {
  return MakeStatus(
      {409, "AlreadyExists",
       StrCat(GroupResource(kind), " ", Quote(name), " already exists"),
       DetailsText(name, kind.resource.group, kind.resource.plural), ""});
}

absl::Status NoUniqueName(const Kind& kind, std::string_view name) {
  Json details = Json::parse(
      DetailsText(name, kind.resource.group, kind.resource.plural));
  details["retryAfterSeconds"] = 1;
  return MakeStatus(
      {409, "AlreadyExists",
       StrCat(GroupResource(kind), " ", Quote(name),
              " already exists, the server was not able to generate a unique "
              "name for the object"),
       details.dump(), ""});
}

absl::Status Conflict(std::string_view resource, std::string_view group,
                      std::string_view name, std::string_view message) {
  return MakeStatus({409, "Conflict",
                     StrCat("Operation cannot be fulfilled on ",
                            WithGroup(resource, group), " ", Quote(name), ": ",
                            message),
                     DetailsText(name, group, resource), ""});
}

absl::Status Modified(const Kind& kind, std::string_view name) {
  return Conflict(kind.resource.plural, kind.resource.group, name,
                  "the object has been modified; please apply your changes to "
                  "the latest version and try again");
}

absl::Status Expired(std::string_view message) {
  return MakeStatus({410, "Expired", std::string(message), "", ""});
}

absl::Status UnsupportedMediaType(std::string_view message) {
  return MakeStatus({415, "UnsupportedMediaType", std::string(message), "",
                     ""});
}

absl::Status Invalid(std::string_view kind, std::string_view group,
                     std::string_view name, const FieldErrors& errors) {
  Json details = Json::object();
  if (!name.empty()) details["name"] = name;
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  // Each text once in the message, each error in the causes.
  std::vector<std::string> texts;
  Json causes = Json::array();
  for (const FieldError& error : errors) {
    std::string text = StrCat(error.field, ": ", error.message);
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) {
      texts.push_back(std::move(text));
    }
    causes.push_back({{"reason", error.reason},
                      {"message", error.message},
                      {"field", error.field}});
  }
  details["causes"] = std::move(causes);
  std::string joined = absl::StrJoin(texts, ", ");
  if (texts.size() > 1) joined = StrCat("[", joined, "]");
  return MakeStatus({422, "Invalid",
                     StrCat(WithGroup(kind, group), " ", Quote(name),
                            " is invalid: ", joined),
                     Dump(details), ""});
}

absl::Status InvalidObject(const Kind& kind, std::string_view name,
                           const FieldErrors& errors) {
  return Invalid(kind.resource.kind, kind.resource.group, name, errors);
}

absl::Status InternalError(std::string_view message) {
  return MakeStatus({500, "", std::string(message), "", ""});
}

absl::Status VersionTooLarge(int64_t asked, int64_t current) {
  Json details = {{"causes",
                   {{{"reason", "ResourceVersionTooLarge"},
                     {"message", "Too large resource version"}}}},
                  {"retryAfterSeconds", 1}};
  return MakeStatus({504, "Timeout",
                     StrCat("Timeout: Too large resource version: ", asked,
                            ", current: ", current),
                     Dump(details), ""});
}

FieldError FieldInvalid(std::string field, std::string_view value_json,
                        std::string_view detail) {
  return {"FieldValueInvalid", std::move(field),
          StrCat("Invalid value: ", value_json, ": ", detail)};
}

FieldError FieldForbidden(std::string field, std::string_view detail) {
  return {"FieldValueForbidden", std::move(field),
          StrCat("Forbidden: ", detail)};
}

FieldError FieldRequired(std::string field, std::string_view detail) {
  return {"FieldValueRequired", std::move(field),
          detail.empty() ? std::string("Required value")
                         : StrCat("Required value: ", detail)};
}

FieldError FieldNotSupported(std::string field, std::string_view value_json,
                             std::string_view supported) {
  return {"FieldValueNotSupported", std::move(field),
          StrCat("Unsupported value: ", value_json,
                 ": supported values: ", supported)};
}

std::string Quote(std::string_view text) { return Dump(Json(text)); }

}  // namespace fairlead::api
