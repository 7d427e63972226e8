// SPDX-License-Identifier: Apache-2.0
// Whole objects in Kubernetes' protobuf form: "k8s\0", then an envelope of
// apiVersion, kind and the object's message. The types come from the kind
// table's schemas; lists are made of their items' type.
//
// The server's verbs speak JSON only: bodies are turned into JSON before a
// verb sees them, and answers are turned into protobuf behind it
// (ProtobufRequest, ProtobufResponder). Only lists and watches, where that
// would cost too much, ask for protobuf themselves.
//
// Threads: pure functions; a ProtobufObjects may be shared.
#ifndef FAIRLEAD_CONTROL_API_PROTOBUF_OBJECT_H_
#define FAIRLEAD_CONTROL_API_PROTOBUF_OBJECT_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/http.h"
#include "control/api/kind.h"

namespace fairlead::api {

// Whether objects of the kind can be written as protobuf: its schema has
// numbers.
bool HasProtobuf(const Kind& kind);

class ProtobufObjects {
 public:
  // `kinds` must outlive this.
  explicit ProtobufObjects(const KindTable* kinds) : kinds_(*kinds) {}

  // Null when there is no such type, or it has no protobuf form.
  const Type* TypeOf(std::string_view api_version, std::string_view kind) const;

  // The object of a body. 400 in the API's words; 415 for a known kind that
  // has no protobuf form. `expected_kind`: what the path takes.
  [[nodiscard]] absl::StatusOr<Json> Decode(
      std::string_view body, std::string_view expected_kind) const;

  // An object or list by its own apiVersion and kind; nullopt when the type
  // is unknown or has no protobuf form.
  std::optional<std::string> Encode(const Json& object) const;

  // A list of `kind` whose items are made one at a time, so that no more than
  // one is in memory as JSON. `item` is called from the last to the first.
  std::optional<std::string> EncodeList(
      std::string_view api_version, std::string_view kind,
      const Json& metadata, size_t count,
      const std::function<Json(size_t)>& item) const;

  // One event of a watch: length, type, object. An object without a protobuf
  // form gives an empty one of no kind.
  std::string WatchFrame(std::string_view type, const Json& object) const;

 private:
  const KindTable& kinds_;
};

// Makes a protobuf body a JSON body. Unchanged when it is not protobuf.
[[nodiscard]] absl::Status ProtobufRequest(const ProtobufObjects& objects,
                                           std::string_view expected_kind,
                                           kube::Request* request);

// Answers through `responder`, JSON objects that are sent whole as protobuf.
ResponderRef ProtobufResponder(const ProtobufObjects* objects,
                               ResponderRef responder);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_PROTOBUF_OBJECT_H_
