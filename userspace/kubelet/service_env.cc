// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/service_env.h"

#include "absl/strings/ascii.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

std::string VariableName(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : absl::ascii_toupper(c);
  return name;
}

void AddService(const Json& service, Variables* variables) {
  const std::string ip = StringAt(service, {"spec", "clusterIP"});
  const Json& ports = At(service, {"spec", "ports"});
  if (ip.empty() || ip == "None" || ports.empty()) return;
  const std::string name = VariableName(StringAt(service, {"metadata", "name"}));
  variables->emplace_back(name + "_SERVICE_HOST", ip);
  variables->emplace_back(name + "_SERVICE_PORT",
                          StrCat(IntAt(ports[0], {"port"})));
  for (const Json& port : ports) {
    const std::string port_name = StringAt(port, {"name"});
    if (port_name.empty()) continue;
    variables->emplace_back(
        StrCat(name, "_SERVICE_PORT_", VariableName(port_name)),
        StrCat(IntAt(port, {"port"})));
  }
  const std::string host =
      ip.find(':') == std::string::npos ? ip : StrCat("[", ip, "]");
  bool first = true;
  for (const Json& port : ports) {
    const std::string number = StrCat(IntAt(port, {"port"}));
    const std::string protocol = StringAt(port, {"protocol"}, "TCP");
    std::string lower = protocol;
    absl::AsciiStrToLower(&lower);
    const std::string url = StrCat(lower, "://", host, ":", number);
    const std::string prefix = StrCat(name, "_PORT_", number, "_", protocol);
    if (first) variables->emplace_back(name + "_PORT", url);
    first = false;
    variables->emplace_back(prefix, url);
    variables->emplace_back(prefix + "_PROTO", lower);
    variables->emplace_back(prefix + "_PORT", number);
    variables->emplace_back(prefix + "_ADDR", ip);
  }
}

}  // namespace

Variables ServiceVariables(const std::vector<kube::Object>& services) {
  Variables variables;
  for (const kube::Object& service : services)
    AddService(*service, &variables);
  return variables;
}

}  // namespace fairlead::kubelet
