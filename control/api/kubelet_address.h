// SPDX-License-Identifier: Apache-2.0
// Where a node's kubelet can be reached, and a socket towards it.
//
// Threads: any.
#ifndef FAIRLEAD_CONTROL_API_KUBELET_ADDRESS_H_
#define FAIRLEAD_CONTROL_API_KUBELET_ADDRESS_H_

#include <boost/asio/ip/tcp.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::api {

struct KubeletAddress {
  std::string host;  // an address, or a name that nobody resolves
  Port port = 10250;

  std::string HostPort() const;  // as URLs have it
};

// `node`: the Node object.
KubeletAddress KubeletAddressOf(const nlohmann::json& node,
                                std::string_view name);

// Gives `socket` a socket in the network namespace `netns` (a path; "": this
// process' own). What it is to be connected to, or why not in Go's words.
[[nodiscard]] absl::StatusOr<boost::asio::ip::tcp::endpoint>
OpenKubeletSocket(const KubeletAddress& address, const std::string& netns,
                  boost::asio::ip::tcp::socket* socket);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_KUBELET_ADDRESS_H_
