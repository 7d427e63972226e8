// SPDX-License-Identifier: Apache-2.0
// Two readers of JSON see the same in the same bytes, and two writers write
// the same.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "userspace/kube/json_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Json = nlohmann::json;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Json got = fairlead::kube::JsonFromText(text);
  const Json want = Json::parse(text, nullptr, false);
  if (got.is_discarded() != want.is_discarded()) abort();
  if (!want.is_discarded() && got != want) abort();
  const Json outline = fairlead::kube::OutlineFromText(text);
  if (outline.is_discarded() == want.is_object()) abort();
  constexpr auto kReplace = Json::error_handler_t::replace;
  if (fairlead::kube::TextFromJson(want) != want.dump(-1, ' ', false, kReplace)) {
    abort();
  }
  return 0;
}
