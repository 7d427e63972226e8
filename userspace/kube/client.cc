// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/client.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"
#include "userspace/kube/http_status.h"
#include "userspace/kube/json_text.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

// The payload's text is "HTTP STATUS\nREASON\nSECONDS or empty".
constexpr char kPayload[] = "fairlead.kube/api-error";

std::string TextField(const Json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string MetaField(const Json& object, const char* name) {
  auto it = object.find("metadata");
  return it != object.end() && it->is_object() ? TextField(*it, name) : "";
}

// nullopt: `body` is no JSON object.
std::optional<ApiStatus> JsonStatus(std::string_view body) {
  Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  auto number = [](const Json& object, const char* name) {
    auto it = object.find(name);
    return it != object.end() && it->is_number_integer() ? it->get<int>() : 0;
  };
  ApiStatus status{.code = number(json, "code"),
                   .message = TextField(json, "message"),
                   .reason = TextField(json, "reason")};
  if (auto it = json.find("details"); it != json.end() && it->is_object()) {
    status.retry_after_seconds = number(*it, "retryAfterSeconds");
  }
  return status;
}

using ReadFunction = Json (*)(std::string_view text);

std::function<void(absl::StatusOr<Response>)> ParseInto(Client::Done done,
                                                        ReadFunction read) {
  return [done = std::move(done), read](absl::StatusOr<Response> response) {
    if (!response.ok()) return done(response.status());
    if (response->status < 200 || response->status > 299) {
      return done(StatusFromResponse(*response));
    }
    if (response->body.empty()) return done(Json::object());
    Json json = read(response->body);
    if (json.is_discarded()) {
      return done(absl::InternalError("the answer is not JSON"));
    }
    done(std::move(json));
  };
}

Json Whole(std::string_view text) { return JsonFromText(text); }

Request MakeRequest(const Client& client, std::string method,
                    std::string target) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.headers = {{"Accept", "application/json"},
                     {"User-Agent", client.user_agent()}};
  return request;
}

Request WithBody(Request request, const Json& body,
                 std::string content_type = "application/json") {
  request.headers.emplace_back("Content-Type", std::move(content_type));
  request.body = TextFromJson(body);
  return request;
}

std::string ContentType(PatchType type) {
  switch (type) {
    case PatchType::kJson:
      return "application/json-patch+json";
    case PatchType::kMerge:
      return "application/merge-patch+json";
    case PatchType::kStrategicMerge:
      return "application/strategic-merge-patch+json";
  }
  return "";
}

Json DeleteBody(const DeleteOptions& options) {
  Json body = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}};
  if (options.grace_period_seconds.has_value()) {
    body["gracePeriodSeconds"] = *options.grace_period_seconds;
  }
  if (!options.propagation_policy.empty()) {
    body["propagationPolicy"] = options.propagation_policy;
  }
  if (!options.precondition_uid.empty()) {
    body["preconditions"]["uid"] = options.precondition_uid;
  }
  if (!options.precondition_resource_version.empty()) {
    body["preconditions"]["resourceVersion"] =
        options.precondition_resource_version;
  }
  return body;
}

}  // namespace

std::optional<ApiError> ApiErrorOf(const absl::Status& status) {
  absl::optional<absl::Cord> payload = status.GetPayload(kPayload);
  if (!payload.has_value()) return std::nullopt;
  std::string text(*payload);
  std::vector<std::string> parts = absl::StrSplit(text, '\n');
  ApiError error;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &error.http_status)) {
    return std::nullopt;
  }
  error.reason = parts[1];
  int seconds = 0;
  if (absl::SimpleAtoi(parts[2], &seconds)) {
    error.retry_after = absl::Seconds(seconds);
  }
  return error;
}

absl::Status StatusFromResponse(const Response& response) {
  std::optional<ApiStatus> said = DecodeProtobufStatus(response.body);
  if (!said.has_value()) said = JsonStatus(response.body);
  ApiStatus api = said.value_or(ApiStatus());
  int code = response.status != 0 ? response.status : api.code;
  if (code == 0) code = 500;
  if (api.message.empty()) {
    api.message = StrCat("HTTP status ", code);
    if (!said.has_value() && !response.body.empty()) {
      StrAppend(&api.message, ": ", response.body.substr(0, 200));
    }
  }
  std::string retry_after(response.Header("Retry-After"));
  if (retry_after.empty() && api.retry_after_seconds > 0) {
    retry_after = StrCat(api.retry_after_seconds);
  }
  absl::Status status(AbslCodeOf(code, api.reason), api.message);
  status.SetPayload(kPayload, absl::Cord(StrCat(code, "\n", api.reason, "\n",
                                                retry_after)));
  return status;
}

Client::Client(Transport* transport, std::string user_agent, Answers answers)
    : transport_(transport),
      user_agent_(std::move(user_agent)),
      read_(answers == Answers::kOutline ? OutlineFromText : Whole) {}
Client::~Client() = default;

std::unique_ptr<Call> Client::Get(const Resource& resource,
                                  std::string_view ns, std::string_view name,
                                  Done done) {
  return transport_->Do(MakeRequest(*this, "GET", resource.Path(ns, name)),
                        ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::List(const Resource& resource,
                                   std::string_view ns, std::string_view query,
                                   Done done) {
  std::string target = resource.Path(ns, "");
  if (!query.empty()) StrAppend(&target, "?", query);
  return transport_->Do(MakeRequest(*this, "GET", std::move(target)),
                        ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::Create(const Resource& resource,
                                     const Json& object, Done done) {
  std::string target = resource.Path(MetaField(object, "namespace"), "");
  return transport_->Do(
      WithBody(MakeRequest(*this, "POST", std::move(target)), object),
      ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::Update(const Resource& resource,
                                     const Json& object, Done done) {
  std::string target = resource.Path(MetaField(object, "namespace"),
                                     MetaField(object, "name"));
  return transport_->Do(
      WithBody(MakeRequest(*this, "PUT", std::move(target)), object),
      ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::UpdateStatus(const Resource& resource,
                                           const Json& object, Done done) {
  std::string target = resource.Path(MetaField(object, "namespace"),
                                     MetaField(object, "name"), "status");
  return transport_->Do(
      WithBody(MakeRequest(*this, "PUT", std::move(target)), object),
      ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::Patch(const Resource& resource,
                                    std::string_view ns, std::string_view name,
                                    std::string_view subresource,
                                    PatchType type, const Json& patch,
                                    Done done) {
  return transport_->Do(
      WithBody(MakeRequest(*this, "PATCH",
                           resource.Path(ns, name, subresource)),
               patch, ContentType(type)),
      ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::Delete(const Resource& resource,
                                     std::string_view ns,
                                     std::string_view name,
                                     const DeleteOptions& options, Done done) {
  return transport_->Do(
      WithBody(MakeRequest(*this, "DELETE", resource.Path(ns, name)),
               DeleteBody(options)),
      ParseInto(std::move(done), read_));
}

std::unique_ptr<Call> Client::CreateSubresource(const Resource& resource,
                                                std::string_view ns,
                                                std::string_view name,
                                                std::string_view subresource,
                                                const Json& object,
                                                Done done) {
  return transport_->Do(
      WithBody(
          MakeRequest(*this, "POST", resource.Path(ns, name, subresource)),
          object),
      ParseInto(std::move(done), read_));
}

}  // namespace fairlead::kube
