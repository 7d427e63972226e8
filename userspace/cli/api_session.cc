// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/api_session.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/box.h"
#include "userspace/kube/client.h"
#include "userspace/kube/http_transport.h"

namespace fairlead::cli {
namespace {

absl::StatusOr<std::string> DefaultKubeconfig() {
  if (const char* path = std::getenv("KUBECONFIG"); path && *path) return path;
  Box defaults;
  std::vector<std::string> boxes = ListBoxes(defaults.root);
  if (boxes.size() == 1) return Box{.name = boxes[0]}.Kubeconfig();
  if (const char* home = std::getenv("HOME")) {
    std::string path = StrCat(home, "/.kube/config");
    if (std::filesystem::exists(path)) return path;
  }
  return absl::UnavailableError(
      "no cluster to talk to: set KUBECONFIG, give --kubeconfig, or start one "
      "with: fairleadctl cluster up");
}

}  // namespace

absl::StatusOr<ApiSession> ApiSession::Open(const kube::ApiServer& server) {
  ApiSession session;
  session.loop_ = std::make_unique<EventLoop>();
  FL_ASSIGN_OR_RETURN(session.transport_,
                      kube::MakeHttpTransport(session.loop_.get(), server));
  return session;
}

absl::StatusOr<ApiSession> ApiSession::OpenDefault(
    const std::string& kubeconfig) {
  std::string path = kubeconfig;
  if (path.empty()) {
    FL_ASSIGN_OR_RETURN(path, DefaultKubeconfig());
  }
  FL_ASSIGN_OR_RETURN(kube::ApiServer server, kube::LoadKubeconfig(path));
  return Open(server);
}

absl::StatusOr<kube::Response> ApiSession::Do(kube::Request request) {
  request.headers.emplace_back("User-Agent", "fairleadctl");
  absl::StatusOr<kube::Response> result;
  std::unique_ptr<kube::Call> call = transport_->Do(
      std::move(request), [&](absl::StatusOr<kube::Response> response) {
        result = std::move(response);
        loop_->Stop();
      });
  loop_->Run();
  if (!result.ok()) return result.status();
  if (result->status >= 400) return kube::StatusFromResponse(*result);
  return result;
}

absl::StatusOr<nlohmann::json> ApiSession::GetJson(std::string target) {
  FL_ASSIGN_OR_RETURN(
      kube::Response response,
      Do({.target = target, .headers = {{"Accept", "application/json"}}}));
  auto document = nlohmann::json::parse(response.body, nullptr, false);
  if (document.is_discarded())
    return absl::DataLossError(StrCat(target, ": the answer is not JSON"));
  return document;
}

}  // namespace fairlead::cli
