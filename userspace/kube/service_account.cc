// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/service_account.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

// Without white space around it; an empty file is as good as none.
absl::StatusOr<std::string> Read(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  absl::StripAsciiWhitespace(&text);
  if (!text.empty()) return text;
  return absl::FailedPreconditionError(
      StrCat(path, ": ", errno != 0 ? strerror(errno) : "is empty",
             " (does the pod have automountServiceAccountToken: false?)"));
}

std::string TokenFile(const std::string& folder) { return folder + "/token"; }

}  // namespace

bool HasServiceAccount(const std::string& folder) {
  return access(TokenFile(folder).c_str(), F_OK) == 0;
}

absl::StatusOr<ApiServer> LoadServiceAccount(const std::string& folder) {
  ApiServer server;
  server.bearer_token_file = TokenFile(folder);
  FL_ASSIGN_OR_RETURN(server.bearer_token, Read(server.bearer_token_file));
  FL_ASSIGN_OR_RETURN(server.ca_pem, Read(folder + "/ca.crt"));
  return server;
}

absl::StatusOr<ApiServer> InClusterServer(const std::string& folder) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return absl::InvalidArgumentError(
        "neither --kubeconfig nor --server is given, and this is not a pod "
        "(KUBERNETES_SERVICE_HOST is not set)");
  }
  FL_ASSIGN_OR_RETURN(ApiServer server, LoadServiceAccount(folder));
  const bool v6 = std::string_view(host).find(':') != std::string_view::npos;
  server.url = StrCat("https://", v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
  return server;
}

}  // namespace fairlead::kube
