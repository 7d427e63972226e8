// SPDX-License-Identifier: Apache-2.0
// One object's JSON as protobuf and back, led by its schema: no code is
// generated for a kind. schemas/README.md says how a field is written.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_PROTOBUF_H_
#define FAIRLEAD_CONTROL_API_PROTOBUF_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/schema.h"

namespace fairlead::api {

// Writes from the end to the beginning, so that a length is known when it is
// written in front of what it counts.
class BackwardWriter {
 public:
  size_t size() const { return buffer_.size() - start_; }
  void Raw(std::string_view bytes);
  void Varint(uint64_t value);
  void Tag(uint32_t number, uint32_t wire_type) {
    Varint(uint64_t{number} << 3 | wire_type);
  }
  // A field of bytes, text or a message that is already written out.
  void Bytes(uint32_t number, std::string_view bytes) {
    Raw(bytes);
    Varint(bytes.size());
    Tag(number, 2);
  }
  // What was written since size() was `before`, as field `number`.
  void CloseMessage(uint32_t number, size_t before) {
    Varint(size() - before);
    Tag(number, 2);
  }
  std::string Take() && { return std::move(buffer_).substr(start_); }

 private:
  std::string buffer_;
  size_t start_ = 0;  // of what is written
};

// `value` in front of what `out` holds. Fields that the type does not know or
// that have no number are left out; a value of the wrong type is written as
// the zero value (stored objects are checked before).
void WriteMessage(const Type& type, const nlohmann::json& value,
                  BackwardWriter* out);

// The JSON of a message. Only what the bytes hold: an empty value of a field
// that is no pointer is left out. Errors (kInvalidArgument) are in the words
// of the API's decoder. Unknown fields are skipped, as protobuf demands.
[[nodiscard]] absl::StatusOr<nlohmann::json> ReadMessage(
    const Type& type, std::string_view bytes);

// A field of the wire format.
struct WireField {
  uint32_t number = 0;
  uint32_t wire_type = 0;
  uint64_t varint = 0;     // wire type 0; the bits of types 1 and 5
  std::string_view bytes;  // wire type 2
};

// Cuts bytes into fields.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  // `message`: for the error's text. REQUIRES: !done().
  [[nodiscard]] absl::Status Next(std::string_view message, WireField* out);

 private:
  [[nodiscard]] absl::Status Varint(uint64_t* out);
  [[nodiscard]] absl::Status Fixed(size_t size, uint64_t* out);
  std::string_view rest_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_PROTOBUF_H_
