// SPDX-License-Identifier: Apache-2.0
#include "control/api/http.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text,
                                         bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else {
      out += text[i];
    }
  }
  return out;
}

Query Query::Parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    size_t end = std::min(text.find('&'), text.size());
    std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    size_t equals = pair.find('=');
    auto name = PercentDecode(pair.substr(0, equals), true);
    auto value = PercentDecode(
        equals == pair.npos ? "" : pair.substr(equals + 1), true);
    if (!name.has_value() || !value.has_value() || name->empty()) continue;
    query.pairs_.emplace_back(std::move(*name), std::move(*value));
  }
  return query;
}

std::string_view Query::Get(std::string_view name) const {
  for (const auto& [key, value] : pairs_) {
    if (key == name) return value;
  }
  return "";
}

bool Query::Has(std::string_view name) const {
  return std::any_of(pairs_.begin(), pairs_.end(),
                     [&](const auto& pair) { return pair.first == name; });
}

std::vector<std::string_view> Query::All(std::string_view name) const {
  std::vector<std::string_view> out;
  for (const auto& [key, value] : pairs_) {
    if (key == name) out.push_back(value);
  }
  return out;
}

bool Query::Bool(std::string_view name) const {
  std::string_view value = Get(name);
  return Has(name) && value != "0" && value != "false";
}

absl::StatusOr<std::optional<int64_t>> Query::Integer(
    std::string_view name) const {
  std::string_view value = Get(name);
  if (value.empty()) return std::nullopt;
  int64_t number;
  if (!absl::SimpleAtoi(Absl(value), &number)) {
    return BadRequest(StrCat("strconv.ParseInt: parsing ", Quote(value),
                             ": invalid syntax"));
  }
  return number;
}

std::string_view FindHeader(const kube::Headers& headers,
                            std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, Absl(name))) return value;
  }
  return "";
}

bool WantsPretty(const kube::Request& request, const Query& query) {
  if (query.Has("pretty")) return query.Bool("pretty");
  std::string_view agent = FindHeader(request.headers, "user-agent");
  return agent.starts_with("curl") || agent.starts_with("Wget") ||
         agent.starts_with("Mozilla/5.0");
}

namespace {

// One entry of an Accept header.
struct Accepted {
  std::string type;
  std::string as, version, group, stream;
  double quality = 1;
};

std::vector<Accepted> ParseAccept(std::string_view header) {
  std::vector<Accepted> out;
  for (absl::string_view part : absl::StrSplit(Absl(header), ',')) {
    Accepted accepted;
    bool first = true;
    for (absl::string_view piece : absl::StrSplit(part, ';')) {
      piece = absl::StripAsciiWhitespace(piece);
      if (first) {
        accepted.type = absl::AsciiStrToLower(piece);
        first = false;
        continue;
      }
      std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(piece, absl::MaxSplits('=', 1));
      if (pair.first == "as") accepted.as = std::string(pair.second);
      if (pair.first == "v") accepted.version = std::string(pair.second);
      if (pair.first == "g") accepted.group = std::string(pair.second);
      if (pair.first == "stream") accepted.stream = std::string(pair.second);
      if (pair.first == "q" &&
          !absl::SimpleAtod(pair.second, &accepted.quality)) {
        accepted.quality = 1;
      }
    }
    if (!accepted.type.empty()) out.push_back(std::move(accepted));
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Accepted& a, const Accepted& b) {
                     return a.quality > b.quality;
                   });
  return out;
}

// Fills in the form that `accepted` asks for; false when it is not known.
bool ApplyForm(const Accepted& accepted, Representation* out) {
  if (accepted.as.empty()) return true;
  if (accepted.group != "meta.k8s.io") return false;
  if (accepted.as == "Table") {
    if (out->protobuf) return false;
    if (accepted.version != "v1" && accepted.version != "v1beta1") {
      return false;
    }
    out->form = Representation::Form::kTable;
    out->table_version = StrCat("meta.k8s.io/", accepted.version);
    return true;
  }
  if (accepted.as == "PartialObjectMetadata" ||
      accepted.as == "PartialObjectMetadataList") {
    out->form = Representation::Form::kPartialMetadata;
    return accepted.version == "v1";
  }
  return false;
}

absl::Status CheckIncluded(const Representation& how) {
  const std::string& include = how.include_object;
  if (how.form != Representation::Form::kTable || include == "Metadata" ||
      include == "Object" || include == "None") {
    return absl::OkStatus();
  }
  return BadRequest(StrCat(
      "Unable to convert to Table as requested: includeObject: Invalid value: ",
      Quote(include), ": must be 'Metadata', 'Object', 'None', or empty"));
}

absl::Status NotAcceptable(bool unknown_form, bool list) {
  if (unknown_form) {
    return MakeStatus({406, "NotAcceptable",
                       "only the following media types are accepted: "
                       "application/json, application/yaml, "
                       "application/vnd.kubernetes.protobuf",
                       "", ""});
  }
  std::string message =
      "406: Not Acceptable\n\nAvailable representations: application/json, "
      "application/yaml, application/vnd.kubernetes.protobuf";
  if (list) {
    message +=
        ", application/json;stream=watch, "
        "application/vnd.kubernetes.protobuf;stream=watch";
  }
  return MakeStatus({406, "NotAcceptable", message, "{}", ""});
}

}  // namespace

absl::StatusOr<Representation> Negotiate(const kube::Request& request,
                                         const Query& query, bool list,
                                         bool protobuf) {
  Representation out;
  out.pretty = WantsPretty(request, query);
  if (query.Has("includeObject")) {
    out.include_object = std::string(query.Get("includeObject"));
    if (out.include_object.empty()) out.include_object = "Metadata";
  }
  std::string_view header = FindHeader(request.headers, "accept");
  if (header.empty()) return out;
  bool unknown_form = false;
  for (const Accepted& accepted : ParseAccept(header)) {
    Representation candidate = out;
    candidate.yaml = accepted.type == "application/yaml" ||
                     accepted.type == "text/yaml";
    bool json = accepted.type == "application/json" || accepted.type == "*/*";
    candidate.protobuf = accepted.type == kProtobufType;
    if (candidate.protobuf && !protobuf) continue;
    if (!json && !candidate.yaml && !candidate.protobuf) continue;
    if (ApplyForm(accepted, &candidate)) {
      FL_RETURN_IF_ERROR(CheckIncluded(candidate));
      return candidate;
    }
    unknown_form = true;
  }
  return NotAcceptable(unknown_form, list);
}

kube::Response RawJsonResponse(int status, std::string text) {
  kube::Response response;
  response.status = status;
  response.headers = {{"Content-Type", "application/json"}};
  response.body = std::move(text);
  return response;
}

kube::Response JsonResponse(int status, const Json& json, bool pretty) {
  std::string text =
      pretty ? json.dump(2, ' ', false, Json::error_handler_t::replace)
             : kube::TextFromJson(json);
  text += '\n';
  return RawJsonResponse(status, std::move(text));
}

kube::Response TextResponse(int status, std::string_view text) {
  kube::Response response;
  response.status = status;
  response.headers = {{"Content-Type", "text/plain; charset=utf-8"},
                      {"X-Content-Type-Options", "nosniff"}};
  response.body = std::string(text);
  return response;
}

kube::Response ErrorResponse(const absl::Status& status, bool pretty) {
  ApiStatus api = ApiStatusOf(status);
  kube::Response response =
      JsonResponse(api.code, StatusObject(api), pretty);
  Json details = Json::parse(api.details, nullptr, false);
  int64_t seconds = Int(details, "retryAfterSeconds");
  if (seconds == 0 && api.code == 503) seconds = 1;
  if (seconds > 0) {
    response.headers.emplace_back("Retry-After", StrCat(seconds));
  }
  return response;
}

}  // namespace fairlead::api
