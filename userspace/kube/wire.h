// SPDX-License-Identifier: Apache-2.0
// Cutting list answers and watch streams, in JSON and in protobuf, into the
// bytes of single objects, without building a tree of the whole. Pure; one
// thread per instance.
//
// Every JSON text that is handed out is followed by at least 64 readable bytes
// (simdjson's padding). All bytes are valid during the callback only.
#ifndef FAIRLEAD_USERSPACE_KUBE_WIRE_H_
#define FAIRLEAD_USERSPACE_KUBE_WIRE_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/kube/encoded_object.h"

namespace fairlead::kube {

// What an answer's Content-Type says; JSON if it is empty. An error for any
// other type.
[[nodiscard]] absl::StatusOr<Encoding> EncodingOf(
    std::string_view content_type);
inline constexpr char kJsonType[] = "application/json";
inline constexpr char kProtobufType[] = "application/vnd.kubernetes.protobuf";

// Splits a stream of JSON objects, with or without white space in between,
// however it was cut into chunks.
class JsonSplitter {
 public:
  explicit JsonSplitter(size_t max_object_bytes = 64u << 20)
      : max_object_bytes_(max_object_bytes) {}

  // `on_object` returns false to stop: the splitter is then not to be used
  // any more (it may have been destroyed). An error (not a JSON object, or one
  // too large) is final.
  [[nodiscard]] absl::Status Feed(
      std::string_view chunk,
      const std::function<bool(std::string_view)>& on_object);
  // In the middle of an object.
  bool partial() const { return depth_ > 0; }

 private:
  size_t max_object_bytes_;
  std::string buffer_;   // from the first byte not handed out yet
  size_t scanned_ = 0;   // of buffer_
  size_t start_ = 0;     // of the object in buffer_, if depth_ > 0
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

// Splits a watch in protobuf: frames, each with its length in front (four
// bytes, the highest first). The rest as JsonSplitter.
class ProtobufSplitter {
 public:
  explicit ProtobufSplitter(size_t max_frame_bytes = 64u << 20)
      : max_frame_bytes_(max_frame_bytes) {}
  [[nodiscard]] absl::Status Feed(
      std::string_view chunk,
      const std::function<bool(std::string_view)>& on_frame);
  bool partial() const { return !buffer_.empty(); }

 private:
  size_t max_frame_bytes_;
  std::string buffer_;  // from the first byte not handed out yet
};

struct ListPage {
  std::string resource_version;
  std::string continue_token;  // empty: the last page
  size_t items = 0;
};

// Decodes a "...List" object, calling `on_item` with each item's text. `body`
// may be reallocated (for padding), not changed. An error may come after some
// items were handed out.
[[nodiscard]] absl::StatusOr<ListPage> DecodeListPage(
    std::string* body, const std::function<void(std::string_view)>& on_item);

// The same of protobuf; items are handed out without an envelope.
[[nodiscard]] absl::StatusOr<ListPage> DecodeProtobufListPage(
    std::string_view body,
    const std::function<void(std::string_view)>& on_item);

// One event of a watch: {"type": ..., "object": {...}}.
struct WatchFrame {
  std::string_view type;   // "ADDED", "MODIFIED", "DELETED", "BOOKMARK", ...
  std::string_view whole;  // the object as a body of its own would be
  EncodedObject object;    // within the frame's bytes
  std::string_view kind;   // protobuf only
};
// `text`, `bytes` as handed out by the splitters.
[[nodiscard]] absl::StatusOr<WatchFrame> DecodeWatchFrame(
    std::string_view text);
[[nodiscard]] absl::StatusOr<WatchFrame> DecodeProtobufWatchFrame(
    std::string_view bytes);

// The bookmark behind the last object of a streamed list has this annotation.
inline constexpr std::string_view kInitialEventsEnd =
    "k8s.io/initial-events-end";

// What a reflector must know of an object.
struct ObjectHead {
  std::string kind;              // "" if the object doesn't say
  std::string resource_version;  // "" if it has none
  bool ends_initial_events = false;
};
[[nodiscard]] absl::StatusOr<ObjectHead> HeadOf(const WatchFrame& frame);
// Only for frames in protobuf; HeadOf knows which are.
[[nodiscard]] absl::StatusOr<ObjectHead> ProtobufHeadOf(
    const WatchFrame& frame);

// The parts of a Kubernetes Status that clients act on.
struct ApiStatus {
  int code = 0;
  std::string message, reason;
  int retry_after_seconds = 0;  // 0: doesn't say
};
// nullopt: `body` is no Status in protobuf.
std::optional<ApiStatus> DecodeProtobufStatus(std::string_view body);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_WIRE_H_
