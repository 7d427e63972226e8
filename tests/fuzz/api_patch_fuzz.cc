// SPDX-License-Identifier: Apache-2.0
// Patches, selectors, queries, continue tokens and addresses from any bytes.
// The first byte chooses what the rest is.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "control/api/field_validation.h"
#include "control/api/http.h"
#include "control/api/list_options.h"
#include "control/api/patch.h"
#include "control/api/render.h"
#include "control/api/selector.h"
#include "control/api/server.h"
#include "tests/unit/api_kinds.h"

namespace fairlead::api {
namespace {

void Patch(PatchKind kind, std::string_view text) {
  static const TestTypes* types = new TestTypes;
  static const Json* object = new Json(Json::parse(R"({
      "apiVersion":"test.io/v1","kind":"Widget",
      "metadata":{"name":"a","labels":{"a":"b"},"finalizers":["x/a","x/b"]},
      "spec":{"size":1,"ports":[{"port":80},{"port":81,"name":"b"}],
              "containers":[{"name":"c","env":[{"name":"A","value":"1"}]}],
              "strategy":{"type":"RollingUpdate"}}})"));
  auto patch = ParsePatch(kind, text);
  if (!patch.ok()) return;
  auto patched = ApplyPatch(kind, *object, *patch, &types->object);
  if (!patched.ok() || !patched->is_object()) return;
  std::vector<std::string> problems;
  if (!ConformToSchema(&types->object, *patched, &problems).ok()) return;
  // What conforms once conforms again, unchanged.
  Json again = *patched;
  problems.clear();
  if (!ConformToSchema(&types->object, again, &problems).ok()) abort();
  if (!problems.empty() || again != *patched) abort();
  (void)YamlText(again);
}

}  // namespace
}  // namespace fairlead::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fairlead::api;
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0: Patch(PatchKind::kJson, text); break;
    case 1: Patch(PatchKind::kMerge, text); break;
    case 2:
    case 3: Patch(PatchKind::kStrategic, text); break;
    case 4: {
      auto selector = LabelSelector::Parse(text);
      if (selector.ok()) (void)selector->Matches({{"a", "b"}, {"n", "5"}});
      break;
    }
    case 5: (void)FieldSelector::Parse(text); break;
    case 6: {
      Query query = Query::Parse(text);
      (void)ListOptions::Parse(query);
      (void)ContinueToken::Decode(text);
      break;
    }
    case 7: (void)ListenAddress::Parse(text); break;
  }
  return 0;
}
