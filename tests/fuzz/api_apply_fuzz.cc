// SPDX-License-Identifier: Apache-2.0
// Server-side apply of any two configs, one after the other, and sets of
// fields from any bytes. The first byte chooses the kind, or the set; configs
// are JSON, divided by a zero byte.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "control/api/field_set.h"
#include "control/api/field_validation.h"
#include "control/api/go_format.h"
#include "control/api/kinds.h"
#include "control/api/managed_fields.h"
#include "control/api/object_fields.h"

namespace fairlead::api {
namespace {

const char kNow[] = "2026-01-01T00:00:00Z";

void Require(bool held) {
  if (!held) abort();
}

const Kind& KindOf(int choice) {
  static const KindTable* kinds = new KindTable(MakeKindTable());
  if (choice == 0) return *kinds->Find("", "v1", "services");
  if (choice == 1) return *kinds->Find("apps", "v1", "deployments");
  return *kinds->Find("", "v1", "nodes");
}

// The owners' entries are of the canonical form, and none is empty.
void CheckOwners(const Json& object) {
  for (const Json& entry : object["metadata"].value("managedFields", Json())) {
    Json fields = entry["fieldsV1"];
    Require(!fields.empty() && CanonicalFields(fields).ok());
    Require(fields == entry["fieldsV1"]);
    (void)FieldPaths(fields);
  }
}

// `config` by `manager`, by force. Null when it can't be applied.
Json Apply(const Kind& kind, const Json& live, const Json& config,
           const char* manager) {
  ApplyRequest request{&config, {manager, ""}, true};
  auto applied =
      ApplyConfig(kind, live.is_null() ? nullptr : &live, request, kNow);
  if (!applied.ok()) return nullptr;
  std::vector<std::string> problems;
  // It fits the schema: ApplyProblems said so.
  if (!ConformToSchema(kind.schema, *applied, &problems).ok()) return nullptr;
  Require(problems.empty());
  CheckOwners(*applied);
  return *applied;
}

void Configs(const Kind& kind, std::string_view text) {
  size_t end = text.find('\0');
  if (end == text.npos) return;
  auto one = ParseJson(text.substr(0, end));
  auto two = ParseJson(text.substr(end + 1));
  if (!one.ok() || !two.ok() || !one->is_object() || !two->is_object()) return;
  for (Json* config : {&*one, &*two}) {
    (*config)["apiVersion"] = kind.resource.ApiVersion();
    (*config)["kind"] = kind.resource.kind;
    (*config)["metadata"]["name"] = "x";
    // As kubectl sends it: values that are null are not there.
    std::vector<std::string> problems;
    if (!ConformToSchema(kind.schema, *config, &problems).ok()) return;
  }
  Json live = Apply(kind, nullptr, *one, "one");
  if (live.is_null()) return;
  live["metadata"]["uid"] = "u";
  Json both = Apply(kind, live, *two, "two");
  if (both.is_null()) return;
  // The same again, without force, changes nothing.
  ApplyRequest again{&*two, {"two", ""}, false};
  auto same = ApplyConfig(kind, &both, again, "2027-01-01T00:00:00Z");
  Require(same.ok() && *same == both);
  // An object that stays as it is changes no owner, whoever writes it.
  Json bare = both;
  bare["metadata"].erase("managedFields");
  Require(TrackUpdate(kind, both, bare, nullptr, {"three", ""}, kNow) ==
          both["metadata"].value("managedFields", Json::array()));
  FieldChanges none = CompareFields(*kind.schema, both, both);
  Require(none.changed.empty() && none.removed.empty());
  (void)WithoutFields(*kind.schema, both, FieldsOf(*kind.schema, live));
}

void Sets(std::string_view text) {
  auto set = ParseJson(text);
  if (!set.ok() || !CanonicalFields(*set).ok()) return;
  (void)FieldPaths(*set);
  Json rest = *set;
  TakeFields(rest, *set);
  rest.erase(kSelf);
  Require(rest.empty());
  Json sum = *set;
  AddFields(sum, *set);
  sum.erase(kSelf);
  Json common = CommonFields(*set, *set);
  Require(common == sum);
}

}  // namespace
}  // namespace fairlead::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fairlead::api;
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 4 == 3) {
    Sets(text);
  } else {
    Configs(KindOf(data[0] % 4), text);
  }
  return 0;
}
