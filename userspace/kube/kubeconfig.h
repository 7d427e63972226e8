// SPDX-License-Identifier: Apache-2.0
// Where the API server is and how to speak to it: a kubeconfig file.
// Threads: pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBE_KUBECONFIG_H_
#define FAIRLEAD_USERSPACE_KUBE_KUBECONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead::kube {

struct ApiServer {
  std::string url;  // "http://127.0.0.1:8080", "https://[fd00::1]:6443"
  // Asked in turn when the one before can't be reached; the same credentials.
  std::vector<std::string> more_urls;
  std::string bearer_token;
  std::string bearer_token_file;  // read again as it rotates; "": none
  std::string ca_pem;
  std::string client_certificate_pem;
  std::string client_key_pem;
  // Where the two came from: read again as they rotate; "": not from a file.
  std::string client_certificate_file;
  std::string client_key_file;
  std::string tls_server_name;  // "": the URL's host
  bool insecure_skip_verify = false;
};

// Reads the current context. Errors name the file and the missing piece.
[[nodiscard]] absl::StatusOr<ApiServer> LoadKubeconfig(const std::string& path);
[[nodiscard]] absl::StatusOr<ApiServer> ParseKubeconfig(std::string_view yaml);
// A kubeconfig file's text, with all that `server` holds in it; a client
// certificate and key that have files are named by them (as they are: a
// relative path is relative to the kubeconfig).
std::string MakeKubeconfig(std::string_view name, const ApiServer& server);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_KUBECONFIG_H_
