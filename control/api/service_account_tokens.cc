// SPDX-License-Identifier: Apache-2.0
#include "control/api/service_account_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/time.h"
#include "control/api/api_status.h"
#include "control/api/authorization.h"
#include "control/api/json_access.h"
#include "control/api/managed_fields.h"
#include "control/api/schema_set.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/jwt.h"

namespace fairlead::api {
namespace {

constexpr int64_t kDefaultSeconds = 3600, kMinSeconds = 600;
constexpr int64_t kMaxSeconds = int64_t{1} << 32;
constexpr char kClaims[] = "kubernetes.io";
// After the token's user, in UserInfo.extra.
constexpr std::string_view kExtra = "authentication.kubernetes.io/";

// Kinds that a token can be bound to, and the claim that names them.
struct Bindable {
  const char* kind;
  const char* plural;
  const char* claim;
  bool namespaced;
};
constexpr Bindable kBindable[] = {{"Pod", "pods", "pod", true},
                                  {"Secret", "secrets", "secret", true},
                                  {"Node", "nodes", "node", false}};

Json Reference(const Json& object) {
  return {{"name", Text(object, {"metadata", "name"})},
          {"uid", Text(object, {"metadata", "uid"})}};
}

absl::StatusOr<int64_t> SecondsOf(const Json& request, std::string_view name) {
  const int64_t seconds =
      Int(Get(request, {"spec", "expirationSeconds"}), kDefaultSeconds);
  const char* wrong = nullptr;
  if (seconds < kMinSeconds) {
    wrong = "may not specify a duration less than 10 minutes";
  } else if (seconds > kMaxSeconds) {
    wrong = "may not specify a duration larger than 2^32 seconds";
  }
  if (wrong == nullptr) return seconds;
  return Invalid("TokenRequest", "authentication.k8s.io", name,
                 {FieldInvalid("spec.expirationSeconds",
                               std::to_string(seconds), wrong)});
}

// A node may ask for a token of a pod that runs on it, and for no other.
absl::Status CheckNode(const ApiRequest& request, const Json& bound) {
  const std::string node = NodeOf(request.user);
  if (node.empty()) return absl::OkStatus();
  if (Text(bound, "kind") != "Pod") {
    return Forbidden(request.kind(), request.name,
                     "node requested token not bound to a pod");
  }
  if (Text(bound, {"spec", "nodeName"}) != node) {
    return Forbidden(request.kind(), request.name,
                     "node requested token bound to a pod scheduled on a "
                     "different node");
  }
  return absl::OkStatus();
}

absl::Status Bad(std::string_view why) {
  return absl::UnauthenticatedError(StrCat("token: ", why));
}

}  // namespace

Json ServiceAccountTokens::Find(const char* plural, std::string_view ns,
                                std::string_view name) const {
  Served* served = registry_->Find("", "v1", plural);
  if (served == nullptr) return nullptr;
  const store::ObjectRef object =
      served->cache.Find(ObjectKey(*served->kind, ns, name));
  return object == nullptr ? Json() : ParseObject(*served, *object);
}

absl::StatusOr<Json> ServiceAccountTokens::BoundObject(
    const ApiRequest& request, const Json& ref) const {
  for (const Bindable& kind : kBindable) {
    if (Text(ref, "kind") != kind.kind || Text(ref, "apiVersion") != "v1") {
      continue;
    }
    const std::string name(Text(ref, "name"));
    Json object =
        Find(kind.plural, kind.namespaced ? request.ns : "", name);
    if (object.is_null()) {
      return NotFound(*registry_->Find("", "v1", kind.plural)->kind, name);
    }
    const std::string_view wanted = Text(ref, "uid");
    const std::string_view real = Text(object, {"metadata", "uid"});
    if (!wanted.empty() && wanted != real) {
      return Conflict(kind.kind, "", name,
                      StrCat("the UID in the bound object reference (", wanted,
                             ") does not match the UID in record. The object "
                             "might have been deleted and then recreated"));
    }
    if (kind.plural == std::string_view("pods") &&
        Text(object, {"spec", "serviceAccountName"}) != request.name) {
      return BadRequest(StrCat("cannot bind token for serviceaccount ",
                               Quote(request.name),
                               " to pod running with different serviceaccount "
                               "name."));
    }
    return object;
  }
  return BadRequest(StrCat("cannot bind token to object of type ",
                           Text(ref, "apiVersion"), ", Kind=",
                           Text(ref, "kind")));
}

Json ServiceAccountTokens::ManagedFields(const ApiRequest& request,
                                         const Json& body) const {
  Kind kind;  // as much of it as owners of fields depend on
  kind.resource = {"authentication.k8s.io", "v1", "", "TokenRequest", true};
  kind.schema = registry_->kinds().schemas()->Find(
      "io.k8s.api.authentication.v1.TokenRequest");
  // A spec is always there, and so nobody's; the rest is the server's.
  return TrackUpdate(kind, {{"spec", Json::object()}},
                     {{"spec", Map(body, "spec")}},
                     Get(body, {"metadata", "managedFields"}),
                     ManagerOf(request), registry_->Now());
}

absl::StatusOr<Json> ServiceAccountTokens::Answer(
    const ApiRequest& request) const {
  if (!key_) return InternalError("no key to sign tokens with");
  const Json account = Find("serviceaccounts", request.ns, request.name);
  if (account.is_null()) return NotFound(request.kind(), request.name);
  FL_ASSIGN_OR_RETURN(Json body,
                      DecodeAny(request.Header("content-type"),
                                request.http.body, "TokenRequest"));
  FL_ASSIGN_OR_RETURN(const int64_t seconds, SecondsOf(body, request.name));
  Json audiences = List(body, {"spec", "audiences"});
  if (audiences.empty()) audiences = Json::array({kTokenIssuer});
  Json private_claims = {{"namespace", request.ns},
                         {"serviceaccount", Reference(account)}};
  const Json& ref = Get(body, {"spec", "boundObjectRef"});
  Json bound;
  if (ref.is_object()) {
    FL_ASSIGN_OR_RETURN(bound, BoundObject(request, ref));
  }
  FL_RETURN_IF_ERROR(CheckNode(request, bound));
  if (!bound.is_null()) {
    for (const Bindable& kind : kBindable) {
      if (Text(ref, "kind") == kind.kind) {
        private_claims[kind.claim] = Reference(bound);
      }
    }
    const Json node = Find("nodes", "", Text(bound, {"spec", "nodeName"}));
    if (!node.is_null()) private_claims["node"] = Reference(node);
  }
  const absl::Time now = registry_->clock().Now();
  const int64_t from = absl::ToUnixSeconds(now);
  const Json claims = {
      {"iss", kTokenIssuer},
      {"sub", ServiceAccountUser(request.ns, request.name, "").name},
      {"aud", audiences},
      {"iat", from},
      {"nbf", from},
      {"exp", from + seconds},
      {"jti", registry_->NewUid()},
      {kClaims, std::move(private_claims)}};
  FL_ASSIGN_OR_RETURN(std::string token, pki::SignJwt(claims, *key_));
  Json managed = ManagedFields(request, body);
  Json spec = {{"audiences", std::move(audiences)},
               {"expirationSeconds", seconds},
               {"boundObjectRef", ref}};
  return Json{
      {"kind", "TokenRequest"},
      {"apiVersion", "authentication.k8s.io/v1"},
      {"metadata",
       {{"name", request.name},
        {"namespace", request.ns},
        {"uid", registry_->NewUid()},
        {"creationTimestamp", registry_->Now()},
        {"managedFields", std::move(managed)}}},
      {"spec", std::move(spec)},
      {"status",
       {{"token", std::move(token)},
        {"expirationTimestamp",
         absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", now + absl::Seconds(seconds),
                          absl::UTCTimeZone())}}}};
}

void ServiceAccountTokens::Create(const ApiRequestRef& request,
                                  const ResponderRef& responder) {
  absl::StatusOr<Json> answer = Answer(*request);
  if (!answer.ok()) return SendError(*request, *responder, answer.status());
  responder->Send(
      JsonResponse(201, *answer, request->representation.pretty));
}

absl::StatusOr<User> ServiceAccountTokens::Authenticate(
    std::string_view token) const {
  if (!key_) return Bad("no key to check it with");
  FL_ASSIGN_OR_RETURN(const Json claims, pki::VerifyJwt(token, *key_));
  if (Text(claims, "iss") != kTokenIssuer) return Bad("another issuer");
  const Json& audiences = List(claims, "aud");
  if (std::find(audiences.begin(), audiences.end(), kTokenIssuer) ==
      audiences.end()) {
    return Bad("for another audience");
  }
  const absl::Time now = registry_->clock().Now();
  if (now >= absl::FromUnixSeconds(Int(claims, "exp"))) return Bad("expired");
  if (now + pki::kClockSkew < absl::FromUnixSeconds(Int(claims, "nbf"))) {
    return Bad("not valid yet");
  }
  const Json& own = Get(claims, kClaims);
  const std::string_view ns = Text(own, "namespace");
  const Json& account = Get(own, "serviceaccount");
  const Json now_account = Find("serviceaccounts", ns, Text(account, "name"));
  const std::string_view uid = Text(account, "uid");
  if (now_account.is_null() || uid.empty() ||
      Text(now_account, {"metadata", "uid"}) != uid) {
    return Bad("its service account is gone");
  }
  User user = ServiceAccountUser(ns, Text(account, "name"), uid);
  user.extra[StrCat(kExtra, "credential-id")] = {
      StrCat("JTI=", Text(claims, "jti"))};
  for (const Bindable& kind : kBindable) {
    const Json& bound = Get(own, kind.claim);
    if (!bound.is_object()) continue;
    const Json there =
        Find(kind.plural, kind.namespaced ? ns : "", Text(bound, "name"));
    if (there.is_null() ||
        Text(there, {"metadata", "uid"}) != Text(bound, "uid")) {
      return Bad(StrCat("its ", kind.claim, " is gone"));
    }
    if (kind.claim == std::string_view("secret")) continue;
    user.extra[StrCat(kExtra, kind.claim, "-name")] = {
        std::string(Text(bound, "name"))};
    user.extra[StrCat(kExtra, kind.claim, "-uid")] = {
        std::string(Text(bound, "uid"))};
  }
  return user;
}

}  // namespace fairlead::api
