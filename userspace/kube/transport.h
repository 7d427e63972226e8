// SPDX-License-Identifier: Apache-2.0
// How requests reach a Kubernetes API server: over HTTP (http_transport.h) or,
// inside the controller's own process, directly (control/api).
//
// Threads: everything on the event loop's thread, callbacks too. A callback is
// never run from inside the call that registered it. Destroying the returned
// Call cancels: no callback of it runs after that.
#ifndef FAIRLEAD_USERSPACE_KUBE_TRANSPORT_H_
#define FAIRLEAD_USERSPACE_KUBE_TRANSPORT_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::kube {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method = "GET";
  std::string target;  // path and query, percent-encoded
  Headers headers;     // without Host, Content-Length, Authorization
  std::string body;
};

struct Response {
  int status = 0;
  Headers headers;
  std::string body;

  // Case-insensitive; empty when absent.
  std::string_view Header(std::string_view name) const;
};

// Appends `text` as one path segment or query value (RFC 3986 unreserved
// characters stay).
void AppendPercentEncoded(std::string* out, std::string_view text);

// A request under way. Destroying it cancels.
class Call {
 public:
  virtual ~Call() = default;
};

// An event of a watch as the API server has it, read already: a transport in
// its own process can hand it over. Immutable; share freely.
struct WatchedObject {
  std::string_view type;  // "ADDED", "MODIFIED" or "DELETED"
  std::string resource_version;
  // Whole, but for managedFields.
  std::shared_ptr<const nlohmann::json> object;
  std::string text;  // the same, perhaps without kind and apiVersion
};

// `on_head` runs once (its body is empty), then `on_chunk` for each piece of
// the body as it arrives, then `on_end` once: OK for a clean end, else why.
// If no head arrived, only `on_end` runs. With `on_object` a transport that can
// may give an event of a watch to it instead of to `on_chunk`, in its place
// among the chunks and between whole lines.
struct StreamCallbacks {
  std::function<void(const Response& head)> on_head;
  std::function<void(std::string_view chunk)> on_chunk;
  std::function<void(absl::Status)> on_end;
  std::function<void(const WatchedObject& object)> on_object;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // An answer of any HTTP status is OK here; an error means there was none
  // (kUnavailable, kDeadlineExceeded, ...).
  [[nodiscard]] virtual std::unique_ptr<Call> Do(
      Request request,
      std::function<void(absl::StatusOr<Response>)> done) = 0;

  // For watches: no time limit on the body.
  [[nodiscard]] virtual std::unique_ptr<Call> Stream(
      Request request, StreamCallbacks callbacks) = 0;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_TRANSPORT_H_
