// SPDX-License-Identifier: Apache-2.0
// Asking an API server from a command: one request at a time, waiting.
// Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_API_SESSION_H_
#define FAIRLEAD_USERSPACE_CLI_API_SESSION_H_

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kube/transport.h"

namespace fairlead::cli {

class ApiSession {
 public:
  [[nodiscard]] static absl::StatusOr<ApiSession> Open(
      const kube::ApiServer& server);
  // --kubeconfig, else $KUBECONFIG, else the only box's, else ~/.kube/config.
  [[nodiscard]] static absl::StatusOr<ApiSession> OpenDefault(
      const std::string& kubeconfig);

  // An HTTP error status is an error (kube::StatusFromResponse).
  [[nodiscard]] absl::StatusOr<kube::Response> Do(kube::Request request);
  // GET of a JSON document.
  [[nodiscard]] absl::StatusOr<nlohmann::json> GetJson(std::string target);

 private:
  ApiSession() = default;
  // The transport uses the loop: made after it, destroyed before it.
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<kube::Transport> transport_;
};

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_API_SESSION_H_
