// SPDX-License-Identifier: Apache-2.0
#include "control/api/event_versions.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "control/api/api_status.h"
#include "control/api/field_validation.h"
#include "control/api/forwarding_responder.h"
#include "control/api/json_access.h"
#include "control/api/render.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/resource.h"

namespace fairlead::api {
namespace {

struct FieldName {
  const char* newer;
  const char* core;
};
constexpr FieldName kFields[] = {
    {"deprecatedCount", "count"},
    {"deprecatedFirstTimestamp", "firstTimestamp"},
    {"deprecatedLastTimestamp", "lastTimestamp"},
    {"deprecatedSource", "source"},
    {"note", "message"},
    {"regarding", "involvedObject"},
    {"reportingController", "reportingComponent"}};

Json Renamed(Json object, const char* FieldName::*from,
             const char* FieldName::*to) {
  for (const FieldName& field : kFields) {
    auto it = object.find(field.*from);
    if (it == object.end()) continue;
    Json value = std::move(*it);
    object.erase(it);
    object[field.*to] = std::move(value);
  }
  return object;
}

// "/note" of a JSON patch's operation.
void TranslatePath(Json& operation, const char* key) {
  auto it = operation.find(key);
  if (it == operation.end() || !it->is_string()) return;
  const std::string path = it->get<std::string>();
  for (const FieldName& field : kFields) {
    std::string whole = StrCat("/", field.newer);
    if (path == whole || path.starts_with(whole + "/")) {
      *it = StrCat("/", field.core, path.substr(whole.size()));
    }
  }
}

absl::Status CheckNew(const Kind& kind, const Json& event) {
  FieldErrors errors;
  for (const char* field : {"eventTime", "reportingController",
                            "reportingInstance", "action", "reason"}) {
    const Json& value = Get(event, field);
    if (value.is_null() || value == "") {
      errors.push_back({"FieldValueRequired", field, "Required value"});
    }
  }
  return errors.empty()
             ? absl::OkStatus()
             : InvalidObject(kind, Text(event, {"metadata", "name"}), errors);
}

// Of an answer, whatever it is.
Json TranslateAnswer(Json answer) {
  std::string_view kind = Text(answer, "kind");
  if (kind == "Event") return ToNewerEvent(std::move(answer));
  if (kind == "EventList") {
    answer["apiVersion"] = kube::EventsV1().ApiVersion();
    for (Json& item : answer["items"]) {
      item = Renamed(std::move(item), &FieldName::core, &FieldName::newer);
    }
  } else if (kind == "Table") {
    for (Json& row : answer["rows"]) {
      if (Text(row, {"object", "kind"}) == "Event") {
        row["object"] = ToNewerEvent(std::move(row["object"]));
      }
    }
  } else if (kind == "Status" && Text(answer, {"details", "kind"}) == "events") {
    answer["details"]["group"] = kube::EventsV1().group;
    std::string message(Text(answer, "message"));
    if (message.starts_with("events \"")) {
      answer["message"] = StrCat("events.", kube::EventsV1().group,
                                 message.substr(sizeof("events") - 1));
    }
  }
  return answer;
}

class Translator : public ForwardingResponder {
 public:
  Translator(bool yaml, bool pretty, ResponderRef inner)
      : ForwardingResponder(std::move(inner)), yaml_(yaml), pretty_(pretty) {}
  void Send(kube::Response response) override {
    Json answer = Json::parse(response.body, nullptr, false);
    if (answer.is_object()) {
      answer = TranslateAnswer(std::move(answer));
      const bool yaml = yaml_ && Text(answer, "kind") != "Status";
      response.body =
          yaml ? YamlText(answer) : answer.dump(pretty_ ? 2 : -1) + "\n";
      for (auto& [name, value] : response.headers) {
        if (yaml && name == "Content-Type") value = "application/yaml";
      }
    }
    ForwardingResponder::Send(std::move(response));
  }
  // Of a watch: a line an event.
  void Write(std::shared_ptr<const std::string> piece) override {
    Json event = Json::parse(*piece, nullptr, false);
    if (event.is_object() && event.contains("object")) {
      event["object"] = TranslateAnswer(std::move(event["object"]));
      piece = std::make_shared<const std::string>(event.dump() + "\n");
    }
    ForwardingResponder::Write(std::move(piece));
  }

 private:
  bool yaml_, pretty_;
};

}  // namespace

bool IsNewerEvent(const Kind& kind) {
  return kind.resource.group == kube::EventsV1().group;
}

Json ToCoreEvent(Json event) {
  event = Renamed(std::move(event), &FieldName::newer, &FieldName::core);
  if (event.contains("apiVersion")) {
    event["apiVersion"] = kube::Events().ApiVersion();
  }
  return event;
}

Json ToNewerEvent(Json event) {
  event = Renamed(std::move(event), &FieldName::core, &FieldName::newer);
  event["apiVersion"] = kube::EventsV1().ApiVersion();
  return event;
}

absl::Status TranslateEventRequest(const Kind& newer, kube::Request* request) {
  const std::string& method = request->method;
  if (method != "POST" && method != "PUT" && method != "PATCH") {
    return absl::OkStatus();
  }
  std::string_view type = FindHeader(request->headers, "content-type");
  const bool json_patch = absl::StrContains(Absl(type), "json-patch+json");
  Json body;
  if (method == "PATCH" && !absl::StrContains(Absl(type), "yaml")) {
    body = Json::parse(request->body, nullptr, false);
    // Whatever is wrong with it is the verb's to say.
    if (body.is_discarded()) return absl::OkStatus();
  } else {
    FL_ASSIGN_OR_RETURN(
        body, DecodeAny(method == "PATCH" ? "application/yaml" : type,
                        request->body, newer.resource.kind));
  }
  if (method == "POST") FL_RETURN_IF_ERROR(CheckNew(newer, body));
  if (json_patch && body.is_array()) {
    for (Json& operation : body) {
      if (!operation.is_object()) continue;
      TranslatePath(operation, "path");
      TranslatePath(operation, "from");
    }
  } else if (body.is_object()) {
    body = ToCoreEvent(std::move(body));
  }
  request->body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (method == "PATCH") return absl::OkStatus();
  for (auto& [name, value] : request->headers) {
    if (absl::EqualsIgnoreCase(name, "content-type")) {
      value = "application/json";
    }
  }
  return absl::OkStatus();
}

ResponderRef NewerEventResponder(const Representation& how,
                                 ResponderRef responder) {
  return std::make_shared<Translator>(how.yaml, how.pretty,
                                      std::move(responder));
}

}  // namespace fairlead::api
