// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/host_ports.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "userspace/kube/object_fields.h"

namespace fairlead::kube {
namespace {

using Json = nlohmann::json;
using Pointer = Json::json_pointer;

int64_t Number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<int64_t>() : 0;
}

std::string Text(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<HostPort> Decode(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  const int64_t port = Number(json, "hostPort");
  const int64_t container = Number(json, "containerPort");
  const auto protocol = ProtocolOf(Text(json, "protocol"));
  if (port < 1 || port > kMaxPort || container < 1 || container > kMaxPort ||
      !protocol) {
    return std::nullopt;
  }
  HostPort out{.port = static_cast<Port>(port),
               .container_port = static_cast<Port>(container),
               .protocol = *protocol,
               .address = {}};
  const auto address = IpAddress::Parse(Text(json, "hostIP"));
  if (address.ok() && *address != IpAddress::Unspecified(address->family()))
    out.address = *address;
  return out;
}

}  // namespace

std::vector<HostPort> HostPortsOf(const Json& pod) {
  std::vector<HostPort> ports;
  for (const char* list : {"/spec/containers", "/spec/initContainers"}) {
    const Pointer at(list);
    if (!pod.contains(at) || !pod[at].is_array()) continue;
    for (const Json& container : pod[at]) {
      if (!container.is_object() || !container.contains("ports")) continue;
      // An init container is through when the others run.
      if (std::string_view(list).ends_with("initContainers") &&
          Text(container, "restartPolicy") != "Always") {
        continue;
      }
      for (const Json& port : container["ports"]) {
        if (const auto decoded = Decode(port)) ports.push_back(*decoded);
      }
    }
  }
  return ports;
}

bool Conflict(const HostPort& a, const HostPort& b) {
  return a.port == b.port && a.protocol == b.protocol &&
         (!a.address || !b.address || *a.address == *b.address);
}

bool AnyConflict(const std::vector<HostPort>& a,
                 const std::vector<HostPort>& b) {
  return std::any_of(a.begin(), a.end(), [&](const HostPort& one) {
    return std::any_of(b.begin(), b.end(), [&](const HostPort& other) {
      return Conflict(one, other);
    });
  });
}

}  // namespace fairlead::kube
