// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/server_url.h"

#include <charconv>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {

absl::StatusOr<Endpoint> ParseUrl(std::string_view url) {
  auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("server URL \"", url, "\": ", why));
  };
  Endpoint endpoint;
  absl::string_view rest = Absl(url);
  if (absl::ConsumePrefix(&rest, "https://")) {
    endpoint.tls = true;
  } else if (!absl::ConsumePrefix(&rest, "http://")) {
    return bad("want http:// or https://");
  }
  size_t slash = rest.find('/');
  absl::string_view authority = rest.substr(0, slash);
  if (slash != rest.npos) endpoint.base_path = std::string(rest.substr(slash));
  while (absl::EndsWith(endpoint.base_path, "/")) endpoint.base_path.pop_back();
  endpoint.host_header = std::string(authority);
  absl::string_view port;
  if (absl::ConsumePrefix(&authority, "[")) {
    size_t close = authority.find(']');
    if (close == authority.npos) return bad("] missing");
    endpoint.host = std::string(authority.substr(0, close));
    port = authority.substr(close + 1);
    if (!port.empty() && !absl::ConsumePrefix(&port, ":")) return bad("port");
  } else {
    size_t colon = authority.find(':');
    endpoint.host = std::string(authority.substr(0, colon));
    if (colon != authority.npos) port = authority.substr(colon + 1);
  }
  if (endpoint.host.empty()) return bad("no host");
  endpoint.port = port.empty() ? (endpoint.tls ? "443" : "80")
                               : std::string(port);
  uint16_t number = 0;
  const char* end = endpoint.port.data() + endpoint.port.size();
  auto parsed = std::from_chars(endpoint.port.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number == 0) {
    return bad("bad port");
  }
  return endpoint;
}

}  // namespace fairlead::kube
