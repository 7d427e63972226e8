// SPDX-License-Identifier: Apache-2.0
// Cutting list answers and watch streams into the texts of single objects,
// without building a tree of the whole. Pure; one thread per instance.
//
// Every text that is handed out is followed by at least 64 readable bytes
// (simdjson's padding) and is valid during the callback only.
#ifndef FAIRLEAD_USERSPACE_KUBE_WIRE_H_
#define FAIRLEAD_USERSPACE_KUBE_WIRE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::kube {

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

// One event of a watch: {"type": ..., "object": {...}}.
struct WatchFrame {
  std::string_view type;    // "ADDED", "MODIFIED", "DELETED", "BOOKMARK", ...
  std::string_view object;  // text, within the frame's
};
// `text` as handed out by JsonSplitter.
[[nodiscard]] absl::StatusOr<WatchFrame> DecodeWatchFrame(
    std::string_view text);

// metadata.resourceVersion; an error if there is none.
[[nodiscard]] absl::StatusOr<std::string> ResourceVersionOf(
    std::string_view object);

// `code` of a Kubernetes Status object; 0 if it has none.
int StatusCodeOf(std::string_view object);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_WIRE_H_
