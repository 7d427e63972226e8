// SPDX-License-Identifier: Apache-2.0
// Any bytes as a kubeconfig: an error, or a server with a URL.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "userspace/kube/kubeconfig.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  auto server = fairlead::kube::ParseKubeconfig(
      std::string_view(reinterpret_cast<const char*>(bytes), size));
  if (server.ok() && server->url.empty()) abort();
  return 0;
}
