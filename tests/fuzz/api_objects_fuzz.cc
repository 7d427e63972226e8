// SPDX-License-Identifier: Apache-2.0
// Any JSON through every function of every kind's row, and through the
// allocator: nothing may crash, defaults must be idempotent, and what a
// failed or deleted Service held must come back.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/allocator.h"
#include "control/api/kinds.h"
#include "control/api/quantity.h"

namespace {

using fairlead::api::Json;
using fairlead::api::Kind;
using fairlead::api::KindTable;
using fairlead::api::WriteVerb;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void RunKind(const Kind& kind, const Json& input) {
  fairlead::api::ServiceAllocatorOptions options;
  options.service_cidrs = {*fairlead::IpPrefix::Parse("10.96.0.0/24"),
                           *fairlead::IpPrefix::Parse("fd00::/112")};
  options.seed = 1;
  auto allocator = fairlead::api::MakeServiceAllocator(options);
  Json created = input;
  kind.prepare(WriteVerb::kCreate, created, nullptr);
  kind.set_defaults(created);
  Json again = created;
  kind.set_defaults(again);
  if (again != created) {
    std::fprintf(stderr, "%s once: %s\ntwice: %s\n", kind.resource.kind.c_str(),
                 created.dump().c_str(), again.dump().c_str());
  }
  Check(again == created, "defaults are idempotent");
  bool admitted = (*allocator)
                      ->Admit(kind, WriteVerb::kCreate, false, created, nullptr)
                      .empty();
  (void)kind.validate(created, nullptr);
  (void)kind.warnings(created, nullptr);
  (void)kind.cells(created, absl::UnixEpoch());
  for (const auto& field : kind.selectable_fields) {
    (void)kind.field_value(created, field);
  }
  for (WriteVerb verb : {WriteVerb::kUpdate, WriteVerb::kUpdateStatus}) {
    Json updated = input;
    kind.prepare(verb, updated, &created);
    kind.set_defaults(updated);
    (void)kind.validate(updated, &created);
    (void)kind.warnings(updated, &created);
  }
  if (!admitted) return;
  (*allocator)->Committed(kind, nullptr, &created);
  (*allocator)->Committed(kind, &created, nullptr);
  // What was asked for explicitly can be had again.
  Json second = input;
  kind.prepare(WriteVerb::kCreate, second, nullptr);
  kind.set_defaults(second);
  Check((*allocator)
            ->Admit(kind, WriteVerb::kCreate, false, second, nullptr)
            .empty(),
        "a deleted Service gives back what it held");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const KindTable kinds = fairlead::api::MakeKindTable();
  if (size < 1) return 0;
  std::string_view text(reinterpret_cast<const char*>(bytes + 1), size - 1);
  auto quantity = fairlead::api::Quantity::Parse(text);
  if (quantity.ok()) {
    auto again = fairlead::api::Quantity::Parse(quantity->ToString());
    Check(again.ok() && *again == *quantity, "a quantity's text is its value");
  }
  Json input = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  // Deeper ones are refused before they come here.
  if (!input.is_object()) return 0;
  RunKind(kinds.kinds()[bytes[0] % kinds.kinds().size()], input);
  return 0;
}
