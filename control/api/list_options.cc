// SPDX-License-Identifier: Apache-2.0
#include "control/api/list_options.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "control/api/api_status.h"
#include "control/api/go_format.h"
#include "control/api/json_access.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

absl::Status InvalidOptions(const FieldErrors& errors) {
  return Invalid("ListOptions", "meta.k8s.io", "", errors);
}

FieldErrors CheckWatch(const ListOptions& options) {
  const std::string field = "resourceVersionMatch";
  FieldErrors errors;
  if (!options.send_initial_events.has_value()) {
    if (!options.match.empty()) {
      errors.push_back(FieldForbidden(
          field,
          "resourceVersionMatch is forbidden for watch unless "
          "sendInitialEvents is provided"));
    }
    return errors;
  }
  if (options.match == "NotOlderThan") return errors;
  errors.push_back(FieldForbidden(
      field,
      "sendInitialEvents requires setting resourceVersionMatch to "
      "NotOlderThan"));
  if (!options.match.empty()) {
    errors.push_back(
        FieldNotSupported(field, Quote(options.match), "\"NotOlderThan\""));
  }
  return errors;
}

FieldErrors CheckList(const ListOptions& options) {
  const std::string field = "resourceVersionMatch";
  FieldErrors errors;
  if (options.send_initial_events.has_value()) {
    errors.push_back(FieldForbidden("sendInitialEvents",
                                    "sendInitialEvents is forbidden for list"));
  }
  if (options.match.empty()) return errors;
  if (!options.version.has_value()) {
    errors.push_back(FieldForbidden(
        field,
        "resourceVersionMatch is forbidden unless resourceVersion is "
        "provided"));
  }
  if (!options.continue_token.empty()) {
    errors.push_back(FieldForbidden(
        field, "resourceVersionMatch is forbidden when continue is provided"));
  }
  if (options.match != "Exact" && options.match != "NotOlderThan") {
    errors.push_back(FieldNotSupported(
        field, Quote(options.match), "\"Exact\", \"NotOlderThan\", \"\""));
  }
  if (options.match == "Exact" && options.version == 0) {
    errors.push_back(FieldForbidden(
        field,
        "resourceVersionMatch \"exact\" is forbidden for resourceVersion "
        "\"0\""));
  }
  return errors;
}

}  // namespace

absl::StatusOr<ListOptions> ListOptions::Parse(const Query& query) {
  ListOptions out;
  out.watch = query.Bool("watch");
  out.bookmarks = query.Bool("allowWatchBookmarks");
  if (query.Has("sendInitialEvents")) {
    out.send_initial_events = query.Bool("sendInitialEvents");
  }
  FL_ASSIGN_OR_RETURN(std::optional<int64_t> limit, query.Integer("limit"));
  out.limit = limit.value_or(0);
  FL_ASSIGN_OR_RETURN(out.timeout_seconds, query.Integer("timeoutSeconds"));
  out.match = std::string(query.Get("resourceVersionMatch"));
  out.continue_token = std::string(query.Get("continue"));
  std::string_view version = query.Get("resourceVersion");
  if (!version.empty()) {
    uint64_t number;
    if (!absl::SimpleAtoi(Absl(version), &number) || number > INT64_MAX) {
      return BadRequest(StrCat(
          "invalid resource version: resourceVersion: Invalid value: ",
          Quote(version), ": strconv.ParseUint: parsing ", Quote(version),
          ": invalid syntax"));
    }
    out.version = static_cast<store::Revision>(number);
  }
  FieldErrors errors = out.watch ? CheckWatch(out) : CheckList(out);
  if (!errors.empty()) return InvalidOptions(errors);
  if (!out.watch && !out.continue_token.empty() &&
      out.version.value_or(0) != 0) {
    return BadRequest(
        "specifying resource version is not allowed when using continue");
  }
  return out;
}

std::string ContinueToken::Encode() const {
  Json json = {{"v", "meta.k8s.io/v1"}, {"rv", revision}, {"start", start}};
  std::string out;
  absl::WebSafeBase64Escape(json.dump(), &out);
  return out;
}

absl::StatusOr<ContinueToken> ContinueToken::Decode(std::string_view text) {
  auto bad = [](std::string_view why) {
    return BadRequest(StrCat(
        "invalid continue token: continue key is not valid: ", why));
  };
  std::string decoded;
  if (!absl::WebSafeBase64Unescape(Absl(text), &decoded)) {
    return bad("illegal base64 data at input byte 0");
  }
  absl::StatusOr<Json> json = ParseJson(decoded);
  if (!json.ok()) return bad(Std(json.status().message()));
  std::string_view version = Text(*json, "v");
  if (version != "meta.k8s.io/v1") {
    return bad(StrCat("server does not recognize this encoded version ",
                      version));
  }
  ContinueToken out;
  out.revision = Int(*json, "rv");
  out.start = std::string(Text(*json, "start"));
  if (out.revision == 0) {
    return bad("incorrect encoded start resourceVersion (version "
               "meta.k8s.io/v1)");
  }
  if (out.start.empty()) {
    return bad("encoded start key empty (version meta.k8s.io/v1)");
  }
  return out;
}

}  // namespace fairlead::api
