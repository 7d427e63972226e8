// SPDX-License-Identifier: Apache-2.0
#include "control/api/kubelet_address.h"

#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "control/api/json_access.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::api {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using Json = nlohmann::json;

std::string KubeletAddress::HostPort() const {
  const bool v6 = host.find(':') != std::string::npos;
  return StrCat(v6 ? "[" : "", host, v6 ? "]:" : ":", port);
}

KubeletAddress KubeletAddressOf(const Json& node, std::string_view name) {
  KubeletAddress address;
  const int64_t port = Int(
      Get(node, {"status", "daemonEndpoints", "kubeletEndpoint", "Port"}));
  if (port > 0 && port < 65536) address.port = static_cast<Port>(port);
  for (const char* type : {"InternalIP", "ExternalIP", "Hostname"}) {
    for (const Json& a : List(node, {"status", "addresses"})) {
      if (Text(a, "type") != type) continue;
      address.host = Text(a, "address");
      return address;
    }
  }
  address.host = name;
  return address;
}

absl::StatusOr<tcp::endpoint> OpenKubeletSocket(const KubeletAddress& address,
                                                const std::string& netns,
                                                tcp::socket* socket) {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address.host, error);
  if (error) {
    return absl::NotFoundError(
        StrCat("lookup ", address.host, ": no such host"));
  }
  const tcp::endpoint endpoint(ip, address.port);
  UniqueFd fd;
  const auto open = [&] {
    fd = UniqueFd(::socket(endpoint.protocol().family(),
                           SOCK_STREAM | SOCK_CLOEXEC, 0));
    return fd.valid() ? absl::OkStatus() : ErrnoStatus(errno, "socket");
  };
  FL_RETURN_IF_ERROR(netns.empty() ? open() : RunInNetns(netns, open));
  socket->assign(endpoint.protocol(), fd.release());
  return endpoint;
}

}  // namespace fairlead::api
