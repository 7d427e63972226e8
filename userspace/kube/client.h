// SPDX-License-Identifier: Apache-2.0
// Typed verbs of the Kubernetes API over a Transport, objects as JSON.
//
// Threads: as Transport. Errors: an answer with a Kubernetes `Status` becomes
// an absl::Status with its message and these codes: 400, 422 InvalidArgument;
// 401 Unauthenticated; 403 PermissionDenied; 404 NotFound; 409 AlreadyExists
// (reason AlreadyExists) or Aborted (conflict); 410 OutOfRange; 429
// ResourceExhausted; 500 Internal; 503, 504 Unavailable. The reason, the HTTP
// status and Retry-After can be read back by ApiErrorOf.
#ifndef FAIRLEAD_USERSPACE_KUBE_CLIENT_H_
#define FAIRLEAD_USERSPACE_KUBE_CLIENT_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/kube/resource.h"
#include "userspace/kube/transport.h"

namespace fairlead::kube {

using Json = nlohmann::json;

struct ApiError {
  int http_status = 0;
  std::string reason;  // "Conflict", "AlreadyExists", ...
  std::optional<absl::Duration> retry_after;
};
// The Kubernetes part of an error that Client returned, if it has one.
std::optional<ApiError> ApiErrorOf(const absl::Status& status);
// The Status for an answer with an HTTP error status, its body in JSON or in
// protobuf. `response.status` 0: the body says (a watch's ERROR event).
absl::Status StatusFromResponse(const Response& response);

enum class PatchType { kJson, kMerge, kStrategicMerge };

struct DeleteOptions {
  std::optional<int> grace_period_seconds;
  std::string propagation_policy;   // "", "Background", "Foreground", "Orphan"
  std::string precondition_uid;
  std::string precondition_resource_version;
};

// Each verb calls `done` once unless the Call is destroyed first. `Detach`ed
// use: keep the returned Call in a container until `done` has run.
class Client {
 public:
  using Done = std::function<void(absl::StatusOr<Json>)>;

  // What `done` gets: the answer, or what identifies it (OutlineFromText), for
  // who writes and needs no more.
  enum class Answers { kWhole, kOutline };

  // `transport` must outlive the client. `user_agent`: "fairlead-kubelet".
  Client(Transport* transport, std::string user_agent,
         Answers answers = Answers::kWhole);
  ~Client();

  [[nodiscard]] std::unique_ptr<Call> Get(const Resource& resource,
                                          std::string_view ns,
                                          std::string_view name, Done done);
  // The whole list object. `query` is "" or "labelSelector=...&limit=..."
  [[nodiscard]] std::unique_ptr<Call> List(const Resource& resource,
                                           std::string_view ns,
                                           std::string_view query, Done done);
  // The object's own namespace and name are used.
  [[nodiscard]] std::unique_ptr<Call> Create(const Resource& resource,
                                             const Json& object, Done done);
  [[nodiscard]] std::unique_ptr<Call> Update(const Resource& resource,
                                             const Json& object, Done done);
  [[nodiscard]] std::unique_ptr<Call> UpdateStatus(const Resource& resource,
                                                   const Json& object,
                                                   Done done);
  // subresource: "", "status", "scale"
  [[nodiscard]] std::unique_ptr<Call> Patch(
      const Resource& resource, std::string_view ns, std::string_view name,
      std::string_view subresource, PatchType type, const Json& patch,
      Done done);
  [[nodiscard]] std::unique_ptr<Call> Delete(const Resource& resource,
                                             std::string_view ns,
                                             std::string_view name,
                                             const DeleteOptions& options,
                                             Done done);
  // POST to a subresource, such as pods/NAME/binding.
  [[nodiscard]] std::unique_ptr<Call> CreateSubresource(
      const Resource& resource, std::string_view ns, std::string_view name,
      std::string_view subresource, const Json& object, Done done);

  Transport* transport() { return transport_; }
  const std::string& user_agent() const { return user_agent_; }

 private:
  Transport* transport_;
  std::string user_agent_;
  Json (*read_)(std::string_view text);
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_CLIENT_H_
