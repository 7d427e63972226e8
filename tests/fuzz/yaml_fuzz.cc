// SPDX-License-Identifier: Apache-2.0
// Manifests as bytes. What is read as YAML is, written as YAML, read as the
// same.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/render.h"
#include "userspace/kube/yaml.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;

void RoundTrip(const Json& document) {
  const std::string text = api::YamlText(document);
  const auto again = kube::JsonFromYaml(text);
  if (again.ok() && again->size() == 1 && again->front() == document) return;
  if (again.ok() && again->empty() && document.is_null()) return;
  fprintf(stderr, "read:    %s\nwritten: %s\nread as: %s\n",
          document.dump().c_str(), text.c_str(),
          again.ok() ? Json(*again).dump().c_str()
                     : again.status().ToString().c_str());
  abort();
}

}  // namespace
}  // namespace fairlead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto documents = fairlead::kube::JsonFromYaml(
      {reinterpret_cast<const char*>(data), size});
  if (!documents.ok()) return 0;
  for (const auto& document : *documents) fairlead::RoundTrip(document);
  return 0;
}
