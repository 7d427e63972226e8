// SPDX-License-Identifier: Apache-2.0
// kube-proxy's settings: its configuration file (KubeProxyConfiguration,
// kubeproxy.config.k8s.io/v1alpha1) and its command-line flags. Each is a row:
// what it becomes here, or why it means nothing here. None is ignored without a
// word.
//
// Pure but for reading the file. No thread rule.
#ifndef FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_H_
#define FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "userspace/agent/config.h"

namespace fairlead::agent {

struct KubeProxySetting {
  enum class Shape { kString, kBool, kInteger, kDuration, kStrings, kMap };

  std::string_view path;  // in the file: "iptables.masqueradeAll"; "": none
  std::string_view flag;  // "masquerade-all"; "": none
  Shape shape = Shape::kString;
  // Writes a value of the right shape into the agent's flags; null: it means
  // nothing here, and `why` says why.
  absl::Status (*apply)(const nlohmann::json& value, Flags* flags) = nullptr;
  std::string_view why;
  // The agent itself has this flag: only the file's value is a row's business.
  bool own_flag = false;
};

absl::Span<const KubeProxySetting> KubeProxySettings();

// What was given, by the setting; values are checked for their shape.
using KubeProxyValues = std::map<const KubeProxySetting*, nlohmann::json>;

// The text of a file, YAML or JSON. kInvalidArgument, naming the key (and the
// nearest one for a key that doesn't exist), if it is not a
// KubeProxyConfiguration through and through; all problems at once.
[[nodiscard]] absl::StatusOr<KubeProxyValues> ParseKubeProxyFile(
    std::string_view text);

// The same of a file, which errors name.
[[nodiscard]] absl::StatusOr<KubeProxyValues> ReadKubeProxyFile(
    const std::string& path);

// A flag's text as the value of its setting.
[[nodiscard]] absl::StatusOr<nlohmann::json> ParseKubeProxyFlag(
    const KubeProxySetting& setting, const std::string& text);

// Writes what means something into `flags`. Of the settings of modes only the
// chosen mode's count. Returns a sentence that names all others and says why
// they mean nothing, or "".
[[nodiscard]] absl::StatusOr<std::string> ApplyKubeProxyValues(
    const KubeProxyValues& values, Flags* flags);

// What the agent runs with, as a KubeProxyConfiguration: /configz.
nlohmann::ordered_json ToKubeProxyConfiguration(const AgentConfig& config);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_H_
