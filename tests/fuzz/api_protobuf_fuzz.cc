// SPDX-License-Identifier: Apache-2.0
// Any bytes as a protobuf body: an error, or an object that can be written
// again, and then comes back the same. Also as the message of every kind, so
// that the search need not find the envelope of each.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/kinds.h"
#include "control/api/normalize.h"
#include "control/api/protobuf.h"
#include "control/api/protobuf_object.h"

namespace {

using fairlead::api::BackwardWriter;
using fairlead::api::Json;
using fairlead::api::KindTable;
using fairlead::api::ProtobufObjects;
using fairlead::api::Type;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void RunMessage(const Type& type, std::string_view bytes) {
  auto read = fairlead::api::ReadMessage(type, bytes);
  if (!read.ok()) return;
  // Text: everything that is read must be valid UTF-8, or this throws.
  Check(Json::parse(read->dump(), nullptr, false) == *read,
        "the JSON of a message is JSON");
  BackwardWriter out;
  fairlead::api::WriteMessage(type, *read, &out);
  std::string once = std::move(out).Take();
  auto again = fairlead::api::ReadMessage(type, once);
  Check(again.ok(), "what was written can be read");
  BackwardWriter second;
  fairlead::api::WriteMessage(type, *again, &second);
  Check(std::move(second).Take() == once, "writing is stable");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* kinds = new KindTable(fairlead::api::MakeKindTable());
  static const ProtobufObjects objects(kinds);
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto object = objects.Decode(bytes, "Pod"); object.ok()) {
    auto written = objects.Encode(*object);
    Check(written.has_value() && objects.Decode(*written, "Pod").ok(),
          "an object that was read can be written");
    (void)objects.WatchFrame("ADDED", *object);
  }
  // Without the envelope: k8s\0, type, and the raw field's key and length.
  if (bytes.empty()) return 0;
  const auto& rows = kinds->kinds();
  RunMessage(*rows[data[0] % rows.size()].schema, bytes.substr(1));
  return 0;
}
